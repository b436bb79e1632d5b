"""Which sessions were forgotten on purpose: they are not captured or copied again.

One file beside the plain copies, since hooks look there too, and since it must outlive a lost state.  It
holds hashes, so that not even a name is left of what was forgotten.
"""

import hashlib
import os
from pathlib import Path

NAME = ".forgotten"


class Tombstones:
    """The file in `folder`.  One thread writes; reading is free."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / NAME
        self._seen: tuple[int, int] | None = None
        self._marks: frozenset[str] = frozenset()

    def holds(self, source: str, session_id: str, scope: str = "") -> bool:
        """Whether this session was forgotten."""
        marks = self._read()
        return bool(marks) and _mark(source, session_id, scope) in marks

    def add(self, source: str, session_id: str, scope: str = "") -> None:
        """Remember, durably, that it was forgotten.

        Raises:
            OSError: it could not be written.
        """
        self._write(self._read() | {_mark(source, session_id, scope)})

    def lift(self, source: str, session_id: str, scope: str = "") -> bool:
        """Let it be captured again; whether it was forgotten.

        Raises:
            OSError: it could not be written.
        """
        was = self.holds(source, session_id, scope)
        if was:
            self._write(self._read() - {_mark(source, session_id, scope)})
        return was

    def _read(self) -> frozenset[str]:
        try:
            status = self._file.stat()
        except OSError:
            self._seen = None
            return frozenset()
        seen = status.st_mtime_ns, status.st_ino
        if seen != self._seen:
            try:
                self._marks = frozenset(self._file.read_text(encoding="ascii", errors="replace").split())
            except OSError:
                return frozenset()
            self._seen = seen
        return self._marks

    def _write(self, marks: frozenset[str]) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._file.with_name(f"{NAME}.new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, "".join(f"{mark}\n" for mark in sorted(marks)).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(self._file)
        folder = os.open(self._file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _mark(source: str, session_id: str, scope: str) -> str:
    text = f"{source}\0{scope}\0{session_id}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
