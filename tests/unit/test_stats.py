"""Numbers about sessions: each thing counts once, whatever is written again, copied, cut, moved or lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from sessiond.cli.counting import render
from sessiond.cli.terminal import Terminal
from sessiond.counting import read_live
from sessionsync.captured import Captured, blocks_of
from sessionsync.errors import NumbersBroken
from sessionsync.sources.usage import of_transcript
from sessionsync.stats import Beside, Counter, Numbers, count_live, figures, returns, totals
from sessionsync.stats.figures import percentile
from tests import tallied
from tests.rig import START, Home, Rig

MINUTE = 60.0
# 2026-09-21T10:00:00Z
T = 1_790_000_000.0 // 86_400 * 86_400 + 36_000


class Book:
    """A transcript that is being written, line by line, by a test."""

    def __init__(self, path: Path, cwd: str = "/home/ann/app") -> None:
        self.path, self.cwd, self.number = path, cwd, 0

    def add(self, type_: str, at: float, **fields: Any) -> None:
        """One line; `at` is Unix seconds."""
        self.number += 1
        moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        row = {"type": type_, "uuid": f"{self.path.stem}-{self.number}", "timestamp": moment, "cwd": self.cwd}
        with self.path.open("a") as file:
            file.write(json.dumps({**row, **fields}) + "\n")

    def ask(self, at: float, text: str = "please do it", **fields: Any) -> None:
        self.add("user", at, message={"role": "user", "content": text}, **fields)

    def answer(self, at: float, name: str, *counts: int, model: str = "claude-x", **fields: Any) -> None:
        """A line of the answer `name` with tokens in, out, read and written."""
        usage = dict(zip(tallied.KINDS.values(), (*counts, 0, 0, 0, 0)[:4], strict=True))
        message = {"id": f"msg_{name}", "model": model, "role": "assistant", "content": [], "usage": usage}
        self.add("assistant", at, message=message, requestId=f"req_{name}", **fields)


class Stats:
    """A home with numbers."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.numbers = Numbers(rig.home.state / "numbers.db")
        self.restored: dict[str, Sequence[int]] = {}

    def book(self, cwd: str = "/home/ann/app") -> Book:
        return Book(self.rig.home.transcript(), cwd)

    def keep_up(self) -> int:
        self.rig.now += 5
        self.rig.scan()
        return self.count()

    def count(self) -> int:
        captured = Captured(self.rig.mirror, self.rig.vault)
        counter = Counter(self.numbers, self.rig.catalog, captured, self.rig.sources, self.restored)
        return sum(counter.catch_up())

    def figures(self, since: float = 0.0, **beside: Any) -> dict[str, Any]:
        self.keep_up()
        return figures(self.numbers, Beside({}, **beside), since=since, now=self.rig.now)

    def tokens(self) -> list[int]:
        spent = self.figures()["tokens"]
        return [spent[kind] for kind in tallied.KINDS]


@pytest.fixture
def stats(tmp_path: Path) -> Iterator[Stats]:
    rig = Rig(Home(tmp_path))
    yield Stats(rig)
    rig.close()


# --- tokens


