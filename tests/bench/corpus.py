"""Made-up transcripts that look like real ones to a file system, a compressor and a parser.

Everything is made from the words and patterns below by a seeded `random.Random`: the same seed gives
the same bytes, and nothing in it was ever said or written by anybody.  A world (files, prose, tools'
outputs) belongs to a project, so a session repeats itself as real ones do: files are read, edited and
read again, and each result of a tool is stored twice, once for the model and once for the terminal.
"""

from __future__ import annotations

import base64
import random
import tomllib
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

BEGIN = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
TOOLS = {
    "Read": 30,
    "Bash": 26,
    "Edit": 16,
    "Grep": 8,
    "Write": 6,
    "TodoWrite": 6,
    "Glob": 4,
    "Task": 2,
    "WebFetch": 2,
}
SESSIONS_OF_A_PROJECT = 10
MODELS = ["claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001"]

_WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("corpus.toml").read_text(encoding="utf-8"))
NOUNS, VERBS, ADJECTIVES, PHASES = (
    _WORDS[kind].split() for kind in ("nouns", "verbs", "adjectives", "phases")
)
SENTENCES, COMMANDS, OUTPUTS = (_WORDS[kind].split("\n") for kind in ("sentences", "commands", "outputs"))
CODE: dict[str, dict[str, Any]] = _WORDS["code"]

Line = dict[str, Any]
# of a tool: what is asked, what the model is shown, what the terminal keeps
Use = tuple[Line, Any, Line]

_encode = msgspec.json.Encoder().encode


class _Fill(dict[str, str]):
    """What a pattern's letters stand for, drawn anew at each use."""

    def __init__(self, rng: random.Random, files: list[str]) -> None:
        super().__init__()
        one = rng.choice
        self._draw: dict[str, Callable[[], str]] = {
            "n": lambda: one(NOUNS),
            "v": lambda: one(VERBS),
            "a": lambda: one(ADJECTIVES),
            "d": lambda: str(int(rng.paretovariate(0.5)))[:5],
            "h": lambda: f"{rng.getrandbits(28):07x}",
            "i": lambda: one(VERBS) + one(NOUNS).title(),
            "C": lambda: one(NOUNS).title() + one(NOUNS).title(),
            "K": lambda: one(NOUNS).upper() + "_" + one(NOUNS).upper(),
            "f": lambda: one(files),
            "S": lambda: one(SENTENCES).format_map(self),
        }

    def __missing__(self, letter: str) -> str:
        return self._draw[letter]()


