"""Whatever two machines make of one session, the union holds all of it, and holding it twice changes nothing."""

from __future__ import annotations

import json
import random
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionsync.divergence import Plain, Relation, compare, merge_critical, unite, whole
from sessionsync.divergence.redaction import same
from sessionsync.model import CheckpointEntry, CriticalData
from sessionsync.privacy.gate import Gate
from sessionsync.restore import loadable

SID = "3f2a9c1e-0000-4000-8000-000000000000"
TOKEN = "ghp_" + "a1B2" * 9
GATE = Gate(redact=True)


def row(number: int, parent: str | None, dice: random.Random) -> tuple[bytes, str | None]:
    """A line as an agent writes it, and the uuid that the next one goes on from."""
    if dice.random() < 0.2:  # no record of the conversation: repeated, and the last one wins
        said = {"type": "mode", "mode": dice.choice(["plan", "default"]), "sessionId": SID}
        return json.dumps(said).encode(), parent
    own = str(uuid.UUID(int=dice.getrandbits(128), version=4))
    text = f"line {number} " + (f"token {TOKEN}" if dice.random() < 0.2 else "")
    kind = "user" if dice.random() < 0.5 else "assistant"
    content: Any = text if kind == "user" else [{"type": "text", "text": text}]
    message = {"role": kind, "content": content, "id": f"msg_{own}"}
    entry = {"type": kind, "uuid": own, "parentUuid": parent, "sessionId": SID, "message": message}
    return json.dumps(entry).encode(), own


def chain(count: int, parent: str | None, dice: random.Random) -> tuple[list[bytes], str | None]:
    lines = []
    for number in range(count):
        data, parent = row(number, parent, dice)
        lines.append(data)
    return lines, parent


def file(lines: list[bytes], torn: bytes = b"") -> bytes:
    return b"".join(line + b"\n" for line in lines) + torn


def lines_of(data: bytes) -> Counter[bytes]:
    return Counter(line for line in data.split(b"\n") if line)


def uuids_of(data: bytes) -> set[str]:
    return {row["uuid"] for line in lines_of(data) if "uuid" in (row := json.loads(line))}


@st.composite
def forks(draw: st.DrawFn, versions: int = 2) -> list[bytes]:
    """Versions of one transcript that went their own ways from somewhere on."""
    dice = random.Random(draw(st.integers(0, 2**32)))
    base, leaf = chain(draw(st.integers(1, 8)), None, dice)
    made = []
    for _ in range(versions):
        tail, _leaf = chain(draw(st.integers(0, 6)), leaf, dice)
        made.append(file(base + tail))
    return made


@settings(max_examples=300, deadline=None)
@given(forks())
def test_a_union_holds_every_line_of_both_as_often_as_either_has_it(both: list[bytes]) -> None:
    ours, theirs = both
    united = whole(unite(Plain(ours), Plain(theirs)))
    assert lines_of(united) == lines_of(ours) | lines_of(theirs)
    assert uuids_of(united) == uuids_of(ours) | uuids_of(theirs)


@settings(max_examples=300, deadline=None)
@given(forks())
def test_a_union_begins_with_what_both_have_and_keeps_each_order(both: list[bytes]) -> None:
    ours, theirs = both
    union = unite(Plain(ours), Plain(theirs))
    united = whole(union)
    common = 0
    for one, two in zip(ours.splitlines(keepends=True), theirs.splitlines(keepends=True), strict=False):
        if one != two:
            break
        common += len(one)
    assert union.shared == common
    assert united[:common] == ours[:common]
    for version in both:
        where = {line: at for at, line in reversed(list(enumerate(united.splitlines())))}
        # what says how things stand has no uuid, and may say so again
        unique = [
            line
            for line, count in lines_of(version).items()
            if count == 1 and lines_of(united)[line] == 1 and b'"uuid"' in line
        ]
        order = [where[line] for line in version.splitlines() if line in unique]
        assert order == sorted(order)


@settings(max_examples=300, deadline=None)
@given(forks())
def test_uniting_again_changes_nothing(both: list[bytes]) -> None:
    ours, theirs = both
    united = whole(unite(Plain(ours), Plain(theirs)))
    for again in (ours, theirs, united):
        once_more = unite(Plain(united), Plain(again))
        assert whole(once_more) == united
        assert once_more.relation in {Relation.EQUAL, Relation.OURS_EXTENDS}


@settings(max_examples=200, deadline=None)
@given(forks())
def test_the_other_way_round_it_is_the_same_lines(both: list[bytes]) -> None:
    ours, theirs = (Plain(data) for data in both)
    assert lines_of(whole(unite(ours, theirs))) == lines_of(whole(unite(theirs, ours)))


