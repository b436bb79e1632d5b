"""A SHA-256 that can be put down and taken up again by another process, which Python's own cannot.

OpenSSL, which is behind `hashlib`, hides nothing in its older functions: the state of a hash is the 112 bytes
of a `SHA256_CTX` (openssl/sha.h), the same since 0.9.7.  They are found through Python's own module, in the
library that it is linked to.  A Python that has OpenSSL built in may not show them, and another library may
not have them, or keep more in a state: a hash is `hashlib`'s then, and cannot be put down.
"""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING, Protocol, Self

from sessionsync import libraries

if TYPE_CHECKING:
    from ctypes import CDLL

_CONTEXT_BYTES = 112
# What a library is given to write to: should its state be larger it must not reach the memory behind.
_ROOM_BYTES = 256
_DIGEST_BYTES = 32
# Longer than a block, and no multiple of one: then all of a state is in use.
_TRIAL = b"\xa5" * 100


class Sha256(Protocol):
    """A hash under way, as `hashlib` has it."""

    def update(self, data: bytes, /) -> None:
        """Go on with these bytes."""

    def copy(self) -> Self:
        """Another one that goes on from here."""

    def hexdigest(self) -> str:
        """The hash of all until now."""


def begun() -> Sha256:
    """The hash of nothing yet."""
    library = _library()
    return hashlib.sha256() if library is None else _Open(library)


def put_down(running: Sha256) -> bytes:
    """What `taken_up` goes on from; b"" where this one cannot be put down.

    The end of what was hashed, up to 63 bytes, is in it as it was.
    """
    return running.state if isinstance(running, _Open) else b""


def taken_up(state: bytes, sha256: str) -> Sha256 | None:
    """The hash that was put down as `state`; None where it is not that of what `sha256` is the hash of.

    So it is where the state is damaged, or was put down on a machine that orders bytes differently.
    """
    library = _library()
    if library is None or len(state) != _CONTEXT_BYTES:
        return None
    running = _Open(library, state)
    return running if running.hexdigest() == sha256 else None


class _Open:
    """A hash whose state can be seen."""

    def __init__(self, library: CDLL, state: bytes = b"") -> None:
        from ctypes import create_string_buffer  # noqa: PLC0415 - it is there by now

        self._library = library
        self._context = create_string_buffer(state, _ROOM_BYTES)
        if not state:
            library.SHA256_Init(self._context)

    @property
    def state(self) -> bytes:
        return self._context.raw[:_CONTEXT_BYTES]

    def update(self, data: bytes, /) -> None:
        self._library.SHA256_Update(self._context, data, len(data))

    def copy(self) -> Self:
        return type(self)(self._library, self.state)

    def hexdigest(self) -> str:
        from ctypes import create_string_buffer  # noqa: PLC0415

        # as large as a state: of each size there is a type, made anew where nothing else has that size
        digest = create_string_buffer(_ROOM_BYTES)
        self._library.SHA256_Final(digest, create_string_buffer(self.state, _ROOM_BYTES))
        return digest.raw[:_DIGEST_BYTES].hex()


@functools.cache
def _library() -> CDLL | None:
    try:
        import _hashlib  # noqa: PLC0415 - not in every Python
    except ImportError:
        return None
    library = libraries.library(
        getattr(_hashlib, "__file__", None), "SHA256_Init", "SHA256_Update", "SHA256_Final"
    )
    if library is None:
        return None
    import ctypes  # noqa: PLC0415 - it is there by now

    library.SHA256_Init.argtypes = [ctypes.c_void_p]
    library.SHA256_Update.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.SHA256_Final.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    return library if _is_openssl(library) else None


def _is_openssl(library: CDLL) -> bool:
    """Whether a hash goes on from these bytes of its state, so that it has no more."""
    running = _Open(library)
    running.update(_TRIAL)
    other = running.copy()
    other.update(_TRIAL)
    return other.hexdigest() == hashlib.sha256(2 * _TRIAL).hexdigest()
