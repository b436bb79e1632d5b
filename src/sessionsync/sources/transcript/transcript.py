"""The way of lines into the summary: turns, titles, times, and what only some lines tell.

A turn is an answer of the agent that came to its end.  Newer versions say so (`stop_reason`); in
older ones an answer that consists of text looks finished until a tool call follows it, and is then
taken back.  Lines that were written again with their old `uuid` (after a second compaction, or when
a line was glued and repeated) are not counted again: the newest 256 prompts and boundaries are
remembered for that, and of a longer replay the rest is counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from typing import Final

import msgspec

from sessionsync.model import CheckpointEntry, Mark, Summary, checkpoint_id, rfc3339, unix_seconds
from sessionsync.sources import prompts, prose
from sessionsync.sources.lines import Reader
from sessionsync.sources.transcript.plans import ENTRIES, ID_CHARS, Plans
from sessionsync.sources.transcript.rows import ABSENT, Row, attachment, text_of, value
from sessionsync.sources.transcript.state import load, store

_KNOWN = 256
_LEAVES = 4
_BRANCH_CHARS = 200
_PATH_CHARS = 4096

_rows: Final = Reader(Row)

# Titles, the best first: what the user named it, then the agent, then what stands for a name.
_TITLES = ("custom", "ai", "summary", "prompt", "command", "last")
_TITLE_ROWS = {"custom-title": "custom", "ai-title": "ai", "last-prompt": "last"}

_PLAN_PREFIX = "Implement the following plan:"
_LAST: Final = itemgetter(-1)
_LEAST_PROMPT_CHARS = 12  # "yes", "go on" say nothing about what is being done
_WORKING = frozenset({"tool_use", "pause_turn"})
_SPEAKERS = frozenset({"user", "assistant"})


class Transcript:
    """Reads lines into a summary; `store` must be called before the summary is used."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        self._state = load(summary)
        self._plans = Plans(summary, self._state)
        # of the lines being read: all of them, where we are, and how far `_note` has come
        self._rows: Sequence[Row] = ()
        self._at = self._noted = 0

    def read_main(self, data: bytes, offset: int) -> list[Mark]:
        """Read lines of the main file; returns the places just behind compactions."""
        rows, ends, bad = _rows.read_all(data, offset)
        self._summary.bad_lines += bad
        self._rows, self._noted = rows, 0
        marks = []
        for number, row in enumerate(rows):
            self._at = number
            if row.is_sidechain:
                continue
            match row.type:
                case "assistant":
                    self._take_assistant(row)
                case "user":
                    if row.tool_use_result is ABSENT or self._state.waiting:
                        self._take_user(row)
                case "system":
                    if self._take_system(row):
                        marks.append(Mark(ends[number], "compaction"))
                case "attachment":
                    self._take_attachment(row)
                case "progress" | "file-history-snapshot" | "queue-operation" | None:
                    pass
                case _:
                    self._take_label(row)
        self._note(len(rows))
        self._rows = []
        return marks

    def read_part(self, data: bytes) -> None:
        """Read lines of a subagent: when it worked and, should nothing else say so, where."""
        state = self._state
        rows, _, bad = _rows.read_all(data, 0)
        self._summary.bad_lines += bad
        self._note_times(rows)
        if not state.cwd_of_part:
            state.cwd_of_part = next(filter(None, map(_path, rows)), "")

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
        if summary.branch != summary.context.branch:
            summary.context = msgspec.structs.replace(summary.context, branch=summary.branch)
        store(summary, state)

    # --- lines

    def _note(self, upto: int) -> None:
        """Take in what every line before `upto` says, for many at once: most repeat the line before."""
        summary, state = self._summary, self._state
        rows, self._noted = self._rows[self._noted : upto], upto
        self._note_times(rows)
        if not summary.cwd:
            summary.cwd = next(filter(None, map(_path, rows)), "")
        version = branch = ""
        leaves: list[str] = []
        for row in reversed(rows):
            version = version or row.version or ""
            if not row.is_sidechain:
                branch = branch or row.git_branch or ""
                if row.uuid and row.type in _SPEAKERS and len(leaves) < _LEAVES:
                    leaves.insert(0, row.uuid[:ID_CHARS])
            if version and branch and len(leaves) == _LEAVES:
                break
        summary.agent_version = version[:ID_CHARS] or summary.agent_version
        summary.branch = branch[:_BRANCH_CHARS] or summary.branch
        state.leaves = [*state.leaves, *leaves][-_LEAVES:]

    def _note_times(self, rows: Sequence[Row]) -> None:
        """Take in when the first and the last of these lines were said."""
        state = self._state
        times = [row.timestamp for row in rows if row.timestamp]
        # then they sort as text like the times
        if set(map(len, times)) == {24} and set(map(_LAST, times)) == {"Z"}:
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
            self._list_checkpoint(row, "compaction")
            if state.turn == "maybe":
                state.turn = "done"
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
        if self._state.turn == "maybe":
            if text.startswith(prompts.INTERRUPTED):
                self._take_back()
            self._state.turn = "done"
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
        if state.turn in {"maybe", "done"}:
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

    def _take_assistant(self, row: Row) -> None:
        state, answer = self._state, row.message
        if state.replay and self._is_older(row):
            return
        state.replay = False
        if state.turn == "done" and (row.timestamp or "~") <= state.ended:
            return  # a line of the finished turn, written again
        if answer is None or row.is_api_error_message or answer.model == "<synthetic>":
            return
        said, calls = answer.said_and_called()
        for call in calls:
            self._plans.call(call)
        for text in said:
            self._plans.words(text)
        if calls or answer.stop_reason in _WORKING or not (answer.stop_reason or said):
            if state.turn == "maybe":
                self._take_back()
            state.turn = "working"  # more of the answer must follow this line
        else:
            self._finish(row, sure=bool(answer.stop_reason))

    def _finish(self, row: Row, *, sure: bool) -> None:
        """The agent's answer is at its end, or looks so."""
        state = self._state
        if state.turn not in {"maybe", "done"}:
            self._summary.turns += 1
            self._list_checkpoint(row, "turn")
            state.ended = row.timestamp or self._newest()
        state.turn = "done" if sure or state.turn == "done" else "maybe"

    def _take_back(self) -> None:
        """What looked like the end of a turn was not."""
        self._summary.turns -= 1
        listed = self._summary.critical.checkpoints
        if listed and listed[-1].trigger == "turn":
            listed.pop()

    # --- what is kept of it

    def _list_checkpoint(self, row: Row, trigger: str) -> None:
        time = _moment(row.timestamp or "") or self._newest()
        if not time:
            return
        at, listed = _seconds(time), self._summary.critical.checkpoints
        name = at.replace("-", "").replace(":", "")
        taken = {entry.id for entry in listed}
        if name in taken:
            name = checkpoint_id(unix_seconds(time), taken)
        listed.append(CheckpointEntry(name, at, trigger))
        del listed[:-ENTRIES]

    def _is_known(self, row: Row) -> bool:
        """Whether this prompt or boundary was counted before; it is from now on."""
        if not row.uuid:
            return False
        state, mark = self._state, "," + prose.clip(row.uuid[:8], 8).replace(",", "")
        if mark in state.known:
            return True
        state.known = (state.known + mark)[-_KNOWN * 9 :]
        return False


def _path(row: Row) -> str:
    return row.cwd if row.cwd and len(row.cwd) <= _PATH_CHARS else ""


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _moment(text: str) -> str:
    """Return a time as `2026-01-02T03:04:05.678Z`, which sorts as text; '' if it is none."""
    try:
        if len(text) == 24 and text[5] in "01" and text[-1] == "Z":  # how the agent writes it
            datetime.fromisoformat(text)
            return text
        at = unix_seconds(text)
        return f"{rfc3339(at)[:-1]}.{int(at % 1 * 1000):03}Z"
    except (ValueError, OverflowError):
        return ""


def _seconds(moment: str) -> str:
    return f"{moment[:19]}Z" if moment else ""
