"""A new note: what is known is filled in, what is not is asked for in comments, which no reader counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sessionsync.sources.prose import TITLE_CHARS, clip


class _Kind(NamedTuple):
    """What differs from one kind of work to another."""

    context: str
    known: str
    worked: str
    steps: tuple[str, ...]


KINDS: Mapping[str, _Kind] = {
    "feature": _Kind(
        context="What is to be there in the end, for whom, and what is out of scope.",
        known="- What the code has already that this builds on (path/to/file.py)",
        worked="- What was built: how it was shown to work (path/to/file.py, 2026-01-31 14:05)",
        steps=(
            "P1: Write down in Context Summary by what anybody can see that it is done",
            "P2: Find the places in the code that change, and list them under What We Know",
            "P3: Build the smallest part that can be tried from end to end, with its test",
        ),
    ),
    "bug": _Kind(
        context="What happens, what should happen instead, since when, and how it is reproduced.",
        known="- What was seen: the message, the line, the version (path/to/file.py, 2026-01-31 14:05)",
        worked="- What mended it: how that was proven (path/to/file.py, 2026-01-31 14:05)",
        steps=(
            "P1: Reproduce it with a test that fails, and write its name under What We Know",
            "P2: Narrow it down to the change or the line that causes it",
            "P3: Mend the cause, and search for the same mistake elsewhere in the code",
        ),
    ),
    "refactor": _Kind(
        context="What is hard to change today, what it shall look like, and what must stay as it is.",
        known="- Who calls the code that is to change, and what they rely on (path/to/file.py)",
        worked="- What was moved or renamed: which tests held it (path/to/file.py, 2026-01-31 14:05)",
        steps=(
            "P1: Pin down what the code does today with tests that pass before and after",
            "P2: List under What We Know who calls it, and what they rely on",
            "P3: Change it in steps that each leave the tests green, and write each one down",
        ),
    ),
}
"""The kinds of work, by name."""


def draft(topic: str, kind: str, *, at: str, session: str, previous: str) -> str:
    """The text of a new note of a topic.

    `at` is RFC 3339, `session` the agent's session that it belongs to, as `source:id`, `previous` the name of
    the topic's note before it, in the same folder; '' where there is none.
    """
    of = KINDS[kind]
    earlier = f"[{previous}](<{previous}>)" if previous else ""
    source, _, id_ = session.partition(":")
    continuity = [f"- Read first: {earlier}"] if earlier else []
    if source == "claude":
        continuity.append(f"- Resume the session: `claude --resume {id_}`")
    sections = {
        "Metadata": [
            f"- **Created:** {at}",
            f"- **Updated:** {at}",
            "- **Status:** in_progress",
            f"- **Kind:** {kind}",
            f"- **Thread:** {earlier or 'none'}",
            f"- **Session:** {session or 'none'}",
        ],
        "Context Summary": [_ask(of.context)],
        "What We Know": [_ask(of.known)],
        "Successful Approaches": [_ask(of.worked)],
        "Failed Approaches": [
            _ask("- What was tried: why it failed (path/to/file.py, 2026-01-31 14:05)"),
        ],
        "Not Yet Attempted": [_ask("- [ ] P2: An idea, and what speaks for it")],
        "Next Steps": [
            _ask("The most important first; tick what is done."),
            *(f"{number}. [ ] {step}" for number, step in enumerate(of.steps, 1)),
        ],
        "Technical Decisions": [_ask("- What was decided, because of what, and what it rules out")],
        "Known Issues": [_ask("- P2: What is wrong, where, and whom it hurts (path/to/file.py)")],
        "Dependencies & Blockers": [_ask("- What this waits for, and who can say more")],
        "Session Continuity": continuity or [_ask("What whoever goes on has to read, start or know first.")],
        "Session Metrics": [_ask("- Tests: 12 passed, 0 failed; files changed: 3")],
    }
    text = "\n\n".join("\n".join([f"## {title}", *lines]) for title, lines in sections.items())
    return f"# {clip(topic, TITLE_CHARS)}\n\n{text}\n"


def _ask(text: str) -> str:
    return f"<!-- {text} -->"
