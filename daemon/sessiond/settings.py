"""`config.toml` as text: a setting is changed where it stands, and what a person wrote around it stays.

tomlkit keeps comments, order and blanks.  What it makes of the text is read again before it is written: by
`tomllib`, which must find exactly the changes that were asked for, and by `sessionsync.config`.
"""

from __future__ import annotations

import copy
import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from sessiond.keepsake import replace
from sessionsync.config import load
from sessionsync.errors import ConfigError, NotAllowed

HEAD = "# Settings of sessiond; the README lists them all with their defaults.  A token has no place here.\n"

Changes = Mapping[str, object]
"""Values by setting, as `{"github.repo": "owner/name"}`."""


def write(file: Path, changes: Changes, environ: Mapping[str, str]) -> bool:
    """Change these settings in the file and nothing else, at once; whether that changed it.

    Raises:
        ConfigError: the settings would not be valid, or the file was changed meanwhile; it stays as it is.
        NotAllowed: it cannot be read or written.
    """
    before = _content(file)
    text = changed(HEAD if before is None else before.decode(), changes)
    if not changes or (before is not None and text == before.decode()):
        return False
    _check(text, file, environ)
    target = Path(os.path.realpath(file))
    try:
        if _content(file) != before:
            raise ConfigError(f"{file} was changed by another program.", hint="Run it again.")
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace(target, text.encode(), 0o600)
    except OSError as problem:
        raise NotAllowed(
            f"{file} cannot be written: {problem.strerror}.", hint="Nothing was changed in it."
        ) from problem
    return True


def changed(text: str, changes: Changes) -> str:
    """The text with these settings.

    Raises:
        ConfigError: they cannot be put in without changing more.
    """
    wanted = _with(tomllib.loads(text), changes)
    if wanted == tomllib.loads(text):
        return text
    try:
        made = _edited(text, changes)
        held = tomllib.loads(made) == wanted
    except (TOMLKitError, ValueError, TypeError, AttributeError):
        held = False
    if not held:
        names = ", ".join(changes)
        raise ConfigError(
            f"config.toml is written in a way in which {names} cannot be changed alone.",
            hint="Set it there yourself: nothing was changed.",
        )
    return made


def _with(settings: dict[str, Any], changes: Changes) -> dict[str, Any]:
    wanted = copy.deepcopy(settings)
    for setting, value in changes.items():
        section, key = setting.split(".")
        wanted.setdefault(section, {})[key] = value
    return wanted


def _edited(text: str, changes: Changes) -> str:
    document = tomlkit.parse(text if text.endswith("\n") or not text else text + "\n")
    missing: dict[str, dict[str, object]] = {}
    for setting, value in changes.items():
        section, key = setting.split(".")
        if section not in document:
            missing.setdefault(section, {})[key] = value
            continue
        table: Any = document[section]
        if key in table or not isinstance(table, Table):
            table[key] = value
            continue
        body = table.value.body
        end = len(body)
        while end and body[end - 1][0] is None:  # comments there are about what follows
            end -= 1
        rest = body[end:]
        del body[end:]
        table.append(key, value)
        body.extend(rest)
    made = tomlkit.dumps(document)
    for section, values in missing.items():
        gap = "\n" if made.strip() else ""
        made += gap + tomlkit.dumps({section: values})
    return made.replace("\r\n", "\n").replace("\n", "\r\n") if "\r\n" in text else made


def _check(text: str, file: Path, environ: Mapping[str, str]) -> None:
    """See that the engine takes it."""
    with tempfile.TemporaryDirectory(prefix="sessiond-") as folder:
        draft = Path(folder) / file.name
        draft.write_text(text, encoding="utf-8", newline="")
        try:
            load(environ, draft)
        except ConfigError as problem:
            raise ConfigError(str(problem).replace(str(draft), str(file)), hint=problem.hint) from problem


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise NotAllowed(
            f"{file} cannot be read: {problem.strerror}.", hint="Run this as the user whose file it is."
        ) from problem
