"""The whole way in under a minute (`make demo`): sessions grow, GitHub fails, the daemon is killed, a session is lost.

Everything lies in a throw-away folder and talks to a stand-in for GitHub on loopback.  The exit code is 0
only if all of it arrived, each session exactly once and byte by byte, and what was lost is back.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from textwrap import shorten, wrap
from typing import Any, NoReturn

from sessionsync.errors import SessiondError
from sessionsync.privacy.gate import Gate
from sessionsync.remote import comments
from tests.daemon import Daemon
from tests.fakes.agent import Agent
from tests.fakes.process import GitHubProcess

REPO = "acme/shop"
TOKEN = "a-token-of-the-demo"
# Made up, in the shape of a real one, and put together here so that no scanner takes it for one.
SECRET = "ghp_" + "S3cr3tOfTheDemo" * 2 + "a1b2c3"
UPLOADS, SEARCH, CHECKOUT = (
    "5f0c2f6e-9a4b-4c1d-8e57-1b7a90d3c201",
    "c81d4e2e-bcf2-41f6-93a8-7e1f2d6b5a02",
    "checkout-redesign",
)
LIMIT_S = 6
LONGEST_S = 55.0
WIDTH = 100
# So much of a record's JSON is printed.
JSON_LINES = 16

METRICS = """
    sessiond_sessions{tier="github_only",tool="claude"}
    sessiond_sessions{tier="hybrid",tool="claude"}
    sessiond_captured_bytes_total
    sessiond_queue_completed_total{operation="comment",outcome="success"}
    sessiond_queue_oldest_item_age_seconds
    sessiond_queue_buried_items
    sessiond_sync_operations_total{direction="push",outcome="success"}
    sessiond_sync_lag_seconds
    sessiond_github_rate_limit_remaining{resource="core"}
    sessiond_ready
"""


class Wrong(Exception):
    """Something did not arrive as it should."""


COLOURS = {"you": "1", "agents": "36", "sessiond": "32", "GitHub": "35", "trouble": "31", "check": "33"}


class Teller:
    """Prints the story: when, who, what.  Any thread may tell."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._colours = sys.stdout.isatty()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def __call__(self, who: str, what: str, *, bad: bool = False) -> None:
        colour = COLOURS["trouble" if bad else who]
        with self._lock:
            print(f"{self.seconds:6.1f} s  {self.paint(f'{who:<9}', colour)} {what}", flush=True)

    def title(self, text: str) -> None:
        with self._lock:
            print(f"\n{self.paint(text, '1')}\n", flush=True)

    def lines(self, text: str, indent: int = 4) -> None:
        with self._lock:
            for line in text.splitlines():
                print(f"{'':{indent}}{line}".rstrip(), flush=True)

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text


# --- who works


@dataclass
class Typist:
    """An agent whose lines go to its transcript as they come."""

    agent: Agent
    file: Path
    written: int = 0

    def flush(self) -> None:
        with self.file.open("ab") as transcript:
            transcript.write(b"".join(self.agent.lines[self.written :]))
        self.written = len(self.agent.lines)


