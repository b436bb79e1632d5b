"""What of a passage is shown: cut from the copies, on one line, with every match marked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache

from sessionsync.catalog import File, Session
from sessionsync.errors import CopyError
from sessionsync.search.index import Hit
from sessionsync.search.words import Term, humps, parse
from sessionsync.sources import Source
from sessionsync.vault import Mirror, Vault

SNIPPET_CHARS = 160
# So many matches are looked at for where most words of a query are together.
MATCHES = 100
# What a shown line must not have: control characters and what turns the direction of writing around.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


def passage_of(
    hit: Hit, session: Session, files: Mapping[str, File], source: Source, mirror: Mirror, vault: Vault
) -> str:
    """The passage itself, cut from the plain copy or, where that has moved on, from the vault; '' if gone."""
    end = hit.offset + hit.length
    file = files.get(hit.name)
    project = session.project or "unknown"
    is_shared = file is not None and (
        file.generation == hit.generation or (file.generation == hit.generation + 1 and end <= file.forked_at)
    )
    if is_shared and file is not None and not file.is_rewritten:
        with suppress(CopyError):
            data = mirror.read(mirror.path_of(project, session.stored_as, hit.name), hit.offset, end)
            if text := _nth(hit, source, data):
                return text
    with suppress(CopyError):
        stored = vault.open(project, session.stored_as)
        return _nth(hit, source, b"".join(stored.read(hit.name, hit.generation, end, start=hit.offset)))
    return ""


def _nth(hit: Hit, source: Source, data: bytes) -> str:
    if len(data) < hit.length:
        return ""
    found = [p for p in source.passages(hit.name, data, hit.offset) if p.offset == hit.offset]
    return found[hit.nth].text if hit.nth < len(found) else ""


def snippet(text: str, query: str, mark: Callable[[str], str], chars: int = SNIPPET_CHARS) -> str:
    """The part of a text that shows most of a query, on one line, with every match marked.

    Control characters are blanks in it, and what would turn the direction of writing is left out.
    """
    flat = " ".join("".join(map(_seen, text)).split()) if not text.isprintable() else " ".join(text.split())
    folded, places = _folded(flat)
    spans = _spans(folded, query)
    first = places[_best(folded, spans, chars)] if spans else 0
    start = max(0, first - chars // 3)
    if start > 0 and (blank := flat.find(" ", start, first)) >= 0:
        start = blank + 1
    end = min(len(flat), start + chars)
    shown, at = ["…" if start else ""], start
    for begin, behind in ((places[a], places[b - 1] + 1) for a, b in spans):
        if at <= begin and behind <= end:
            shown += [flat[at:begin], mark(flat[begin:behind])]
            at = behind
    return "".join([*shown, flat[at:end], "…" if end < len(flat) else ""])


def _spans(folded: str, query: str) -> list[tuple[int, int]]:
    """Where the words of a query are, in order: whole words, else wherever their letters are."""
    terms = [term for group in parse(query) for term in group.wanted]
    for strict in (True, False):
        pattern = "|".join(filter(None, (_pattern(term, strict=strict) for term in terms)))
        if pattern and (found := [m.span() for m in re.finditer(pattern, folded) if m[0]]):
            return found
    return []


def _best(folded: str, spans: list[tuple[int, int]], chars: int) -> int:
    """Where the part begins that shows the most different matches; the first of several."""
    spans = spans[:MATCHES]

    def shown(start: int) -> int:
        return len({folded[a:b] for a, b in spans if start <= a and b <= start + chars * 2 // 3})

    return max((a for a, _ in spans), key=shown)


def _pattern(term: Term, *, strict: bool) -> str:
    spellings = [term.text, *([] if term.is_phrase else humps(term.text))]
    told = []
    for spelling in spellings:
        words = re.findall(r"[^\W_]+", _folded(unicodedata.normalize("NFKC", spelling))[0])
        if not words:
            continue
        inside = r"[\W_]+".join(map(re.escape, words))
        if strict and spelling.isascii():
            inside = rf"(?<![^\W_]){inside}" + (r"[^\W_]*" if term.is_prefix else r"(?![^\W_])")
        told.append(inside)
    return "|".join(told)


def _folded(text: str) -> tuple[str, range | list[int]]:
    """A text without case, accents and widths, and of each of its characters the place it came from."""
    if text.isascii():
        return text.lower(), range(len(text))
    letters, places = [], []
    for place, letter in enumerate(text):
        for each in _fold(letter):
            letters.append(each)
            places.append(place)
    return "".join(letters), places


@lru_cache(maxsize=4096)
def _fold(letter: str) -> str:
    if "\uac00" <= letter <= "\ud7af":  # a Korean syllable is one letter
        return letter
    plain = unicodedata.normalize("NFKD", letter)
    return unicodedata.normalize("NFKC", "".join(x for x in plain if not unicodedata.combining(x))).lower()


@lru_cache(maxsize=4096)
def _seen(letter: str) -> str:
    if letter == "\u200d" or unicodedata.category(letter) not in _UNSEEN:
        return letter
    return "" if unicodedata.category(letter) == "Cf" else " "
