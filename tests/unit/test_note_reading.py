"""Session notes: any heading, any order, and nothing that can bring the reader down."""

import time
from pathlib import Path

import pytest

from sessionsync.model import Found, Ref, Role, SessionFile, Summary
from sessionsync.sources import note_reading
from sessionsync.sources.note_reading import Note, read
from sessionsync.sources.note_terms import state_of
from sessionsync.sources.notes import take_note
from tests.conftest import samples

FORMATS = ("ecc-session-tmp", "markdown-session-note")


def note(text: str) -> Note:
    return read(text.encode())


def summary(text: str | bytes, name: str = "x.md") -> Summary:
    data = text.encode() if isinstance(text, str) else text
    path = Path("/work/app/.claude/sessions", name)
    file = SessionFile(name, path, Role.MAIN, len(data), 1_790_000_000 * 10**9, 1)
    made = Summary()
    take_note(
        made,
        Found(Ref("note", f".claude/sessions/{name}", "/work/app"), Path("/work/app"), path, (file,)),
        data,
    )
    return made


WHOLE = """# Add a cache

## Metadata
- **Created:** 2026-01-02T10:00:00Z
- **Updated:** 2026-01-02T12:30:00Z
- **Status:** in_progress
- **Thread:** [the issue](https://github.com/o/app/issues/12)

## Context Summary
Answers are slow.

## What We Know
- Every page asks twice

## Successful Approaches
- An index on the name

## Failed Approaches
- A bigger pool: it made no difference

## Not Yet Attempted
- [ ] Ask once

## Next Steps
1. [x] Measure
2. [ ] Write the **cache**
3. Try `redis`

## Technical Decisions
- SQLite, as one file is enough
- No expiry

## Known Issues
- None

## Dependencies & Blockers
- The new disk

## Session Continuity
Begin with `cache.py`.

## Session Metrics
- Files: 3
"""


def test_every_section_of_the_template() -> None:
    found = note(WHOLE)
    assert set(found.sections) == {
        *("metadata", "context", "known", "worked", "failed", "untried", "next"),
        *("decisions", "issues", "blockers", "continuity", "metrics"),
    }
    made = summary(WHOLE)
    assert made.title == "Add a cache"
    assert made.status == "in_progress"
    assert made.started_at == "2026-01-02T10:00:00Z"
    assert (made.context.issue, made.context.repo) == (12, "o/app")
    assert made.critical.decisions == [
        "Did not work: A bigger pool: it made no difference",
        "SQLite, as one file is enough",
        "No expiry",
    ]
    assert made.critical.next_steps == ["Write the cache", "Try redis"]
    assert made.critical.current_phase == "Answers are slow."


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("## What We've Tried (Successful)", "worked"),
        ("## What We\u2019ve Tried (Failed)", "failed"),
        ("## What We Haven't Tried Yet", "untried"),
        ("### Solution", "worked"),
        ("# Current Progress", "progress"),
        ("## ⚠️ Risks", "issues"),
        ("## What WORKED (with evidence)", "worked"),
        ("## What Did NOT Work (and why)", "failed"),
        ("## What Has NOT Been Tried Yet", "untried"),
        ("## Exact Next Step", "next"),
        ("## What We Are Building", "context"),
        ("## Current State of Files", "progress"),
        ("## Environment & Setup Notes", "continuity"),
        ("### Context to Load", "continuity"),
        ("### In Progress", "progress"),
        ("### Completed", "worked"),
        ("### Session Overview", "context"),
        ("## Goals", "tasks"),
        ("## Dependencies and Blockers", "blockers"),
        ("## Not Yet Attempted", "untried"),
        ("## Decisions Made", "decisions"),
        ("## Blockers & Open Questions", "blockers"),
        ("### Notes for Next Session", "next"),
        ("Next Steps\n----------", "next"),
        ("**Next Steps:**", "next"),
        ("## 7. Technical Decisions", "decisions"),
        ("## *Technical* Decisions ##", "decisions"),
        ("## NEXT STEPS", "next"),
    ],
)
def test_a_section_by_its_other_names(heading: str, name: str) -> None:
    assert note(f"# T\n\n{heading}\n\n- this\n").entries(name) == ["this"]


