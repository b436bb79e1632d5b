"""Session notes in Markdown, as people, agents and their hooks write them.

Nobody has fixed what is in them.  Sections count under any of their names, at any depth, in any order,
missing or more than once; what stands in code, in a quotation or in an HTML comment is nobody's section.

    metadata    created · updated · status · thread, issue, pr · branch, worktree, phase
                as `**Key:** value`, in a list, in a table or before the first heading
    context     Context Summary, Session Overview, What We Are Building, Current State …
    known       What We Know, Key Findings …         worked      Successful Approaches, Solution …
    failed      Failed Approaches …                  untried     Not Yet Attempted …
    next        Next Steps, Notes for Next Session   decisions   Technical Decisions …
    issues      Known Issues, Risks …                blockers    Dependencies & Blockers …
    continuity  Session Continuity …                 metrics     Session Metrics …
    progress    Current Progress …                   tasks       Tasks, Goals …

The parser is CommonMark's.  Of a long note only so much is read that it cannot take longer than a moment.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from sessionsync.sources.markdown import INLINE_CHARS, blocks_of, plain, words_and_link
from sessionsync.sources.note_terms import TIMES, field_of, reference, says, section_of, state_of
from sessionsync.sources.objects import moment
from sessionsync.sources.prose import TITLE_CHARS, clip

if TYPE_CHECKING:
    from markdown_it.token import Token

HEAD_BYTES = 96 * 1024
TAIL_BYTES = 32 * 1024
"""What is read of a longer note: its beginning and its end."""
LINES = 6000
"""Of them.  A list of that length is parsed in a tenth of a second."""
BLOCKS = 400
"""What is kept of one section."""
KEY_CHARS = 40

# Where a line `Key: value` is metadata and not somebody's sentence.
_SAYING = frozenset({"", "metadata", "context", "status", "progress", "continuity"})
_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Block(NamedTuple):
    """A piece of a section: a `text`, a `head` below the section's own, an `item` of an outermost list.

    What stands in an item below its first words is `inner`.  `done` is what its box says, None without one;
    `text` is Markdown; `line` is where it begins, `number` the item's own in a numbered list, else 0.
    """

    kind: str
    text: str
    done: bool | None = None
    line: int = 0
    number: int = 0


class Heading(NamedTuple):
    """A heading where it stands: lines count from 1, `section` is '' where nobody knows it."""

    line: int
    depth: int
    title: str
    section: str


class Field(NamedTuple):
    """A line of metadata where it stands: the name of the field, and its value as it is written."""

    line: int
    name: str
    value: str


@dataclass(slots=True)
class Note:
    """What a note says.  `fields` has the values as they are written, `sections` what stands below."""

    title: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    sections: dict[str, list[Block]] = field(default_factory=dict)
    loose: list[Block] = field(default_factory=list)
    """What stands below headings that nobody knows."""
    headings: list[Heading] = field(default_factory=list)
    metadata: list[Field] = field(default_factory=list)
    """Every field where it stands, also again, and also a time that is none; of them the first count."""
    read_lines: int = 0
    """How far it was read, where it is too long to be read whole; what is read of its end has no line."""

    def entries(self, name: str, *, joined: bool = False) -> list[str]:
        """What a section lists: its items, or its texts where it has none.

        Of headings inside it the items below count; if `joined`, each is one entry with its first words.
        """
        blocks = self.sections.get(name, [])
        if joined and any(block.kind == "head" for block in blocks):
            return [text for text in _joined(blocks) if text]
        kinds = {block.kind for block in blocks}
        wanted = next((kind for kind in ("item", "text", "head") if kind in kinds), "")
        found = (plain(block.text) for block in blocks if block.kind == wanted)
        return [text for text in found if text]

    def open_items(self, *names: str) -> list[str]:
        """What is not ticked in these sections, `None` and placeholders left out."""
        found: list[str] = []
        for name in names:
            done = {plain(block.text) for block in self.sections.get(name, []) if block.done}
            found += [text for text in self.entries(name) if text not in done and says(text)]
        return list(dict.fromkeys(found))

    def boxes(self) -> list[str]:
        """Every empty box, wherever it stands."""
        blocks = [block for section in (*self.sections.values(), self.loose) for block in section]
        return [text for block in blocks if block.done is False and (text := plain(block.text))]

    def first(self, name: str) -> str:
        """A section's first words that are no metadata."""
        blocks = (block for block in self.sections.get(name, []) if block.kind in {"item", "text"})
        texts = (plain(block.text) for block in blocks)
        return next((text for text in texts if text and not field_of(text.partition(":")[0])), "")

    def last(self, name: str) -> str:
        """What a section lists last: who reports progress adds to the end."""
        return next(iter(self.entries(name)[::-1]), "")

    @property
    def status(self) -> str:
        """`in_progress`, `completed` or `blocked`; what is written where it is none of them."""
        written = self.fields.get("status") or self.first("status")
        return state_of(written) or clip(written, 40)

    @property
    def updated(self) -> str:
        """What changes when somebody says that the note did: when it was updated, and when it ended."""
        return " ".join(self.fields[name] for name in ("updated", "ended") if name in self.fields)

    def time(self, *names: str) -> str:
        """The first of these fields that is a time, as RFC 3339; one of a day is of the note's `date`."""
        for name in names:
            written = self.fields.get(name, "")
            for text in (written, f"{self.fields.get('date', '')} {written}"):
                if written and (at := moment(text)):
                    return at
        return ""

    @property
    def thread(self) -> str:
        """What it names as its thread: the file of another note, an address, an issue; '' if nothing."""
        return unquote(self.links.get("thread", "")) or self.fields.get("thread", "")

    def number(self, kind: str) -> tuple[int, str]:
        """The `issue` or `pr` the note names, and the repository that its address is of; 0 and '' if none."""
        for name in (kind, "thread"):
            for text in (self.links.get(name, ""), self.fields.get(name, "")):
                number, repository, said = reference(text)
                if number and said in {"", kind} and (said or name == kind):
                    return number, repository
        return 0, ""


