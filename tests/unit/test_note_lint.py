"""`note lint`: a hundred notes with one thing wrong, each found, in its line, with a way to mend it."""

import json
from pathlib import Path

import pytest

from sessionsync.model import unix_seconds
from sessionsync.notes import wording
from sessionsync.notes.lint import HINT, PROBLEM, Problem, lint
from sessionsync.notes.template import KINDS, draft
from sessionsync.sources.note_reading import HEAD_BYTES
from tests.conftest import samples

NOW = unix_seconds("2026-01-03T09:00:00Z")
NAME = "2026-01-02-add-a-cache.tmp"
GOOD = """# Add a cache

## Metadata
- **Created:** 2026-01-02T10:00:00Z
- **Updated:** 2026-01-02T12:30:00Z
- **Status:** in_progress
- **Thread:** none

## Context Summary
Answers take 3 s because every page asks the database twice.

## Successful Approaches
- An index on the name halves the time (db/schema.sql, 2026-01-02 11:00)

## Failed Approaches
- A bigger pool: the lock is held, not the connection (db/pool.py, 2026-01-02 11:30)

## Not Yet Attempted
- [ ] P2: Ask once and keep the answer for a minute

## Next Steps
1. [x] P1: Measure the slowest page
2. [ ] P1: Keep answers in `cache.py`
3. [ ] P2: Expire them after a minute

## Technical Decisions
- SQLite for the cache, because one file is enough

## Known Issues
- P3: The first answer after a restart is slow

## Dependencies & Blockers
- The new disk, ordered by Ann
"""
CREATED = "- **Created:** 2026-01-02T10:00:00Z"
UPDATED = "- **Updated:** 2026-01-02T12:30:00Z"
STATUS = "- **Status:** in_progress"
WORKED = "- An index on the name halves the time (db/schema.sql, 2026-01-02 11:00)"
FAILED = "- A bigger pool: the lock is held, not the connection (db/pool.py, 2026-01-02 11:30)"
UNTRIED = "- [ ] P2: Ask once and keep the answer for a minute"
STEP_2 = "2. [ ] P1: Keep answers in `cache.py`"
STEPS = "1. [x] P1: Measure the slowest page\n2. [ ] P1: Keep answers in `cache.py`\n3. [ ] P2: Expire them after a minute"
DECISION = "- SQLite for the cache, because one file is enough"
ISSUE = "- P3: The first answer after a restart is slow"
BLOCKER = "- The new disk, ordered by Ann"
CONTEXT = "Answers take 3 s because every page asks the database twice."
AT = "◀"  # stands at the end of the line in which the problem is to be found