@dataclass
class Team:
    """Three sessions in one project: two transcripts, and one kept as a folder."""

    daemon: Daemon
    project: Path = field(init=False)
    folder: Path = field(init=False)
    uploads: Typist = field(init=False)
    search: Typist = field(init=False)

    def __post_init__(self) -> None:
        self.project = self.daemon.home / "work" / "shop"
        self.folder = self.project / ".claude" / "sessions" / CHECKOUT
        transcripts = self.daemon.agent / "projects" / re.sub("[^A-Za-z0-9]", "-", str(self.project))
        for folder in (self.folder / "checkpoints", transcripts):
            folder.mkdir(parents=True)
        self.uploads, self.search = (
            Typist(self._agent(session, seed), transcripts / f"{session}.jsonl")
            for seed, session in enumerate((UPLOADS, SEARCH))
        )

    def begin(self) -> None:
        """The first prompts."""
        self._say(
            self.uploads,
            "Uploads over 10 MB fail now and then. Find out why and make them retry.",
            "The proxy closes idle connections after 60 s.\n\n"
            "Decision: retry an upload at most 3 times, with exponential backoff",
            ["Write the failing test", "Retry in upload.py", "Tell the user how often it was tried"],
        )
        self._say(
            self.search,
            "Search is slow for customers with many orders. Measure first, then mend it.",
            "Decision: index orders by customer and date; the query plan scans 2 million rows",
            ["Measure the query", "Add the index", "Measure again"],
        )
        self._write("context.json", self._context("exploring", []))

    def go_on(self, turn: int) -> None:
        """One more turn of each."""
        self.uploads.agent.use(
            "Bash", {"command": "pytest tests/test_upload.py"}, text=f"Attempt {turn}: I run the tests again."
        )
        if turn == 1:
            self.uploads.agent.prompt(f"Use this for the staging bucket: GITHUB_TOKEN={SECRET}")
        self._say(self.uploads, f"What is left, after attempt {turn}?", "The tests pass. Two steps are left.")
        plan = "\n".join(f"  -> Index Scan using orders_{n} (cost={n}.42 rows={n * 97})" for n in range(240))
        call = self.search.agent.call("Bash", {"command": "psql -c 'EXPLAIN ANALYZE …'"}, text="I measure.")
        self.search.agent.result(call, plan, {"stdout": plan})
        self._say(self.search, f"And measurement {turn}?", f"Measurement {turn}: {1800 // turn} ms.")

    def checkpoint(self, number: int, summary: str, phase: str, decisions: list[str]) -> None:
        """The third one saves its state in a file, as some agents do."""
        at = datetime.now(UTC).isoformat()
        self._write("context.json", self._context(phase, decisions))
        self._write("metrics.json", {"tests_passed": 40 + number, "coverage": 0.8 + number / 100})
        self._write(f"checkpoints/{number:03}-{phase}.json", {"timestamp": at, "summary": summary})

    def sessions(self) -> dict[str, dict[str, bytes]]:
        """What is on disk of each session, by file."""
        folder = {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }
        return {
            UPLOADS: {self.uploads.file.name: self.uploads.file.read_bytes()},
            SEARCH: {self.search.file.name: self.search.file.read_bytes()},
            CHECKOUT: folder,
        }

    def _agent(self, session: str, seed: int) -> Agent:
        agent = Agent(session=session, cwd=str(self.project), seed=seed)
        agent.now = datetime.now(UTC)
        return agent

    def _say(self, typist: Typist, prompt: str, answer: str, steps: list[str] | None = None) -> None:
        typist.agent.prompt(prompt)
        if steps:
            todos = [{"content": step, "status": "pending", "activeForm": step} for step in steps]
            typist.agent.use("TodoWrite", {"todos": todos})
        typist.agent.say(answer)
        typist.flush()

    def _context(self, phase: str, decisions: list[str]) -> dict[str, Any]:
        return {
            "session_id": CHECKOUT,
            "title": "Redesign the checkout",
            "status": "in_progress",
            "branch": "feature/checkout",
            "current_phase": phase,
            "decisions": decisions,
            "next_steps": ["Let two customers try it", "Remove the old pages"],
        }

    def _write(self, name: str, value: dict[str, Any]) -> None:
        (self.folder / name).write_text(json.dumps(value, indent=2) + "\n")


# --- what the daemon says of itself


