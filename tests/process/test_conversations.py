"""Two programs add to one conversation, and one of them is killed again and again: nothing lost, nothing doubled."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from sessionsync import conversations
from sessionsync.conversations.transcripts import Transcripts
from tests.fakes.agent import SESSION

KILLS = 6
KEY = {"project_key": "-work-app", "session_id": SESSION}
# Each says what it was done with; told to begin at a number, it repeats what may or may not have been done.
MESSAGES = """
import sys
from sessionsync import conversations
name, at, count, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
store = conversations.open("s", folder)
for number in range(at, count):
    store.append({"role": "user", "content": f"{name}.{number} " + "x" * 2000})
    print(number, flush=True)
"""
ENTRIES = """
import sys, anyio
from sessionsync.conversations import TranscriptStore
name, at, count, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
key = {"project_key": "-work-app", "session_id": "SESSION"}
async def run():
    store = TranscriptStore(folder)
    await store.load(key)
    for number in range(at, count):
        batch = [{"type": "user", "uuid": f"{name}.{number}.{part}", "text": "x" * 9000} for part in range(9)]
        await store.append(key, batch)
        print(number, flush=True)
anyio.run(run)
""".replace("SESSION", SESSION)


def started(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def killed(program: str, folder: Path, counts: Sequence[int]) -> int:
    """Kill a writer after so many answers, each time; the next begins with what had none.  Its answers."""
    done = 0
    for count in counts:
        with started(program, "killed", done, 10_000, folder) as process:
            assert process.stdout is not None
            for _ in range(count):
                done = int(process.stdout.readline()) + 1
            process.kill()
            rest = process.stdout.read().split()  # answered before it died
            done = int(rest[-1]) + 1 if rest and rest[-1].isdecimal() else done
    return done


@pytest.mark.parametrize("program", [MESSAGES, ENTRIES], ids=["messages", "entries"])
def test_what_was_answered_is_there_once(tmp_path: Path, program: str) -> None:
    with started(program, "other", 0, 60, tmp_path) as other:
        done = killed(program, tmp_path, range(1, KILLS + 1))
        assert other.wait(30) == 0
    if program is MESSAGES:
        messages = conversations.open("s", tmp_path).messages()
        found = Counter(message["content"].split()[0] for message in messages)
        wanted = {f"other.{n}" for n in range(60)} | {f"killed.{n}" for n in range(done)}
        # what had no answer may have been done: it comes again, as its writer cannot know
        assert all(count == 1 for name, count in found.items() if name.startswith("other"))
        assert sum(found.values()) - len(found) <= KILLS
        assert json.loads(conversations.open("s", tmp_path).path.read_bytes())
    else:
        entries = Transcripts(tmp_path).load(KEY) or []
        found = Counter(entry["uuid"] for entry in entries)
        wanted = {f"other.{n}.{part}" for n in range(60) for part in range(9)}
        wanted |= {f"killed.{n}.{part}" for n in range(done) for part in range(9)}
        assert {*found.values()} == {1}
    assert wanted <= {*found}
    unanswered = {*found} - wanted
    assert len(unanswered) <= (1 if program is MESSAGES else 9)