# (rule, what of GOOD is replaced, by what)
DEFECTS = [
    # the status
    ("status-missing", STATUS + "\n", ""),
    ("status-missing", STATUS, "- **Stats:** in_progress"),
    ("status-missing", STATUS, "- in_progress"),
    ("status-missing", STATUS, "<!-- **Status:** in_progress -->"),
    ("status-missing", STATUS, "> **Status:** in_progress"),
    ("status-unknown", STATUS, f"- **Status:** done{AT}"),
    ("status-unknown", STATUS, f"- **Status:** Done.{AT}"),
    ("status-unknown", STATUS, f"- **Status:** In Progress{AT}"),
    ("status-unknown", STATUS, f"- **Status:** in-progress{AT}"),
    ("status-unknown", STATUS, f"- **Status:** IN_PROGRESS{AT}"),
    ("status-unknown", STATUS, f"- **Status:** ✅ completed{AT}"),
    ("status-unknown", STATUS, f"- **Status:** complete{AT}"),
    ("status-unknown", STATUS, f"- **Status:** wip{AT}"),
    ("status-unknown", STATUS, f"- **Status:** paused{AT}"),
    ("status-unknown", STATUS, f"- **Status:** on hold{AT}"),
    ("status-unknown", STATUS, f"- **Status:** almost there{AT}"),
    ("status-unknown", STATUS, f"- **Status:** in_progress (80 %){AT}"),
    ("status-unknown", STATUS, f"- **Status:**{AT}"),
    ("status-unknown", STATUS, f"- **State:** open{AT}"),
    ("status-unknown", STATUS + "\n", f"\n## Status\nNearly finished{AT}\n"),
    ("status-repeated", STATUS, f"{STATUS}\n- **Status:** blocked{AT}"),
    ("status-repeated", CONTEXT, f"{CONTEXT}\n\n**Status:** completed{AT}"),
    # the status beside what else is said
    ("status-open", STATUS, "- **Status:** completed"),
    ("status-open", f"{STEPS}", f"- [x] P1: Measure it\n- [ ] P2: Expire the answers{AT}"),
    ("status-blocked", STATUS, f"- **Status:** blocked{AT}"),
    ("next-missing", STEPS, ""),
    ("next-missing", STEPS, "1. [x] P1: Measure the slowest page"),
    ("next-missing", f"## Next Steps\n{STEPS}\n\n", ""),
    ("next-missing", STEPS, "- None"),
    # dates
    ("date-missing", CREATED + "\n", ""),
    ("date-missing", UPDATED + "\n", ""),
    ("date-missing", CREATED, "- **Made:** 2026-01-02T10:00:00Z"),
    ("date-missing", UPDATED, "- **Touched:** 2026-01-02"),
    ("date-invalid", CREATED, f"- **Created:** 02.01.2026{AT}"),
    ("date-invalid", CREATED, f"- **Created:** 1/2/2026{AT}"),
    ("date-invalid", CREATED, f"- **Created:** January 2nd, 2026{AT}"),
    ("date-invalid", CREATED, f"- **Created:** 2026-13-02{AT}"),
    ("date-invalid", CREATED, f"- **Created:** 2026-02-30{AT}"),
    ("date-invalid", CREATED, f"- **Created:** yesterday{AT}"),
    ("date-invalid", CREATED, f"- **Started:** 10 o'clock{AT}"),
    ("date-invalid", UPDATED, f"- **Updated:** just now{AT}"),
    ("date-invalid", UPDATED, f"- **Last Updated:** 2026-01-02T25:00:00Z{AT}"),
    ("date-invalid", UPDATED, f"- **Updated:** 2026-01{AT}"),
    ("date-invalid", UPDATED, f"- **Updated:** 12:30{AT}"),
    ("date-invalid", UPDATED, f"- **Updated:**{AT}"),
    ("date-invalid", UPDATED, f"{UPDATED}\n- **Ended:** tonight{AT}"),
    ("date-order", UPDATED, f"- **Updated:** 2026-01-01{AT}"),
    ("date-order", UPDATED, f"- **Updated:** 2026-01-02T09:59:59Z{AT}"),
    ("date-order", UPDATED, f"{UPDATED}\n- **Ended:** 2025-12-31T10:00:00Z{AT}"),
    ("date-order", UPDATED, f"- **Updated:** 2026-01-02T10:30:00+01:00{AT}"),
    ("date-future", UPDATED, f"- **Updated:** 2027-01-02{AT}"),
    ("date-future", UPDATED, f"- **Updated:** 2026-01-05T10:00:00Z{AT}"),
    ("date-future", CREATED, f"- **Created:** 2062-01-02{AT}"),
    ("date-name", CREATED, f"- **Created:** 2025-12-30T01:00:00Z{AT}"),
    ("date-name", CREATED, f"- **Created:** 2025-01-02T10:00:00Z{AT}"),
    # one topic
    ("title-missing", "# Add a cache\n", ""),
    ("one-topic", "## Next Steps", f"# Mend the login{AT}\n\n## Next Steps"),
    ("one-topic", BLOCKER, f"{BLOCKER}\n\n# 2026-01-03: the next day{AT}\n"),
    ("one-topic", "# Add a cache", f"# Add a cache; mend the login{AT}"),
    ("one-topic", "# Add a cache", f"# Cache + login + payments{AT}"),
    ("one-topic", "# Add a cache", f"# Cache and also the login{AT}"),
    ("one-topic", BLOCKER, f"{BLOCKER}\n\n## Metadata{AT}\n- **Created:** 2026-01-02\n"),
    ("one-topic", STATUS, f"{STATUS}\n- **Topic:** the cache\n- **Topic:** the login{AT}"),
    # the thread
    ("thread-broken", "- **Thread:** none", f"- **Thread:** 2025-12-30-add-a-cache.tmp{AT}"),
    ("thread-broken", "- **Thread:** none", f"- **Thread:** [before](<2025-12-30-add-a-cache.md>){AT}"),
    ("thread-broken", "- **Thread:** none", f"- **Thread link:** [before](../old/2025-12-30-x.tmp){AT}"),
    # what failed, and why
    ("failed-why", FAILED, f"- A bigger pool{AT}"),
    ("failed-why", FAILED, f"- A bigger pool in db/pool.py, 2026-01-02 11:30{AT}"),
    ("failed-why", FAILED, f"- A bigger pool: did not work{AT}"),
    ("failed-why", FAILED, f"- A bigger pool: no luck{AT}"),
    ("failed-why", FAILED, f"- A bigger pool — failed{AT}"),
    ("failed-why", FAILED, f"- A bigger pool because it did not help{AT}"),
    ("failed-why", FAILED, f"- A bigger pool: TBD{AT}"),
    ("failed-why", FAILED, f"- A bigger pool (unknown reason){AT}"),
    ("failed-why", FAILED, f"- Restarting the database{AT}\n{FAILED}"),
    ("failed-why", FAILED, f"### A bigger pool{AT}\n\n### A smaller pool\nThe queue of requests grew.\n"),
    ("failed-why", FAILED, f"- A bigger pool{AT}\n  - did not work\n"),
    ("failed-why", FAILED, f"We tried a bigger pool{AT}"),
    ("failed-why", FAILED, f"- A bigger pool (db/pool.py, 2026-01-02){AT}"),
    ("failed-why", FAILED, f"- A bigger pool: nope{AT}"),
    # next steps in the order of their priority
    ("next-order", STEPS, f"1. [ ] P2: Expire the answers\n2. [ ] P1: Keep answers in `cache.py`{AT}"),
    ("next-order", STEPS, f"- P3: Write it down in the manual\n- P0: Keep answers in `cache.py`{AT}"),
    ("next-order", STEPS, f"- [low] Write the manual\n- [high] Keep answers in `cache.py`{AT}"),
    ("next-order", STEPS, f"- Medium: write the manual\n- Urgent: keep answers in `cache.py`{AT}"),
    ("next-order", STEPS, f"- (low priority) Write the manual\n- (critical) Keep the answers{AT}"),
    (
        "next-order",
        STEPS,
        f"1. [ ] P1: Keep the answers\n2. [ ] P3: Write the manual\n3. [ ] P2: Expire them{AT}",
    ),
    ("next-priority", STEPS, f"- Keep answers in `cache.py`{AT}\n- Expire them after a minute"),
    ("next-priority", STEPS, f"- [ ] P1: Keep the answers\n- [ ] Expire them after a minute{AT}"),
    ("next-priority", STEPS, f"* [x] Measure it\n* Keep the answers{AT}\n* Expire them after a minute"),
    ("next-priority", STEPS, f"### Keep the answers{AT}\nIn `cache.py`.\n\n### Expire them\nAfter a minute."),
    (
        "next-order",
        STEPS,
        f"### Low priority\n- Write the manual\n\n### High priority\n- Keep the answers{AT}",
    ),
    # TODOs
    ("todo-priority", CONTEXT, f"TODO: expire answers in cache.py after a minute{AT}"),
    ("todo-priority", CONTEXT, f"{CONTEXT}\nFIXME the lock in db/pool.py is never released{AT}"),
    ("todo-priority", ISSUE, f"- TODO close the connection in db/pool.py{AT}"),
    ("todo-priority", BLOCKER, f"{BLOCKER}\n\n## Scratch\n- XXX see #12{AT}"),
    ("todo-context", CONTEXT, f"TODO P1: expiry{AT}"),
    ("todo-context", CONTEXT, f"TODO P2{AT}"),
    ("todo-context", CONTEXT, f"- **TODO** (high): fix this{AT}"),
    ("todo-context", ISSUE, f"{ISSUE}\n  - TODO P3: check the rest{AT}"),
    ("todo-context", CONTEXT, f"{CONTEXT}\n\nFIXME P1: broken{AT}"),
    (
        "todo-priority",
        BLOCKER,
        f"{BLOCKER}\n\n## TODO list\n- [x] done with it\n- [ ] Close the connection in db/pool.py{AT}",
    ),
    ("todo-priority", BLOCKER, f"{BLOCKER}\n\n## TODO\n- [ ] Close the connection in db/pool.py{AT}"),
    ("todo-context", BLOCKER, f"{BLOCKER}\n\n## TODOs\n- [ ] P1: expiry{AT}\n"),
    # vague entries
    ("vague", STEP_2, f"2. [ ] P1: Fix bugs{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: Fix the remaining issues{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: Improve the code{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: Continue working on it{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: Various improvements{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: Clean up stuff{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: tests{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: Improve performance{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: Handle edge cases{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: Write more tests{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: Investigate further{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: Documentation{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: TBD{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: ...{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: ???{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: [what comes next]{AT}"),
    ("vague", STEP_2, f"2. [ ] P1: Look into it later{AT}"),
    ("vague", UNTRIED, f"- [ ] P2: Something else{AT}"),
    ("vague", UNTRIED, f"- [placeholder]{AT}"),
    ("vague", WORKED, f"- It works now{AT}"),
    ("vague", WORKED, f"- Fixed{AT}"),
    ("vague", WORKED, f"### Caching{AT}\nIt worked.\n"),
    ("vague", DECISION, f"- Refactor things properly{AT}"),
    ("vague", DECISION, f"- We do it the other way{AT}"),
    ("vague", ISSUE, f"- Some bugs{AT}"),
    ("vague", ISSUE, f"- P3: It is broken{AT}"),
    ("vague", BLOCKER, f"- Stuff{AT}"),
    ("vague", BLOCKER, f"- Other tasks{AT}"),
    # hints
    ("approach-path", WORKED, f"- An index on the name halves the time (2026-01-02 11:00){AT}"),
    ("approach-path", FAILED, f"- A bigger pool: the lock is held and/or lost (2026-01-02 11:30){AT}"),
    ("approach-time", WORKED, f"- An index on the name halves the time (db/schema.sql){AT}"),
    ("approach-time", FAILED, f"- A bigger pool: the lock is held (db/pool.py){AT}"),
]
# (rule, the file's name, its bytes)
FILES = [
    ("binary", NAME, b"\x7fELF\0\1\2" * 999),
    ("binary", NAME, b"\0" * 5000),
    ("empty", NAME, b""),
    ("empty", NAME, b"\xef\xbb\xbf\r\n \n"),
    ("encoding", NAME, GOOD.encode("utf-16")),
    ("encoding", NAME, GOOD.replace("halves", "halv\xe9s").encode("latin-1")),
    ("encoding", NAME, GOOD.encode() + b"\xff\xfe\n"),
    ("encoding", NAME, GOOD.encode() + b"x" * 4096 + b"\0\n"),
    ("title-missing", NAME, b"no heading at all\n"),
    ("status-missing", NAME, b"no heading at all\n"),
    ("date-missing", NAME, b"- a list\n- of things\n"),
    ("length", NAME, GOOD.encode() + b"word " * 40_000),
    ("length", NAME, GOOD.encode() + b"- P3: one more line of a log\n" * 7_000),
    ("name", "add a cache.tmp", GOOD.encode()),
    ("name", "2026-01-02-add a cache.tmp", GOOD.encode()),
    ("name", "2026-01-02-https:__x.example_V.md.tmp", GOOD.encode()),
    ("name", "cache.md", GOOD.encode()),
    ("name", "20260102-cache.md", GOOD.encode()),
]


