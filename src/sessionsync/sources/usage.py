"""What a transcript tells of cost and time: tokens, turns, failures, and whether a session was gone on with.

Everything found has a key that is made of what the agent wrote, so whoever keeps it may be told twice: lines
are written again after a compaction, copied when a session is forked, and read again when a file is cut.

A turn is a prompt and what is answered to it until the next.  A session is begun by its first prompt, and
resumed by one that comes `GAP_MS` or more after the last line of the conversation, in another home folder
(another machine), as the first after a restore, or as the first of a fork's own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple

import msgspec

from sessionsync.model import unix_seconds
from sessionsync.sources import prompts
from sessionsync.sources.lines import UNREADABLE, Reader, lines
from sessionsync.sources.transcript.rows import ABSENT, Entry, Message

GAP_MS = 30 * 60 * 1000
DAY_MS = 86_400_000
_MODEL_CHARS = 80
_TOKENS_MOST = 1 << 40  # more is no count, and would not fit beside others
_HOME = re.compile(r"/(?:home|Users|var/home)/[^/]+|/root(?=/|$)|[A-Za-z]:[\\/]Users[\\/][^\\/]+")
_SYNTHETIC = "<synthetic>"


class Answer(NamedTuple):
    """An answered request, once per (message id, request id); `at` is Unix milliseconds, as in all of these.

    `part` says that a subagent asked.
    """

    key: int
    at: int
    model: str
    part: bool
    input: int
    output: int
    cache_read: int
    cache_creation: int


class Turn(NamedTuple):
    """A prompt that was answered: milliseconds from it to the first and to the last line of the answer."""

    key: int
    at: int
    first_ms: int
    last_ms: int
    interrupted: bool


class Start(NamedTuple):
    """A prompt with which work on a session was begun, or begun again."""

    key: int
    at: int
    resumed: bool


class Failure(NamedTuple):
    """Something that went wrong: a request to the API (`api`), also one tried again, or a tool (`tool`)."""

    key: int
    at: int
    kind: Literal["api", "tool"]


class Usage(NamedTuple):
    """What was found in some lines; `volume` is how many bytes of them each day (since 1970) wrote.

    `memory` is what must be handed in with the lines that follow.
    """

    memory: str
    answers: Sequence[Answer] = ()
    turns: Sequence[Turn] = ()
    starts: Sequence[Start] = ()
    failures: Sequence[Failure] = ()
    volume: dict[int, int] = {}  # noqa: RUF012 - never written to


class _Tokens(msgspec.Struct, gc=False):
    input_tokens: int | float | None = None
    output_tokens: int | float | None = None
    cache_read_input_tokens: int | float | None = None
    cache_creation_input_tokens: int | float | None = None


class _Message(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    usage: _Tokens | None = None


class _Inner(msgspec.Struct, rename="camel", gc=False):
    """A subagent's line, in a line about its progress."""

    type: str | None = None
    uuid: str | None = None
    timestamp: str | None = None
    request_id: str | None = None
    message: msgspec.Raw = ABSENT


class _Progress(msgspec.Struct, gc=False):
    message: _Inner | None = None


class _Row(Entry, rename="camel", gc=False):
    cwd: str | None = None
    request_id: str | None = None
    forked_from: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT


class _Memory(msgspec.Struct, omit_defaults=True):
    """What is remembered between two reads.

    Times are of the newest line (`seen`), line of the conversation and prompt; what begins with `asked` is
    the open turn.
    """

    seen: int = 0
    newest: int = 0
    prompted: int = 0
    begun: bool = False
    forked: bool = False
    home: str = ""
    asked: int = 0
    key: int = 0
    first: int = 0
    last: int = 0
    interrupted: bool = False


_rows: Final = Reader(_Row)
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_progress = msgspec.json.Decoder(_Progress).decode
_decode_words = msgspec.json.Decoder(Message).decode
_decode_memory = msgspec.json.Decoder(_Memory).decode
_encode = msgspec.json.Encoder().encode


