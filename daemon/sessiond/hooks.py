"""`sessiond hooks`: our four entries in Claude Code's settings, put in and taken out without a trace.

    "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "/abs/sessiond hook Stop", "timeout": 30}]}]}

One absolute command string: the form that every version takes.  An entry is ours when its command runs
`sessiond hook EVENT`, wherever that program lies.  What `install` found is kept beside the state, so that
`uninstall` gives back the very bytes where nothing else was changed since, and else takes out our entries.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sessiond.hook import CHECKPOINTS
from sessiond.hooklog import HookLog
from sessiond.jsontext import MARK, Node, Text
from sessiond.keepsake import Keepsake, replace
from sessionsync.errors import ConfigError, NotAllowed
from sessionsync.paths import Paths, claude_root

SCOPES = ("user", "project", "local")
EVENTS = tuple(CHECKPOINTS)
# It also makes the 1.5 s that all hooks of a session's end share as long (Claude Code's documentation).
TIMEOUT_S = 30
# Settings that are larger are no settings.
FILE_BYTES = 8 * 1024 * 1024
NAME = "sessiond"


class Entry(NamedTuple):
    """One of ours: its event, and the places of its group and of itself in the event's list."""

    event: str
    group: int
    handler: int
    command: str


class Settings(NamedTuple):
    """A settings file as it is now; `content` is None where there is none."""

    scope: str
    file: Path
    content: bytes | None
    json: Text


def settings_file(scope: str, environ: Mapping[str, str], project: Path) -> Path:
    """Where Claude Code keeps the settings of the user, of a project, or of this user in a project."""
    if scope == "user":
        return claude_root(environ) / "settings.json"
    return project / ".claude" / ("settings.json" if scope == "project" else "settings.local.json")


def managed_file() -> Path:
    """Where an administrator's settings lie."""
    if sys.platform == "darwin":
        return Path("/Library/Application Support/ClaudeCode/managed-settings.json")
    return Path("/etc/claude-code/managed-settings.json")


def program() -> Path:
    """The program that hooks run, as an absolute path; links stay, as an upgrade may move what they lead to.

    Raises:
        ConfigError: there is none.
    """
    beside = Path(sys.executable).parent / NAME
    for candidate in (Path(sys.argv[0]), beside, Path(shutil.which(NAME) or beside)):
        path = Path(os.path.abspath(candidate))  # noqa: PTH100 - `..` is resolved, links are not
        if path.name == NAME and path.is_file() and os.access(path, os.X_OK):
            return path
    raise ConfigError(
        "There is no program `sessiond` that a hook could run.", hint="Install it: pip install sessiond"
    )


def command(path: Path, event: str) -> str:
    """What the shell is given."""
    return f"{shlex.quote(str(path))} hook {event}"


# --- what a file holds


def read(scope: str, file: Path) -> Settings:
    """Read a settings file; one that is not there, or is empty, holds `{}`.

    Raises:
        ConfigError: it is not JSON, or not of the shape that settings have.
        NotAllowed: it may not be read.
    """
    content = _content(file)
    try:
        text = (content or b"").decode()
        parsed = Text.parse(text if text.strip(f"{MARK} \t\r\n") else "{}\n")
    except UnicodeDecodeError as problem:
        raise ConfigError(
            f"{file} was not changed: it is not UTF-8.", hint="Save it as UTF-8 and run it again."
        ) from problem
    except ValueError as problem:
        raise ConfigError(
            f"{file} was not changed: {problem}.",
            hint="Mend that place and run it again; JSON has no comments and no comma before a bracket.",
        ) from problem
    if misfit := _misfit(parsed):
        raise ConfigError(
            f"{file} was not changed: {misfit}.",
            hint='It belongs like this: {"hooks": {"Stop": [ … ]}}. Mend or remove it, and run it again.',
        )
    return Settings(scope, file, content, parsed)


