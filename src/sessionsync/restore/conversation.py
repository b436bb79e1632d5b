"""A conversation put together of lines that are held and lines that are inferred, so that it can be opened.

No line that is held is changed: what it needs to hang on to (its parent, a tool's call or result) is put
before or behind it.
"""

from __future__ import annotations

import msgspec

from sessionsync.restore.inferred import MARK, Item, Json, Scribe
from sessionsync.restore.loadable import Message
from sessionsync.restore.pieces import Passage

ROUNDS = 3
"""An added result may be the last answer's, and so on; it ends by itself sooner."""


class Conversation:
    """Lines one behind the other."""

    def __init__(self, scribe: Scribe) -> None:
        self.items: list[Item] = []
        self._scribe = scribe

    # --- line by line

    def add(self, item: Item) -> None:
        """Put a line that is held behind the others."""
        stamps = [row.timestamp for row in item.rows if row.timestamp]
        self._scribe.at = stamps[-1] if stamps else self._scribe.at
        self.items.append(item)

    def add_gap(self, start: int, end: int) -> None:
        """Say that bytes [start, end) are lost."""
        lost = f"Bytes {start} to {end} of this session are lost."
        text = f"{lost} What is still known of them follows, without capitals and punctuation."
        self._put(self._scribe.system(text, f"gap:{start}"), "gap", start)

    def add_words(self, passage: Passage) -> None:
        """Say what is still known of a line that is lost."""
        self._put(self._scribe.words(passage), "words", passage.offset)

    def tell(self, told: str) -> None:
        """Begin the first gap with what is known of the whole session."""
        if told:
            first = next((n for n, item in enumerate(self.items) if item.why == "gap"), len(self.items) - 1)
            row = self._scribe.user(told, "told", isMeta=True)
            self.items.insert(first + 1, self._scribe.item(row, "told"))

    # --- for the agent to open it

    def close(self) -> None:
        """Give every line that is held what it hangs on to."""
        self._give_parents()
        for _ in range(ROUNDS):
            if not (self._give_calls() or self._give_results()):
                break
        first = next((item for item in self.items if item.rows or item.is_link), None)
        if first is None or any(row.is_sidechain for row in first.rows[:1]):
            row = self._scribe.system("It begins before this.", "start")
            self.items.insert(0, self._scribe.item(row, "parent"))
        if not any(self._is_message(item) for item in self.items):
            text = "Of this session nothing that was said is held any longer."
            self.items.append(self._scribe.item(self._scribe.user(text, "nothing", isMeta=True), "told"))
        self._link()

    def _known(self) -> set[str]:
        return {row.uuid for item in self.items for row in item.rows if row.uuid} | {
            item.row["uuid"] for item in self.items if item.is_link
        }

    def _give_parents(self) -> None:
        """Let the inferred line before one whose parent is gone be that parent, or put one there."""
        known, items = self._known(), self.items
        calls = {call for item in items for row in item.rows if row.message for call in row.message.calls()}
        self.items = []
        for item in items:
            for row in item.rows:
                if not row.needs_parent or row.parent is None or row.parent in known:
                    continue
                known.add(row.parent)
                lost = [r for r in (row.message.results() if row.message else ()) if r not in calls]
                if lost:
                    calls.update(lost)
                    parent = self._scribe.assistant("", f"call:{lost[0]}", calls=lost)
                elif (free := self._free()) is not None:
                    free.row["uuid"] = row.parent
                    free.row[MARK]["named"] = True
                    continue
                else:
                    parent = self._scribe.system("What stood here is lost.", f"parent:{row.parent}")
                parent["uuid"] = row.parent
                parent[MARK]["named"] = True
                self._put(parent, "parent")
            self.items.append(item)

    def _free(self) -> Item | None:
        """The inferred line right before, if it is nobody's parent yet."""
        last = self.items[-1] if self.items else None
        is_free = last is not None and last.is_link and "named" not in last.row[MARK]
        return last if is_free else None

    def _give_calls(self) -> bool:
        """Put a call before each result that has none; whether there was one."""
        calls = {call for item in self.items for call in self._calls(item)}
        items, self.items = self.items, []
        for item in items:
            lost = [result for result in self._results(item) if result not in calls]
            if lost:
                calls.update(lost)
                self._put(self._scribe.assistant("", f"call:{lost[0]}", calls=lost), "call")
            self.items.append(item)
        return len(self.items) > len(items)

    def _give_results(self) -> bool:
        """Put a result behind each call that has none; whether there was one.  The last answer's may wait."""
        results = {result for item in self.items for result in self._results(item)}
        answers = [name for item in self.items if (name := self._answer(item))]
        items, self.items = self.items, []
        for item in items:
            self.items.append(item)
            lost = [call for call in self._calls(item) if call not in results]
            if lost and self._answer(item) != answers[-1]:
                results.update(lost)
                self._put(self._scribe.user("", f"result:{lost[0]}", results=lost), "result")
        return len(self.items) > len(items)

    def _link(self) -> None:
        """Let each inferred line go on from the one before it; none from itself."""
        parents = {row.uuid: row.parent for item in self.items for row in item.rows if row.uuid}
        last: str | None = None
        for item in self.items:
            if item.is_link:
                item.row["parentUuid"] = last
                parents[item.row["uuid"]] = last
                if _leads_to(parents, last, item.row["uuid"]):
                    item.row["parentUuid"] = parents[item.row["uuid"]] = None
                last = item.row["uuid"]
            for row in item.rows:
                last = row.uuid if row.uuid and not row.is_sidechain else last

    def _is_message(self, item: Item) -> bool:
        kinds = {"user", "assistant"}
        if item.line is None:
            return item.row.get("type") in kinds
        return any(row.type in kinds and row.uuid and not row.is_sidechain for row in item.rows)

    def _calls(self, item: Item) -> list[str]:
        return [call for message in _messages(item) for call in message.calls()]

    def _results(self, item: Item) -> list[str]:
        return [call for message in _messages(item) for call in message.results()]

    def _answer(self, item: Item) -> str:
        """The id of the answer that a line is of."""
        if item.line is None:
            return str(item.row["message"]["id"]) if item.row.get("type") == "assistant" else ""
        return next((r.message.id for r in item.rows if r.type == "assistant" and r.message), "")

    def _put(self, row: Json, why: str, offset: int | None = None) -> None:
        self.items.append(self._scribe.item(row, why, offset))


def _messages(item: Item) -> list[Message]:
    if item.line is not None:
        return [row.message for row in item.rows if row.message is not None]
    return [msgspec.convert(item.row["message"], Message)] if "message" in item.row else []


def _leads_to(parents: dict[str, str | None], start: str | None, sought: str) -> bool:
    seen: set[str] = set()
    at = start
    while at is not None and at not in seen:
        if at == sought:
            return True
        seen.add(at)
        at = parents.get(at)
    return False