def read(data: bytes) -> Note:
    """Read a note, whatever it is; binary data says nothing."""
    note = Note()
    text = _text(note, data)
    if not text:
        return note
    text, first = _front_matter(note, text)
    lines = text.split("\n")
    if len(lines) > LINES:
        note.read_lines = min(note.read_lines or LINES, first + LINES // 4 * 3)
        lines = [*lines[: LINES // 4 * 3], "", *lines[-LINES // 4 :]]
    _Walk(note, first).over(blocks_of("\n".join(lines)))
    return note


class _Walk:
    """Goes over the blocks of a note once and puts each where it belongs."""

    def __init__(self, note: Note, first: int) -> None:
        self._note = note
        self._first = first
        self._line = first
        self._name = ""
        self._depth = 0
        self._blocks = note.loose
        self._lists = 0
        self._quotes = 0
        self._number = 0
        self._row: list[str] = []

    def over(self, tokens: Sequence[Token]) -> None:
        opened = ""
        for token in tokens:
            kind = token.type
            if token.map:
                self._line = self._first + token.map[0]
            if kind in {"bullet_list_open", "ordered_list_open", "bullet_list_close", "ordered_list_close"}:
                self._lists += token.nesting
            elif kind in {"blockquote_open", "blockquote_close"}:
                self._quotes += token.nesting
            elif kind == "list_item_open" and self._lists == 1:
                self._number = int(token.info or 0)
                opened = "item"
            elif kind == "tr_open":
                self._row = []
            elif kind == "tr_close":
                self._field(": ".join(self._row[:2]), self._line)
            elif kind == "inline":
                if opened and not self._quotes:
                    self._inline(opened, token.content)
                opened = ""
            else:
                opened = (opened if kind == "paragraph_open" else "") or self._opened(token)

    def _opened(self, token: Token) -> str:
        """What begins here that has text of its own."""
        if token.type == "list_item_open":
            return "inner"
        if token.type == "heading_open":
            return token.tag if not self._lists else ""
        if token.type in {"th_open", "td_open"}:
            return "cell"
        if token.type == "paragraph_open":
            return "inner" if self._lists else "text"
        return ""

    def _inline(self, opened: str, text: str) -> None:
        text = text[:INLINE_CHARS]
        match opened:
            case "cell":
                self._row.append(text)
            case "item":
                self._item(text)
            case "inner":
                self._inner(text)
            case "text":
                if not self._alone(text):
                    self._fields(text)
                    self._put(Block("text", text, None, self._line))
            case _:
                self._heading(int(opened[1:]), text)

    def _heading(self, depth: int, text: str) -> None:
        if "\n" in text:  # text above a row of dashes: somebody's metadata
            self._fields(text)
            return
        title = plain(text, TITLE_CHARS)
        name = section_of(title)
        if len(self._note.headings) < BLOCKS:
            self._note.headings.append(Heading(self._line, depth, title, name))
        if depth == 1 and not self._note.title and not name:
            self._note.title = title
        if name or depth <= self._depth or not self._name:
            self._name, self._depth = name, depth
            blocks = self._note.sections.setdefault(name, []) if name else self._note.loose
            self._blocks = blocks
            if not self._note.title and not name and depth > 1:
                self._note.title = title
        else:
            self._put(Block("head", text, None, self._line))

    def _alone(self, text: str) -> bool:
        """Whether a paragraph is nothing but the bold name of a section, which some take for a heading."""
        line = text.strip()
        if not line.startswith("**") or "\n" in line or len(line) > KEY_CHARS * 2:
            return False
        if not line.rstrip(": ").endswith("**") or not (name := section_of(plain(line))):
            return False
        self._name, self._depth = name, 7
        self._blocks = self._note.sections.setdefault(name, [])
        return True

    def _item(self, text: str) -> None:
        done, text = _ticked(text)
        self._field(text.split("\n", 1)[0], self._line)
        self._put(Block("item", text, done, self._line, self._number))

    def _inner(self, text: str) -> None:
        done, text = _ticked(text)
        self._put(Block("inner", text, done, self._line))

    def _put(self, block: Block) -> None:
        if len(self._blocks) < BLOCKS:
            self._blocks.append(block)

    def _fields(self, text: str) -> None:
        for number, line in enumerate(text.split("\n")):
            self._field(line, self._line + number)

    def _field(self, line: str, number: int) -> None:
        if self._name not in _SAYING or ":" not in line or len(self._note.metadata) == BLOCKS:
            return
        if (key := line[: KEY_CHARS * 2].partition(":")[0]) and field_of(key):
            shown, link = words_and_link(line)
            key, _, value = shown.partition(":")
            _keep(self._note, Field(number, field_of(key), value), link)


def _ticked(text: str) -> tuple[bool | None, str]:
    """What the box before a text says, and the text behind it."""
    if text[:1] == "[" and text[2:4] == "] " and text[1] in " xX":
        return text[1] != " ", text[4:]
    if text[:1] in {"✅", "☑", "✓", "✔"}:
        return True, text[1:].lstrip("\ufe0f ")
    return None, text


def _keep(note: Note, said: Field, link: str = "") -> None:
    name, value = said.name, clip(said.value).strip("*_ ")
    if name:
        note.metadata.append(said._replace(value=value))
    if name in TIMES and not any(c.isdecimal() for c in value[:12]):
        return  # `**Updated**: the parser`
    if name and (value or link):
        note.fields.setdefault(name, value)
        if link:
            note.links.setdefault(name, link)


def _front_matter(note: Note, text: str) -> tuple[str, int]:
    """Take `key: value` lines between two rows of dashes at the very beginning.

    Returns what follows, and the number of its first line.
    """
    end = text.find("\n---\n", 3, 8192) if text.startswith("---\n") else -1
    if end < 0:
        return text, 1
    lines = text[4:end].split("\n")
    for number, line in enumerate(lines, 2):
        key, colon, value = line.partition(":")
        if colon:
            _keep(note, Field(number, field_of(key), value.strip().strip("\"'")))
    return text[end + 5 :], len(lines) + 3


def _joined(blocks: Sequence[Block]) -> Iterator[str]:
    """Each heading with its first words; what stands before the first one, by itself."""
    head, told = "", True
    for block in blocks:
        if block.kind == "head":
            if head and not told:
                yield head
            head, told = plain(block.text), False
        elif not head:
            if block.kind == "item":
                yield plain(block.text)
        elif not told and (text := plain(block.text)) and not text.endswith(":"):
            told = True
            yield clip(f"{head} — {text}")
    if head and not told:
        yield head


def _text(note: Note, data: bytes) -> str:
    """A note's text with LF line ends: its beginning and its end where it is long; '' of what is binary."""
    head = data[: HEAD_BYTES + TAIL_BYTES]
    if len(data) > len(head):
        head = data[:HEAD_BYTES] + b"\n\n" + data[-TAIL_BYTES:].partition(b"\n")[2]
        note.read_lines = data.count(b"\n", 0, HEAD_BYTES) or 1
    if head.startswith(_BOMS):
        text = data[: HEAD_BYTES + TAIL_BYTES].decode("utf-16", "replace")
    elif b"\0" in head[:4096]:
        return ""
    else:
        text = head.decode("utf-8-sig", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