def _content(file: Path) -> bytes | None:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise NotAllowed(
            f"{file} cannot be read: {problem.strerror}.",
            hint="Run this as the user whose settings these are."
            if isinstance(problem, PermissionError)
            else "Something else lies there, or where the agent's folder belongs: see CLAUDE_CONFIG_DIR.",
        ) from problem
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigError(f"{file} is no regular file.", hint="Move it away and run it again.")
        content = b""
        while len(content) <= FILE_BYTES and (block := os.read(descriptor, FILE_BYTES)):
            content += block
    finally:
        os.close(descriptor)
    if len(content) > FILE_BYTES:
        raise ConfigError(f"{file} is longer than {FILE_BYTES} bytes.", hint="Look at what is in it.")
    return content


def _misfit(settings: Text) -> str:
    """Why our entries would have no place; '' where they have."""
    if settings.root.kind != "object":
        return "it is no JSON object"
    hooks = settings.root.get("hooks")
    if hooks is not None and hooks.kind != "object":
        return '"hooks" is no object'
    for member in hooks.inside if hooks is not None else ():
        if member.key in EVENTS and member.node.kind != "list":
            return f'"hooks.{member.key}" is no list'
    return ""


def entries(settings: Text) -> Iterator[Entry]:
    """Every entry of ours, also for events that are not installed any more."""
    hooks = settings.root.get("hooks")
    for member in hooks.inside if hooks is not None else ():
        for group, node in enumerate(member.node.items):
            handlers = node.get("hooks") if node.kind == "object" else None
            for number, handler in enumerate(handlers.items if handlers is not None else ()):
                given = handler.get("command") if handler.kind == "object" else None
                if given is not None and isinstance(given.value, str) and _is_ours(given.value):
                    yield Entry(member.key, group, number, given.value)


def _is_ours(text: str) -> bool:
    try:
        words = shlex.split(text)
    except ValueError:
        return False
    return len(words) >= 3 and words[1] == "hook" and words[0].rpartition("/")[2] == NAME


# --- in and out


def with_ours(settings: Text, path: Path) -> Text:
    """The settings with our entries; those that run a program elsewhere now run this one."""
    for event in EVENTS:
        wanted = command(path, event)
        ours = [entry for entry in entries(settings) if entry.event == event]
        for entry in ours:
            if entry.command != wanted:
                settings = settings.replaced(_handler(settings, entry, "command"), wanted)
        if not ours:
            settings = _with_one(settings, event, wanted)
    return settings


def _with_one(settings: Text, event: str, wanted: str) -> Text:
    group = {"hooks": [{"type": "command", "command": wanted, "timeout": TIMEOUT_S}]}
    hooks = settings.root.get("hooks")
    if hooks is None:
        return settings.added(settings.root, {event: [group]}, "hooks")
    listed = hooks.get(event)
    if listed is None:
        return settings.added(hooks, [group], event)
    return settings.added(listed, group)


def without_ours(settings: Text) -> Text:
    """The settings without our entries, and without what held nothing but them."""
    while (entry := next(entries(settings), None)) is not None:
        settings = _without(settings, entry)
    return settings


def _without(settings: Text, entry: Entry) -> Text:
    """Without one entry: the outermost thing goes that holds only it."""
    root = settings.root
    hooks = _member(root, "hooks")
    listed = _member(hooks, entry.event)
    handlers = _member(listed.items[entry.group], "hooks")
    if len(handlers.inside) > 1:
        return settings.removed(handlers, entry.handler)
    if len(listed.inside) > 1:
        return settings.removed(listed, entry.group)
    if len(hooks.inside) > 1:
        return settings.removed(hooks, _place(hooks, entry.event))
    return settings.removed(root, _place(root, "hooks"))


def _handler(settings: Text, entry: Entry, key: str) -> Node:
    listed = _member(_member(settings.root, "hooks"), entry.event)
    return _member(_member(listed.items[entry.group], "hooks").items[entry.handler], key)


def _member(node: Node, key: str) -> Node:
    found = node.get(key)
    assert found is not None, f"{key} was there a moment ago"  # noqa: S101 - `entries` has found it
    return found


def _place(node: Node, key: str) -> int:
    return next(number for number, member in enumerate(node.inside) if member.key == key)


