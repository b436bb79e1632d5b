"""Which sessions were forgotten on purpose: they are not captured or copied again.

One file beside the plain copies, since hooks look there too, and since it must outlive a lost state.  It
holds hashes, so that not even a name is left of what was forgotten.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

NAME = ".forgotten"


class Tombstones:
    """The file in `folder`.  One thread writes; reading is free."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = os.fspath(folder)
        self._file = f"{self._folder}/{NAME}"
        self._seen: tuple[int, int] | None = None
        self._marks: frozenset[str] = frozenset()

    def holds(self, source: str, session_id: str, scope: str = "") -> bool:
        """Whether this session was forgotten."""
        marks = self._read()
        return bool(marks) and _mark(source, session_id, scope) in marks

    def add(self, source: str, session_id: str, scope: str = "") -> None:
        """Remember, durably, that it was forgotten.

        Raises:
            OSError: it could not be written, or what was forgotten before not be read.
        """
        self._write(self._marks_now() | {_mark(source, session_id, scope)})

    def lift(self, source: str, session_id: str, scope: str = "") -> bool:
        """Let it be captured again; whether it was forgotten.

        Raises:
            OSError: the file could not be read or written.
        """
        marks, lifted = self._marks_now(), {_mark(source, session_id, scope)}
        if was := lifted <= marks:
            self._write(marks - lifted)
        return was

    def _read(self) -> frozenset[str]:
        try:
            return self._marks_now()
        except OSError:
            return frozenset()

    def _marks_now(self) -> frozenset[str]:
        """What is in the file, none where there is no file; what cannot be read must not be written anew."""
        try:
            status = os.stat(self._file)  # noqa: PTH116 - a hook has no paths
        except FileNotFoundError:
            return frozenset()
        seen = status.st_mtime_ns, status.st_ino
        if seen != self._seen:
            with open(self._file, encoding="ascii", errors="replace") as file:  # noqa: PTH123
                self._marks = frozenset(file.read().split())
            self._seen = seen
        return self._marks

    def _write(self, marks: frozenset[str]) -> None:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)  # noqa: PTH103
        draft = f"{self._file}.new"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - by descriptor
            file.write("".join(f"{mark}\n" for mark in sorted(marks)).encode())
            file.flush()
            os.fsync(descriptor)
        os.replace(draft, self._file)  # noqa: PTH105
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _mark(source: str, session_id: str, scope: str) -> str:
    import hashlib  # noqa: PLC0415 - where nothing was forgotten nobody asks

    text = f"{source}\0{scope}\0{session_id}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