class _World:
    """A project: its folder, its files and what is said about them."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"world {seed}")
        self.cwd = f"/home/dev/{rng.choice(NOUNS)}-{rng.choice(NOUNS)}"
        self.branch = rng.choice(["main", "main", f"feature/{rng.choice(VERBS)}-{rng.choice(NOUNS)}"])
        self.modern = rng.random() < 0.4
        self.version = f"2.1.{rng.randint(205, 240) if self.modern else rng.randint(2, 90)}"
        kinds = rng.choices(list(CODE), weights=[kind["weight"] for kind in CODE.values()], k=120)
        places = [rng.choice(CODE[kind]["paths"].split()) for kind in kinds]
        paths = [place.format(rng.choice(NOUNS), rng.choice(NOUNS)) for place in places]
        fill = _Fill(rng, paths)
        self.files = {path: _code(rng, fill, kind) for path, kind in zip(paths, kinds, strict=True)}
        self.paths = list(self.files)
        self.prose = [rng.choice(SENTENCES).format_map(fill) for _ in range(2500)]
        self.commands = [rng.choice(COMMANDS).format_map(fill) for _ in range(200)]
        self.outputs = [rng.choice(OUTPUTS).format_map(fill) for _ in range(2500)]


def _code(rng: random.Random, fill: _Fill, kind: str) -> list[str]:
    blocks = CODE[kind]["blocks"].split("\n\n")
    lines: list[str] = []
    while len(lines) < 30 + rng.expovariate(1 / 120):
        lines += "\n".join(rng.sample(blocks, min(3, len(blocks)))).format_map(fill).split("\n")
        lines.append("")
    return lines


@lru_cache(maxsize=8)
def _world(seed: int) -> _World:
    return _World(seed)


class _Session:
    """One session as it grows, line by line."""

    def __init__(self, seed: int, session_id: str | None, cwd: str | None, start: datetime) -> None:
        self.rng = random.Random(f"session {seed}")
        self.world = _world(seed // SESSIONS_OF_A_PROJECT)
        self.id = session_id or self._uuid()
        self.cwd = cwd or self.world.cwd
        self.now = start
        self.parent: str | None = None
        self.model = self.rng.choice(MODELS)
        self.context = 12_000
        self.todos: list[dict[str, str]] = []

    def lines(self) -> Iterator[bytes]:
        """Every line the session will ever have; it does not end."""
        yield self._plain(
            {"type": "summary", "summary": self.rng.choice(self.world.prose), "leafUuid": self._uuid()}
        )
        while True:
            yield from self._turn()

    def _turn(self) -> Iterator[bytes]:
        message = self._uuid()
        snapshot = {"messageId": message, "trackedFileBackups": {}, "timestamp": self._time(2)}
        yield self._plain(
            {
                "type": "file-history-snapshot",
                "messageId": message,
                "snapshot": snapshot,
                "isSnapshotUpdate": False,
            }
        )
        yield self._line("user", 60, message={"role": "user", "content": self._say(1, 6)}, uuid=message)
        for _ in range(1 + int(self.rng.expovariate(1 / 7))):
            yield from self._step()
        yield self._assistant(
            {"type": "text", "text": self._say(3, 14)}, self._name("msg_01", 22), "end_turn"
        )
        yield self._line(
            "system", 1, subtype="turn_duration", durationMs=self.rng.randrange(900_000), isMeta=False
        )
        if self.context > 150_000:
            yield from self._compact()

    def _step(self) -> Iterator[bytes]:
        message = self._name("msg_01", 22)
        if self.rng.random() < 0.4:
            signature = base64.b64encode(self.rng.randbytes(int(self.rng.lognormvariate(5.3, 0.5)))).decode()
            thought = {"type": "thinking", "thinking": self._say(2, 9), "signature": signature}
            yield self._assistant(thought, message, None)
        if self.rng.random() < 0.45:
            yield self._assistant({"type": "text", "text": self._say(1, 4)}, message, None)
        tool = self.rng.choices(list(TOOLS), weights=list(TOOLS.values()))[0]
        taken, shown, kept = getattr(self, f"_{tool.lower()}")()
        use = self._name("toolu_01", 22)
        yield self._assistant(
            {"type": "tool_use", "id": use, "name": tool, "input": taken}, message, "tool_use"
        )
        result: Line = {"tool_use_id": use, "type": "tool_result", "content": shown}
        if tool == "Bash":
            result["is_error"] = self.rng.random() < 0.1
            if not self.world.modern:
                yield self._progress(use, shown)
        yield self._line("user", 3, message={"role": "user", "content": [result]}, toolUseResult=kept)

    def _progress(self, use: str, output: str) -> bytes:
        data: Line = {
            "type": "bash_progress",
            "output": output[:400],
            "fullOutput": output[:400],
            "elapsedTimeSeconds": 3,
        }
        data |= {"totalLines": output.count("\n")}
        return self._line(
            "progress", 1, data=data, toolUseID=f"bash-progress-{use[-4:]}", parentToolUseID=use
        )

    def _compact(self) -> Iterator[bytes]:
        metadata = {"trigger": self.rng.choice(["auto", "manual"]), "preTokens": self.context}
        boundary: Line = {
            "subtype": "compact_boundary",
            "content": "Compacted",
            "isMeta": False,
            "level": "info",
        }
        boundary |= {"compactMetadata": metadata, "logicalParentUuid": self.parent}
        self.parent = None
        yield self._line("system", 30, **boundary)
        text = {"role": "user", "content": self._say(20, 60)}
        yield self._line("user", 1, message=text, isVisibleInTranscriptOnly=True, isCompactSummary=True)
        self.context = 15_000

    # --- tools

    def _read(self) -> Use:
        path, lines, first = self._excerpt(250)
        shown = "\n".join(f"{number:>6}→{line}" for number, line in enumerate(lines, first))
        file: Line = {
            "filePath": path,
            "content": "\n".join(lines),
            "numLines": len(lines),
            "startLine": first,
        }
        file["totalLines"] = first + len(lines)
        return (
            {"file_path": path, "offset": first, "limit": len(lines)},
            shown,
            {"type": "text", "file": file},
        )

    def _bash(self) -> Use:
        command, output = self.rng.choice(self.world.commands), self._output(40)
        kept: Line = {"stdout": output, "stderr": "", "interrupted": False, "isImage": False}
        return {"command": command, "description": self._say(1, 1)[:50]}, output, kept

    def _edit(self) -> Use:
        path, lines, first = self._excerpt(12)
        place = self.rng.randrange(len(lines))
        old, line = "\n".join(lines), lines[place]
        lines[place] = f"{line}  # {self._say(1, 1)}"
        new = "\n".join(lines)
        around = [
            *(f" {x}" for x in lines[:place]),
            f"-{line}",
            f"+{lines[place]}",
            *(f" {x}" for x in lines[place + 1 :]),
        ]
        patch: Line = {
            "oldStart": first,
            "oldLines": len(lines),
            "newStart": first,
            "newLines": len(lines),
            "lines": around,
        }
        kept: Line = {"filePath": path, "oldString": old, "newString": new}
        kept |= {"originalFile": "\n".join(self._excerpt(90)[1]), "structuredPatch": [patch]}
        kept |= {"userModified": False, "replaceAll": False}
        shown = f"{path} was changed:\n" + "\n".join(f"{n:>6}→{line}" for n, line in enumerate(lines, first))
        return {"replace_all": False, "file_path": path, "old_string": old, "new_string": new}, shown, kept

    def _write(self) -> Use:
        path, lines, _ = self._excerpt(150)
        content = "\n".join(lines)
        kept: Line = {
            "type": "create",
            "filePath": path,
            "content": content,
            "structuredPatch": [],
            "originalFile": None,
        }
        return {"file_path": path, "content": content}, f"{path} was written", kept

    def _grep(self) -> Use:
        found = "\n".join(f"{path}:{first}:{lines[0]}" for path, lines, first in map(self._excerpt, [1] * 12))
        taken: Line = {
            "pattern": self.rng.choice(NOUNS),
            "path": self.cwd,
            "output_mode": "content",
            "-n": True,
        }
        kept: Line = {"mode": "content", "numFiles": 0, "filenames": [], "content": found, "numLines": 12}
        return taken, found, kept

    def _glob(self) -> Use:
        names = [f"{self.cwd}/{path}" for path in self.rng.sample(self.world.paths, 8)]
        kept: Line = {
            "filenames": names,
            "durationMs": self.rng.randrange(90),
            "numFiles": len(names),
            "truncated": False,
        }
        return {"pattern": f"**/*{self.rng.choice(NOUNS)}*"}, "\n".join(names), kept

    def _todowrite(self) -> Use:
        old, states = self.todos, ["completed", "in_progress", "pending"]
        tasks = [self._say(1, 1)[:70] for _ in range(self.rng.randint(3, 8))]
        self.todos = [{"content": t, "status": self.rng.choice(states), "activeForm": t} for t in tasks]
        return {"todos": self.todos}, "The list was changed.", {"oldTodos": old, "newTodos": self.todos}

    def _task(self) -> Use:
        taken: Line = {
            "description": self._say(1, 1)[:40],
            "prompt": self._say(3, 9),
            "subagent_type": "general-purpose",
        }
        content = [{"type": "text", "text": self._say(8, 30)}]
        kept: Line = {"status": "completed", "prompt": taken["prompt"], "content": content}
        kept |= {"totalDurationMs": self.rng.randrange(400_000), "totalTokens": self.rng.randrange(90_000)}
        return taken, content, kept

    def _webfetch(self) -> Use:
        url, text = (
            f"https://docs.example.com/{self.rng.choice(NOUNS)}/{self.rng.choice(NOUNS)}",
            self._say(10, 40),
        )
        kept: Line = {
            "bytes": len(text) * 9,
            "code": 200,
            "codeText": "OK",
            "result": text,
            "durationMs": 800,
            "url": url,
        }
        return {"url": url, "prompt": self._say(1, 1)}, text, kept

    # --- pieces

    def _say(self, least: int, most: int) -> str:
        count, prose = self.rng.randint(least, most), self.world.prose
        first = self.rng.randrange(len(prose))
        said = [prose[(first + n * n) % len(prose)] for n in range(count)]
        return ("\n\n" if count > 6 else " ").join(said)

    def _output(self, most: int) -> str:
        first = self.rng.randrange(len(self.world.outputs) - most)
        return "\n".join(self.world.outputs[first : first + self.rng.randint(1, most)])

    def _excerpt(self, most: int) -> tuple[str, list[str], int]:
        # some files are looked at all the time, most hardly ever
        path = self.world.paths[int(self.rng.random() ** 2 * len(self.world.paths))]
        lines = self.world.files[path]
        first = self.rng.randrange(len(lines))
        return f"{self.cwd}/{path}", lines[first : first + self.rng.randint(1, most)], first + 1

    def _assistant(self, block: Line, message: str, stop: str | None) -> bytes:
        rng, created, spoken = self.rng, self.rng.randint(20, 4000), self.rng.randint(1, 900)
        self.context += created
        cached = {"ephemeral_5m_input_tokens": created, "ephemeral_1h_input_tokens": 0}
        usage: Line = {"input_tokens": rng.randint(1, 9), "cache_creation_input_tokens": created}
        usage |= {"cache_read_input_tokens": self.context}
        if self.world.modern:
            if block["type"] == "tool_use":
                block["caller"] = {"type": "direct"}
            once = usage | {"output_tokens": spoken, "cache_creation": cached, "type": "message"}
            searches = {"web_search_requests": 0, "web_fetch_requests": 0}
            usage |= {"output_tokens": spoken, "server_tool_use": searches, "service_tier": "standard"}
            usage |= {"cache_creation": cached, "inference_geo": "not_available", "iterations": [once]}
            usage |= {"speed": "standard"}
        else:
            usage |= {"cache_creation": cached, "output_tokens": spoken, "service_tier": "standard"}
        said: Line = {
            "model": self.model,
            "id": message,
            "type": "message",
            "role": "assistant",
            "content": [block],
        }
        said |= {"stop_reason": stop if self.world.modern else None, "stop_sequence": None, "usage": usage}
        return self._line("assistant", 4, message=said, requestId=f"req_011C{message[-20:]}")

    def _line(self, kind: str, pause_s: float, *, uuid: str = "", **rest: Any) -> bytes:
        """A line of the conversation, its keys in the order of the agent's version."""
        where = {"userType": "external", "cwd": self.cwd, "sessionId": self.id, "version": self.world.version}
        where |= {"gitBranch": self.world.branch}
        parent, self.parent = self.parent, uuid or self._uuid()
        line: Line = {"parentUuid": parent, "isSidechain": False}
        if not self.world.modern:
            line |= where
        early = {key: rest.pop(key) for key in ("message", "requestId") if kind == "assistant"}
        line |= early | {"type": kind} | {key: value for key, value in rest.items() if key != "toolUseResult"}
        line |= {"uuid": self.parent, "timestamp": self._time(pause_s)}
        if "toolUseResult" in rest:
            line |= {"toolUseResult": rest["toolUseResult"], "sourceToolAssistantUUID": parent}
        return self._plain(line | {"entrypoint": "cli"} | where if self.world.modern else line)

    @staticmethod
    def _plain(line: Line) -> bytes:
        return _encode(line) + b"\n"

    def _time(self, pause_s: float) -> str:
        self.now += timedelta(milliseconds=int(1000 * self.rng.expovariate(1 / pause_s)))
        return self.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def _name(self, prefix: str, length: int) -> str:
        return prefix + base64.b32encode(self.rng.randbytes(length))[:length].decode()


