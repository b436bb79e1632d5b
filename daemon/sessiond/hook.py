"""`sessiond hook EVENT`: what Claude Code runs when something happens, with JSON on stdin.

    stdin ──▶ plain copies (layer 1), verified ──▶ a process of its own: the daemon is asked (layer 2)

The agent waits for this, and shows or obeys what it prints and how it ends (2 would block it): so it
prints nothing, ends with 0 whatever happens, needs the standard library alone, trusts nothing it is
told, and stops copying when its time is over: the process that it leaves behind, or the daemon, copies
the rest.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sessiond.hooklog import HookLog
from sessiond.plaincopy import Copied, Session, copy_session, locate, older_copy
from sessiond.spool import CHECKPOINTS, Save, Spool
from sessionsync.config import Config, load
from sessionsync.errors import ConfigError, CopyError, SessiondError, UsageError
from sessionsync.events import Emit
from sessionsync.paths import Paths, absolute, claude_root, home, paths
from sessionsync.peek import SESSION_ID
from sessionsync.project_names import Names
from sessionsync.tombstones import Tombstones
from sessionsync.vault.mirror import Mirror

PASSTHROUGH = "--passthrough"
# More than this is no event; an agent's last message, which may be quoted in it, is far smaller.
STDIN_BYTES = 16 * 1024 * 1024
# How long is read at most: an agent closes stdin at once, but perhaps not what runs us in its place.
STDIN_S = 1.0
# A pause in which nothing comes, after a whole event.
PAUSE_S = 0.1
# Until when all is copied, of the 1.5 s that an agent that ends gives to all its hooks.
COPY_S = 1.0
BLOCK_BYTES = 1024 * 1024
# Those below that an agent, or a shell in between, may have left open to us are closed.
DESCRIPTORS = 1024


def run(arguments: Sequence[str]) -> None:
    """Do everything that there is to do at an event; never raises, never prints."""
    began = time.monotonic()
    data, more = _read(began + STDIN_S)
    try:
        _at_event(_event(arguments), data, os.environ, began, whole=not more)
    except BaseException as problem:  # noqa: BLE001 - nothing that happens here is the agent's business
        with contextlib.suppress(BaseException):
            _say_failed(problem)
    finally:
        if PASSTHROUGH in arguments:
            with contextlib.suppress(OSError):
                _pass_on(data)
        elif more:  # an agent that cannot write to the end might complain
            _swallow(began + STDIN_S)


# --- in and out


def _read(until: float) -> tuple[bytes, bool]:
    """What is on stdin until then (monotonic), and whether there is more than an event may have."""
    data = bytearray()
    with contextlib.suppress(OSError, ValueError):
        while not os.isatty(0) and len(data) <= STDIN_BYTES:
            left = max(0.0, until - time.monotonic())
            if not select.select([0], [], [], min(left, PAUSE_S))[0]:
                if not left or _is_whole(data):
                    break
            elif block := os.read(0, BLOCK_BYTES):
                data += block
            else:
                break
    return bytes(data), len(data) > STDIN_BYTES


def _is_whole(data: bytes | bytearray) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False


def _swallow(until: float) -> None:
    with contextlib.suppress(OSError, ValueError):
        while (left := until - time.monotonic()) > 0 and select.select([0], [], [], left)[0]:
            if not os.read(0, BLOCK_BYTES):
                return


def _pass_on(data: bytes) -> None:
    """Stdin to stdout, for whoever comes behind us in a chain."""
    block, more = data, len(data) > STDIN_BYTES
    while block:
        view = memoryview(block)
        while view:
            view = view[os.write(1, view) :]
        block = os.read(0, BLOCK_BYTES) if more else b""


def _event(arguments: Sequence[str]) -> str:
    """The event's name as the agent writes it; '' where there is none."""
    names = [argument for argument in arguments if not argument.startswith("-")]
    return _named(names[0]) if names else ""


def _named(name: str) -> str:
    known = {event.lower(): event for event in CHECKPOINTS}
    return known.get(name.lower().replace("-", ""), name)


# --- what happens at an event


def _at_event(name: str, data: bytes, environ: Mapping[str, str], began: float, *, whole: bool) -> None:
    where, refused = _places(environ)
    say = HookLog(where.log_dir, hook=name or "unknown")
    if refused is not None:
        say("config_refused", reason=str(refused))
    try:
        said = _parse(data, whole=whole)
        name = name or _named(str(said.get("hook_event_name", "")))
        say = HookLog(where.log_dir, hook=name[:40] or "unknown", session=_id(said))
        config, roots = _settings(environ, where, say)
        session = locate(said.get("transcript_path"), roots)
        say = HookLog(where.log_dir, hook=name[:40] or "unknown", session=f"claude:{session.session_id}")
    except (UsageError, ConfigError) as problem:
        say("hook_refused", reason=str(problem))
        return
    except FileNotFoundError:
        say("hook_ignored", reason="there is no transcript yet")
        return
    _save(name, said, session, config, where, began, say)


