"""What is being done and what is open, as the agent's own lists say: `TodoWrite`, and the `Task…` tools.

Both are kept small: of a list only what is not done yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from sessionsync.sources.prose import clip

ENTRIES = 50
# No set: what stands in a status's place need not be a text.
_OVER = ("completed", "deleted", "cancelled")


class Entry(msgspec.Struct):
    """A step that is not done: `active` while it is worked on."""

    text: str
    active: bool = False


class Agenda(msgspec.Struct, omit_defaults=True):
    """The open steps: `todos` is a list that is replaced as a whole, `tasks` are changed one by one."""

    todos: list[Entry] = []
    tasks: dict[str, Entry] = {}

    def replace_todos(self, todos: object) -> None:
        """Take over a list of `{content, status}`; what has another shape changes nothing."""
        if isinstance(todos, list):
            entries = (self._entry(todo, "content") for todo in todos)
            self.todos = [entry for entry in entries if entry][:ENTRIES]

    def replace_tasks(self, tasks: Iterable[object]) -> None:
        """Take over all tasks, `{id, subject, status}` each."""
        self.tasks = {}
        for task in tasks:
            if isinstance(task, dict) and (entry := self._entry(task, "subject")):
                self._keep(str(task.get("id")), entry)

    def create_task(self, number: object, subject: str) -> None:
        """Add a task of which nothing is done yet."""
        if subject:
            self._keep(str(number), Entry(clip(subject)))

    def update_task(self, change: object) -> None:
        """Apply `{taskId, status?, subject?}`; one never seen is taken if it has a subject."""
        if not isinstance(change, dict):
            return
        number, status, subject = str(change.get("taskId")), change.get("status"), change.get("subject")
        entry = self.tasks.get(number)
        if entry is None:
            entry = Entry("")
        if isinstance(subject, str) and subject:
            entry.text = clip(subject)
        if status in _OVER[:2]:
            self.tasks.pop(number, None)
        elif entry.text:
            entry.active = status == "in_progress" if isinstance(status, str) else entry.active
            self._keep(number, entry)

    def active(self) -> str:
        """The step being worked on, '' if none is."""
        return next((entry.text for entry in self._entries() if entry.active), "")

    def pending(self) -> list[str]:
        """The steps that wait, in their order."""
        return [entry.text for entry in self._entries() if not entry.active]

    def _entries(self) -> list[Entry]:
        return [*self.todos, *self.tasks.values()]

    def _keep(self, number: str, entry: Entry) -> None:
        if number in self.tasks or len(self.tasks) < ENTRIES:
            self.tasks[clip(number, 80)] = entry

    @staticmethod
    def _entry(step: Any, key: str) -> Entry | None:
        if not isinstance(step, dict) or step.get("status") in _OVER:
            return None
        text = step.get(key)
        return (
            Entry(clip(text), step.get("status") == "in_progress") if isinstance(text, str) and text else None
        )
