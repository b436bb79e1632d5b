"""The log read back: from the journal where systemd keeps it, else from the file that the daemon rotates."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from sessiond.logs import FILES, LEVELS
from sessiond.token import without_tokens
from sessionsync.errors import ServiceFailed
from sessionsync.model import rfc3339

Record = dict[str, Any]
"""One line: `at` (RFC 3339, '' where the line does not say), `level`, `event`, and what it tells."""

FOLLOW_S = 0.25
# The journal's number of a level is syslog's; what is between two of ours is the worse one.
_PRIORITY = ("debug", "info", "warning", "err")
_OF_PRIORITY = ("error", "error", "error", "error", "warning", "info", "info", "debug")


class Place(NamedTuple):
    """Where a daemon writes its log: `file`, or the journal where that is None."""

    file: Path | None

    def __str__(self) -> str:
        return "the journal" if self.file is None else str(self.file)


def place(service: Mapping[str, Any] | None, log_dir: Path) -> Place:
    """Where the newest lines are: in the journal while systemd runs the daemon, or when there is no file.

    `service` is what its status says, None where no service manager can be asked.
    """
    file = log_dir / "sessiond.log"
    if service is None or service["manager"] != "systemd" or not service["installed"]:
        return Place(file)
    return Place(file if service["state"] == "stopped" and file.exists() else None)


def records(
    where: Place, environ: Mapping[str, str], *, count: int, level: str = "debug", follow: bool = False
) -> Iterator[Record]:
    """The newest `count` lines of at least `level`, oldest first; with `follow` each one to come as well.

    Raises:
        ServiceFailed: there is no log, or it cannot be read.
    """
    if where.file is None:
        yield from _of_journal(environ, count, LEVELS.index(level), follow=follow)
    else:
        yield from _of_file(where.file, count, LEVELS.index(level), follow=follow)


# --- the file


def _of_file(file: Path, count: int, least: int, *, follow: bool) -> Iterator[Record]:
    try:
        stream = file.open("rb")
    except FileNotFoundError as problem:
        raise ServiceFailed(
            f"There is no log in {file.parent}.",
            hint="A daemon that runs on a terminal logs only there; a service logs by itself.",
        ) from problem
    except OSError as problem:
        raise ServiceFailed(
            f"The log {file} cannot be read: {problem.strerror}.", hint="Run this as the daemon's user."
        ) from problem
    with stream:
        lines = [line for older in _older(file) for line in older.read_bytes().splitlines()]
        found = (_parsed(line) for line in (*lines, *stream.read().splitlines()))
        yield from deque((each for each in found if _rank(each) >= least), maxlen=count)
        if follow:
            yield from (each for each in map(_parsed, _growing(file, stream)) if _rank(each) >= least)


def _older(file: Path) -> Iterator[Path]:
    """The files that were full, the oldest first."""
    numbered = (file.with_name(f"{file.name}.{number}") for number in reversed(range(1, FILES)))
    return (each for each in numbered if each.exists())


def _growing(file: Path, stream: IO[bytes]) -> Iterator[bytes]:
    """Each line as it is written, for ever; over to the new file when this one is full."""
    rest = b""
    while True:
        *lines, rest = (rest + stream.read()).split(b"\n")
        yield from lines
        if lines:
            continue
        with suppress(FileNotFoundError):
            if not os.path.samestat(os.fstat(stream.fileno()), file.stat()):
                yield from stream.read().splitlines()
                with file.open("rb") as following:
                    yield from _growing(file, following)
        time.sleep(FOLLOW_S)


# --- the journal


def _of_journal(environ: Mapping[str, str], count: int, least: int, *, follow: bool) -> Iterator[Record]:
    command = ["journalctl", "--user", "--unit=sessiond", "--output=json", "--no-pager", "--quiet"]
    command += [f"--priority={_PRIORITY[least]}", f"--lines={count}", *(["--follow"] if follow else [])]
    try:
        with subprocess.Popen(
            command, env=without_tokens(environ), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as running:
            assert running.stdout is not None  # noqa: S101 - a pipe, as was asked for
            try:
                yield from _entries(running.stdout, least)
            finally:
                running.terminate()
    except FileNotFoundError as problem:
        raise ServiceFailed(
            "There is no journalctl on this system.", hint="See how its service manager keeps logs."
        ) from problem


def _entries(lines: Iterable[bytes], least: int) -> Iterator[Record]:
    for line in lines:
        entry = json.loads(line)
        said = entry.get("MESSAGE") or ""
        # what is not printable comes as a list of bytes
        text = bytes(said) if isinstance(said, list) else str(said).encode("utf-8", "replace")
        found = _parsed(text)
        if not found["at"]:
            found["at"] = rfc3339(int(entry["__REALTIME_TIMESTAMP"]) / 1e6)
            found["level"] = _OF_PRIORITY[int(entry.get("PRIORITY", 6))]
        if _rank(found) >= least:
            yield found


# --- a line


def _parsed(line: bytes) -> Record:
    """A line of ours; of anybody else, or one that a crash cut, its words."""
    with suppress(ValueError):
        found = json.loads(line)
        if isinstance(found, dict) and {"at", "level", "event"} <= found.keys():
            return found
    text = line.decode("utf-8", "replace")
    said = re.match(r"\S+ (\w+)\b", text)  # `log.format = "text"`
    level = said[1] if said and said[1] in LEVELS else "info"
    return {"at": "", "level": level, "event": text}


def _rank(record: Record) -> int:
    return LEVELS.index(record["level"]) if record["level"] in LEVELS else len(LEVELS)