def of_transcript(data: bytes, memory: str, *, is_main: bool, restored: Sequence[int] = ()) -> Usage:
    """What whole lines of a transcript tell, `memory` being what those before them left.

    Only of a main file are there turns and starts: nobody types to a subagent.  `restored` are the moments
    (Unix milliseconds) at which the session was put back on this machine.
    """
    reading = _Reading(memory, is_main=is_main, restored=restored)
    for line, _end in lines(data, 0):
        rows = _rows.read(line)[0]
        for row in rows:
            reading.take(row, line)
        reading.weigh(len(line) + 1)
    return reading.told()


class _Reading:
    """Lines read one after the other."""

    def __init__(self, memory: str, *, is_main: bool, restored: Sequence[int]) -> None:
        self._memory = _remembered(memory)
        self._is_main = is_main
        self._restored = restored
        self._answers: dict[int, Answer] = {}
        self._turns: list[Turn] = []
        self._starts: list[Start] = []
        self._failures: list[Failure] = []
        self._volume: dict[int, int] = {}

    def take(self, row: _Row, line: bytes) -> None:
        """Take in one object of a line."""
        memory = self._memory
        at = _milliseconds(row.timestamp)
        memory.seen = max(memory.seen, at)
        at = at or memory.seen
        match row.type:
            case "assistant":
                self._take_answer(row, line, at)
            case "progress" if b'"usage"' in line:
                self._take_progress(row, line, at)
            case "user" if not row.is_sidechain:
                self._take_user(row, line, at)
            case "system" if row.subtype == "api_error":
                self._failures.append(Failure(_key(row.uuid or line), at, "api"))

    def weigh(self, size: int) -> None:
        """Count the bytes of a line; most lines are of the day of the newest so far."""
        day = self._memory.seen // DAY_MS
        self._volume[day] = self._volume.get(day, 0) + size

    def told(self) -> Usage:
        """What was found."""
        self._tell_turn()
        return Usage(
            _encode(self._memory).decode(),
            list(self._answers.values()),
            self._turns,
            self._starts,
            self._failures,
            self._volume,
        )

    # --- the agent

    def _take_answer(self, row: _Row, line: bytes, at: int) -> None:
        if row.is_api_error_message:
            self._failures.append(Failure(_key(row.uuid or line), at, "api"))
            return
        by_part = bool(row.is_sidechain or not self._is_main)
        key = self._spend(row, line, at, part=by_part)
        if key is not None and not by_part:
            self._answered(key, at)

    def _take_progress(self, row: _Row, line: bytes, at: int) -> None:
        """Take in what a subagent wrote, which older versions tell in the main file as well."""
        try:
            inner = _decode_progress(row.data).message
        except UNREADABLE:
            return
        if inner is not None and inner.type == "assistant":
            self._spend(inner, line, _milliseconds(inner.timestamp) or at, part=True)

    def _spend(self, row: _Row | _Inner, line: bytes, at: int, *, part: bool) -> int | None:
        """Add an answer's tokens; its key, None where nobody has answered."""
        try:
            message = _decode_message(row.message)
        except UNREADABLE:
            return None
        if message.model == _SYNTHETIC:
            return None
        key = _key(message.id, row.request_id or "") if message.id else _key(row.uuid or line)
        if message.usage is not None:
            new = Answer(key, at, (message.model or "")[:_MODEL_CHARS], part, *_counts(message.usage))
            old = self._answers.get(key)
            if old is not None:  # each line of a message says how much it is so far
                counts = map(max, old[4:], new[4:])
                new = Answer(key, min(old.at, at), old.model or new.model, old.part, *counts)
            self._answers[key] = new
        return key

    def _answered(self, key: int, at: int) -> None:
        memory = self._memory
        memory.newest = max(memory.newest, at)
        if memory.asked and at >= memory.asked:
            if not memory.key:
                memory.key, memory.first = key, at
            memory.last = max(memory.last, at)

    # --- the user

    def _take_user(self, row: _Row, line: bytes, at: int) -> None:
        memory, is_result = self._memory, row.tool_use_result is not ABSENT
        if b'"is_error"' not in line and (is_result or not self._is_main):
            memory.newest = max(memory.newest, at)
            return
        try:
            message = _decode_words(row.message)
        except UNREADABLE:
            return
        blocks = message.blocks()
        if results := [block for block in blocks if block.type == "tool_result"]:
            self._failures += [
                Failure(_key(result.tool_use_id or row.uuid or line), at, "tool")
                for result in results
                if result.is_error
            ]
            memory.newest = max(memory.newest, at)
        elif self._is_main and not is_result:
            text = message.text()
            if text.startswith(prompts.INTERRUPTED):
                memory.interrupted = True
                memory.newest = max(memory.newest, at)
                return
            has_image = any(block.type == "image" for block in blocks)
            if not _is_program(row, text) and prompts.is_typed(text, has_image=has_image):
                self._take_prompt(row, at)

    def _take_prompt(self, row: _Row, at: int) -> None:
        memory = self._memory
        self._tell_turn()
        memory.key = memory.first = memory.last = memory.asked = 0
        memory.interrupted = False
        home = _home(row.cwd or "")
        if row.forked_from is not ABSENT:
            memory.forked = True
            memory.asked = at
        elif at > memory.prompted:  # else it was written again
            memory.asked = at
            resumed = memory.begun and self._is_resumed(at, home)
            if resumed or not memory.begun:
                self._starts.append(Start(_key(row.uuid or str(at)), at, resumed or memory.forked))
            memory.begun = True
        memory.home = home or memory.home
        memory.prompted = max(memory.prompted, at)
        memory.newest = max(memory.newest, at)

    def _is_resumed(self, at: int, home: str) -> bool:
        memory = self._memory
        moved = bool(home and memory.home and home != memory.home)
        put_back = any(memory.newest < moment <= at for moment in self._restored)
        return moved or put_back or at - memory.newest >= GAP_MS

    def _tell_turn(self) -> None:
        memory = self._memory
        if memory.key:
            first, last = memory.first - memory.asked, memory.last - memory.asked
            self._turns.append(Turn(memory.key, memory.asked, first, last, memory.interrupted))


