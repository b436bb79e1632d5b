"""`sessiond hook EVENT`: what Claude Code runs when something happens, with JSON on stdin.

    stdin ──▶ plain copies (layer 1), verified ──▶ a process of its own: the daemon is asked (layer 2)

The agent waits for this, and shows or obeys what it prints and how it ends (2 would block it): so it
prints nothing, ends with 0 whatever happens, needs the standard library alone, trusts nothing it is
told, and stops copying when its time is over: the process that it leaves behind, or the daemon, copies
the rest.
"""

from __future__ import annotations

import contextlib
import os
import select
import time

from sessiond.hooklog import HookLog
from sessiond.plaincopy import Copied, Copies, Session, copy_session, locate, older_copy
from sessionsync import fastjson, places
from sessionsync.errors import ConfigError, SessiondError, UsageError
from sessionsync.peek import is_session_id
from sessionsync.tombstones import Tombstones

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from sessiond.spool import Save, Spool
    from sessionsync.events import Emit

    Where = tuple[str, str, str, str]

# The events that are checkpoints (spec: what a checkpoint is), and what they trigger.
CHECKPOINTS = {
    "PreCompact": "pre-compact",
    "Stop": "stop",
    "SubagentStop": "subagent-stop",
    "SessionEnd": "session-end",
}
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
        return isinstance(fastjson.loads(data), dict)
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
    config_file, _, _, log_dir = where
    say = HookLog(log_dir, hook=name or "unknown")
    if refused is not None:
        say("config_refused", reason=str(refused))
    try:
        said = _parse(data, whole=whole)
        name = name or _named(str(said.get("hook_event_name", "")))
        say = HookLog(log_dir, hook=name[:40] or "unknown", session=_id(said))
        copies, roots = _folders(environ, config_file, say)
        session = locate(said.get("transcript_path"), roots)
        say = HookLog(log_dir, hook=name[:40] or "unknown", session=f"claude:{session.session_id}")
    except (UsageError, ConfigError) as problem:
        say("hook_refused", reason=str(problem))
        return
    except FileNotFoundError:
        say("hook_ignored", reason="there is no transcript yet")
        return
    _save(name, said, session, copies, where, began, say)


def _save(
    name: str,
    said: Mapping[str, Any],
    session: Session,
    copies: Copies,
    where: Where,
    began: float,
    say: Emit,
) -> None:
    """Copy a session, and have the daemon told where the event is a checkpoint; none that is forgotten."""
    forgotten = Tombstones(copies.folder)

    def is_forgotten() -> bool:
        return forgotten.holds(session.source, session.session_id)

    if is_forgotten():
        say("hook_ignored", reason="it was forgotten")
        return

    def copy(until: float) -> Copied | None:
        began, copied = time.monotonic(), None
        try:
            copied = copy_session(copies, session, said.get("agent_transcript_path"), until, say)
        except (SessiondError, OSError) as problem:
            say("session_copy_failed", reason=str(problem))
        if is_forgotten():  # meanwhile: that is written down first, and then what is there is removed
            copies.mirror().forget(session)
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
        _hand_over(trigger, session, where, copies, copied, copy, say)


def _parse(data: bytes, *, whole: bool) -> dict[str, Any]:
    if not whole:
        raise UsageError(f"What came on stdin is longer than {STDIN_BYTES} bytes.")
    try:
        said = fastjson.loads(data)
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"What came on stdin is not JSON: {problem}.") from problem
    if not isinstance(said, dict):
        raise UsageError("What came on stdin is no JSON object.")
    return said


def _places(environ: Mapping[str, str]) -> tuple[Where, ConfigError | None]:
    """Where our own files lie: where they do without `SESSIOND_HOME`, should that be wrong."""
    try:
        return places.places(environ), None
    except ConfigError as problem:
        return places.places({**environ, "SESSIOND_HOME": ""}), problem


def _id(said: Mapping[str, Any]) -> str:
    name = said.get("session_id")
    return f"claude:{name}" if isinstance(name, str) and is_session_id(name) else ""


def _folders(environ: Mapping[str, str], config_file: str, say: Emit) -> tuple[Copies, list[str]]:
    """The plain copies, and the agent's folders; with wrong settings a copy is still made."""
    usual = places.claude_root(environ)
    mirror, roots = places.mirror_of(environ, config_file), [usual]
    if mirror is None:
        mirror, set_to = _settings(environ, config_file, say)
        roots = [*set_to, usual]
    return Copies(mirror), list(dict.fromkeys(map(os.path.realpath, roots)))


def _settings(environ: Mapping[str, str], config_file: str, say: Emit) -> tuple[str, list[str]]:
    """The folder of the copies and those that are watched, as the settings have them, as far as these go."""
    from pathlib import Path  # noqa: PLC0415 - heavy, and most settings name neither

    from sessionsync.config import load  # noqa: PLC0415 - as above

    file = Path(config_file)
    try:
        config = load(environ, file)
    except ConfigError as problem:
        say("config_refused", reason=str(problem))
        return _mirror_in(file, environ), []
    return str(config.backup.mirror_dir), [str(root) for root in config.sources.claude]


def _mirror_in(file: Path, environ: Mapping[str, str]) -> str:
    """Where copies go when the settings are wrong elsewhere: where they say, if they can be read at all."""
    import tomllib  # noqa: PLC0415 - rarely wanted

    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
        return places.absolute(settings["backup"]["mirror_dir"], places.home(environ))
    return places.absolute(places.MIRROR_DIR, places.home(environ))


# --- layer 2


def _hand_over(
    trigger: str,
    session: Session,
    where: Where,
    copies: Copies,
    copied: Copied | None,
    copy: Callable[[float], Copied | None],
    say: Emit,
) -> None:
    """Have the daemon asked by a process of its own, which first copies what there was no time for."""
    config_file, _, socket, _ = where
    older = copied.path if copied is not None else older_copy(copies, session)
    size = copied.size if copied is not None else 0

    def wish() -> tuple[Save, Spool]:
        from pathlib import Path  # noqa: PLC0415 - heavy, as what follows, and layer 1 does without

        from sessiond.spool import Save, Spool  # noqa: PLC0415
        from sessionsync.paths import Paths  # noqa: PLC0415

        spool = Spool(Paths(*map(Path, where)).spool_dir)
        return Save(session.session_id, trigger, session.transcript, size), spool

    def work() -> None:
        whole = copied if copied is None or copied.complete else copy(float("inf"))
        copies.flush()
        from sessiond.handover import Fallback, hand_over  # noqa: PLC0415 - as above

        save, spool = wish()
        if not hand_over(save, socket, spool, Fallback.of(whole, older), say):
            _say_refused(config_file, say)

    copies.rest()
    try:
        _detached(work)
    except OSError as problem:  # no more processes
        from sessiond.handover import Fallback, fall_back  # noqa: PLC0415 - as above

        say("session_save_failed", attempt=0, reason=str(problem))
        save, spool = wish()
        fall_back(save, spool, Fallback.of(copied, older), say)


def _say_refused(config_file: str, say: Emit) -> None:
    """Say what is wrong with settings that were not read: it may be why no daemon answers."""
    if places.mirror_of(os.environ, config_file) is None:
        return
    from pathlib import Path  # noqa: PLC0415 - as above

    from sessionsync.config import load  # noqa: PLC0415 - as above

    try:
        load(os.environ, Path(config_file))
    except ConfigError as problem:
        say("config_refused", reason=str(problem))


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
    HookLog(_places(os.environ)[0][3])("hook_failed", reason=repr(problem))
