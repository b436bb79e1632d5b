"""The way of lines into the summary: turns, titles, times, and what only some lines tell.

A turn is an answer of the agent that came to its end.  Newer versions say so (`stop_reason`); in
older ones an answer that consists of text looks finished until a tool call follows it, and is then
taken back.  Lines that were written again with their old `uuid` (after a second compaction, or when
a line was glued and repeated) are not counted again: the newest 256 prompts and boundaries are
remembered for that, and of a longer replay the rest is counted twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from sessionsync.memmem import find
from sessionsync.model import Mark, Summary, rfc3339, unix_seconds
from sessionsync.peek import PATH_CHARS
from sessionsync.sources import prompts, prose
from sessionsync.sources.lines import Piece, Reader
from sessionsync.sources.transcript.plans import HEEDED, ID_CHARS, Plans
from sessionsync.sources.transcript.rows import (
    ABSENT,
    Block,
    Place,
    Row,
    attachment,
    text_of,
    value,
)
from sessionsync.sources.transcript.state import load, store
from sessionsync.sources.transcript.turns import Turns

_KNOWN = 256
_LEAVES = 4
_BRANCH_CHARS = 200

_rows: Final = Reader(Row)
_places: Final = Reader(Place)

# Titles, the best first: what the user named it, then the agent, then what stands for a name.
_TITLES = ("custom", "ai", "summary", "prompt", "command", "last")
_TITLE_ROWS = {"custom-title": "custom", "ai-title": "ai", "last-prompt": "last"}

_PLAN_PREFIX = "Implement the following plan:"
_CHARS = 24  # of a time as the agent writes it
_LEAST_PROMPT_CHARS = 12  # "yes", "go on" say nothing about what is being done
_WORKING = frozenset({"tool_use", "pause_turn"})
_SPEAKERS = frozenset({"user", "assistant"})
_SILENT = frozenset({"progress", "file-history-snapshot", "queue-operation", None})
_SYNTHETIC = "<synthetic>"
_BOUNDARY = b"compact_boundary"


class Transcript:
    """Reads lines into a summary; `store` must be called before the summary is used."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        self._state = load(summary)
        self._plans = Plans(summary, self._state)
        self._turns = Turns(summary, self._state)
        # of the lines being read: a piece of them, where we are, and how far `_note` has come
        self._rows: Sequence[Row] = ()
        self._at = self._noted = 0
        self._last_word: int | None = None

    def read_main(self, data: bytes, offset: int) -> list[Mark]:
        """Read lines of the main file; returns the places just behind compactions."""
        marks: list[Mark] = []
        for piece in _rows.pieces(data):
            boundaries = self._read_piece(piece)
            marks += [Mark(offset + end, "compaction") for end in _ends(boundaries, data, piece)]
        self._note_places(data)
        return marks

    def skim_main(self, data: bytes, offset: int, glance: int) -> list[Mark]:
        """Read of the main file's lines what must not wait; returns the places just behind compactions.

        That is where they were written, what the first ones say where these begin the file, and the titles in
        the last ones, of about so many bytes each.
        """
        marks: list[Mark] = []
        for rows, end in _spelled(_BOUNDARY, data, 0, len(data)):
            self._rows, self._noted = rows, 0
            for self._at, row in enumerate(rows):
                if row.type == "system" and not row.is_sidechain and self._take_system(row):
                    marks.append(Mark(offset + end, "compaction"))
        self._rows = ()
        if not offset:
            for piece in _rows.pieces(data[: data.find(b"\n", glance) + 1 or len(data)]):
                self._read_piece(piece)
        for piece in _rows.pieces(data[data.rfind(b"\n", 0, max(0, len(data) - glance)) + 1 :]):
            for row in piece.rows:
                if row.type in _TITLE_ROWS:
                    self._take_label(row)
        self._note_places(data)
        return marks

    def _read_piece(self, piece: Piece[Row]) -> list[Row]:
        """Read some of the lines; returns those at which the conversation was compacted."""
        self._summary.bad_lines += piece.bad
        self._rows, self._noted = piece.rows, 0
        state, boundaries = self._state, []
        for number, row in enumerate(piece.rows):
            if row.is_sidechain:
                continue
            kind = row.type
            if kind == "assistant":
                if state.turn == "working" and not state.replay and self._goes_on(number, row):
                    continue
            elif kind == "user":
                if row.tool_use_result is not ABSENT and not state.waiting:
                    continue
            elif kind in _SILENT:
                continue
            self._take_last_word()
            self._at = number
            if self._take(row):
                boundaries.append(row)
        self._take_last_word()
        self._note(len(piece.rows))
        self._rows = ()
        return boundaries

    def _take(self, row: Row) -> bool:
        """Take in what a line says; returns whether the conversation was compacted at it."""
        match row.type:
            case "assistant":
                self._take_assistant(row)
            case "user":
                self._take_user(row)
            case "system":
                return self._take_system(row)
            case "attachment":
                self._take_attachment(row)
            case _:
                self._take_label(row)
        return False

    def read_part(self, data: bytes) -> None:
        """Read lines of a subagent: when it worked and, should nothing else say so, where."""
        for piece in _rows.pieces(data):
            self._summary.bad_lines += piece.bad
            self._note_times(piece.rows)
        if not self._state.cwd_of_part:
            self._state.cwd_of_part = _first_cwd(data)

    def replace_tasks(self, tasks: list[object]) -> None:
        """Take over the agent's own task files, which are newer than the lines about them."""
        self._state.agenda.replace_tasks(tasks)

    def replace_todos(self, todos: object) -> None:
        """Take over the agent's own todo file where the lines had no list."""
        if not self._state.agenda.todos:
            self._state.agenda.replace_todos(todos)

    def store(self) -> None:
        """Write what was read into the summary."""
        summary, state = self._summary, self._state
        titles = state.titles
        summary.title = next((titles[kind] for kind in _TITLES if titles.get(kind)), "")
        summary.cwd = summary.cwd or state.cwd_of_part
        summary.started_at = _seconds(state.oldest)
        summary.last_at = _seconds(state.newest)
        self._plans.store()
        self._turns.store()
        if summary.branch != summary.context.branch:
            summary.context = msgspec.structs.replace(summary.context, branch=summary.branch)
        store(summary, state)

    # --- lines

    def _note_places(self, data: bytes) -> None:
        """Take in where lines were written: the first folder, for ever, and the newest version and branch.

        Nearly always the first and the last line are enough.
        """
        summary, newest = self._summary, _newest_places
        summary.cwd = summary.cwd or _first_cwd(data)
        version = next((place.version for place in newest(data, b'"version"') if place.version), "")
        summary.agent_version = version[:ID_CHARS] or summary.agent_version
        of_session = (place for place in newest(data, b'"gitBranch"') if not place.is_sidechain)
        branch = next((place.git_branch for place in of_session if place.git_branch is not None), None)
        summary.branch = summary.branch if branch is None else branch[:_BRANCH_CHARS]

    def _note(self, upto: int) -> None:
        """Take in what every line of the piece before `upto` says, for many at once."""
        state = self._state
        rows, self._noted = self._rows[self._noted : upto], upto
        self._note_times(rows)
        leaves: list[str] = []
        for row in reversed(rows):
            if row.uuid and row.type in _SPEAKERS and not row.is_sidechain:
                leaves.insert(0, row.uuid[:ID_CHARS])
                if len(leaves) == _LEAVES:
                    break
        state.leaves = [*state.leaves, *leaves][-_LEAVES:]

    def _note_times(self, rows: Sequence[Row]) -> None:
        """Take in when the first and the last of these lines were said."""
        state = self._state
        times = [row.timestamp for row in rows if row.timestamp]
        if not times:
            return
        # as the agent writes them they sort as text like the times
        joined = "".join(times)
        if len(joined) == _CHARS * len(times) and joined[_CHARS - 1 :: _CHARS].strip("Z") == "":
            ends = [min(times), max(times)]
            times = ends if all(map(_moment, ends)) else times
        for time in times:
            if not state.oldest <= time <= state.newest and (moment := _moment(time)):
                state.newest = max(state.newest, moment)
                state.oldest = min(state.oldest or moment, moment)

    def _newest(self) -> str:
        """The latest time of any line up to the present one."""
        self._note(max(self._noted, self._at + 1))
        return self._state.newest

    def _is_older(self, row: Row) -> bool:
        """Whether a line before this one was as late."""
        self._note(max(self._noted, self._at))
        return bool(row.timestamp) and row.timestamp <= self._state.newest  # type: ignore[operator]

    def _take_label(self, row: Row) -> None:
        """Take in a line without place in the conversation: the last of its kind counts."""
        state = self._state
        if row.type in _TITLE_ROWS:
            text = {
                "custom-title": row.custom_title,
                "ai-title": row.ai_title,
                "last-prompt": row.last_prompt,
            }
            state.titles[_TITLE_ROWS[row.type]] = prose.clip(text[row.type] or "", prose.TITLE_CHARS)
        elif row.type == "summary":
            self._note(max(self._noted, self._at))
            if (row.leaf_uuid or "")[:ID_CHARS] in state.leaves:
                # those at the head of a file are about other sessions
                state.titles["summary"] = prose.clip(row.summary or "", prose.TITLE_CHARS)
        elif row.type == "pr-link" and row.pr_number and row.pr_number > 0:
            old = self._summary.context
            repo = prose.clip(row.pr_repository or "", 200) or old.repo
            self._summary.context = msgspec.structs.replace(old, repo=repo, pr=row.pr_number)

    def _take_system(self, row: Row) -> bool:
        state = self._state
        if row.subtype in {"stop_hook_summary", "turn_duration"}:
            if state.turn in {"working", "maybe"}:
                self._finish(row, sure=True)
        elif row.subtype == "compact_boundary" and not self._is_known(row):
            self._turns.confirm()
            self._turns.list_checkpoint(_moment(row.timestamp or "") or self._newest(), "compaction")
            return True
        return False

    def _take_attachment(self, row: Row) -> None:
        attached = attachment(row)
        match attached.type:
            case "queued_command":  # typed while the agent worked
                if attached.command_mode in {None, "prompt"} and prompts.is_human(attached.origin):
                    self._take_prompt(row, text_of(value(attached.prompt)), has_image=False)
            case "task_reminder":
                tasks = value(attached.content)
                if isinstance(tasks, list) and tasks:
                    self._state.agenda.replace_tasks(tasks)
            case "todo_reminder":
                self._state.agenda.replace_todos(value(attached.content))

    # --- the user's lines

    def _take_user(self, row: Row) -> None:
        is_result = row.tool_use_result is not ABSENT
        message = row.message
        if message is None:
            return
        blocks = message.blocks()
        results = [block for block in blocks if block.type == "tool_result"]
        if results or is_result:
            for result in results:
                self._plans.result(row, result)
            return
        text = message.text()
        if text.startswith(prompts.INTERRUPTED):
            self._turns.take_back()
        self._turns.confirm()
        if row.is_compact_summary or text.startswith(prompts.CONTINUED):
            if not self._is_known(row):
                self._plans.go_on(text)
        elif not row.is_meta and row.prompt_source != "system" and prompts.is_human(row.origin):
            if row.todos is not ABSENT:
                self._state.agenda.replace_todos(value(row.todos))
            self._state.waiting = {}
            self._take_prompt(row, text, has_image=any(block.type == "image" for block in blocks))

    def _take_prompt(self, row: Row, text: str, *, has_image: bool) -> None:
        state = self._state
        if text.startswith(prompts.INTERRUPTED):
            state.turn = ""
        if text.startswith(prompts.NOT_TYPED):
            return
        command = prompts.command(text)
        words = command or prompts.unwrapped(text)
        if not words and not has_image:
            return
        if self._is_known(row):
            state.replay = True
            return
        state.replay = False
        self._summary.prompts += 1
        self._turns.confirm()
        if state.turn == "done":
            state.steps = []
        state.turn = "asked"
        plan = row.plan_content or words.removeprefix(_PLAN_PREFIX).strip()
        if row.plan_content or plan != words:
            self._plans.adopt(plan)
            words = prose.plan_title(plan)
        elif len(words) >= _LEAST_PROMPT_CHARS:
            state.phase = prose.clip(words)
        kind = "command" if command else "prompt"
        if words and not state.titles.get(kind):
            state.titles[kind] = prose.clip(_first_line(words), prose.TITLE_CHARS)

    # --- the agent's lines

    def _goes_on(self, number: int, row: Row) -> bool:
        """Whether an agent at work goes on with it by this line, and nothing else follows from it: mostly.

        A text may be its last word, as the lines behind it will tell; it is taken in where they do not go on.
        """
        answer = row.message
        if answer is None or len(answer.content) != 1 or (block := answer.content[0]).__class__ is not Block:
            return False
        kind, stop = block.type, answer.stop_reason
        if kind == "tool_use":
            goes_on = block.name not in HEEDED
        elif kind == "thinking":
            goes_on = stop is None or stop in _WORKING
        elif kind == "text" and not prose.may_decide(block.text or ""):
            if stop is None and not row.is_api_error_message and answer.model != _SYNTHETIC:
                self._last_word = number if self._last_word is None else self._last_word
                return True
            goes_on = stop in _WORKING
        else:
            return False
        if goes_on:
            self._last_word = None
        return goes_on

    def _take_last_word(self) -> None:
        if self._last_word is not None:
            self._at, self._last_word = self._last_word, None
            self._take_assistant(self._rows[self._at])

    def _take_assistant(self, row: Row) -> None:
        state, answer = self._state, row.message
        if state.replay and self._is_older(row):
            return
        state.replay = False
        if state.turn == "done" and (row.timestamp or "~") <= state.ended:
            return  # a line of the finished turn, written again
        if answer is None or row.is_api_error_message or answer.model == _SYNTHETIC:
            return
        said, calls = answer.said_and_called()
        for call in calls:
            self._plans.call(call)
        for text in said:
            self._plans.words(text)
        if calls or answer.stop_reason in _WORKING or not (answer.stop_reason or said):
            self._turns.go_on()  # more of the answer must follow this line
        else:
            self._finish(row, sure=bool(answer.stop_reason))

    def _finish(self, row: Row, *, sure: bool) -> None:
        """The agent's answer is at its end, or looks so."""
        if not self._turns.is_over:
            self._turns.end(_moment(row.timestamp or "") or self._newest())
            self._state.ended = row.timestamp or self._newest()
        if sure:
            self._turns.confirm()

    # --- what is kept of it

    def _is_known(self, row: Row) -> bool:
        """Whether this prompt or boundary was counted before; it is from now on."""
        if not row.uuid:
            return False
        state, mark = self._state, "," + prose.clip(row.uuid[:8], 8).replace(",", "")
        if mark in state.known:
            return True
        state.known = (state.known + mark)[-_KNOWN * 9 :]
        return False


