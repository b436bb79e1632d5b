"""What is remembered of a transcript between two reads, in the summary's scratch."""

from __future__ import annotations

from typing import Literal

import msgspec

from sessionsync.model import Summary
from sessionsync.sources.agenda import Agenda

_SCRATCH = "transcript"


class State(msgspec.Struct, omit_defaults=True):
    """What is remembered between two reads.

    `turn` is where the turn stands: `asked` by the user, `working`, `maybe` or surely `done`; '' before
    the first and after an interruption.  `steps` come from a plan or a compaction and go with the
    first prompt after a finished turn; those of the agent's lists are in `agenda`.
    """

    titles: dict[str, str] = {}
    oldest: str = ""
    newest: str = ""
    turn: Literal["", "asked", "working", "maybe", "done"] = ""
    ended: str = ""
    replay: bool = False
    known: str = ""
    leaves: list[str] = []
    waiting: dict[str, list[str]] = {}
    agenda: Agenda = msgspec.field(default_factory=Agenda)
    phase: str = ""
    steps: list[str] = []
    cwd_of_part: str = ""


_decode = msgspec.json.Decoder(State).decode
_encode = msgspec.json.Encoder().encode


def load(summary: Summary) -> State:
    """What the last reader has left in a summary."""
    stored = summary.scratch.get(_SCRATCH)
    try:
        return _decode(stored) if isinstance(stored, str) else State()
    except msgspec.DecodeError:  # another version wrote it
        return State()


def store(summary: Summary, state: State) -> None:
    """Leave it in a summary."""
    summary.scratch[_SCRATCH] = _encode(state).decode()


def is_at_work(summary: Summary) -> bool:
    """Whether the agent owes an answer: it was asked, or is in the middle of its turn."""
    return load(summary).turn in {"asked", "working"}
