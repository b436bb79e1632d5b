"""A short run of `make fuzz` over every reader, and what has broken one before."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from sessionsync.errors import SessiondError
from tests.fakes.agent import SESSION
from tests.fuzz.runner import Tally, _one, run, watched
from tests.fuzz.targets import TARGETS, Target

INPUTS = 40
SEED = 20_261_130

# Found by `make fuzz`, each the smallest that still shows it.
BROKE = (
    ("companions", json.dumps({"subject": "a", "status": {}}).encode()),
    ("messages", json.dumps({"messages": [{"content": [{"type": []}]}]}).encode()),
    ("messages", b'{"messages": [], "status": "\\ud800"}'),
    ("structured", b'{"title": "\\udc80", "decisions": ["\\ud800"]}'),
    ("remote_url", b"file:///a%00b"),
    ("remote_url", b"a\0b"),
    ("hook", json.dumps({"transcript_path": f"/x/projects/{'9' * 400}/{SESSION}.jsonl"}).encode()),
    ("control", b'/v1/act\n{"n": 1%s}' % (b"0" * 400)),
    ("journal", b'{"do":"pack","number":"\x85"}'),
)


@pytest.mark.parametrize("target", TARGETS)
def test_a_reader_says_so_or_reads_on(target: str) -> None:
    (tally,) = run(SEED, INPUTS * TARGETS[target].share, [target])
    assert not tally.failures, f"{tally.failures[0].data!r}\n{tally.failures[0].trace}"
    assert tally.inputs >= INPUTS


@pytest.mark.parametrize("target", TARGETS)
def test_what_it_is_meant_to_read_it_reads(target: str) -> None:
    """Of what is broken in a run, some was good before; otherwise nothing but refusals would be tried."""
    read = 0
    for good in TARGETS[target].good():
        with suppress(SessiondError):
            TARGETS[target].read(good)
            read += 1
    assert read or target == "tar"  # its good ones have a link in them, or no end


@pytest.mark.parametrize(("target", "data"), BROKE)
def test_what_has_broken_it_once_does_not_again(target: str, data: bytes) -> None:
    with suppress(SessiondError):
        TARGETS[target].read(data)


def test_a_reader_that_breaks_or_hangs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(data: bytes) -> None:
        if data == b"hang":
            while True:
                pass
        raise KeyError(data)

    monkeypatch.setattr("tests.fuzz.runner.HANGS_S", 0.05)
    monkeypatch.setitem(TARGETS, "page", Target(breaks, lambda: [b"x"]))
    tally = Tally("page")
    with watched():
        for data in (b"x", b"y", b"hang"):
            _one(tally, data)
    assert tally.failed == 3
    assert [failure.data for failure in tally.failures] == [b"x", b"hang"]  # one of each place
    assert "Hangs" in tally.failures[1].trace