@settings(max_examples=200, deadline=None)
@given(forks(versions=3))
def test_three_versions_unite_to_the_same_lines_in_any_order(three: list[bytes]) -> None:
    one, two, last = (Plain(data) for data in three)
    everything = lines_of(three[0]) | lines_of(three[1]) | lines_of(three[2])
    assert lines_of(whole(unite(unite(one, two), last))) == everything
    assert lines_of(whole(unite(one, unite(two, last)))) == everything
    assert lines_of(whole(unite(unite(last, one), unite(two, one)))) == everything


@settings(max_examples=200, deadline=None)
@given(forks(), st.data())
def test_a_union_can_be_read_from_anywhere(both: list[bytes], data: st.DataObject) -> None:
    union = unite(*(Plain(version) for version in both))
    united = whole(union)
    start = data.draw(st.integers(0, len(united)))
    end = data.draw(st.integers(0, len(united) + 5))
    assert b"".join(union.read(start, end)) == united[start:end]
    assert union.size == len(united)


@settings(max_examples=100, deadline=None)
@given(forks())
def test_a_union_restores_loadable(both: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{SID}.jsonl")
        problems = []
        for data in (*both, whole(unite(*(Plain(version) for version in both)))):
            path.write_bytes(data)
            problems.append(loadable(path))
        assert problems[2] == [] or problems[0] or problems[1]


@settings(max_examples=200, deadline=None)
@given(forks())
def test_what_was_redacted_on_the_way_is_no_other_line(both: list[bytes]) -> None:
    ours, theirs = both
    sent = GATE.data("x.jsonl", theirs)[0]
    union = unite(Plain(ours), Plain(sent))
    plain = unite(Plain(ours), Plain(theirs))
    assert union.relation is plain.relation
    assert len(whole(union).splitlines()) == len(whole(plain).splitlines())
    # what is not redacted wins where it is
    assert lines_of(ours) <= lines_of(whole(union))
    assert uuids_of(whole(union)) == uuids_of(ours) | uuids_of(theirs)


@settings(max_examples=200, deadline=None)
@given(forks(), st.integers(1, 60))
def test_a_line_that_is_just_being_written_is_no_fork(both: list[bytes], cut: int) -> None:
    _, theirs = both
    torn = theirs[: max(1, len(theirs) - cut)]
    union = unite(Plain(torn), Plain(theirs))
    assert union.relation in {Relation.THEIRS_EXTENDS, Relation.EQUAL}
    assert lines_of(whole(union)) == lines_of(theirs)


def lines(*names: str) -> bytes:
    return b"".join(json.dumps({"uuid": name, "text": name}).encode() + b"\n" for name in names)


@pytest.mark.parametrize(
    ("ours", "theirs", "relation", "united"),
    [
        (lines("a"), lines("a"), "equal", lines("a")),
        (lines("a", "b"), lines("a"), "ours_extends", lines("a", "b")),
        (lines("a"), lines("a", "b"), "theirs_extends", lines("a", "b")),
        (b"", lines("a"), "theirs_extends", lines("a")),
        (lines("a", "o"), lines("a", "t"), "diverged", lines("a", "t", "o")),
        (lines("a", "o", "z"), lines("a", "t", "z"), "diverged", lines("a", "t", "o", "z")),
        (lines("a", "o", "t"), lines("a", "t", "o"), "equal", lines("a", "o", "t")),
        (lines("a", "t", "o"), lines("a", "o"), "ours_extends", lines("a", "t", "o")),
        (lines("a", "o"), lines("a", "t", "o"), "theirs_extends", lines("a", "t", "o")),
        (lines("a") + b'{"uuid": "b"', lines("a", "c"), "theirs_extends", lines("a", "c")),
        (lines("a") + b'{"uuid": "b"}', lines("a", "c"), "diverged", lines("a", "c") + b'{"uuid": "b"}\n'),
        (lines("a")[:-1], lines("a"), "equal", lines("a")),
    ],
)
def test_how_two_files_relate(ours: bytes, theirs: bytes, relation: str, united: bytes) -> None:
    union = unite(Plain(ours), Plain(theirs))
    assert union.relation == relation
    assert whole(union) == united


@pytest.mark.parametrize(
    ("plain", "redacted", "is_same"),
    [
        (b'{"a": "x SECRET y"}', b'{"a": "x [REDACTED:k] y"}', True),
        (b'{"a": "SECRET", "b": "OTHER"}', b'{"a": "[REDACTED:k]", "b": "[REDACTED:k]"}', True),
        (b'{"a": "SECRET", "b": "c"}', b'{"a": "[REDACTED:k]"}', False),
        (b'{"a": "SECRET", "b": "c"}', b'{"a": "[REDACTED:k]", "b": "d"}', False),
        (b'{"a":"SECRET","b":1}', b'{"a": "[REDACTED:k]", "b": 1}', True),
        (b'{"a": "one"}', b'{"a": "two"}', False),
        (b'{"a": "q \\" SECRET"}', b'{"a": "q \\" [REDACTED:k]"}', True),
    ],
)
def test_two_lines_are_the_same_but_for_what_was_redacted(
    plain: bytes, redacted: bytes, is_same: bool
) -> None:
    assert same(plain, redacted) is is_same
    assert same(redacted, plain) is is_same


class Blocks:
    """A source that counts how much of it is in memory at once."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.largest = 0

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, start: int, end: int) -> Iterator[bytes]:
        self.largest = max(self.largest, end - start)
        yield self.data[start:end]


def test_large_files_are_compared_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessionsync.divergence.union.BLOCK_BYTES", 4096)
    dice = random.Random(7)
    base, leaf = chain(300, None, dice)
    ours = Blocks(file(base + chain(20, leaf, dice)[0]))
    theirs = Blocks(file(base + chain(20, leaf, dice)[0]))
    union = unite(ours, theirs)
    assert union.relation is Relation.DIVERGED
    assert max(ours.largest, theirs.largest) <= 4096


def grows(name: str) -> bool:
    return name.endswith(".jsonl")


def test_all_files_of_a_session() -> None:
    ours = {"context.json": Plain(b"1"), "a": Plain(b"same"), "log.jsonl": Plain(lines("a", "o"))}
    theirs = {
        "context.json": Plain(b"2"),
        "a": Plain(b"same"),
        "log.jsonl": Plain(lines("a", "t")),
        "n": Plain(b""),
    }
    found = compare(ours, theirs, grows=grows, machine="aa", their_machine="bb")
    assert found.relation is Relation.DIVERGED
    assert found.differing == ["context.json"]
    held = {name: whole(source) for name, source in found.united.items()}
    assert held == {
        "a": b"same",
        "context.json": b"1",
        "context.bb.json": b"2",
        "log.jsonl": lines("a", "t", "o"),
        "n": b"",
    }
    # whoever made it, the union holds all that either has
    union = {name: Plain(data) for name, data in held.items()}
    assert (
        compare(ours, union, grows=grows, machine="aa", their_machine="bb").relation
        is Relation.THEIRS_EXTENDS
    )
    assert (
        compare(theirs, union, grows=grows, machine="bb", their_machine="aa").relation
        is Relation.THEIRS_EXTENDS
    )


def critical(decisions: list[str], phase: str = "", steps: list[str] | None = None) -> CriticalData:
    return CriticalData(decisions=decisions, current_phase=phase, next_steps=steps or [])


def test_critical_data_of_both_sides() -> None:
    base = critical(["a", "b"], "plan", ["x"])
    ours = critical(["a", "b", "c"], "plan", ["x", "y"])
    theirs = critical(["a", "d"], "build", ["x"])
    merged = merge_critical(base, ours, theirs)
    assert merged.decisions == ["a", "c", "d"]
    assert merged.current_phase == "build"
    assert merged.next_steps == ["x", "y"]
    everything = merge_critical(CriticalData(), ours, theirs)
    assert set(everything.decisions) == {"a", "b", "c", "d"}


entries = st.lists(st.sampled_from("abcdef"), unique=True, max_size=5)


@given(entries, entries, entries)
def test_merged_entries_are_those_of_both_but_for_what_one_removed(
    base: list[str], ours: list[str], theirs: list[str]
) -> None:
    merged = merge_critical(critical(base), critical(ours), critical(theirs)).decisions
    removed = (set(base) - set(ours)) | (set(base) - set(theirs))
    assert set(merged) == (set(ours) | set(theirs)) - removed
    assert len(merged) == len(set(merged))
    assert merge_critical(critical(base), critical(base), critical(theirs)).decisions == theirs


def test_checkpoints_of_both_are_in_order() -> None:
    one, two = (
        CheckpointEntry("1", "2026-01-01T00:00:00Z", "Stop"),
        CheckpointEntry("2", "2026-01-02T00:00:00Z", "Stop"),
    )
    merged = merge_critical(CriticalData(), CriticalData(checkpoints=[two]), CriticalData(checkpoints=[one]))
    assert merged.checkpoints == [one, two]
