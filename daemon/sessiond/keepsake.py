"""What a settings file was before we came, so that it can be given back to the byte."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from sessionsync.errors import NotAllowed
from sessionsync.paths import Paths

FOLDER = "hooks"


class Keepsake:
    """Kept in the state folder, which is private, as settings may hold secrets."""

    def __init__(self, where: Paths, file: Path) -> None:
        name = hashlib.sha256(os.path.realpath(file).encode(errors="surrogateescape")).hexdigest()[:16]
        self._settings = file
        self._file = where.state_dir / FOLDER / f"{name}.json"
        self._said = _read(self._file)
        self.made_folder = (
            self._said.get("made_folder") is True
            if self._said
            else not file.parent.exists() or _is_made(where, file.parent)
        )
        """Whether the file's folder was not there before either, nor before that of another file in it."""

    def before(self, now: bytes | None) -> tuple[bytes | None] | None:
        """The content before, if the file is still what we made of it; None else."""
        if now is None or self._said.get("after") != hashlib.sha256(now).hexdigest():
            return None
        match self._said:
            case {"before": None}:
                return (None,)
            case {"before": str(before)}:
                return (before.encode(),)
        return None

    def keep(self, before: bytes | None, after: bytes) -> None:
        """Remember what the file was, and what it will be.

        Raises:
            NotAllowed: that cannot be written.
        """
        self._said = {
            "before": None if before is None else before.decode(),
            "after": hashlib.sha256(after).hexdigest(),
            "made_folder": self.made_folder,
            "file": str(self._settings),
        }
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(self._file, json.dumps(self._said).encode(), 0o600)
        except OSError as problem:
            raise NotAllowed(
                f"{self._file} cannot be written: {problem.strerror}.",
                hint="It keeps what the settings were before; nothing was changed.",
            ) from problem

    def forget(self) -> None:
        """Remember it no longer."""
        with contextlib.suppress(OSError):
            self._file.unlink()


def settings_of(where: Paths) -> list[Path]:
    """The settings files that something is kept of: those that have our entries, or had."""
    return list(_kept(where))


def _kept(where: Paths) -> dict[Path, dict[str, object]]:
    """What is kept of each settings file."""
    kept = [_read(file) for file in sorted((where.state_dir / FOLDER).glob("*.json"))]
    named = [(said.get("file"), said) for said in kept]
    return {Path(file): said for file, said in named if isinstance(file, str) and file.startswith("/")}


def _is_made(where: Paths, folder: Path) -> bool:
    return any(
        file.parent == folder and said.get("made_folder") is True for file, said in _kept(where).items()
    )


def _read(file: Path) -> dict[str, object]:
    try:
        said = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def replace(file: Path, content: bytes, mode: int) -> None:
    """Give a file another content at once, and durably.

    Raises:
        OSError: it could not be; the file is what it was.
    """
    draft = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(draft, flags, 0o600), "wb") as opened:  # noqa: PTH123 - by descriptor
            opened.write(content)
            opened.flush()
            os.fchmod(opened.fileno(), mode)
            os.fsync(opened.fileno())
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
