"""A plain copy by itself: what it is called, and how it is added to.

All that a hook needs where the copy is there already, and as little as that, since the agent waits while it
is imported: paths are text here, or what a caller has.
"""

from __future__ import annotations

import os

from sessionsync.errors import CopyError, CopyMismatch
from sessionsync.vault.folder import (
    blocks,
    component,
    holds,
    open_regular,
    reached,
    read_at,
    restrict,
    translated,
    write_at,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Protocol, Self

    class Session(Protocol):
        """What a copy is called after: a `Ref`, or as much of one as a hook knows."""

        @property
        def source(self) -> str:
            """The format's name."""

        @property
        def session_id(self) -> str:
            """The session's id, which on this machine is its alone."""

        def __hash__(self) -> int:
            """One for those that are called the same."""


# Folders that a Claude session has beside `<sid>/`.
_BESIDE = frozenset({"projects", "todos", "tasks", "file-history"})


def place_of(project: str, ref: Session, name: str) -> tuple[str, ...]:
    """Where the copy of a session's file lies below the mirror's folder, name by name.

    Two files' names never share a place.

    Raises:
        CopyError: no copy can have that name.
    """
    names = tuple(name.split("/"))
    if "" in names or "." in names:
        raise CopyError(f"{name!r} cannot be a file's name.", hint="This is a bug: please report it.")
    if ref.source == "claude":
        stem = name.removesuffix(".jsonl")
        if len(names) == 1 and stem not in {"", name} and _is_of(ref, stem):
            return component(project), component(ref.session_id, ending=".jsonl")
        if _is_of(ref, names[0]) and not _is_taken(names):
            names = names[1:]
    return component(project), component(ref.session_id), *map(component, names)


def _is_of(ref: Session, name: str) -> bool:
    """Whether `name` is the session's id, which `ref` may have made unique by a hyphen and more."""
    return ref.session_id == name or ref.session_id.startswith(f"{name}-")


def _is_taken(names: tuple[str, ...]) -> bool:
    """Whether a file `<sid>/…` would take the place of one beside that folder, were it named without."""
    sid, *rest = names
    return not rest or rest[0] in {sid, *_BESIDE} or (len(rest) == 1 and rest[0].startswith("agent-"))


def opened(folder: str, names: tuple[str, ...]) -> int:
    """A copy that is there, open for reading and writing; the caller closes it.

    Raises:
        FileNotFoundError: it is not there.
        OSError: anything else, also for a link, and for a copy that has another name, which must not change.
        CopyError: it is no regular file.
    """
    parent = reached(folder, names[:-1])
    try:
        descriptor = open_regular(names[-1], parent, os.O_RDWR)
    finally:
        os.close(parent)
    if os.fstat(descriptor).st_nlink > 1:
        os.close(descriptor)
        raise FileExistsError(names[-1])
    restrict(descriptor, 0o600)
    return descriptor


class Copy:
    """A plain copy that is open, as `path` and `descriptor`.

    `will_change` is told before it is written; `has_changed` afterwards, with the descriptor, the offset and
    how many bytes.  Made by `Mirror.open`, or of what `opened` hands back; `with` closes it.  What it raises
    is what `Mirror` raises.
    """

    def __init__(
        self,
        path: str | Path,
        descriptor: int,
        will_change: Callable[[], object],
        has_changed: Callable[[int, int, int], object] | None = None,
    ) -> None:
        self._path = path
        self._descriptor = descriptor
        self._will_change = will_change
        self._has_changed = has_changed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def size(self) -> int:
        """How many bytes it has."""
        return os.fstat(self._descriptor).st_size

    def read(self, start: int, end: int) -> bytes:
        """The bytes of [start, end), fewer where it ends before."""
        with translated(self._path):
            return read_at(self._descriptor, start, end)

    def common_prefix(self, live: int, start: int) -> int:
        """Up to which byte it and the open live file agree, the bytes before `start` taken as read."""
        with translated(self._path):
            return agree(self._descriptor, live, start)

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at `offset`, read it back and compare.  What is there already must be the same."""
        with translated(self._path):
            self._write(offset, data)

    def _write(self, offset: int, data: bytes) -> None:
        size = self.size()
        if offset > size:
            raise CopyMismatch(
                f"{self._path} ends at byte {size}: writing at {offset} would leave a hole.",
                hint="Something else cut it; it is made again from the session's file.",
            )
        there, new = data[: size - offset], data[size - offset :]
        if not holds(self._descriptor, offset, there):
            raise CopyMismatch(
                f"{self._path} already has other bytes behind {offset}.",
                hint="They are set aside before the new ones are written.",
            )
        self._will_change()
        if not data.rstrip(b"\0"):  # zeros, as a power cut leaves them: a hole stays a hole
            new = new[-1:]
        begin = offset + len(data) - len(new)
        write_at(self._descriptor, begin, new)
        if self._has_changed is not None:
            self._has_changed(self._descriptor, begin, len(new))


def agree(one: int, other: int, start: int) -> int:
    """Up to which byte two open files are the same."""
    end = min(os.fstat(one).st_size, os.fstat(other).st_size)
    for begin, stop in blocks(start, end):
        left, right = read_at(one, begin, stop), read_at(other, begin, stop)
        if left != right:
            return begin + _first_difference(left, right)
    return end


def _first_difference(left: bytes, right: bytes) -> int:
    low, high = 0, min(len(left), len(right))
    while low < high:  # left[:low] is the same; the difference is before or at high
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