def test_sections_in_any_order_missing_and_twice() -> None:
    found = note("## Next Steps\n- a\n\n## Nobody knows\n- x\n\n## Next Steps\n- b\n")
    assert found.entries("next") == ["a", "b"]
    assert found.entries("decisions") == []
    assert found.title == "Nobody knows"


@pytest.mark.parametrize(
    "hidden",
    [
        "```\n## Technical Decisions\n- in code\n```\n",
        "~~~~md\n## Technical Decisions\n- in code\n~~~~\n",
        "> ## Technical Decisions\n> - quoted\n",
        "<!--\n## Technical Decisions\n- in a comment\n-->\n",
        "    ## Technical Decisions\n    - indented code\n",
        "- ## Technical Decisions\n- in a list\n",
    ],
)
def test_what_is_no_heading_is_no_section(hidden: str) -> None:
    assert note(f"# T\n\n{hidden}").entries("decisions") == []


def test_entries_under_headings_of_their_own() -> None:
    text = (
        "## Decisions\n### Use SQLite\nOne file.\n\n- fast\n### No cache\n## Next Steps\n### Soon\n- a\n- b\n"
    )
    assert summary(text).critical.decisions == ["Use SQLite — One file.", "No cache"]
    assert summary(text).critical.next_steps == ["a", "b"]


def test_a_section_without_a_list_says_its_paragraphs() -> None:
    assert summary("## Next Step\nRun the\ntests.\n\nThen ship.\n").critical.next_steps == [
        "Run the tests.",
        "Then ship.",
    ]


def test_open_boxes_are_next_where_nothing_else_is() -> None:
    text = "## Phase 1\n- [x] a\n- [ ] b\n  - [ ] c\n  - [x] d\n"
    assert summary(text).critical.next_steps == ["b", "c"]


@pytest.mark.parametrize(
    ("written", "state"),
    [
        ("in_progress", "in_progress"),
        ("In Progress (80 %)", "in_progress"),
        ("in-progress", "in_progress"),
        ("✅ **COMPLETED**", "completed"),
        ("Done.", "completed"),
        ("🚧 blocked by the disk", "blocked"),
        ("on hold", "blocked"),
        ("incomplete", ""),
        ("not done", ""),
        ("", ""),
    ],
)
def test_the_three_states(written: str, state: str) -> None:
    assert state_of(written) == state


@pytest.mark.parametrize(
    "text",
    [
        "# T\n\n**Status:** blocked\n**Last Updated:** 2026-01-02\n",
        "# T\n\n**Status**: blocked\\\n**Updated**: 2026-01-02\n",
        "---\nstatus: blocked\nupdated: 2026-01-02\n---\n# T\n",
        "# T\n\n| Field | Value |\n|---|---|\n| Status | blocked |\n| Updated | 2026-01-02 |\n",
        "# T\n\n## Session Overview\n- **Status**: blocked\n- **Updated**: 2026-01-02\n",
        "# T\n\nStatus: blocked\nUpdated: 2026-01-02\n",
        "Status: blocked\nUpdated: 2026-01-02\n---\n# T\n",
    ],
)
def test_metadata_as_people_write_it(text: str) -> None:
    found = note(text)
    assert (found.status, found.updated) == ("blocked", "2026-01-02")


def test_a_sentence_is_no_metadata() -> None:
    assert note("# T\n\n## Known Issues\n- Status: the parser fails\n").status == ""
    assert note("# T\n\n## Progress\n- **Updated**: the parser\n").updated == ""


@pytest.mark.parametrize(
    ("line", "issue", "pr"),
    [
        ("**Issue:** #12", 12, 0),
        ("**Issue:** 12", 12, 0),
        ("**GitHub Issue:** GH-12", 12, 0),
        ("**Issue:** o/r#12", 12, 0),
        ("**Thread link:** https://github.com/o/r/issues/12#issuecomment-5", 12, 0),
        ("**Thread:** <https://github.com/o/r/pull/7>", 0, 7),
        ("**PR:** [#7](https://github.com/o/r/pull/7)", 0, 7),
        ("**Thread:** 12", 0, 0),  # of whatever: no issue
        ("**Issue:** https://tracker.example/T-12", 0, 0),
        ("**Issue:** none", 0, 0),
        ("**Issue:** http://[::1/issues", 0, 0),
    ],
)
def test_the_issue_that_a_note_names(line: str, issue: int, pr: int) -> None:
    context = summary(f"# T\n\n{line}\n").context
    assert (context.issue, context.pr) == (issue, pr)