def found(text: str | bytes, name: str = NAME, *, there: str = "") -> list[Problem]:
    data = text.encode() if isinstance(text, str) else text
    return lint(name, data, now=NOW, exists=lambda name: name == there)


def test_there_are_a_hundred() -> None:
    assert len(DEFECTS) + len(FILES) > 100
    assert len({(old, new) for _, old, new in DEFECTS}) == len(DEFECTS)


def test_a_good_note_has_no_problem_and_no_hint() -> None:
    assert found(GOOD) == []
    assert found(GOOD.replace("\n", "\r\n")) == []
    assert found("\ufeff" + GOOD) == []
    finished = GOOD.replace("in_progress", "completed").replace("[ ]", "[x]")
    assert found(finished) == []
    assert (
        found(
            "---\ncreated: 2026-01-02\nupdated: 2026-01-02\nstatus: blocked\n---\n# T\n\n## Blockers\n- The disk, ordered\n"
        )
        == []
    )


@pytest.mark.parametrize(("rule", "old", "new"), DEFECTS, ids=lambda each: str(each)[:40])
def test_each_defect_is_found_where_it_is(rule: str, old: str, new: str) -> None:
    assert GOOD.count(old) == 1
    text = GOOD.replace(old, new)
    if rule == "status-open" and STATUS in text:
        text = text.replace("in_progress", "completed")
    if rule == "status-blocked":
        text = text.replace(BLOCKER, "- None")
    lines = text.split("\n")
    line = next((number for number, each in enumerate(lines, 1) if AT in each), 0)
    problems = [problem for problem in found(text.replace(AT, "")) if problem.rule == rule]
    assert problems, [problem.rule for problem in found(text.replace(AT, ""))]
    assert not line or [problem.line for problem in problems] == [line]
    assert all(problem.message and problem.hint for problem in problems)
    assert {problem.severity for problem in problems} == {HINT if rule.startswith("approach") else PROBLEM}