def session_lines(
    seed: int, *, session_id: str | None = None, cwd: str | None = None, start: datetime = BEGIN
) -> Iterator[bytes]:
    """The lines of a session, each with its newline, without end.  Ten neighbouring seeds share a project."""
    return _Session(seed, session_id, cwd, start).lines()


def session_bytes(seed: int, size_bytes: int, **which: Any) -> bytes:
    """The longest run of whole lines of at most `size_bytes`."""
    parts: list[bytes] = []
    size = 0
    for line in session_lines(seed, **which):
        size += len(line)
        if size > size_bytes:
            return b"".join(parts)
        parts.append(line)
    raise AssertionError  # it does not end


def write_session(path: Path, seed: int, size_bytes: int, **which: Any) -> int:
    """Write such a run to a file, a piece at a time; returns its size."""
    size = 0
    with path.open("wb") as file:
        for line in session_lines(seed, **which):
            if size + len(line) > size_bytes:
                break
            size += file.write(line)
    return size


def structured_files(seed: int, *, checkpoints: int = 3, start: datetime = BEGIN) -> dict[str, bytes]:
    """The files of a structured session by name: context, metrics, checkpoints, one artifact."""
    session = _Session(seed, None, None, start)
    rng, say = session.rng, session._say
    files, last = {}, start
    decisions: list[dict[str, str]] = []
    for number in range(1, checkpoints + 1):
        last = start + timedelta(minutes=20 * number)
        decisions.append({"decision": say(1, 1), "rationale": say(1, 2), "at": last.isoformat()})
        saved: Line = {
            "id": f"{number:03d}-{rng.choice(NOUNS)}",
            "timestamp": last.isoformat(),
            "trigger": "manual",
        }
        saved |= {
            "summary": say(1, 3),
            "phase": rng.choice(PHASES),
            "files": rng.sample(session.world.paths, 4),
        }
        files[f"checkpoints/{saved['id']}.json"] = msgspec.json.format(_encode(saved))
    context: Line = {
        "session_id": session.id,
        "title": say(1, 1),
        "project": session.cwd,
        "status": "in_progress",
    }
    context |= {"branch": session.world.branch, "issue": rng.randint(1, 900), "created_at": start.isoformat()}
    context |= {"updated_at": last.isoformat(), "current_phase": rng.choice(PHASES), "decisions": decisions}
    context |= {"next_steps": [say(1, 1) for _ in range(rng.randint(1, 6))]}
    metrics: Line = {
        "tests_passed": rng.randrange(200),
        "coverage": round(rng.random(), 3),
        "quality": rng.randrange(100),
    }
    files["context.json"] = msgspec.json.format(_encode(context))
    files["metrics.json"] = msgspec.json.format(_encode(metrics))
    files["artifacts/plan.md"] = f"# {say(1, 1)}\n\n{say(10, 40)}\n".encode()
    return files
