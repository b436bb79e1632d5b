"""The log: one event, one line, on stderr, for a machine under a service and for a person on a terminal.

under systemd      JSON behind a `<N>` priority, which the journal takes off again
on a terminal      `12:04:31 warning push_failed  session=claude:… reason=…`
else               JSON, and the same in a file that is rotated, as launchd never does it
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

# structlog and httpx load rich where it is installed: 14 MB, for colours that nothing here prints
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
# and structlog asyncio, ssl with it: a twelfth of what a command takes to begin, for methods to be awaited
has_asyncio = "asyncio" in sys.modules
sys.modules.setdefault("asyncio", ModuleType("asyncio"))

import structlog  # noqa: E402 - behind the lines above

if not has_asyncio:
    del sys.modules["asyncio"]  # who needs it gets the real one

from sessiond.process import under_launchd  # noqa: E402
from sessionsync.errors import RedactionFailed  # noqa: E402
from sessionsync.events import EVENTS  # noqa: E402
from sessionsync.privacy.gate import Gate  # noqa: E402

LEVELS = ("debug", "info", "warning", "error")
# syslog's numbers, as sd-daemon(3) wants them
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3}
_COLOUR = {"debug": "2", "info": "", "warning": "33", "error": "31"}

FILE_BYTES = 5 * 1024 * 1024
FILES = 3

# What these say are the program's own words; most lines have nothing else, and a transcript's id.
OWN = frozenset(
    {"at", "level", "event", "checkpoint", "code", "trigger", "kind", "operation", "outcome", "mode"}
    | {"from_tier", "to_tier"}
)
_ID = re.compile(r"claude:[0-9a-f-]{36}")
PASSED, PASSED_CHARS = 500, 100
"""So many texts that the gate let pass, no longer than this, are not given to it again."""
UNSEARCHED = "[REDACTED:unsearched]"
"""In the place of what the gate could not judge."""

Fields = MutableMapping[str, Any]


class Log:
    """An `Emit` that writes.  Every thread may call it; it never raises.

    `count` is told the level of each line written.  Lines go to `folder`/sessiond.log as well where
    nobody else keeps them: stderr is neither a terminal nor the journal.  `quiet` is for a command that
    somebody waits for: what is no warning goes into the file alone.  What a `gate` is given for passes it, as
    logs are shown to others.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        level: str = "info",
        shape: str = "auto",
        folder: Path | None = None,
        stream: TextIO | None = None,
        count: Callable[[str], None] | None = None,
        quiet: bool = False,
        gate: Gate | None = None,
    ) -> None:
        self._stream = stream or sys.stderr
        self._journal = _is_journal(environ.get("JOURNAL_STREAM", ""), self._stream)
        self._terminal = self._stream.isatty()
        # launchd's file for stderr grows for ever: what is wrong goes there, all of it into ours
        launchd = under_launchd(environ) and folder is not None
        self._least = "error" if launchd else "warning" if quiet and not self._journal else LEVELS[0]
        self._colours = self._terminal and not environ.get("NO_COLOR")
        kept = folder is not None and not self._journal and not self._terminal
        self._file = RotatingFile(folder / "sessiond.log") if kept and folder is not None else None
        self.count = count
        self._lock = threading.Lock()
        self.configure(level, shape, gate)

    def configure(self, level: str, shape: str, gate: Gate | None) -> None:
        """Apply `log.level`, `log.format` and `[privacy]`; also for `reload`."""
        self._gate = gate
        self._passed: set[str] = set()
        readable = shape == "text" or (shape == "auto" and self._terminal)
        self._threshold = LEVELS.index(level)
        self._logger = structlog.wrap_logger(
            None,
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(
                    fmt="%H:%M:%S" if readable else "iso", utc=not readable, key="at"
                ),
                structlog.processors.format_exc_info,
                self._cleared,
                self._readable if readable else _json,
                self._write,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(0),
        ).bind()  # once, and not for each line

    def __call__(self, event: str, **fields: Any) -> None:
        """Write one event; its level is the one it has in `sessionsync.events`."""
        self.at(EVENTS.get(event, "info"), event, fields)

    def at(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """Write one event at a level of its own."""
        if LEVELS.index(level) < self._threshold:
            return
        safe = {
            f"{name}_" if name in {"level", "at", "event"} else name: value for name, value in fields.items()
        }
        getattr(self._logger, level)(event, **safe)
        if self.count is not None:
            self.count(level)

    def adopt(self) -> None:
        """Let what libraries log with the standard library come here as well, from `warning` up."""
        root = logging.getLogger()
        root.handlers = [_Foreign(self)]
        root.setLevel(logging.WARNING)

    def close(self) -> None:
        """Close the file; lines still go to stderr."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _cleared(self, _logger: Any, _method: str, fields: Fields) -> Fields:
        if (gate := self._gate) is not None:
            for name, value in fields.items():
                if name not in OWN and value is not None and not isinstance(value, bool | int | float):
                    fields[name] = self._clear(gate, value)
        return fields

    def _clear(self, gate: Gate, value: object) -> object:
        if isinstance(value, list | tuple):
            return [self._clear(gate, item) for item in value]
        text = str(value)
        if text in self._passed or _ID.fullmatch(text):
            return text
        try:
            cleared = gate.text(text)[0]
        except RedactionFailed:
            return UNSEARCHED
        if cleared == text and len(text) <= PASSED_CHARS:
            if len(self._passed) >= PASSED:
                self._passed.clear()
            self._passed.add(text)
        return cleared

    def _readable(self, _logger: Any, level: str, fields: Fields) -> tuple[str, str]:
        return level, _readable(fields, colours=self._colours)

    def _write(self, _logger: Any, _method: str, rendered: Any) -> Any:
        level, line = rendered
        # a full disk or a closed terminal must not stop the daemon
        with self._lock, suppress(OSError, ValueError):
            if self._file is not None:
                self._file.write(f"{line}\n")
            if LEVELS.index(level) >= LEVELS.index(self._least):
                self._stream.write(f"<{_PRIORITY[level]}>{line}\n" if self._journal else f"{line}\n")
                self._stream.flush()
        raise structlog.DropEvent


class RotatingFile:
    """A file, 0600, that starts anew at `FILE_BYTES`; `FILES` are kept, the older ones with a number."""

    def __init__(self, path: Path, limit_bytes: int = FILE_BYTES, files: int = FILES) -> None:
        self.path = path
        self._limit_bytes = limit_bytes
        self._files = files
        self._open()

    def write(self, line: str) -> None:
        """Append a line, in UTF-8."""
        data = line.encode("utf-8", "backslashreplace")
        if self._size and self._size + len(data) > self._limit_bytes:
            self._turn()
        os.write(self._descriptor, data)
        self._size += len(data)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    def _open(self) -> None:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._descriptor).st_size

    def _turn(self) -> None:
        os.close(self._descriptor)
        for number in reversed(range(1, self._files)):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            with suppress(FileNotFoundError):
                newer.replace(older)
        self._open()


class _Foreign(logging.Handler):
    """What libraries log, as our events."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        fields: dict[str, Any] = {"logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        self._log.at(level, "library_logged", fields)


def _is_journal(named: str, stream: TextIO) -> bool:
    """Whether `$JOURNAL_STREAM` (device:inode) is where the stream goes."""
    with suppress(OSError, ValueError):
        found = os.fstat(stream.fileno())
        return named == f"{found.st_dev}:{found.st_ino}"
    return False


# json escapes what is below space; what else moves a cursor or breaks a line is escaped as well
_UNSAFE = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


_encode = json.JSONEncoder(default=str, ensure_ascii=False).encode


def _json(_logger: Any, level: str, fields: Fields) -> tuple[str, str]:
    first = {name: fields.pop(name) for name in ("at", "level", "event")}
    line = _encode(first | dict(fields))
    return level, _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def _readable(fields: Fields, *, colours: bool) -> str:
    moment, level, event = fields.pop("at"), fields.pop("level"), fields.pop("event")
    trace = fields.pop("exception", "")
    words = [moment, f"{level:7}", event, *(f"{name}={_word(value)}" for name, value in fields.items())]
    if colours and _COLOUR[level]:
        words[1] = f"\x1b[{_COLOUR[level]}m{words[1]}\x1b[0m"
    lines = [" ".join(words), *(f"    {_plain(line)}" for line in str(trace).splitlines())]
    return "\n".join(lines)


def _word(value: object) -> str:
    text = _plain(str(value))
    return json.dumps(text, ensure_ascii=False) if not text or " " in text or '"' in text else text


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