@pytest.mark.parametrize(("rule", "name", "data"), FILES)
def test_each_bad_file_is_told(rule: str, name: str, data: bytes) -> None:
    problems = [problem for problem in found(data, name) if problem.rule == rule]
    assert problems
    assert all(problem.message and problem.hint for problem in problems)


def test_steps_below_their_priorities() -> None:
    steps = "### High Priority\n- Keep the answers\n- Expire them\n\n### P3 (later)\n- Write the manual\n"
    assert found(GOOD.replace(STEPS, steps)) == []
    assert found(GOOD.replace(FAILED, f"{FAILED}\n- A smaller one (db/pool.py, 11:40): deadlocks")) == []


def test_two_notes_of_one_name() -> None:
    problems = lint(NAME, GOOD.encode(), now=NOW, exists=lambda name: name == "2026-01-02-add-a-cache.md")
    assert [(problem.rule, problem.severity) for problem in problems] == [("name", HINT)]


def test_where_metadata_is_missing_its_heading_is_named() -> None:
    assert [(p.line, p.rule) for p in found(GOOD.replace(STATUS + "\n", ""))] == [(3, "status-missing")]
    assert {p.line for p in found("# T\n\nhello\n") if p.rule.endswith("-missing")} == {1}


def test_a_status_is_told_what_it_was_meant_for() -> None:
    (problem,) = found(GOOD.replace(STATUS, "- **Status:** wip"))
    assert problem.hint == "Write in_progress."