def _is_program(row: _Row, text: str) -> bool:
    """Whether a program speaks in the user's place."""
    return bool(
        row.is_meta
        or row.is_compact_summary
        or row.prompt_source == "system"
        or not prompts.is_human(row.origin)
        or text.startswith(prompts.CONTINUED)
    )


def _counts(tokens: _Tokens) -> tuple[int, int, int, int]:
    said = (
        tokens.input_tokens,
        tokens.output_tokens,
        tokens.cache_read_input_tokens,
        tokens.cache_creation_input_tokens,
    )
    first, second, third, fourth = (int(min(max(number or 0, 0), _TOKENS_MOST)) for number in said)
    return first, second, third, fourth


def _key(*parts: str | bytes) -> int:
    """8 bytes that stand for what something is called: what was said cannot be read from them."""
    raw = b"\0".join(part if isinstance(part, bytes) else part.encode("utf-8", "replace") for part in parts)
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big", signed=True)


def _home(cwd: str) -> str:
    """The home folder that a folder lies in, as far as its path tells."""
    match = _HOME.match(cwd)
    return match[0] if match else ""


def _milliseconds(text: str | None) -> int:
    """An RFC 3339 time as Unix milliseconds; 0 where it is none."""
    if not text:
        return 0
    try:
        if text[-1] == "Z" and len(text) == 24:  # how the agent writes it
            return round(datetime.fromisoformat(text).timestamp() * 1000)
        return max(0, round(unix_seconds(text) * 1000))
    except (ValueError, OverflowError):
        return 0


def _remembered(memory: str) -> _Memory:
    try:
        return _decode_memory(memory) if memory else _Memory()
    except msgspec.DecodeError:  # another version wrote it
        return _Memory()
