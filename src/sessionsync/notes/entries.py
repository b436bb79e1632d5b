"""The entries of a section, each with what stands below it and the line it begins in."""

from __future__ import annotations

from typing import NamedTuple

from sessionsync.notes import wording
from sessionsync.sources.markdown import plain
from sessionsync.sources.note_reading import Block
from sessionsync.sources.note_terms import says


class Entry(NamedTuple):
    """One entry of a section, as words: what it says itself, and what stands below it."""

    line: int
    text: str
    below: str
    done: bool | None
    number: int


def entries(blocks: list[Block]) -> list[Entry]:
    """What a section lists: its items; headings inside it with what stands below; else its texts."""
    blocks = _labelled(blocks)
    kinds = {block.kind for block in blocks}
    top = next((kind for kind in ("head", "item", "text") if kind in kinds), "")
    found: list[tuple[Block, list[str]]] = []
    for block in blocks:
        if block.kind == top:
            found.append((block, []))
        elif found and (top == "head" or block.kind == "inner"):
            found[-1][1].append(plain(block.text))
    return [
        Entry(block.line, text, " ".join(below), block.done, block.number)
        for block, below in found
        if (text := plain(block.text)) and says(text)
    ]


def _labelled(blocks: list[Block]) -> list[Block]:
    """Where the headings of a section are but priorities, as `High priority`, each item with its own."""
    heads = [block for block in blocks if block.kind == "head"]
    if not heads or not all(wording.is_priority(plain(head.text)) for head in heads):
        return blocks
    label, found = "", []
    for block in blocks:
        if block.kind == "head":
            label = f"[{plain(block.text)}] "
        else:
            is_top = block.kind == "item"
            found.append(block._replace(text=f"{label}{block.text}") if is_top else block)
    return found