def _first_cwd(data: bytes) -> str:
    """The first folder that a line names, '' where none does."""
    at = 0
    while (at := data.find(b'"cwd"', at)) >= 0:
        begin, at = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at) + 1 or len(data)
        for place in _places.read(data[begin:at])[0]:
            if place.cwd and len(place.cwd) <= PATH_CHARS:
                return place.cwd
    return ""


def _newest_places(data: bytes, key: bytes) -> Iterator[Place]:
    """What lines that have a key say, the newest first."""
    begin = len(data)
    while (at := data.rfind(key, 0, begin)) >= 0:
        begin, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at) + 1 or len(data)
        yield from reversed(_places.read(data[begin:end])[0])


def _ends(boundaries: Sequence[Row], data: bytes, piece: Piece[Row]) -> Iterator[int]:
    """Where the lines of these rows end, which were read, in this order, in a piece of data."""
    if not boundaries:
        return
    left = deque(boundaries)
    is_escaped = data.find(b"\\u", piece.begin, piece.end) >= 0
    # all lines are looked at where some may be
    for rows, end in _spelled(b"" if is_escaped else _BOUNDARY, data, piece.begin, piece.end):
        for row in rows:
            if row == left[0]:
                left.popleft()
                yield end
                if not left:
                    return


def _spelled(letters: bytes, data: bytes, at: int, upto: int) -> Iterator[tuple[Sequence[Row], int]]:
    """The lines of data between two ends of lines that have these letters: what each holds, where it ends."""
    while at < upto and (found := find(data, letters, at, upto)) >= 0:
        begin, at = data.rfind(b"\n", at, found) + 1 or at, data.find(b"\n", found, upto) + 1 or upto
        yield _rows.read(data[begin:at])[0], at


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _moment(text: str) -> str:
    """Return a time as `2026-01-02T03:04:05.678Z`, which sorts as text; '' if it is none."""
    try:
        if len(text) == _CHARS and text[5] in "01" and text[-1] == "Z":  # how the agent writes it
            datetime.fromisoformat(text)
            return text
        at = unix_seconds(text)
        return f"{rfc3339(at)[:-1]}.{int(at % 1 * 1000):03}Z"
    except (ValueError, OverflowError):
        return ""


def _seconds(moment: str) -> str:
    return f"{moment[:19]}Z" if moment else ""