def test_what_the_hooks_write() -> None:
    text = (
        "# Session: 2026-11-20\n**Date:** 2026-11-20\n**Started:** 10:09\n**Last Updated:** 10:10\n"
        "**Project:** app\n**Branch:** main\n**Worktree:** /work/other\n\n---\n"
        "<!-- ECC:SUMMARY:START -->\n## Session Summary\n\n### Tasks\n- mend the parser\n- yes\n\n"
        "### Files Modified\n- /a/b.py\n\n### Stats\n- Total user messages: 2\n<!-- ECC:SUMMARY:END -->\n\n"
        "### Notes for Next Session\n-\n\n### Context to Load\n```\n[relevant files]\n```\n\n---\n"
        "**[Compaction occurred at 10:09]** - Context was summarized\n"
    )
    made = summary(text)
    assert (made.title, made.branch, made.cwd) == ("mend the parser", "main", "/work/other")
    assert made.started_at == "2026-11-20T10:09:00Z"
    assert made.critical.next_steps == []


@pytest.mark.parametrize(
    "wrap", [lambda t: t.replace("\n", "\r\n"), lambda t: t.replace("\n", "\r"), lambda t: "\ufeff" + t]
)
def test_line_ends_and_byte_order_marks_make_no_difference(wrap: "object") -> None:
    assert summary(wrap(WHOLE)) == summary(WHOLE)  # type: ignore[operator]
    assert summary(WHOLE.encode("utf-16")) == summary(WHOLE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 5000,
        b"\x7fELF\0\1\2" * 999,
        b"\xff\xfe",
        b"\xff" * 100,
        b"no heading at all",
        b"# \xff\xfe\n",
    ],
)
def test_what_says_nothing_is_called_by_its_name_at_worst(data: bytes) -> None:
    made = summary(data, "2026-01-02-topic.md")
    assert made.title in {"2026-01-02-topic", "��"}
    assert made.critical.next_steps == []


@pytest.mark.parametrize(
    "text",
    [
        "- a\n" * 13_000_000,
        "# a\n" * 1_000_000,
        "> " * 1_000_000,
        "- " * 1_000_000,
        "[" * 1_000_000,
        "*a **b " * 200_000,
        "| a " * 300_000 + "\n" + "|-" * 300_000 + "\n" + "|x\n" * 10_000,
        "a\n" * 500_000 + "---\n",
        "## Decisions\n" + "- " + "`" * 100_000 + "\n" + "- [a](" * 30_000,
        "<!--" * 200_000,
        "**Status:** " + "*" * 1_000_000,
    ],
    ids=[
        "list",
        "headings",
        "quotes",
        "lists in lists",
        "brackets",
        "stars",
        "table",
        "paragraph",
        "ticks",
        "comments",
        "value",
    ],
)
def test_nothing_takes_long(text: str) -> None:
    data = text.encode()
    note_reading.read(b"# warm\n- up **x**\n")
    began = time.process_time()
    summary(data)
    assert time.process_time() - began < 2


def test_of_a_long_note_beginning_and_end_are_read() -> None:
    text = "# T\n\n**Status:** blocked\n\n" + "word " * 200_000 + "\n\n## Next Steps\n- the end\n"
    made = summary(text)
    assert (made.title, made.status, made.critical.next_steps) == ("T", "blocked", ["the end"])


def test_every_real_note_is_read(shared: Path) -> None:
    files = samples(shared, *FORMATS)
    assert len(files) > 12
    made = {file.name: summary(file.read_bytes(), file.name) for file in files}
    assert all(each.title for each in made.values())
    auth = made["2026-01-20-feature-auth.tmp"]
    assert auth.title == "Auth Feature Implementation"
    assert auth.critical.decisions[0].startswith("Using RS256 over HS256")
    assert auth.critical.next_steps[-1] == "Review rate limit values with team"
    assert made["2025-11-04-phase-4.md"].status == "completed"
    hook = made["2026-11-20-3b12ba1e-session.tmp"]
    assert hook.cwd.endswith("/cwd")
