"""A support archive: what helps to find a fault, and nothing of anybody's work.

Numbers, codes and names of our own; every text that may hold a path, a title or a word of a session stays
out, and what goes in passes the privacy gate besides, whatever the settings say of redaction.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sessiond import build, logbook
from sessiond.doctor import Check, Here
from sessionsync.config import Config, differences
from sessionsync.errors import ConfigError, OutputFailed, SessiondError, UsageError
from sessionsync.events import EVENTS
from sessionsync.privacy.gate import Gate

Json = dict[str, Any]

LOG_LINES = 2000
# Checks whose words may repeat what a person has typed into the settings, or name a session.
WORDLESS = {"config", "token"}
# Texts of a log line that are words of the program's own.
OWN_WORDS = (
    *("code", "operation", "outcome", "component", "action", "mode", "state", "trigger", "result"),
    *("loop", "name", "version", "kind", "lane", "severity", "command", "signal"),
)
_WORD = re.compile(r"[a-z0-9_.-]{1,40}")
_FRAME = re.compile(r'File "[^"]*?(?P<file>[\w.-]+/[\w.-]+\.py)", line (?P<line>\d+), in (?P<name>[\w<>]+)')


def write(file: Path, here: Here, checks: Iterable[Check]) -> None:
    """Write the archive, 0600, as `file`, which must not be there yet.

    Raises:
        UsageError: it is.
        OutputFailed: it cannot be written.
        RedactionFailed: something could not be searched for secrets.
    """
    gate, secrets = _gate(here), _secrets(here)
    parts = {
        "version.txt": build.described(),
        "doctor.json": json.dumps({"checks": [_told(each) for each in checks]}, indent=1),
        "settings.json": json.dumps(_settings(here), indent=1),
        "daemon.json": json.dumps(_daemon(here), indent=1),
        "log.jsonl": "\n".join(json.dumps(line) for line in _log(here)),
    }
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise UsageError(f"{file} is there already.", hint="Name a new file.") from error
    except OSError as error:
        raise OutputFailed(
            f"{file} cannot be written: {error.strerror}.", hint="Name another file."
        ) from error
    try:
        with os.fdopen(descriptor, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name, text in parts.items():
                for secret in secrets:
                    text = text.replace(secret, "[REDACTED]")  # noqa: PLW2901 - the same text, cleared
                data, _ = gate.data("", f"{text}\n".encode())
                about = tarfile.TarInfo(f"sessiond-support/{name}")
                about.size, about.mode, about.mtime = len(data), 0o600, int(here.now)
                archive.addfile(about, io.BytesIO(data))
    except BaseException as error:
        file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputFailed(
                f"{file} cannot be written: {error.strerror}.", hint="Name a file on a disk with room."
            ) from error
        raise


def _gate(here: Here) -> Gate:
    """The gate with the user's own patterns, and without their exceptions."""
    try:
        return Gate(patterns=here.settings.privacy.patterns)
    except ConfigError:
        return Gate()


def _secrets(here: Here) -> list[str]:
    """What is secret here by its place, whatever it looks like."""
    held = [here.environ.get(name, "") for name in ("GH_TOKEN", "GITHUB_TOKEN")]
    with suppress(ConfigError):
        held.append(here.token.value if here.token is not None else "")
    return [value.strip() for value in held if len(value.strip()) >= 4]


def _told(check: Check) -> Json:
    told: Json = {"name": check.name, "status": check.status, "code": check.code}
    if not check.code and check.name not in WORDLESS:
        told["message"] = _pathless(check.message)
    return told


def _pathless(text: str) -> str:
    """A sentence of ours without what it names: paths, addresses and names of repositories."""
    return " ".join("…" if "/" in word else word for word in text.split())


def _settings(here: Here) -> Json:
    """Which settings differ from the usual ones; of numbers and switches also their values."""
    try:
        config = here.config
    except ConfigError as error:
        return {"problem": error.code}
    told: Json = {}
    for setting in differences(Config(), config):
        section, key = setting.split(".")
        value = getattr(getattr(config, section), key)
        told[setting] = value if isinstance(value, bool | int | float) else "set"
    return told


def _daemon(here: Here) -> Json:
    """Its status as numbers and codes."""
    try:
        status = here.daemon
    except SessiondError as error:
        return {"problem": error.code}
    if status is None:
        return {"running": False}
    kept = ("version", "uptime_seconds", "status", "mode", "safe_until", "queue", "sessions", "last_push_at")
    found = [
        {name: finding[name] for name in ("code", "severity", "since")} for finding in status["findings"]
    ]
    return {"running": True, **{name: status.get(name) for name in kept}, "findings": found}


def _log(here: Here) -> Iterable[Json]:
    try:
        service: Mapping[str, Any] | None = here.service
    except SessiondError:
        service = None
    try:
        where = logbook.place(service, here.paths.log_dir)
        yield from (_line(each) for each in logbook.records(where, here.environ, count=LOG_LINES))
    except SessiondError as error:
        yield {"problem": error.code}


def _line(record: Mapping[str, Any]) -> Json:
    """Of a log line the moment, the event, its numbers, its words of our own, and the places of a trace."""
    event = record["event"] if record["event"] in EVENTS else "other"
    told: Json = {"at": record["at"], "level": record["level"], "event": event}
    for name, value in record.items():
        if name in told:
            continue
        if isinstance(value, bool | int | float) or (
            name in OWN_WORDS and isinstance(value, str) and _WORD.fullmatch(value)
        ):
            told[name] = value
    if isinstance(trace := record.get("exception"), str):
        told["trace"] = [f"{each['file']}:{each['line']} {each['name']}" for each in _FRAME.finditer(trace)]
    return told
