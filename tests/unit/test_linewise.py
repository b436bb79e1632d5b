"""Blocks cut behind whole lines, wherever they are split."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sessionsync.digests import digest_of
from sessionsync.linewise import Linewise
from sessionsync.privacy.gate import Gate


@given(st.lists(st.text("ab\n", max_size=9).map(str.encode), max_size=9))
def test_all_bytes_come_back_and_what_is_whole_ends_a_line(blocks: list[bytes]) -> None:
    lines, given_back = Linewise(), b""
    for number, block in enumerate(blocks, 1):
        whole = lines.feed(block)
        assert not whole or whole.endswith(b"\n")
        given_back += whole
        so_far = b"".join(blocks[:number])
        assert given_back == so_far[: so_far.rfind(b"\n") + 1]
        assert lines.size == len(so_far) - len(given_back)
    assert given_back + lines.rest() == b"".join(blocks)
    assert lines.rest() == b""
    assert lines.size == 0


class Counted(bytes):
    """Bytes that know how many were joined in front of them."""

    joined = 0

    def __radd__(self, other: bytes) -> bytes:
        Counted.joined += len(other)
        return other + bytes(self)


def test_a_line_without_an_end_is_joined_once() -> None:
    blocks = [Counted(b"x" * 100) for _ in range(100)]
    digest = digest_of(Gate(redact=True), "a.jsonl", blocks)
    assert digest.entry.size == 10_000
    assert Counted.joined == 0
