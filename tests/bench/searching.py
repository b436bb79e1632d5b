"""The full-text index: how fast it is built and how large, how fast it answers; beside agentsview and grep.

    python -m tests.bench searching

`agentsview` (from PyPI, in an environment of its own) is found on PATH or as `$AGENTSVIEW`; without it that
comparison is left out.  The limit of building is a loop that decodes each line and gives its text to FTS5.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from sessionsync.search import Index
from sessionsync.sources.passages import Passage, of_transcript
from sessionsync.store import Store
from tests.bench import place
from tests.bench.corpus import session_lines
from tests.bench.figures import Beside, Figure, of_rounds, quantile
from tests.bench.place import MB, Transcript
from tests.daemon import Daemon

TIMES_AS_FAST, PART_OF_LOOP = 8, 0.6
PART_OF_TEXT, PART_OF_RAW = 0.6, 0.2
ANSWER_MS, SLOW_MS, PART_OF_GREP = 50, 20, 0.1
FOUND_S = 2
ROUNDS = 20
BUILDS = 3

QUERIES = {
    "a common word": ["the", "cache", "and the"],
    "a rare word": ["zebrafish417", "zebrafish99983"],
    "two words": ["cache queue", "parser zebrafish417"],
    "a phrase": ['"the cache"', '"in the queue"'],
    "a phrase of nothing but common words": ['"the in"', '"the and"'],
    "a prefix": ["c*", "s*", "par*", "zebraf*"],
    "a prefix beside a rare word": ["zebrafish417 t*", "zebrafish99983 c*"],
    "an identifier": ["getUserName", "user_name", "userName*"],
    "Chinese, Japanese, Korean": ["日本語", "语", "数据库", "데이터"],
    "OR and NOT": ["cache OR queue", "cache NOT queue", "the NOT and"],
}
CJK = ["日本語のテスト", "数据库迁移完成", "データベースを更新", "데이터베이스 연결"]
IDENTIFIERS = ["getUserName", "user_name", "parseHTTPHeader", "src/auth/token_store.py", "MAX_RETRIES"]


def measure(*, quick: bool) -> Iterator[Figure]:
    """Building, then asking."""
    yield from _building(24 if quick else 240)
    yield from _asking(100_000 if quick else 1_000_000)


# --- building


def _building(sessions: int) -> Iterator[Figure]:
    with place.daemon(SESSIOND_SOURCES_QUIET_SECONDS="3600") as home:
        made = [Transcript(home, seed, MB, f"of{seed // 10}") for seed in range(sessions)]
        size = sum(each.size for each in made)
        text = sum(len(p.text.encode()) for each in made for p in of_transcript(each.file.read_bytes(), 0))
        home.start()
        place.rested(home)
        late = [_found_after(home, made[0]) for _ in range(ROUNDS // 2)]
        yield Figure("from an append until it is found, the slower half", quantile(late, 0.5), "s")
        yield Figure("  p95", quantile(late, 0.95), "s", most=FOUND_S)
        home.stop()
        index = home.folder / "s" / "state" / "index.db"
        program = os.environ.get("AGENTSVIEW") or shutil.which("agentsview")
        rebuilt, looped, theirs = [], [], []
        for _ in range(BUILDS):  # in turns: this machine is not equally fast all the time
            rebuilt.append(_timed([sys.executable, "-m", "sessiond", "search", "--rebuild"], home.environ))
            looped.append(_raw_loop([each.file for each in made], home.folder / "loop.db"))
            theirs += [_agentsview(program, home)] if program is not None else []
        name = f"index {size / MB:.0f} MB anew, from start to end of the process"
        limit = Beside("FTS5 loop", size / MB / median(looped))
        peer = Beside("agentsview", size / MB / median(theirs)) if theirs else None
        rates = [size / MB / took for took in rebuilt]
        yield of_rounds(name, rates, "MB/s", least=TIMES_AS_FAST, peer=peer, times=True, limit=limit)
        yield of_rounds(
            "  beside a loop over FTS5 alone", rates, "MB/s", least=PART_OF_LOOP, peer=limit, times=True
        )
        yield Figure("  its size, of the text in it", index.stat().st_size / text, "", most=PART_OF_TEXT)
        yield Figure("  its size, of the transcripts", index.stat().st_size / size, "", most=PART_OF_RAW)


def _raw_loop(files: list[Path], database: Path) -> float:
    """Seconds that decoding each line and giving its text to FTS5 takes, in one transaction."""
    database.unlink(missing_ok=True)
    began = time.monotonic()
    with closing(sqlite3.connect(database)) as db:
        db.execute("CREATE VIRTUAL TABLE passages USING fts5(text, content='')")
        for file in files:
            texts = ((passage.text,) for passage in of_transcript(file.read_bytes(), 0))
            db.executemany("INSERT INTO passages (text) VALUES (?)", texts)
        db.commit()
    return time.monotonic() - began


def _found_after(home: Daemon, session: Transcript) -> float:
    """Seconds from an append until another process can find it."""
    word = f"quokka{time.monotonic_ns()}"
    said = {"type": "user", "message": {"role": "user", "content": word}}
    store = Store(home.state, read_only=True)
    state = store.meta("state")
    store.close()
    began = time.monotonic()
    with session.file.open("ab", buffering=0) as file:
        file.write(json.dumps(said).encode() + b"\n")
    index = Index(home.state.with_name("index.db"), state, read_only=True)
    place.until(lambda: index.search(word), 60)
    index.close()
    return time.monotonic() - began


def _agentsview(program: str, home: Daemon) -> float:
    with TemporaryDirectory(prefix="bench-") as folder:
        environ = {
            "PATH": home.environ["PATH"],
            "HOME": folder,
            "CLAUDE_PROJECTS_DIR": str(home.agent / "projects"),
            "AGENTSVIEW_DATA_DIR": str(Path(folder) / "data"),
            "AGENTSVIEW_NO_DAEMON": "1",
        }
        return _timed([program, "sync"], environ)


def _timed(command: list[str], environ: dict[str, str]) -> float:
    began = time.monotonic()
    subprocess.run(command, env=environ, check=True, capture_output=True, timeout=900)
    return time.monotonic() - began


# --- asking


def _asking(rows: int) -> Iterator[Figure]:
    with TemporaryDirectory(prefix="bench-") as folder:
        index = Index(Path(folder) / "index.db", "bench")
        text = 0
        with index.transaction():
            for session, passages in enumerate(_sessions(rows)):
                text += sum(len(passage.text.encode()) for passage in passages)
                index.add(session, "a.jsonl", 0, len(passages), passages)
        index.tidy()
        yield Figure(f"size of {rows:,} rows, of their text", index.bytes() / text, "", most=PART_OF_TEXT)
        index.close()
        index = Index(Path(folder) / "index.db", "bench", read_only=True)
        greps, everything = _greps(rows, Path(folder) / "rows.txt"), []
        for kind, queries in QUERIES.items():
            took = [_ask(index, query) for _ in range(ROUNDS) for query in queries]
            everything += took
            half = Figure(f"  {kind}, p50", quantile(took, 0.5), "ms")
            if kind in greps:
                peer = Beside("grep -F", greps[kind])
                half = half._replace(most=PART_OF_GREP, peer=peer, times=True)
            yield half
            yield Figure(f"  {kind}, p99", quantile(took, 0.99), "ms", most=SLOW_MS)
        filtered = [_ask(index, "the", role="title") for _ in range(ROUNDS)]
        yield Figure("  a common word in titles, p95", quantile(filtered, 0.95), "ms")
        filtered = [_ask(index, "the", sessions={3, 4}) for _ in range(ROUNDS)]
        yield Figure("  a common word in two old sessions, p95", quantile(filtered, 0.95), "ms")
        yield Figure(f"a search over {rows:,} rows, p95", quantile(everything, 0.95), "ms", most=ANSWER_MS)
        index.close()


def _greps(rows: int, file: Path) -> dict[str, float]:
    """Milliseconds that grep takes over the same texts, for those queries that it can answer."""
    with file.open("w", encoding="utf-8") as texts:
        for passages in _sessions(rows):
            texts.writelines(passage.text.replace("\n", " ") + "\n" for passage in passages)
    took = {}
    for kind, word in {
        "a common word": "the",
        "a rare word": "zebrafish417",
        "a phrase": "in the queue",
    }.items():
        command = ["grep", "-cF", word, str(file)]
        began = time.monotonic()
        subprocess.run(command, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"})
        took[kind] = (time.monotonic() - began) * 1000
    return took


def _ask(index: Index, query: str, **filters: object) -> float:
    began = time.perf_counter()
    index.search(query, limit=20, **filters)  # type: ignore[arg-type]
    return (time.perf_counter() - began) * 1000


def _sessions(rows: int) -> Iterator[list[Passage]]:
    """So many passages, in sessions of a thousand, with words that are common, rare, and no English."""
    rng = random.Random(7)
    said = [p for seed in range(0, 200, 10) for p in _said(seed)]
    for first in range(0, rows, 1000):
        passages = []
        for number in range(first, min(first + 1000, rows)):
            known = said[rng.randrange(len(said))]
            more = [known.text[:600], f"the zebrafish{number}"]
            if number % 50 == 0:
                more += [rng.choice(CJK), rng.choice(IDENTIFIERS)]
            role = "title" if number % 1000 == 0 else known.role
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_700_000_000 + number * 30))
            passages.append(Passage(role, at, number, 300, " ".join(more)))
        yield passages


def _said(seed: int) -> list[Passage]:
    lines = session_lines(seed)
    return list(of_transcript(b"".join(next(lines) for _ in range(400)), 0))


if __name__ == "__main__":
    from tests.bench.figures import machine, row

    print(machine(), flush=True)
    for figure in measure(quick="--quick" in sys.argv):
        print(row(figure), flush=True)
