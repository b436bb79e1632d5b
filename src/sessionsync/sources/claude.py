"""Claude Code's transcripts: `~/.claude/projects/<folder>/<session>.jsonl` and what lies around them.

`layout` knows where the files are, `transcript` what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sessionsync.events import Emit
from sessionsync.model import Found, Mark, Ref, Role, SessionFile, Summary
from sessionsync.peek import first_cwd
from sessionsync.sources import Read
from sessionsync.sources.folders import head
from sessionsync.sources.layout import Layout
from sessionsync.sources.lines import document
from sessionsync.sources.passages import Passage, of_transcript
from sessionsync.sources.transcript import Transcript

if TYPE_CHECKING:
    from sessionsync.sources.usage import Usage

# Nearly every transcript names its folder within its first lines.
GLANCE_BYTES = 16 * 1024
# What of its first and last lines is read by who skims it: to read more takes more time than all else there.
SKIM_BYTES = 4 * 1024
TASKS = 200  # task files that are read of one session


class Claude:
    """The transcripts below one or more of Claude Code's folders (`~/.claude`)."""

    name = "claude"
    prunes = True

    def __init__(self, roots: Sequence[Path], emit: Emit) -> None:
        self._layout = Layout(self.name, roots, emit)

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Folders that could not be looked into the last time, and why."""
        return self._layout.unreadable

    @property
    def passed_over(self) -> Mapping[str, str]:
        """Transcripts and project folders that are symbolic links, which are not followed."""
        return self._layout.passed_over

    def roots(self) -> list[Path]:
        """The folders of these that exist: `projects`, `todos`, `tasks`, `file-history`."""
        return self._layout.roots()

    def awaited(self) -> list[Path]:
        """Those of them that do not."""
        return self._layout.awaited()

    def find(self) -> Iterator[Found]:
        """Every session of which the main file, a subagent or something in its own folder is there."""
        return self._layout.find()

    def look(self, ref: Ref) -> Found | None:
        """One session; ids that are no UUID, such as `../x`, are nobody's."""
        return self._layout.look(ref)

    def locate(self, path: Path) -> Ref | None:
        """The session a path belongs to; a subagent of the old layout is opened to know."""
        return self._layout.locate(path)

    def peek_cwd(self, found: Found, limit_bytes: int) -> str:
        """The first `cwd` in the main file, else in a subagent's."""
        for file in found.files:
            if file.role is Role.COMPANION or not file.name.endswith(".jsonl"):
                continue
            for glance in (GLANCE_BYTES, limit_bytes):
                data = head(file.path, min(glance, limit_bytes))
                if cwd := first_cwd(data, whole=len(data) == file.size):
                    return cwd
                if len(data) < glance:
                    break
        return ""

    def append_only(self, name: str) -> bool:
        """Transcripts grow by lines."""
        return name.endswith(".jsonl")

    def passages(self, name: str, data: bytes, offset: int) -> Iterator[Passage]:
        """Words and tool calls of the main file and of subagents."""
        return of_transcript(data, offset) if name.endswith(".jsonl") else iter(())

    def usage(self, role: Role, data: bytes, memory: str, restored: Sequence[int]) -> Usage:
        """Tokens and failures of all its lines, turns and starts of the main file's."""
        from sessionsync.sources import usage  # noqa: PLC0415 - who captures does not ask

        return usage.of_transcript(data, memory, is_main=role is Role.MAIN, restored=restored)

    def follow(self, summary: Summary, name: str, data: bytes, offset: int) -> list[Mark]:
        """Read the main file's lines; of subagents only time and place, of others nothing."""
        is_main = _is_main(name)
        is_part = not is_main and ("/subagents/" in name or "/" not in name)
        if not (is_main or is_part) or not data:
            return []
        reading = Transcript(summary)
        marks: list[Mark] = []
        if is_main:
            marks = reading.read_main(data, offset)
        else:
            reading.read_part(data)
        reading.store()
        return marks

    def skim(self, summary: Summary, name: str, data: bytes, offset: int) -> list[Mark]:
        """Read of a long main file's lines the compactions, and what the first and the last ones say."""
        if not summary.skimmed and offset + len(data) <= 2 * SKIM_BYTES:
            return self.follow(summary, name, data, offset)
        summary.skimmed = True
        if not _is_main(name):
            return []
        reading = Transcript(summary)
        marks = reading.skim_main(data, offset, SKIM_BYTES)
        reading.store()
        return marks

    def conclude(self, summary: Summary, found: Found, read: Read) -> None:
        """Take the open steps from the agent's own files, which are newer than the lines about them."""
        session = found.ref.session_id
        tasks = [file.name for file in found.files if _is_task(file.name)][:TASKS]
        todos = f"todos/{session}-agent-{session}.json"
        has_todos = any(file.name == todos for file in found.files)
        if not tasks and not has_todos:
            return
        reading = Transcript(summary)
        read_tasks = [_json(read(name)) for name in sorted(tasks, key=_task_order)]
        if any(isinstance(task, dict) for task in read_tasks):
            reading.replace_tasks(read_tasks)
        if has_todos:
            reading.replace_todos(_json(read(todos)))
        reading.store()

    def checkpoint_files(self, found: Found) -> list[SessionFile]:
        """None: a transcript's checkpoints are in its lines."""
        del found
        return []

    def is_complete(self, name: str, data: bytes) -> bool:
        """Whether JSON parses; other files are taken as they are."""
        return not name.endswith(".json") or _json(data) is not None

    def stamp(self, summary: Summary) -> str:
        """Nothing: a transcript says by its lines when something was reached."""
        del summary
        return ""


def _json(data: bytes | None) -> object:
    try:
        return None if data is None else document(data)
    except ValueError:
        return None


def _is_main(name: str) -> bool:
    return "/" not in name and not name.startswith("agent-")


def _is_task(name: str) -> bool:
    return name.startswith("tasks/") and name.endswith(".json") and name.count("/") == 2


def _task_order(name: str) -> tuple[int, str]:
    stem = name.rpartition("/")[2].removesuffix(".json")
    return (int(stem) if stem.isdecimal() and len(stem) < 10 else 0), name
