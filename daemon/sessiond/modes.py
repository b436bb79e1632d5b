"""What may be done: push, or only keep copies, or wait for somebody; by command, or for a lack."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from sessiond.engine import Engine
from sessiond.token import LOG_IN, renewal
from sessionsync.errors import TokenRefused
from sessionsync.events import Emit

if TYPE_CHECKING:
    from sessionsync.uplink import Pause

# Why nothing is sent where a person has said so.
LOCAL_ONLY, PAUSED = "local-only is on", "a pause was asked for"


class Mode(NamedTuple):
    """`normal`, `local_only` or `paused`; why, and what to do about it, both '' in `normal`."""

    name: str
    reason: str = ""
    hint: str = ""


class Modes:
    """The mode as it is now.  What was commanded survives a restart; any thread may ask."""

    def __init__(self, engine: Engine, emit: Emit, changed: Callable[[], None]) -> None:
        self._engine = engine
        self._emit = emit
        self._changed = changed
        self._read()

    def _read(self) -> None:
        self._paused = self._engine.store.meta("paused") != ""
        self._local_only = self._engine.store.meta("local_only") != ""

    def command(self, *, paused: bool | None = None, local_only: bool | None = None) -> None:
        """Pause or go local-only, or end that."""
        stamp = repr(time.time())
        if paused is not None:
            self._engine.store.set_meta("paused", stamp if paused else "")
        if local_only is not None:
            self._engine.store.set_meta("local_only", stamp if local_only else "")
        self._read()
        mode = self.now()
        self._emit("mode_changed", mode=mode.name, reason=mode.reason)
        self._changed()

    @property
    def is_paused(self) -> bool:
        """Whether a person has paused it, whatever else keeps it from sending."""
        return self._paused

    def now(self) -> Mode:
        """The mode."""
        return self.if_local_only(on=self._local_only)

    def if_local_only(self, *, on: bool) -> Mode:
        """The mode that it would be with that command."""
        engine = self._engine
        pause = engine.push.uplink.pause if engine.push is not None else None
        if on:
            return Mode("local_only", LOCAL_ONLY, "`sessiond ctl local-only off` ends it.")
        if not engine.config.github.repo:
            begin = "Set" if engine.archiving is None else "To have sessions on GitHub as well, set"
            todo = f"{begin} github.repo in {engine.paths.config_file}."
            return Mode("local_only", "no repository is set", todo)
        if engine.push is None:
            problem = engine.token_problem
            return Mode(
                "local_only", str(problem or "no token was found"), problem.hint if problem else LOG_IN
            )
        if self._paused:
            return Mode("paused", PAUSED, "`sessiond ctl resume` ends it.")
        if pause is not None:
            return Mode("paused", pause.message, self.pause_hint(pause))
        return Mode("normal")

    def pause_hint(self, pause: Pause) -> str:
        """What to do about a pause of the pusher."""
        token = self._engine.token
        return renewal(token) if pause.code == TokenRefused.code and token is not None else pause.hint

    def may_push(self) -> bool:
        """Whether nobody has commanded otherwise."""
        return not self._paused and not self._local_only

    def may_ask(self) -> bool:
        """Whether GitHub may be asked now, and is likely to answer."""
        push = self._engine.push
        return push is not None and push.uplink.is_open and not self._local_only
