"""Where the agent's turn stands, and the list of the places at which something was reached."""

from __future__ import annotations

from sessionsync.model import CheckpointEntry, Summary, checkpoint_id, unix_seconds
from sessionsync.sources.transcript.state import State

ENTRIES = 50
"""The record's limit for a list."""


class Turns:
    """Works on the state's turn, and on the summary's count and checkpoints.

    Times are moments as `2026-01-02T03:04:05.678Z`, '' where none is known.
    """

    def __init__(self, summary: Summary, state: State) -> None:
        self._summary = summary
        self._state = state

    def go_on(self) -> None:
        """The agent works: what looked like the end was none."""
        self.take_back()
        self._state.turn, self._state.ended = "working", ""

    @property
    def is_over(self) -> bool:
        """Whether the answer is at its end, or looks so."""
        return self._state.turn in {"maybe", "done"}

    def end(self, time: str) -> None:
        """The agent's answer looks as if it were at its end, which it did not before."""
        self._state.turn = "maybe"
        self._summary.turns += 1
        self.list_checkpoint(time, "turn")

    def confirm(self) -> None:
        """What looked like the end was it."""
        if self._state.turn == "maybe":
            self._state.turn = "done"

    def take_back(self) -> None:
        """What looked like the end of a turn was not."""
        if self._state.turn != "maybe":
            return
        self._summary.turns -= 1
        listed = self._summary.critical.checkpoints
        if listed and listed[-1].trigger == "turn":
            listed.pop()

    def list_checkpoint(self, time: str, trigger: str) -> None:
        """Add one to the list."""
        if not time:
            return
        at, listed = f"{time[:19]}Z", self._summary.critical.checkpoints
        name = at.replace("-", "").replace(":", "")
        taken = {entry.id for entry in listed[-ENTRIES:]}
        if name in taken:
            name = checkpoint_id(unix_seconds(time), taken)
        listed.append(CheckpointEntry(name, at, trigger))
        del listed[: -ENTRIES - 1]

    def store(self) -> None:
        """Bring the list to its length; one more stays while its newest entry may be taken back."""
        del self._summary.critical.checkpoints[: -ENTRIES - (self._state.turn == "maybe")]