def test_the_lines_of_one_answer_count_once_with_the_largest_of_what_they_say(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    book.answer(T + 1, "a", 10, 1, 100, 7)
    book.answer(T + 2, "a", 10, 55, 100, 7)
    book.answer(T + 3, "b", 1, 2, 3, 4)
    assert stats.tokens() == [11, 57, 103, 11]
    assert stats.figures()["tokens"]["saved_ratio"] == pytest.approx(103 / 125, abs=1e-6)


def test_an_answer_in_two_transcripts_counts_once(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    book.answer(T + 1, "a", 10, 20, 30, 40)
    fork = stats.rig.home.transcript()
    shutil.copy(book.path, fork)
    Book(fork).answer(T + 9, "b", 1, 1, 1, 1)
    assert stats.tokens() == [11, 21, 31, 41]


def test_what_subagents_spend_counts_however_their_lines_are_kept(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    book.answer(T + 1, "a", 1, 0, 0, 0)
    part = book.path.with_suffix("") / "subagents" / "agent-1.jsonl"
    part.parent.mkdir(parents=True)
    sub = Book(part)
    sub.answer(T + 2, "b", 10, 0, 0, 0, isSidechain=True)
    inner = json.loads(part.read_text())
    book.add("progress", T + 2, data={"type": "agent_progress", "message": inner})  # told here as well
    inner["message"]["id"], inner["requestId"] = "msg_c", "req_c"
    inner["message"]["usage"]["input_tokens"] = 100
    book.add("progress", T + 3, data={"type": "agent_progress", "message": inner})
    assert stats.tokens() == [111, 0, 0, 0]
    agents = {each["agent"]: each["tokens"]["input"] for each in stats.figures()["by_agent"]}
    assert agents == {"claude": 1, "claude subagents": 110}


def test_synthetic_answers_and_counts_that_are_none_spend_nothing(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    book.answer(T + 1, "a", 5, 5, 5, 5, model="<synthetic>")
    book.add("assistant", T + 2, message={"id": "x", "usage": {"input_tokens": None, "output_tokens": -3}})
    book.add("assistant", T + 2, message={"id": "y", "usage": {"input_tokens": "many"}})
    book.add("assistant", T + 2, message="no message")
    book.add("assistant", T + 2, message={"id": "z", "usage": {"input_tokens": 1 << 80}})
    assert stats.tokens() == [1 << 40, 0, 0, 0]


# --- a file that is cut, written anew, deleted, let go of


def test_a_cut_and_a_rewrite_count_nothing_twice_and_lose_nothing(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    for number in range(50):
        book.answer(T + number, f"a{number}", 1, 1, 1, 1)
    assert stats.tokens() == [50, 50, 50, 50]
    grown = stats.figures()["growth"]["bytes"]
    lines = book.path.read_bytes().splitlines(keepends=True)
    book.path.write_bytes(b"".join(lines[:20]))
    assert stats.tokens() == [50, 50, 50, 50]
    book.path.write_bytes(b"".join([lines[0], *lines[10:]]))
    assert stats.tokens() == [50, 50, 50, 50]
    book.answer(T + 99, "new", 1, 1, 1, 1)
    assert stats.tokens() == [51, 51, 51, 51]
    assert stats.figures()["sessions"]["starts"] == {"new": 1, "resumed": 0}
    assert stats.figures()["growth"]["bytes"] == grown + len(
        book.path.read_bytes().splitlines(keepends=True)[-1]
    )


def test_what_was_cut_off_before_anybody_counted_is_counted_from_the_vault(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    for number in range(5):
        book.answer(T + number, f"a{number}", 1, 1, 1, 1)
    stats.rig.scan()
    lines = book.path.read_bytes().splitlines(keepends=True)
    book.path.write_bytes(b"".join(lines[:3]))
    stats.rig.now += 5
    stats.rig.scan()
    assert stats.tokens() == [5, 5, 5, 5]


def test_a_deleted_session_goes_on_counting(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    book.answer(T + 1, "a", 1, 2, 3, 4)
    stats.keep_up()
    book.path.unlink()
    assert stats.tokens() == [1, 2, 3, 4]


def test_only_what_is_new_is_read_also_by_another_process(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    for number in range(100):
        book.answer(T + number, f"a{number}", 1, 1, 1, 1)
    assert stats.keep_up() == book.path.stat().st_size
    assert stats.count() == 0
    before = book.path.stat().st_size
    book.answer(T + 200, "more", 1, 1, 1, 1)
    stats.rig.now += 5
    stats.rig.scan()
    stats.numbers.close()
    stats.numbers = Numbers(stats.rig.home.state / "numbers.db")
    assert stats.count() == book.path.stat().st_size - before
    assert stats.tokens() == [101, 101, 101, 101]


def test_two_that_count_at_once_count_once_and_leave_nothing_out(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionsync.captured.BLOCK_BYTES", 1000)
    book = stats.book()
    book.ask(T)
    for number in range(20):
        book.answer(T + number, f"a{number}", 1, 1, 1, 1)
    stats.rig.scan()
    captured = Captured(stats.rig.mirror, stats.rig.vault)

    class Slow(Numbers):
        """Between what it reads first and what it does then, another process counts a block, and dies."""

        def reached(self, *of: Any) -> tuple[int, str] | None:
            found = super().reached(*of)
            if not dead:
                dead.append(True)
                other = Counter(stats.numbers, stats.rig.catalog, captured, stats.rig.sources)
                next(other.catch_up())
            return found

    dead: list[bool] = []
    slow = Slow(stats.rig.home.state / "numbers.db")
    late = Counter(slow, stats.rig.catalog, captured, stats.rig.sources)
    list(late.catch_up())
    assert late.behind()  # it has seen that somebody else is at it
    list(late.catch_up())
    assert not late.behind()
    answer = figures(slow, Beside({}), now=START)
    assert answer["tokens"]["input"] == 20
    assert answer["growth"]["bytes"] == book.path.stat().st_size


def test_numbers_that_are_lost_or_damaged_are_made_again(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    book.answer(T + 1, "a", 1, 2, 3, 4)
    first = stats.figures()
    stats.numbers.close()
    file = stats.rig.home.state / "numbers.db"
    file.write_bytes(b"no database at all" * 1000)
    stats.numbers = Numbers(file)
    assert stats.figures() == first
    with pytest.raises(NumbersBroken):
        Numbers(file / "below a file")


def test_a_forgotten_session_stays_in_the_sums_and_nowhere_else(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    book.answer(T + 1, "a", 1, 2, 3, 4)
    stats.keep_up()
    name = stats.rig.session().name
    stats.numbers.forget(name)
    assert [row[0] for row in stats.numbers.rows("SELECT name FROM sessions")] == ["claude:forgotten"]
    answer = figures(stats.numbers, Beside({}), now=START)
    assert answer["tokens"]["input"] == 1
    assert [each["project"] for each in answer["by_project"]] == ["forgotten"]
    assert answer["growth"]["bytes"] == 0


def test_an_agents_file_that_is_cut_or_locked_while_it_is_read_ends_there() -> None:
    left = b"one\ntwo\n"
    blocks = blocks_of(lambda begin, end: left[begin:end], 0, 100)
    assert list(islice(blocks, 3)) == [(0, left)]
    assert list(islice(blocks_of(lambda _begin, _end: b"", 5, 100), 3)) == []


def test_what_was_noted_of_a_forgotten_session_goes_whatever_it_is_called(tmp_path: Path) -> None:
    file = tmp_path / "returns.jsonl"
    names = ['structured:say "hello"', "structured:\u00e9t\u00e9\\", "structured:say", "claude:a"]
    for name in names:
        returns.note(file, name, T)
    for gone, name in enumerate(names, 1):
        returns.forget(file, name)
        assert list(returns.noted(file)) == names[gone:]


# --- turns


def test_a_turn_lasts_from_the_prompt_to_the_first_and_to_the_last_line_of_the_answer(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    book.answer(T + 2, "a", 1)
    book.add(
        "user", T + 60, message={"content": [{"type": "tool_result", "tool_use_id": "t"}]}, toolUseResult={}
    )
    book.answer(T + 90, "b", 1)
    book.ask(T + 100)
    book.answer(T + 104, "c", 1)
    book.ask(T + 200)
    book.answer(T + 203, "d", 1)
    book.ask(T + 204, "[Request interrupted by user]")
    book.ask(T + 300)
    waits = stats.figures()["response_seconds"]
    assert (waits["p50"], waits["p99"], waits["turns"], waits["interrupted"]) == (3.0, 3.98, 2, 1)
    assert waits["to_last"]["p50"] == 47.0


def test_a_turn_that_goes_on_between_two_counts_is_one(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    book.answer(T + 2, "a", 1)
    assert stats.figures()["response_seconds"]["to_last"]["p50"] == 2.0
    book.answer(T + 50, "b", 1)
    waits = stats.figures()["response_seconds"]
    assert (waits["p50"], waits["to_last"]["p50"], waits["turns"]) == (2.0, 50.0, 1)


def test_nobody_is_answered_by_words_of_programs(stats: Stats) -> None:
    book = stats.book()
    for text in ("Caveat: The messages below were generated by the user", "<local-command-stdout>x"):
        book.ask(T, text)
    book.ask(T, "a summary", isCompactSummary=True)
    book.ask(T, "an aside", isMeta=True)
    book.answer(T + 5, "a", 1)
    answer = stats.figures()
    assert answer["response_seconds"]["turns"] == 0
    assert answer["sessions"]["total"] == 0
    assert answer["tokens"]["input"] == 1


def test_lines_that_are_written_again_say_nothing_about_time(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    book.answer(T + 2, "a", 1)
    book.ask(T + 50)
    book.answer(T + 53, "b", 1)
    old = book.path.read_bytes()
    first = stats.figures()
    with book.path.open("ab") as file:
        file.write(old)  # as after a second compaction
    book.answer(T + 5000, "b2", 1)
    answer = stats.figures()
    assert answer["response_seconds"] == first["response_seconds"]
    assert answer["sessions"] == first["sessions"]


def test_percentiles_lie_between_the_nearest_values() -> None:
    assert percentile([], 0.5) is None
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.5
    assert percentile([float(n) for n in range(101)], 0.95) == 95.0


# --- new and resumed


def test_a_prompt_half_an_hour_after_the_last_line_resumes(stats: Stats) -> None:
    early, late = stats.book(), stats.book()
    for book, pause in ((early, 29 * MINUTE), (late, 30 * MINUTE)):
        name = book.path.stem
        book.ask(T)
        book.answer(T + 100, f"{name}1", 1)
        book.ask(T + 100 + pause)
        book.answer(T + 101 + pause, f"{name}2", 1)
    assert stats.figures()["sessions"] == {
        "total": 2,
        "new": 1,
        "resumed": 1,
        "reuse_ratio": 0.5,
        "starts": {"new": 2, "resumed": 1},
    }


def test_the_first_prompt_on_another_machine_resumes(stats: Stats) -> None:
    book = stats.book("/home/ann/app")
    book.ask(T)
    book.answer(T + 1, "a", 1)
    book.cwd = "/home/ann/elsewhere"
    book.ask(T + 10)
    assert stats.figures()["sessions"]["resumed"] == 0
    book.cwd = "/Users/ann/app"
    book.ask(T + 20)
    assert stats.figures()["sessions"]["resumed"] == 1


def test_the_first_prompt_after_a_restore_resumes(stats: Stats, tmp_path: Path) -> None:
    book = stats.book()
    book.ask(T)
    book.answer(T + 1, "a", 1)
    stats.keep_up()
    file = tmp_path / "returns.jsonl"
    returns.note(file, stats.rig.session().name, T + 5)
    returns.note(file, "claude:another", T + 5)
    with file.open("ab") as opened:
        opened.write(b'{"torn')
    stats.restored = dict(returns.noted(file))
    book.ask(T + 10)
    book.ask(T + 20)
    assert stats.figures()["sessions"]["starts"] == {"new": 1, "resumed": 1}


def test_a_fork_goes_on_with_what_it_was_made_of(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    book.answer(T + 1, "a", 1)
    fork = stats.book()
    fork.ask(T, forkedFrom={"sessionId": book.path.stem})
    fork.answer(T + 1, "a", 1, forkedFrom={"sessionId": book.path.stem})
    fork.ask(T + 5)
    fork.answer(T + 6, "b", 1)
    said = stats.figures()["sessions"]
    assert (said["total"], said["resumed"], said["starts"]) == (2, 1, {"new": 1, "resumed": 1})


# --- failures, goals, windows


def test_requests_that_failed_and_tools_that_failed_count_apart(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    book.add("system", T + 1, subtype="api_error", retryAttempt=1)
    book.add("assistant", T + 2, isApiErrorMessage=True, message={"model": "<synthetic>", "content": []})
    for number in range(98):
        book.answer(T + 3, f"a{number}", 1)
    result = {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": "no"}
    book.add("user", T + 4, message={"content": [result]}, toolUseResult="Error: no")
    assert stats.figures()["errors"] == {"api": 2, "ratio": 0.02, "requests": 100, "tools": 1}


def test_goals_are_held_missed_or_unknown(stats: Stats) -> None:
    def goals(**beside: Any) -> dict[str, tuple[float | None, bool | None]]:
        return {goal["name"]: (goal["value"], goal["held"]) for goal in stats.figures(**beside)["goals"]}

    assert set(goals().values()) == {(None, None)}
    book = stats.book()
    book.ask(T)
    book.answer(T + 29.999, "a", 10, 0, 90)
    assert goals(checks=(10.0, 0.0)) == {
        "response_under_30_s": (1.0, True),
        "reuse": (0.0, False),
        "tokens_saved": (0.9, True),
        "errors": (0.0, True),
        "corruption": (0.0, True),
    }
    book.ask(T + 3600)
    book.answer(T + 3630, "b", 900, 0, 0)
    book.add("system", T + 3700, subtype="api_error")
    assert goals(checks=(10.0, 1.0)) == {
        "response_under_30_s": (0.5, False),
        "reuse": (1.0, True),
        "tokens_saved": (0.09, False),
        "errors": (0.333333, False),
        "corruption": (1.0, False),
    }


def test_since_and_days_split_what_there_is(stats: Stats) -> None:
    book = stats.book()
    for day in range(3):
        book.ask(T + day * 86_400)
        book.answer(T + day * 86_400 + 5, f"a{day}", 10**day)
    answer = stats.figures()
    assert {each["day"]: each["tokens"]["input"] for each in answer["by_day"]} == {
        "2026-09-21": 1,
        "2026-09-22": 10,
        "2026-09-23": 100,
    }
    assert sum(each["bytes"] for each in answer["by_day"]) == book.path.stat().st_size
    later = stats.figures(since=T + 86_400)
    assert later["tokens"]["input"] == 110
    assert later["sessions"] == {
        "total": 1,
        "new": 0,
        "resumed": 1,
        "reuse_ratio": 1.0,
        "starts": {"new": 0, "resumed": 2},
    }


def test_quality_scores_are_their_means(stats: Stats) -> None:
    scores = {"a": {"coverage": 0.5}, "b": {"coverage": 1.0, "lint": 3.0}}
    assert stats.figures(quality=scores)["quality"] == {
        "coverage": {"sessions": 2, "mean": 0.75},
        "lint": {"sessions": 1, "mean": 3.0},
    }


def test_metrics_are_fed_with_the_same_numbers(stats: Stats) -> None:
    book = stats.book()
    book.ask(T)
    book.answer(T + 4, "a", 1, 2, 3, 4)
    book.ask(T + 7200)
    stats.keep_up()
    tokens, starts, waits = totals(stats.numbers, (1, 4, 10))
    kinds = {"input": 1.0, "output": 2.0, "cache_read": 3.0, "cache_creation": 4.0}
    assert tokens == {("claude", kind): value for kind, value in kinds.items()}
    assert starts == {"new": 1.0, "reused": 1.0}
    assert waits == {"claude": ((0, 1, 1), 1, 4.0)}


def test_a_person_sees_days_goals_and_what_cost_most(stats: Stats) -> None:
    assert render(stats.figures(), 0.0, Terminal(80, colours=False))  # of nothing as well
    book = stats.book()
    book.ask(T)
    book.answer(T + 2, "a", 1000)
    book.ask(T + 2 * 86_400)
    book.answer(T + 2 * 86_400 + 31, "b", 3000, 0, 4000)
    lines = render(stats.figures(quality={"s": {"cover\x1bage": 0.5}}), 0.0, Terminal(80, colours=False))
    text = "\n".join(lines)
    assert "Sessions   1: 0 new, 1 resumed (100 %)" in lines
    assert "Tokens     ▂▁█  2026-09-21 to 2026-09-23, at most 7.0k a day" in lines
    assert "Goal       response under 30 s 95 %: 50 %, missed" in lines
    assert "Goal       corruption 0: unknown yet" in lines
    assert "Quality    cover age 0.5, in 1 session" in lines
    assert "\x1b" not in text
    assert [line.split()[0] for line in lines if "TOKENS" in line] == ["PROJECT", "AGENT", "MODEL"]


# --- real transcripts


def test_real_transcripts_give_what_an_independent_count_gives(stats: Stats, transcripts: list[Path]) -> None:
    for number, file in enumerate(transcripts):
        shutil.copy(file, stats.rig.home.transcript(f"{number:08}-0000-4000-8000-000000000000"))
    stats.keep_up()
    stats.rig.wait(600)  # a last line without its newline waits for more until it is quiet
    answer, expected = stats.figures(), tallied.tokens(transcripts)
    for kind, number in expected.items():
        assert answer["tokens"][kind] == pytest.approx(number, rel=0.001)
    for group in ("project", "agent", "day", "model"):
        assert sum(each["tokens"]["total"] for each in answer[f"by_{group}"]) == answer["tokens"]["total"]
    assert stats.count() == 0

    live = Numbers(None)
    count_live(live, stats.rig.sources[0], read_live)
    assert figures(live, Beside({}), now=START)["tokens"] == answer["tokens"]


def test_real_turns_last_as_long_as_an_independent_count_says(transcripts: list[Path]) -> None:
    compared = 0
    for file in transcripts:
        if b"Request interrupted" in file.read_bytes() or b'"isCompactSummary":true' in file.read_bytes():
            continue
        found = sorted(
            turn.first_ms / 1000 for turn in of_transcript(file.read_bytes(), "", is_main=True).turns
        )
        expected = sorted(tallied.waits(file))
        if len(found) == len(expected):  # the plain count knows no commands and no images
            assert found == pytest.approx(expected, rel=0.001, abs=0.002), file
            compared += len(found)
    assert compared > 50
