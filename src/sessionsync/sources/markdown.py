"""Markdown as CommonMark has it: its blocks, and what a piece of it shows.

The parser is imported where the first note is read: 6 MB that a machine without notes does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from sessionsync.sources.prose import TEXT_CHARS, clip

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

INLINE_CHARS = 2000
"""What is looked at of one paragraph or entry."""
_MARKS = frozenset("*_`[]<>&\\!~|")


def blocks_of(text: str) -> Sequence[Token]:
    """The blocks of a text alone: what is inside one is looked at where it is wanted."""
    return _block_parser().parse(text)


def plain(text: str, chars: int = TEXT_CHARS) -> str:
    """Return a line or a paragraph of Markdown as the words that are shown, clipped."""
    return clip(words_and_link(text)[0], chars)


def words_and_link(text: str) -> tuple[str, str]:
    """The words that a piece of Markdown shows, and the first address that it leads to."""
    text = text[:INLINE_CHARS]
    if _MARKS.isdisjoint(text):
        return text, ""
    shown: list[str] = []
    link = ""
    for token in _inline_parser().parseInline(text):
        for child in token.children or ():
            if child.type in {"text", "code_inline"}:
                shown.append(child.content)
            elif child.type in {"softbreak", "hardbreak"}:
                shown.append(" ")
            elif child.type == "link_open":
                link = link or str(child.attrGet("href") or "")
            elif child.type == "image":
                shown.append(child.content)
    return "".join(shown), link


@cache
def _block_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # noqa: PLC0415 - see above

    return MarkdownIt("commonmark").enable("table").disable(["reference", "inline"])


@cache
def _inline_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # noqa: PLC0415 - see above

    return MarkdownIt("commonmark").enable("strikethrough")