class Listener(threading.Thread):
    """Retells the daemon's log while it grows, through kills and restarts."""

    def __init__(self, log: Path, tell: Teller) -> None:
        super().__init__(daemon=True)
        self._log = log
        self._tell = tell
        self._over = threading.Event()

    def run(self) -> None:
        position = 0
        while not self._over.wait(0.05):
            if not self._log.exists():
                continue
            with self._log.open("rb") as log:
                log.seek(position)
                *lines, _ = log.read().split(b"\n")
            position += sum(len(line) + 1 for line in lines)
            for line in lines:
                self._retell(json.loads(line))

    def end(self) -> None:
        time.sleep(0.1)  # what was said last
        self._over.set()
        self.join(5)

    def _retell(self, said: dict[str, Any]) -> None:
        name = _short(str(said.get("session", "")))
        match said["event"]:
            case "checkpoint_completed":
                self._tell("sessiond", f"checkpoint of {name}, {said['bytes']:,} bytes ({said['trigger']})")
            case "tier_promoted":
                self._tell("sessiond", f"{name} grew past 45 KB: {said['from_tier']} → {said['to_tier']}")
            case "issue_created":
                self._tell("GitHub", f"issue #{said['issue']}: Sessions: {said['project']}")
            case "comment_created":
                self._tell("GitHub", f"a comment for {name}")
            case "push_completed":
                self._tell("sessiond", f"{name} is on GitHub, revision {said['revision']}")
            case "push_failed":
                reason = str(said["reason"]).partition("): ")[2]
                self._tell("GitHub", f"{shorten(reason, 60, placeholder=' …')} ({name})", bad=True)
            case "github_limited":
                self._tell("GitHub", f"limits us for {said['seconds']:.0f} s ({said['kind']})", bad=True)
            case "session_deleted" | "push_buried" | "loop_failed" | "github_unreachable":
                self._tell("sessiond", f"{said['event']}: {said.get('reason', '')}", bad=True)


# --- the story


def main() -> int:
    """Tell it; the exit code."""
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, _end)
    tell = Teller()
    try:
        with tempfile.TemporaryDirectory(prefix="sessiond-demo-") as scratch, ExitStack() as ends:
            return _story(Path(scratch), tell, ends)
    except KeyboardInterrupt:
        print("\nended; nothing is left behind", file=sys.stderr)
        return 130
    except (Wrong, SessiondError) as wrong:
        tell("check", f"WRONG: {wrong}", bad=True)
        return 1


def _story(scratch: Path, tell: Teller, ends: ExitStack) -> int:
    tell.title("sessiond: from files that grow to one issue, whatever fails")
    github = ends.enter_context(GitHubProcess(scratch / "github.db"))
    github.call("token", value=TOKEN, login="ann")
    github.call("add_repo", full_name=REPO)
    daemon = ends.enter_context(
        Daemon(
            scratch,
            GH_TOKEN=TOKEN,
            SESSIOND_GITHUB_REPO=REPO,
            SESSIOND_GITHUB_API_URL=github.url,
            SESSIOND_SOURCES_QUIET_SECONDS="1",
        )
    )
    team = Team(daemon)
    listener = Listener(daemon.log, tell)
    listener.start()
    ends.callback(listener.end)

    tell("you", f"start sessiond with a token and the private repository {REPO}")
    took = daemon.start()
    tell("sessiond", f"watches after {took:.1f} s, pid {daemon.pid}")

    tell("agents", "begin three sessions in ~/work/shop")
    team.begin()
    tell("sessiond", f"a line is in the plain copy {_latency(team) * 1000:.0f} ms after it was written")
    team.checkpoint(1, "What customers see today", "exploring", [])
    _until(lambda: github.call("all_comments"), "no comment came")
    time.sleep(0.3)

    tell("you", "let GitHub do the next thing, but say nothing, and fail once with a 502", bad=True)
    github.call(
        "fault",
        add=[
            {"kind": "drop", "effect": True, "method": "POST", "path": "/comments$", "nth": [1]},
            {"kind": "status", "status": 502, "method": "PATCH", "path": "/comments/", "nth": [1]},
        ],
    )
    tell("agents", "go on; one of them is shown a token")
    for turn in (1, 2):
        time.sleep(0.4)
        team.go_on(turn)
    team.checkpoint(2, "One page instead of four", "building", ["One page, with the total always in sight"])
    _until(lambda: any(github.call("fault_hits")), "nothing failed")
    time.sleep(1.5)

    github.call("secondary_limit", for_s=LIMIT_S, scope="writes")
    tell("you", f"let GitHub refuse to write for {LIMIT_S} s, and kill -9 {daemon.pid}", bad=True)
    daemon.kill()
    tell("agents", "go on while nobody watches")
    team.go_on(3)
    team.checkpoint(3, "Ready to be tried", "trying", ["One page, with the total always in sight"])
    time.sleep(1)
    took = daemon.start()
    tell("sessiond", f"is back after {took:.1f} s, pid {daemon.pid}")
    _until(lambda: _captured(team) and daemon.ctl("status")["captured_until"], "the copies do not follow")
    _until(lambda: daemon.ctl("status")["mode"] == "paused", "the limit was not met")
    _type(daemon, tell, "ctl", "queue")
    _type(daemon, tell, "ctl", "sync", "--wait", "30")
    while not _settled(daemon):
        if tell.seconds > LONGEST_S:
            raise Wrong(f"not through after {LONGEST_S:.0f} s: {daemon.ctl('queue')}")
        daemon.ctl("sync", acts=True, wait=1)
    if not all(github.call("fault_hits")):
        raise Wrong("GitHub did not fail")
    _type(daemon, tell, "ctl", "status")

    listener.end()
    _check(team, github, tell)
    _lose(team, tell)
    _show(github, daemon, tell)
    tell.title(f"Everything arrived exactly once, and what was lost is back, in {tell.seconds:.0f} s.")
    return 0


