"""Whether the agent will open a transcript: what it stumbles over when it resumes one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from sessionsync.linewise import Linewise
from sessionsync.peek import is_session_id
from sessionsync.sources.lines import LINE_BYTES, Reader

# What is read at once: it stays in the processor's cache until it is heard.  Each read lets another thread
# on, which reads the file back meanwhile and hashes it leaf by leaf: of 32 MB both are through in 84 ms, in
# blocks of 512 KiB, of which the memory goes back to the system each time, in 102 (measured).
BLOCK_BYTES = 128 * 1024
SHOWN = 3  # lines that a problem names
_NO_RECORD = b"\0"
# Notes beside the conversation; the agent does not miss one's parent.
_ASIDE = "progress"
_TALK = frozenset({"user", "assistant"})


class Block(msgspec.Struct, gc=False):
    """A part of a message."""

    type: str = ""
    id: str = ""
    tool_use_id: str = ""


class Message(msgspec.Struct, gc=False):
    """What was said."""

    id: str = ""
    content: str | list[Block] | None = None

    def calls(self) -> list[str]:
        """The tool calls in it."""
        return [block.id for block in self._blocks() if block.type == "tool_use" and block.id]

    def results(self) -> list[str]:
        """The calls whose results are in it."""
        return [b.tool_use_id for b in self._blocks() if b.type == "tool_result" and b.tool_use_id]

    def _blocks(self) -> list[Block]:
        return self.content if isinstance(self.content, list) else []


class Row(msgspec.Struct, gc=False):
    """What the agent goes by in a line."""

    type: str = ""
    uuid: str | None = None
    parent: str | None = msgspec.field(default=None, name="parentUuid")
    session: str | None = msgspec.field(default=None, name="sessionId")
    is_sidechain: bool | None = msgspec.field(default=None, name="isSidechain")
    timestamp: str | None = None
    message: Message | None = None

    @property
    def needs_parent(self) -> bool:
        """Whether the agent misses its parent where that is not there; not that of a note beside."""
        return bool(self.parent) and self.type != _ASIDE


def loadable(path: Path, name: str = "") -> list[str]:
    """What keeps the agent from resuming the transcript at `path`, or from its whole history; none is best.

    Looked at: that it is named by its session's id (`name`, without its ending, where it does not lie there
    yet), that every line is JSON, that the first is none of a subagent's, that there is a message, that each
    line's parent is there and none is its own ancestor, that each tool call has its result and each result
    its call (only the last answer may still wait for some).

    Raises:
        OSError: it cannot be read.
    """
    reader, reading = Reader(Row), _Reading()
    before = 0
    for block in _whole_lines(path):
        for piece in reader.pieces(block):
            if piece.is_even:
                size = len(piece.rows)
                reading.hear(before + 1, piece.rows)
            else:
                lines = block[piece.begin : piece.end].removesuffix(b"\n").split(b"\n")
                for number, line in enumerate(lines, before + 1):
                    _hear_any(reader, reading, number, line)
                size = len(lines)
            before += size
    return reading.problems(name or path.stem) if before else ["it is empty"]


def _hear_any(reader: Reader[Row], reading: _Reading, number: int, line: bytes) -> None:
    """Take in a line that may be blank, bad, or several objects."""
    if line and not line.isspace():
        rows, is_bad = reader.read(line)
        reading.bad += [number] * is_bad
        for row in rows:
            reading.hear(number, [row])


def _whole_lines(path: Path) -> Iterator[bytes]:
    """What is in the file in blocks of whole lines; of a line that is too long for a record only a sign."""
    cut, is_too_long = Linewise(), False
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            whole = cut.feed(block)
            if is_too_long and whole:
                whole, is_too_long = _NO_RECORD + whole[whole.index(b"\n") :], False
            elif cut.size > LINE_BYTES:
                cut.drop()
                is_too_long = True
            if whole:
                yield whole
    if rest := _NO_RECORD if is_too_long else cut.rest():
        yield rest


class _Reading:
    """What the lines so far tell."""

    def __init__(self) -> None:
        self.bad: list[int] = []
        self.sessions: set[str] = set()
        self.starts_aside = False
        self.parents: dict[str, str | None] = {}
        self.children: list[tuple[int, str]] = []
        self.leaf: str | None = None
        self.heard = False
        self.calls: dict[str, tuple[int, str]] = {}
        self.results: dict[str, int] = {}
        self.answer = ""

    def hear(self, number: int, rows: Sequence[Row]) -> None:
        """Take in lines, one object each, the first of which has this number."""
        if not self.heard:
            self.heard, self.starts_aside = True, bool(rows[0].is_sidechain)
        sessions, parents = self.sessions, self.parents
        for at, row in enumerate(rows, number):  # of which there are many: no call is made for each
            if row.session:
                sessions.add(row.session)
            if uuid := row.uuid:
                parent = row.parent
                parents.setdefault(uuid, parent)
                if parent and parent not in parents and row.needs_parent:  # nearly always it comes before
                    self.children.append((at, parent))
                if row.type in _TALK and not row.is_sidechain:
                    self.leaf = uuid
            if (message := row.message) is not None and (row.type == "assistant" or message.content):
                self._pair(at, row.type, message)

    def _pair(self, number: int, kind: str, message: Message) -> None:
        if kind == "assistant":
            self.answer = message.id
        if isinstance(message.content, list):
            for block in message.content:
                if block.type == "tool_use" and block.id:
                    self.calls.setdefault(block.id, (number, message.id))
                elif block.type == "tool_result" and block.tool_use_id:
                    self.results.setdefault(block.tool_use_id, number)

    def problems(self, name: str) -> list[str]:
        found = []
        if not is_session_id(name):
            found.append("its name is no session's id")
        elif self.sessions and name not in self.sessions:
            found.append("none of its lines is of the session that it is named by")
        if self.bad:
            found.append(f"it is no JSON {_places(self.bad)}")
        if self.starts_aside:
            found.append("it begins with a subagent's line")
        if self.leaf is None:
            found.append("it holds no message")
        if orphans := [number for number, parent in self.children if parent not in self.parents]:
            found.append(f"a parent is missing {_places(orphans)}")
        if self._turns_in_circles():
            found.append("its lines go on from each other in a circle")
        if unasked := [number for call, number in self.results.items() if call not in self.calls]:
            found.append(f"a result has no call {_places(unasked)}")
        open_calls = [
            number
            for call, (number, answer) in self.calls.items()
            if call not in self.results and answer != self.answer
        ]
        if open_calls:
            found.append(f"a call has no result {_places(open_calls)}")
        return found

    def _turns_in_circles(self) -> bool:
        seen: set[str] = set()
        at = self.leaf
        while at is not None:
            if at in seen:
                return True
            seen.add(at)
            at = self.parents.get(at)
        return False


def _places(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:SHOWN]))
    more = len(numbers) - SHOWN
    return f"at line {shown}" + (f" and {more} more" if more > 0 else "")