def test_a_thread_that_is_there_is_none_of_the_problems() -> None:
    text = GOOD.replace("**Thread:** none", "**Thread:** [before](<2025-12-30-add-a-cache.tmp>)")
    assert [problem.rule for problem in found(text)] == ["thread-broken"]
    assert found(text, there="2025-12-30-add-a-cache.tmp") == []
    assert found(GOOD.replace("**Thread:** none", "**Thread:** https://github.com/o/r/issues/12")) == []


def test_the_name_of_an_issues_context_file_is_none_of_the_problems() -> None:
    assert [p.rule for p in found(GOOD, "12.md")] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("topic", ["add a cache", "Ünïcode 漢字", "# https://x.example/<b>`*_", "x" * 300])
@pytest.mark.parametrize("previous", ["", "2026-01-01-add-a-cache.tmp"])
def test_the_template_is_clean(kind: str, topic: str, previous: str) -> None:
    session = "claude:0b0e7d52-58d7-4cf4-9f3f-6a6f5c9c1a11"
    text = draft(topic, kind, at="2026-01-03T08:59:00Z", session=session, previous=previous)
    assert lint("2026-01-03-x.tmp", text.encode(), now=NOW, exists=lambda name: name == previous) == []


def test_line_numbers_behind_front_matter_and_in_a_long_note() -> None:
    text = "---\nstatus: done\n---\n\n# T\n\n## Failed Approaches\n- A pool\n"
    assert {(p.line, p.rule) for p in found(text)} >= {(2, "status-unknown"), (8, "failed-why")}
    long = text + "\n" + "word word\n" * (HEAD_BYTES // 5) + "\n## Failed Approaches\n- At the end\n"
    lines = [p.line for p in found(long)]
    assert max(lines) <= long[:HEAD_BYTES].count("\n") + 1
    assert {(p.line, p.rule) for p in found(long)} >= {(8, "failed-why")}


def test_fifty_megabytes_take_no_time_and_one_line() -> None:
    problems = found(b"word " * 10_000_000)
    assert "length" in {problem.rule for problem in problems}


@pytest.mark.parametrize(
    ("text", "rank"),
    [
        ("P0: a", 0),
        ("**P2** a", 2),
        ("[urgent] a", 0),
        ("(Medium priority) a", 2),
        ("low: a", 3),
        ("a, with high priority", 1),
        ("priority: 2", 2),
        ("Priority: low", 3),
        ("measure under high load", None),
        ("HTTP2: a", None),
        ("the low-level parser", None),
    ],
)
def test_priorities(text: str, rank: int | None) -> None:
    assert wording.priority(text) == rank


def test_every_real_note_is_looked_at(shared: Path) -> None:
    for file in samples(shared, "ecc-session-tmp", "markdown-session-note"):
        data = file.read_bytes()
        lines = data.count(b"\n") + 1
        for problem in lint(
            file.name, data, now=unix_seconds("2027-01-01T00:00:00Z"), exists=lambda _: False
        ):
            assert 1 <= problem.line <= lines
            assert problem.message
            assert problem.hint
            json.dumps(problem)