def _save(
    name: str,
    said: Mapping[str, Any],
    session: Session,
    config: Config,
    where: Paths,
    began: float,
    say: Emit,
) -> None:
    """Copy a session, and have the daemon told where the event is a checkpoint; none that is forgotten."""
    is_forgotten = partial(Tombstones(config.backup.mirror_dir).holds, session.source, session.session_id)
    if is_forgotten():
        say("hook_ignored", reason="it was forgotten")
        return
    mirror, names = Mirror(config.backup.mirror_dir), Names(config.backup.mirror_dir)

    def copy(until: float) -> Copied | None:
        began, copied = time.monotonic(), None
        try:
            copied = copy_session(mirror, names, session, said.get("agent_transcript_path"), until, say)
        except (SessiondError, OSError) as problem:
            say("session_copy_failed", reason=str(problem))
        if is_forgotten():  # meanwhile: that is written down first, and then what is there is removed
            mirror.forget(session)
            return None
        if copied is None:
            return None
        say(
            "session_copied",
            copy=copied.path,
            bytes=copied.added,
            source_bytes=copied.size,
            copy_bytes=copied.length,
            complete=copied.complete,
            seconds=round(time.monotonic() - began, 3),
        )
        return copied

    copied = copy(began + COPY_S)
    if is_forgotten():
        say("hook_ignored", reason="it was forgotten")
    elif trigger := CHECKPOINTS.get(name):
        save = Save(session.session_id, trigger, session.transcript, copied.size if copied else 0)
        older = copied.path if copied else older_copy(mirror, names, session)
        _hand_over(save, where, mirror, copied, copy, older, say)


def _parse(data: bytes, *, whole: bool) -> dict[str, Any]:
    if not whole:
        raise UsageError(f"What came on stdin is longer than {STDIN_BYTES} bytes.")
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"What came on stdin is not JSON: {problem}.") from problem
    if not isinstance(said, dict):
        raise UsageError("What came on stdin is no JSON object.")
    return said


def _places(environ: Mapping[str, str]) -> tuple[Paths, ConfigError | None]:
    """Where our own files lie: where they do without `SESSIOND_HOME`, should that be wrong."""
    try:
        return paths(environ), None
    except ConfigError as problem:
        return paths({**environ, "SESSIOND_HOME": ""}), problem


def _id(said: Mapping[str, Any]) -> str:
    name = said.get("session_id")
    return f"claude:{name}" if isinstance(name, str) and SESSION_ID.fullmatch(name) else ""


def _settings(environ: Mapping[str, str], where: Paths, say: Emit) -> tuple[Config, list[str]]:
    """The settings and the agent's folders; with wrong settings a copy is still made."""
    try:
        config = load(environ, where.config_file)
    except ConfigError as problem:
        say("config_refused", reason=str(problem))
        config = Config()
        config = config._replace(backup=config.backup._replace(mirror_dir=_mirror_dir(environ, where)))
    roots = [*config.claude_roots(environ), claude_root(environ)]
    return config, list(dict.fromkeys(os.path.realpath(root) for root in roots))


def _mirror_dir(environ: Mapping[str, str], where: Paths) -> Path:
    """Where copies go when the settings are wrong elsewhere: where they say, if they can be read at all."""
    import tomllib  # noqa: PLC0415 - rarely wanted

    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        settings = tomllib.loads(where.config_file.read_text(encoding="utf-8"))
        return absolute(settings["backup"]["mirror_dir"], home(environ))
    return absolute(str(Config().backup.mirror_dir), home(environ))


# --- layer 2


def _hand_over(
    save: Save,
    where: Paths,
    mirror: Mirror,
    copied: Copied | None,
    copy: Callable[[float], Copied | None],
    older: Path | None,
    say: Emit,
) -> None:
    """Have the daemon asked by a process of its own, which first copies what there was no time for."""
    from sessiond.handover import Fallback, fall_back, hand_over  # noqa: PLC0415 - layer 1 does without

    spool = Spool(where.spool_dir)

    def work() -> None:
        whole = copied if copied is None or copied.complete else copy(math.inf)
        with contextlib.suppress(CopyError):
            mirror.flush()
        hand_over(save, where.socket, spool, Fallback.of(whole, older), say)

    mirror.rest()
    try:
        _detached(work)
    except OSError as problem:  # no more processes
        say("session_save_failed", attempt=0, reason=str(problem))
        fall_back(save, spool, Fallback.of(copied, older), say)


def _detached(work: Callable[[], None]) -> None:
    """Run `work` in a process that outlives this one and holds nothing of the agent's."""
    if between := os.fork():
        os.waitpid(between, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            null = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(null, standard)
            os.closerange(3, DESCRIPTORS)
            os.chdir("/")
            work()
    except BaseException as problem:  # noqa: BLE001 - there is nobody to tell but the log
        with contextlib.suppress(BaseException):
            _say_failed(problem)
    finally:
        os._exit(0)


def _say_failed(problem: BaseException) -> None:
    HookLog(_places(os.environ)[0].log_dir)("hook_failed", reason=repr(problem))
