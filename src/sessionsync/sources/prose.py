"""What can be taken from texts that people and agents wrote: one line of it, decisions, sections, steps.

Only what is marked as such is taken.  A sentence that merely sounds like a decision is none: a reader
of the issue trusts this list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sessionsync.pattern import Pattern

TEXT_CHARS = 500  # the record's limit for one string
TITLE_CHARS = 120
SEARCHED_CHARS = 200_000  # no summary, plan or answer is longer; what is, is something else
LINE_CHARS = 200  # a heading is no longer
ITEM_CHARS = 2000  # what is looked at of one entry of a list
STEPS = 20  # of one text

# What would move the cursor, or turn the text around, where it is shown.
_CONTROL = Pattern("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")
_FENCE = Pattern(r"\s*(```|~~~)")
_HEADING = Pattern(
    r"""
      \s{0,3}\#{1,6}\s+(?P<hashes>.+?)\s*\#*\s*$                   # ## Current Work
    | (?:\d{1,2}[.)]\s+)\*\*(?P<strong>[^*]{3,80}?):?\*\*:?\s*$    # 8. **Current Work:**
    | \d{1,2}[.)]\s+(?P<numbered>[A-Z][^:.`]{2,60}):\s*$           # 8. Current Work:
    | \s{0,3}\*\*(?P<bold>[^*]{3,80}?)(?::\*\*|\*\*:?)\s*$         # **Current Work:**
    | \s{0,3}(?P<plain>[A-Z][A-Za-z' ]{2,40}):\s*$                 # Current Work:
    """,
    re.VERBOSE,
)
_ENDS = frozenset(":* \t\xa0\u3000")  # of a heading without hashes, and of any with a blank behind it
_PLAN = Pattern(r"^#*\s*(?:(?:implementation\s+)?plan\s*[:—-]\s*)?", re.IGNORECASE)
_NUMBER = Pattern(r"^(?:(?:step|phase)\s+)?\d{1,2}[.):]?\s+", re.IGNORECASE)
_ITEM = Pattern(r"(?P<indent>\s*)(?:[-*•+]|\d{1,3}[.)])\s+(?P<text>\S.*)$")
_BOX = Pattern(r"^\[(?P<mark>[ xX])\]\s+")
_DECISION = Pattern(
    r"""^\s*(?:(?:[-*•+]|\d{1,3}[.)]|\#{1,6}|>)\s+)?             # a list's, heading's or quotation's mark
        (?:\*\*|__)?(?:(?:key|final|design|architecture|architectural)\s+)?
        (?:decision|decided)(?:\s+\#?\d+)?
        (?:\s*:\s*(?:\*\*|__)|(?:\*\*|__)\s*[:—]|\s*:)\s*
        (?P<text>\S.*)$""",
    re.IGNORECASE | re.VERBOSE,
)
_DECISIONS = Pattern(
    r"(?:\d+[.)]\s+)?(?:(?:the|key|main|final|important)\s+)*decisions?"
    r"(?:\s+(?:already\s+)?(?:made|taken|so far|log)\b.*|\s*[(:—-].*)?",
    re.IGNORECASE,
)
_UNDECIDED = Pattern(r"\?|\b(?:open|pending|needed|required|to (?:be )?ma[dk]e)\b", re.IGNORECASE)
_NOTHING = Pattern(
    r"\W*(?:none|nothing|n/a|no (?:explicit(?:ly)? )?(?:pending|further|remaining|outstanding|open|next))\b",
    re.IGNORECASE,
)


def clip(text: str, chars: int = TEXT_CHARS) -> str:
    r"""Return `text` on one line, without control characters, at most `chars` long with its `…`.

    >>> clip("two\n  lines")
    'two lines'
    """
    if len(text) <= chars and "  " not in text and text.isprintable():
        return text.strip()
    if len(text) > 8 * chars:
        text = text[: 8 * chars]
    clean = text if text.isprintable() else _CONTROL.compiled.sub(" ", text)
    line = " ".join(clean.split())
    return line if len(line) <= chars else line[: chars - 1].rstrip() + "…"


def plain(text: str, chars: int = TEXT_CHARS) -> str:
    """Return a line of Markdown without the marks around it, clipped."""
    line = clip(text, 4 * chars).strip()
    if "**" in line:
        line = re.sub(r"\*\*(.+?)\*\*", r"\1", line)
    return clip(line.strip("*_ ").removesuffix(":"), chars)


class Section(NamedTuple):
    """A heading and the lines below it up to the next one, without what is fenced as code."""

    title: str
    lines: list[str]

    def items(self) -> list[str]:
        """The entries of its outermost list, each with its further lines; lists below them are left out."""
        found: list[str] = []
        outer: int | None = None
        for line in self.lines:
            item = _ITEM.compiled.match(line)
            if item is not None and (outer is None or len(item["indent"]) <= outer):
                outer = len(item["indent"])
                found.append(item["text"][:ITEM_CHARS])
            elif item is None and found and line.strip() and _indent(line) > (outer or 0):
                found[-1] = f"{found[-1]} {line.strip()}"[:ITEM_CHARS]
        return found

    def first_paragraph(self) -> str:
        """The text up to the first empty line."""
        taken: list[str] = []
        for line in self.lines:
            if not line.strip():
                if taken:
                    break
                continue
            taken.append(line.strip())
        return " ".join(taken)


def sections(text: str) -> Iterator[Section]:
    """Cut a Markdown text, or a numbered summary, at its headings; what precedes the first has title ''."""
    title, begin, lines = "", 0, _unfenced(text[:SEARCHED_CHARS])
    # a heading begins or ends as one: of most lines a look at that is enough
    for number in [n for n, line in enumerate(lines) if line[-1:] in _ENDS or "#" in line[:4]]:
        line = lines[number]
        if len(line) <= LINE_CHARS and (heading := _HEADING.compiled.match(line)):
            yield Section(title, lines[begin:number])
            title = plain(next(group for group in heading.groups() if group is not None), TITLE_CHARS)
            begin = number + 1
    yield Section(title, lines[begin:])


def decisions(text: str) -> list[str]:
    """Return what `text` itself calls a decision: `Decision: …` lines, and lists below `Decisions`."""
    return decided(sections(text)) if may_decide(text) else []


def may_decide(text: str) -> bool:
    """Whether something in `text` may be called a decision: of most a look at its letters is enough."""
    lowered = text.lower()
    return "decision" in lowered or "decided" in lowered


def decided(found: Iterable[Section]) -> list[str]:
    """Return what is called a decision in the sections of a text."""
    entries: list[str] = []
    for section in found:
        if _is_decisions(section.title):
            entries += section.items()
        for line in section.lines:
            if match := _DECISION.compiled.match(line):
                entries.append(match["text"][:ITEM_CHARS])
        if match := _DECISION.compiled.match(section.title):
            entries.append(match["text"])
    return [text for text in (plain(entry) for entry in entries) if text and not text.endswith("?")]


def _is_decisions(title: str) -> bool:
    return _DECISIONS.compiled.fullmatch(title) is not None and _UNDECIDED.compiled.search(title) is None


def steps(items: list[str]) -> list[str]:
    """Return the open ones of a list of steps, clipped; ticked ones and `None` are left out."""
    found = []
    for item in items:
        box = _BOX.compiled.match(item)
        step = plain(item[box.end() :] if box else item)
        if step and not _NOTHING.compiled.match(step) and (box is None or box["mark"] == " "):
            found.append(step)
    return found[:STEPS]


def plan_title(plan: str) -> str:
    """Return the first heading of a plan, else its first line."""
    for line in plan[:SEARCHED_CHARS].splitlines():
        if line.strip():
            return plain(_PLAN.compiled.sub("", line.strip()), TITLE_CHARS)
    return ""


def plan_steps(plan: str) -> list[str]:
    """Return the numbered headings of a plan, else the list below its heading `Steps`, else nothing."""
    found = list(sections(plan))
    numbered = [s.title for s in found if _NUMBER.compiled.match(s.title)]
    if len(numbered) > 1:
        return steps([_NUMBER.compiled.sub("", title) for title in numbered])
    for section in found:
        if section.title.lower() in {"steps", "implementation", "implementation steps", "tasks", "plan"}:
            return steps(section.items())
    return []


def _unfenced(text: str) -> list[str]:
    lines = text.splitlines()
    if "```" not in text and "~~~" not in text:
        return lines
    kept, fence = [], ""
    for line in lines:
        if ("```" in line or "~~~" in line) and (mark := _FENCE.compiled.match(line)):
            if not fence:
                fence = mark[1]
            elif mark[1] == fence:
                fence = ""
        elif not fence:
            kept.append(line)
    return kept


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
