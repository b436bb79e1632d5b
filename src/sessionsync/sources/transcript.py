"""What a Claude Code transcript says, read line by line as it grows.

Everything that must be remembered between two reads lies in `State`, in the summary's scratch, so
that it makes no difference how the lines were spread over reads or over restarts.  Only the fields
named here are decoded; tool results, thinking and images are skipped unread.

A turn is an answer of the agent that came to its end.  Newer versions say so (`stop_reason`); in
older ones an answer that consists of text looks finished until a tool call follows it, and is then
taken back.  Lines that were written again with their old `uuid` (after a second compaction, or when
a line was glued and repeated) are not counted again: the newest 256 prompts and boundaries are
remembered for that, and of a longer replay the rest is counted twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from sessionsync.model import CheckpointEntry, Mark, Summary, checkpoint_id, rfc3339, unix_seconds
from sessionsync.sources import prompts, prose
from sessionsync.sources.agenda import Agenda
from sessionsync.sources.lines import Reader

ENTRIES = 50  # the record's limit for a list
_KNOWN = 256
_LEAVES = 4
_ID_CHARS = 64
_BRANCH_CHARS = 200
_PATH_CHARS = 4096
_WAITING = 32
_SCRATCH = "transcript"

_ABSENT: Final = msgspec.Raw(b"")
_CALLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Block(msgspec.Struct, gc=False):
    """A piece of a message: its text, a call of a tool, or what a tool gave back."""

    type: str | None = None
    text: str | None = None
    name: str | None = None
    id: str | None = None
    input: msgspec.Raw = _ABSENT
    tool_use_id: str | None = None
    is_error: bool | None = None
    content: msgspec.Raw = _ABSENT


class Message(msgspec.Struct, gc=False):
    """A message: of an agent's, one line holds one block, and all its lines share the rest."""

    model: str | None = None
    stop_reason: str | None = None
    content: list[Block | str] | str = ""

    def said_and_called(self) -> tuple[list[str], list[Block]]:
        """The texts in an agent's message, and its calls of tools."""
        if isinstance(self.content, str):
            return [self.content], []
        said, calls = [], []
        for block in self.content:
            if isinstance(block, str):
                said.append(block)
            elif block.type in _CALLS:
                calls.append(block)
            elif block.type == "text":
                said.append(block.text or "")
        return said, calls

    def blocks(self) -> list[Block]:
        """Its pieces that are more than text."""
        if isinstance(self.content, str):
            return []
        return [block for block in self.content if isinstance(block, Block)]

    def text(self) -> str:
        """Every text in it, one below the other."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join([block if isinstance(block, str) else block.text or "" for block in self.content])


class Row(msgspec.Struct, rename="camel", gc=False):
    """A line of a transcript: the fields that are read of all its types."""

    type: str | None = None
    subtype: str | None = None
    uuid: str | None = None
    timestamp: str | None = None
    cwd: str | None = None
    git_branch: str | None = None
    version: str | None = None
    is_sidechain: bool | None = None
    is_meta: bool | None = None
    is_compact_summary: bool | None = None
    is_api_error_message: bool | None = None
    origin: prompts.Origin | None = None
    prompt_source: str | None = None
    message: Message | None = None
    tool_use_result: msgspec.Raw = _ABSENT
    attachment: msgspec.Raw = _ABSENT
    todos: msgspec.Raw = _ABSENT
    plan_content: str | None = None
    custom_title: str | None = None
    ai_title: str | None = None
    summary: str | None = None
    leaf_uuid: str | None = None
    last_prompt: str | None = None
    pr_number: int | None = None
    pr_repository: str | None = None


class Attachment(msgspec.Struct, rename="camel", gc=False):
    """What the program hands the agent beside the conversation."""

    type: str | None = None
    command_mode: str | None = None
    origin: prompts.Origin | None = None
    prompt: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT


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


_rows: Final = Reader(Row)
_decode_attachment = msgspec.json.Decoder(Attachment).decode
_decode_any = msgspec.json.Decoder().decode
_decode_state = msgspec.json.Decoder(State).decode
_encode_state = msgspec.json.Encoder().encode

# Titles, the best first: what the user named it, then the agent, then what stands for a name.
_TITLES = ("custom", "ai", "summary", "prompt", "command", "last")
_TITLE_ROWS = {"custom-title": "custom", "ai-title": "ai", "last-prompt": "last"}

_PLAN_PREFIX = "Implement the following plan:"
_ANSWER = re.compile(r'"([^"]+)"="([^"]*)"')
_TASK = re.compile(r"Task #(\S+) created")
_LEAST_PROMPT_CHARS = 12  # "yes", "go on" say nothing about what is being done
_WORKING = frozenset({"tool_use", "pause_turn"})
_HEEDED = frozenset({"TodoWrite", "TaskUpdate", "TaskCreate", "ExitPlanMode", "AskUserQuestion"})
_SPEAKERS = frozenset({"user", "assistant"})


class Transcript:
    """Reads lines into a summary; `store` must be called before the summary is used."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        self._state = _load(summary)
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
                    if row.tool_use_result is _ABSENT or self._state.waiting:
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
        phase = state.agenda.active() or state.phase or titles.get("last", "")
        summary.critical.current_phase = phase
        summary.critical.next_steps = (state.agenda.pending() or state.steps)[-ENTRIES:]
        if summary.branch != summary.context.branch:
            summary.context = msgspec.structs.replace(summary.context, branch=summary.branch)
        summary.scratch[_SCRATCH] = _encode_state(state).decode()

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
                    leaves.insert(0, row.uuid[:_ID_CHARS])
            if version and branch and len(leaves) == _LEAVES:
                break
        summary.agent_version = version[:_ID_CHARS] or summary.agent_version
        summary.branch = branch[:_BRANCH_CHARS] or summary.branch
        state.leaves = [*state.leaves, *leaves][-_LEAVES:]

    def _note_times(self, rows: Sequence[Row]) -> None:
        """Take in when the first and the last of these lines were said."""
        state = self._state
        times = [row.timestamp for row in rows if row.timestamp]
        if {(len(time), time[-1]) for time in times} == {(24, "Z")}:  # as text they sort like the times
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
            if (row.leaf_uuid or "")[:_ID_CHARS] in state.leaves:
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
        try:
            attachment = _decode_attachment(row.attachment)
        except _DECODE_ERRORS:
            return
        match attachment.type:
            case "queued_command":  # typed while the agent worked
                if attachment.command_mode in {None, "prompt"} and prompts.is_human(attachment.origin):
                    self._take_prompt(row, _text_of(_any(attachment.prompt)), has_image=False)
            case "task_reminder":
                tasks = _any(attachment.content)
                if isinstance(tasks, list) and tasks:
                    self._state.agenda.replace_tasks(tasks)
            case "todo_reminder":
                self._state.agenda.replace_todos(_any(attachment.content))

    # --- the user's lines

    def _take_user(self, row: Row) -> None:
        is_result = row.tool_use_result is not _ABSENT
        message = row.message
        if message is None:
            return
        blocks = message.blocks()
        results = [block for block in blocks if block.type == "tool_result"]
        if results or is_result:
            for result in results:
                self._take_result(row, result)
            return
        text = message.text()
        if self._state.turn == "maybe":
            if text.startswith(prompts.INTERRUPTED):
                self._take_back()
            self._state.turn = "done"
        if row.is_compact_summary or text.startswith(prompts.CONTINUED):
            self._take_compaction(row, text)
        elif not row.is_meta and row.prompt_source != "system" and prompts.is_human(row.origin):
            if row.todos is not _ABSENT:
                self._state.agenda.replace_todos(_any(row.todos))
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
            self._adopt_plan(plan)
            words = prose.plan_title(plan)
        elif len(words) >= _LEAST_PROMPT_CHARS:
            state.phase = prose.clip(words)
        kind = "command" if command else "prompt"
        if words and not state.titles.get(kind):
            state.titles[kind] = prose.clip(_first_line(words), prose.TITLE_CHARS)

    def _take_compaction(self, row: Row, text: str) -> None:
        """Read the summary the agent goes on with: what it was doing, and what is next."""
        state = self._state
        if self._is_known(row):
            return
        found = {section.title.lower(): section for section in prose.sections(text)}
        if work := found.get("current work"):
            state.phase = prose.clip(work.first_paragraph()) or state.phase
        steps = prose.steps(found["pending tasks"].items()) if "pending tasks" in found else []
        for title in ("optional next step", "next step", "next steps"):
            if title in found:
                paragraph = found[title].first_paragraph()
                steps += prose.steps(found[title].items() if title == "next steps" else [paragraph])
        state.steps = steps
        for decision in prose.decisions(text):
            self._decide(decision)

    # --- what tools were asked and answered

    def _take_result(self, row: Row, result: Block) -> None:
        tool, subject = self._state.waiting.pop((result.tool_use_id or "")[:_ID_CHARS], ("", ""))
        if not tool or result.is_error:
            return
        outcome = _any(row.tool_use_result)
        if not isinstance(outcome, dict):
            outcome = {}
        match tool:
            case "AskUserQuestion":
                answers = outcome.get("answers")
                if not isinstance(answers, dict):
                    answers = dict(_ANSWER.findall(_text_of(_any(result.content))))
                for question, answer in answers.items():
                    self._decide(_settled(str(question), answer))
            case "ExitPlanMode":
                plan = outcome.get("plan")
                self._adopt_plan(plan if isinstance(plan, str) and plan else subject)
            case "TaskCreate":
                task = outcome.get("task")
                number = task.get("id") if isinstance(task, dict) else None
                if number is None and (match := _TASK.search(_text_of(_any(result.content)))):
                    number = match[1]
                if number is not None:
                    self._state.agenda.create_task(number, subject)

    def _take_call(self, call: Block) -> None:
        state, subject = self._state, ""
        match call.name:
            case "TodoWrite":
                state.agenda.replace_todos(_field(call.input, "todos"))
                return
            case "TaskUpdate":
                state.agenda.update_task(_any(call.input))
                return
            case "TaskCreate":
                subject = _text_of(_field(call.input, "subject"))
            case "ExitPlanMode":
                subject = _text_of(_field(call.input, "plan"))[: prose.TEXT_CHARS]
                state.phase = _planned(subject) or state.phase
        if call.id and call.name and len(state.waiting) < _WAITING:
            state.waiting[call.id[:_ID_CHARS]] = [call.name, subject[: prose.TEXT_CHARS]]

    def _adopt_plan(self, plan: str) -> None:
        state, title = self._state, prose.plan_title(plan)
        if title:
            self._decide(f"Plan approved: {title}")
            state.phase = _planned(plan)
            state.steps = prose.plan_steps(plan)

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
            if call.name in _HEEDED:
                self._take_call(call)
        for text in said:
            self._take_decisions(text)
        if calls or answer.stop_reason in _WORKING or not (answer.stop_reason or said):
            if state.turn == "maybe":
                self._take_back()
            state.turn = "working"  # more of the answer must follow this line
        else:
            self._finish(row, sure=bool(answer.stop_reason))

    def _take_decisions(self, text: str) -> None:
        if "ecision" in text or "ecided" in text:
            for decision in prose.decisions(text):
                self._decide(decision)

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

    def _decide(self, decision: str) -> None:
        decided = self._summary.critical.decisions
        text = prose.clip(decision)
        if text and text not in decided:
            decided.append(text)
            del decided[:-ENTRIES]

    def _is_known(self, row: Row) -> bool:
        """Whether this prompt or boundary was counted before; it is from now on."""
        if not row.uuid:
            return False
        state, mark = self._state, "," + prose.clip(row.uuid[:8], 8).replace(",", "")
        if mark in state.known:
            return True
        state.known = (state.known + mark)[-_KNOWN * 9 :]
        return False