def _latency(team: Team) -> float:
    """How long one more line takes to the plain copy, in seconds."""
    _until(lambda: _copy(team).exists(), "no copy was made")
    time.sleep(0.3)
    team.uploads.agent.prompt("And how long does the proxy wait?")
    team.uploads.flush()
    began, size = time.monotonic(), team.uploads.file.stat().st_size
    _until(lambda: _copy(team).stat().st_size >= size, "the copy does not follow", every_s=0.001)
    return time.monotonic() - began


def _copy(team: Team) -> Path:
    return team.daemon.mirror / "shop" / team.uploads.file.name


def _captured(team: Team) -> bool:
    copied = team.daemon.mirror / "shop"
    return all(
        (path := copied / name if name.endswith(".jsonl") else copied / session / name).exists()
        and path.read_bytes() == data
        for session, files in team.sessions().items()
        for name, data in files.items()
    )


def _settled(daemon: Daemon) -> bool:
    """Whether every session's newest bytes are in a checkpoint that is on GitHub, and nothing waits."""
    sessions = daemon.ctl("sessions")["sessions"]
    everything = len(sessions) == 3 and not any(session["unpushed_bytes"] for session in sessions)
    return everything and not daemon.ctl("queue")["items"]


def _type(daemon: Daemon, tell: Teller, *arguments: str) -> None:
    """Type a command as a person would; what left something undone is asked again by the caller."""
    tell("you", f"$ sessiond {' '.join(arguments)}")
    done = subprocess.run(
        [sys.executable, "-m", "sessiond", *arguments],
        env=daemon.environ,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    said = (done.stdout + done.stderr).splitlines()
    tell.lines("\n".join(line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…" for line in said), indent=20)


def _check(team: Team, github: GitHubProcess, tell: Teller) -> None:
    """Raise `Wrong` unless each session is there once, whole, and says what is on the disk."""
    state = github.call("state")
    issues = [issue for issue in state["issues"] if comments.parse_project_marker(issue["body"] or "")]
    if len(issues) != 1:
        raise Wrong(f"{len(issues)} issues for one project")
    found: dict[str, list[comments.Part]] = defaultdict(list)
    for comment in state["comments"]:
        if (part := comments.parse(comment["body"])) is None:
            raise Wrong(f"a comment that is no record: {comment['body'][:80]!r}")
        found[part.session_id].append(part)
    gate = Gate(redact=True)
    sessions = team.sessions()
    if found.keys() != sessions.keys():
        raise Wrong(f"records of {sorted(found)}, sessions {sorted(sessions)}")
    for session, files in sessions.items():
        parts = found[session]
        if len({part.part for part in parts}) != len(parts):
            raise Wrong(f"{_short(session)} is there twice")
        record, sent = comments.assemble(parts)
        expected = {name: gate.data(name, data)[0] for name, data in files.items()}
        if {entry.path: entry.size for entry in record.files} != {n: len(d) for n, d in files.items()}:
            raise Wrong(f"{_short(session)}: its record lists other files than are on the disk")
        if sent is not None and sent != expected:
            raise Wrong(f"{_short(session)}: its bytes on GitHub are not those on the disk")
        what = "all" if sent is not None else "the critical data"
        size = sum(map(len, files.values()))
        tell(
            "check", f"{_short(session)} is there once, revision {record.revision}: {what} of {size:,} bytes"
        )
    if not _captured(team):
        raise Wrong("the plain copies are not what is on the disk")
    if any(SECRET in text for text in github.call("ever_readable")):
        raise Wrong("the token was sent")
    tell("check", "the plain copies are what is on the disk; the token never left this machine")


def _lose(team: Team, tell: Teller) -> None:
    """Delete a transcript as its agent does in time, find it by its words, and have it back."""
    file = team.uploads.file
    data = file.read_bytes()
    tell("agents", f"delete the transcript of {_short(UPLOADS)}", bad=True)
    file.unlink()
    _type(team.daemon, tell, "search", "idle connections", "--limit", "1")
    _type(team.daemon, tell, "restore", UPLOADS[:8])
    if not file.exists() or file.read_bytes() != data:
        raise Wrong("what was restored is not what was lost")
    tell("check", f"{_short(UPLOADS)} is back, byte by byte: {len(data):,} bytes")


# --- what a reader sees


def _show(github: GitHubProcess, daemon: Daemon, tell: Teller) -> None:
    state = github.call("state")
    (issue,) = state["issues"]
    tell.title(f"{REPO}  #{issue['number']}  {issue['title']}")
    tell.lines("\n".join(_as_read(issue["body"])))
    for number, comment in enumerate(state["comments"]):
        tell.lines(f"\n{'─' * (WIDTH - 10)} {comment['login']}\n")
        tell.lines("\n".join(_as_read(comment["body"], unfolded=number == 0)))
    tell.title("/metrics")
    series = daemon.metrics()
    tell.lines("\n".join(f"{name} {series[name]:.12g}" for name in METRICS.split()))


def _as_read(body: str, *, unfolded: bool = False) -> Iterator[str]:
    """Markdown as GitHub shows it: without what is hidden, and what is folded only by its name.

    With `unfolded` the first fold is open, as far as `JSON_LINES`.
    """
    body = re.sub(r"<!--.*?-->\n?|</?sub>", "", body, flags=re.DOTALL)
    if unfolded:
        body = re.sub(
            r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", r"▾ \1\2", body, count=1, flags=re.DOTALL
        )
    body = re.sub(r"<details>\s*<summary>(.*?)</summary>.*?</details>", r"▸ \1", body, flags=re.DOTALL)
    fenced = 0
    for line in body.strip().splitlines():
        if line.startswith("```"):
            if fenced > JSON_LINES:
                yield f"  … and {fenced - JSON_LINES} more lines"
            fenced = 0 if fenced else 1
            yield line
        elif fenced:
            fenced += 1
            if fenced <= JSON_LINES:
                yield shorten(line.rstrip(), WIDTH, placeholder=" …") if len(line) > WIDTH else line
        else:
            yield from wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False) or [""]


# --- small things


def _short(session: str) -> str:
    name = session.rpartition(":")[2]
    return {UPLOADS: "“uploads”", SEARCH: "“search”", CHECKOUT: "“checkout”"}.get(name, name)


def _until(condition: Any, otherwise: str, *, every_s: float = 0.02, within_s: float = 20) -> None:
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise Wrong(otherwise)
        time.sleep(every_s)


def _end(*_: object) -> NoReturn:
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)  # a second one must not stop the cleaning up
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