def install(settings: Settings, where: Paths, path: Path) -> bool:
    """Put our entries into a settings file; whether that changed it.

    Raises:
        ConfigError: the file was changed meanwhile.
        NotAllowed: it cannot be written.
    """
    changed = with_ours(settings.json, path)
    if changed.text == settings.json.text and settings.content is not None:
        return False
    kept = Keepsake(where, settings.file)
    before = kept.before(settings.content)
    if before is None:
        clean = without_ours(settings.json)
        untouched = clean.text == settings.json.text
        before = (settings.content,) if untouched else (clean.text.encode(),)
    content = changed.text.encode()
    kept.keep(before[0], content)
    _write(settings, content)
    return True


def uninstall(settings: Settings, where: Paths) -> bool:
    """Take our entries out of a settings file; whether there were any.

    Where nothing else changed since `install`, the file is what it was before, to the byte.

    Raises:
        ConfigError: the file was changed meanwhile.
        NotAllowed: it cannot be written.
    """
    kept = Keepsake(where, settings.file)
    if next(entries(settings.json), None) is None:
        kept.forget()
        return False
    before = kept.before(settings.content)
    _write(settings, without_ours(settings.json).text.encode() if before is None else before[0])
    if kept.made_folder:
        with contextlib.suppress(OSError):  # something else is in it by now
            settings.file.parent.rmdir()
    kept.forget()
    return True


def _write(settings: Settings, content: bytes | None) -> None:
    """Replace a settings file at once; through a link, the file that it leads to."""
    file = Path(os.path.realpath(settings.file))
    if _content(settings.file) != settings.content:
        raise ConfigError(f"{settings.file} was changed by another program.", hint="Run it again.")
    try:
        if content is None:
            file.unlink()
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
        except FileNotFoundError:
            mode = 0o600
        replace(file, content, mode)
    except OSError as problem:
        raise NotAllowed(
            f"{settings.file} cannot be written: {problem.strerror}.", hint="Nothing was changed in it."
        ) from problem


# --- status


def status(
    environ: Mapping[str, str], where: Paths, project: Path, managed: Path | None = None
) -> dict[str, Any]:
    """What is installed where, whether it can run, and when a hook was last heard of."""
    managed = managed or managed_file()
    files = {scope: settings_file(scope, environ, project) for scope in SCOPES}
    scopes, off = [], []
    for scope, file in files.items():
        scopes.append(_scope(scope, file))
        if _flag(file, "disableAllHooks"):
            off.append({"file": str(file), "setting": "disableAllHooks"})
    off += [
        {"file": str(managed), "setting": setting}
        for setting in ("disableAllHooks", "allowManagedHooksOnly")
        if _flag(managed, setting)
    ]
    last = next((line for line in HookLog(where.log_dir).newest() if "hook" in line), {})
    return {
        "scopes": scopes,
        "disabled_by": off,
        "last": {key: str(last.get(key, "")) for key in ("at", "hook", "session", "event")} if last else None,
    }


def _scope(scope: str, file: Path) -> dict[str, Any]:
    said: dict[str, Any] = {
        "scope": scope,
        "file": str(file),
        "events": [],
        "missing": list(EVENTS),
        "command": "",
        "command_exists": False,
        "problem": "",
    }
    try:
        found = list(entries(read(scope, file).json))
    except (ConfigError, NotAllowed) as problem:
        return said | {"problem": str(problem).replace(" was not changed:", ":")}
    if not found:
        return said
    events = dict.fromkeys(entry.event for entry in found)
    run = [shlex.split(entry.command)[0] for entry in found]
    return said | {
        "events": list(events),
        "missing": [event for event in EVENTS if event not in events],
        "command": found[0].command.rpartition(" hook ")[0],
        "command_exists": all(shutil.which(each) is not None for each in run),
    }


def _flag(file: Path, setting: str) -> bool:
    try:
        found = read("", file).json.root.get(setting)
    except (ConfigError, NotAllowed):
        return False
    return found is not None and found.value is True