def is_at_work(summary: Summary) -> bool:
    """Whether the agent owes an answer: it was asked, or is in the middle of its turn."""
    return _load(summary).turn in {"asked", "working"}


def _path(row: Row) -> str:
    return row.cwd if row.cwd and len(row.cwd) <= _PATH_CHARS else ""


def _load(summary: Summary) -> State:
    stored = summary.scratch.get(_SCRATCH)
    try:
        return _decode_state(stored) if isinstance(stored, str) else State()
    except msgspec.DecodeError:  # another version wrote it
        return State()


def _any(raw: msgspec.Raw) -> Any:
    try:
        return _decode_any(raw)
    except _DECODE_ERRORS:
        return None


def _field(raw: msgspec.Raw, name: str) -> Any:
    value = _any(raw)
    return value.get(name) if isinstance(value, dict) else None


def _text_of(value: object) -> str:
    """Return the text in what may be a text, or a list of blocks with texts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        texts = (block.get("text") for block in value if isinstance(block, dict))
        return "\n".join(text for text in texts if isinstance(text, str))
    return ""


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _settled(question: str, answer: object) -> str:
    if isinstance(answer, list):
        answer = ", ".join(str(part) for part in answer)
    chosen = prose.clip(str(answer), 240).removesuffix(" (Recommended)")
    return f"{prose.clip(question, 240)} → {chosen}" if chosen else ""


def _planned(plan: str) -> str:
    title = prose.plan_title(plan)
    return f"Plan: {title}" if title else ""


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
