"""A SHA-256 that is put down anywhere is that of all bytes when it has gone on."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import importlib
import ssl
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionsync import sha256

has_library = pytest.mark.skipif(
    sha256._library() is None, reason="this Python does not show OpenSSL's older functions"
)


def shows_openssl() -> bool:
    """Whether Python's own module shows these functions, and OpenSSL's they are."""
    try:
        shown = ctypes.CDLL(importlib.import_module("_hashlib").__file__)
    except (ImportError, OSError):
        return False
    names = ("SHA256_Init", "SHA256_Update", "SHA256_Final")
    return ssl.OPENSSL_VERSION.startswith("OpenSSL ") and all(hasattr(shown, name) for name in names)


@pytest.mark.skipif(not shows_openssl(), reason="this Python does not show OpenSSL's older functions")
def test_they_are_used_where_python_shows_them() -> None:
    """Else every other test here is skipped, and each file is hashed anew after a restart."""
    assert sha256._library() is not None


def hashed(data: bytes) -> sha256.Sha256:
    running = sha256.begun()
    running.update(data)
    return running


@has_library
@given(data=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_however_often_it_is_put_down_it_is_the_hash_of_all(data: bytes, cuts: list[int]) -> None:
    running = sha256.begun()
    for start, end in pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
        running.update(data[start:end])
        so_far = running.hexdigest()
        assert so_far == hashlib.sha256(data[:end]).hexdigest()
        again = sha256.taken_up(sha256.put_down(running), so_far)
        assert again is not None
        running = again
    assert running.hexdigest() == hashlib.sha256(data).hexdigest()


@has_library
def test_a_copy_goes_its_own_way() -> None:
    running = hashed(b"one")
    other = running.copy()
    other.update(b"two")
    assert running.hexdigest() == hashlib.sha256(b"one").hexdigest()
    assert other.hexdigest() == hashlib.sha256(b"onetwo").hexdigest()


@has_library
@pytest.mark.parametrize("at", [0, 31, 40])
def test_a_state_that_is_not_what_was_put_down_is_not_taken_up(at: int) -> None:
    running = hashed(b"x" * 100)
    state = bytearray(sha256.put_down(running))
    state[at] ^= 1
    assert sha256.taken_up(bytes(state), running.hexdigest()) is None
    assert sha256.taken_up(sha256.put_down(running)[:-1], running.hexdigest()) is None
    assert sha256.taken_up(sha256.put_down(running), hashlib.sha256(b"other").hexdigest()) is None


def test_without_that_library_it_is_the_hash_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    state = sha256.put_down(hashed(b"one"))
    monkeypatch.setattr(sha256, "_library", lambda: None)
    running = hashed(b"one")
    assert running.hexdigest() == hashlib.sha256(b"one").hexdigest()
    assert sha256.put_down(running) == b""
    assert sha256.taken_up(state, running.hexdigest()) is None


class Larger:
    """A library whose states are of 208 bytes, the last of which say which hash it is."""

    def __init__(self) -> None:
        self._hashes = [hashlib.sha256()]

    def SHA256_Init(self, context: Any) -> None:
        context[200:208] = len(self._hashes).to_bytes(8, "little")
        self._hashes.append(hashlib.sha256())

    def SHA256_Update(self, context: Any, data: bytes, size: int) -> None:
        self._of(context).update(data[:size])

    def SHA256_Final(self, digest: Any, context: Any) -> None:
        digest[:32] = self._of(context).digest()

    def _of(self, context: Any) -> Any:
        return self._hashes[int.from_bytes(context[200:208], "little")]


def test_a_library_that_keeps_more_in_a_state_is_not_used_and_overruns_nothing() -> None:
    assert not sha256._is_openssl(cast("ctypes.CDLL", Larger()))


def test_a_digest_leaves_nothing_behind_that_must_be_looked_for() -> None:
    running = sha256.begun()
    running.update(b"abc")
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            running.hexdigest()
        assert gc.collect() == 0
    finally:
        gc.enable()
