"""Texts and queries, cut alike for SQLite's tokenizer `unicode61`.

unicode61 splits at everything but letters and digits and takes case and accents away.  Three things it
cannot do: Chinese, Japanese and Korean have no blanks, so they are cut into pairs of characters;
`getUserName` is one word to it, so the parts of such identifiers are put behind the text, once each; and a
phrase that nobody says, of words that everybody does, as `"the in"`, it looks for through most of the index.
So what of such words comes right behind `the` is behind the text as one word with it, and asked for first.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from sessionsync.errors import QueryInvalid

QUERY_HINT = 'Give words, "a phrase", or a prefix*; OR and NOT stand between words.'
NOT_HINT = "Say as well what to find, as in: apple NOT red"
# A query with more is no query but a document.
QUERY_WORDS = 200
QUERY_CHARS = 10_000
# A longer run of letters and digits is data, as base64 is: nobody types it, and it would bloat the index.
WORD_BYTES = 64
_TOO_LONG = b"a" * (WORD_BYTES + 1)
_DATA = re.compile(rf"[A-Za-z0-9]{{{WORD_BYTES + 1},}}")
# An identifier has no more parts; what has is data as well.
PARTS = 12

# `the` is in half of all texts and these are in many, but hardly ever right behind it, where English has a
# noun: of such a phrase FTS5 goes through all texts with both for next to none (60 ms in a million passages;
# asked for as one word, 1 ms).  What stands before `the`, or without it, mostly is common together as well,
# and soon found often enough; to find every such pair in each text takes an index a fifth longer to build.
SELDOM_BEHIND = frozenset(
    b"the a an to and of is in it that i for this be on with not we you as but are if or"
    b" at from by was have do can so".split()
)
# Before such a word: of private use, so nobody types it and no prefix stands for it; to unicode61 a letter.
JOINT = "\U0010f5e5"
JOINED = {word: f"{JOINT}the{word.decode()}" for word in sorted(SELDOM_BEHIND)}
_BEHIND = re.compile(rb"the(?<![a-z0-9]the)(?= +([a-z]{1,4})(?![a-z0-9]))")

_CJK = re.compile(
    r"[\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    r"\U00020000-\U0003ffff]+"
)
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\dA-Za-z_]+")
_QUOTED = re.compile(r'"([^"]*)"(\*?)|(\S+)')
_BETWEEN = frozenset({"OR", "NOT", "AND"})

# Behind each text where many are one: no byte of any, and no blank to what looks for words beside each other.
_END = b"\xff"


def _shape(byte: int) -> str:
    letter = chr(byte)
    if byte < 0x80:
        return "A" if letter.isupper() else "a" if letter.isalnum() else " "
    return " " if byte == _END[0] else "a"


# Every byte as what it is: a capital, another letter or digit, or nothing of a word.  Looking for a few
# fixed bytes in this is ten times as fast as an expression over the text.
_SHAPES = "".join(map(_shape, range(256))).encode()
_SMALL = bytes.maketrans(b"A", b"a")
_HUMPS = (b"aA", b"AAa")

# Every byte of a text without accents as unicode61 has it: a small letter or digit, or a blank between words.
_FOLDED = bytes(ord(chr(byte).lower()) if byte < 0x80 and chr(byte).isalnum() else 32 for byte in range(255))
_FOLDED += _END
# Accents that stand by themselves also where characters are composed, and at which unicode61 ends a word.
_ENDING = re.compile(r"[\u0305\u030d\u030e\u0310\u0312-\u031a\u031c-\u0322\u0329-\u032c\u032f\u0332-\u036f]")
_ACCENT = re.compile(r"[\u0300-\u036f]")


@dataclass(frozen=True, slots=True)
class Term:
    """A word, prefix or phrase of a query, as it was typed."""

    text: str
    is_phrase: bool = False
    is_prefix: bool = False


@dataclass(slots=True)
class Group:
    """What stands between two ORs: all that must be there, and what must not."""

    wanted: list[Term] = field(default_factory=list)
    unwanted: list[Term] = field(default_factory=list)


def words(texts: Sequence[str]) -> list[str]:
    """Texts as they are indexed.

    Many at once: most are short, and to look through all of them together costs a fifth less (measured).

    >>> [each.split() for each in words(["getUserName in 日本語", "now"])]
    [['getUserName', 'in', '日本', '本語', '語', 'get', 'User', 'Name'], ['now']]
    """
    cut = [text if text.isascii() else _plain(text) for text in texts]
    data, ends = _joined(cut)
    shape = data.translate(_SHAPES)
    if runs := {bisect(ends, at) for at in _places(shape.translate(_SMALL), _TOO_LONG)}:
        for each in runs:
            cut[each] = _DATA.sub(" ", cut[each])
        data, ends = _joined(cut)
        shape = data.translate(_SHAPES)
    found: defaultdict[int, dict[bytes, None]] = defaultdict(dict)
    for hump in _HUMPS:
        at = shape.find(hump)
        while at >= 0:
            start, end = shape.rfind(b" ", 0, at) + 1, shape.find(b" ", at)
            found[bisect(ends, at)][data[start:end]] = None
            at = shape.find(hump, end)
    for each, identifiers in found.items():
        cut[each] = " ".join([cut[each], *map(_parts, identifiers)])
    for each, joined in behind_the(cut):
        cut[each] += f" {joined}"
    return cut


def behind_the(texts: Sequence[str]) -> list[tuple[int, str]]:
    """Words that are seldom right behind `the`, where they are: the number of the text, and both as one word.

    All that unicode61 finds there, and perhaps more: a letter without an equal in ASCII ends a word here.

    >>> [(n, each.replace(JOINT, "+")) for n, each in behind_the(["now", "Is the in-memory cache the? And"])]
    [(1, '+theand'), (1, '+thein')]
    """
    data, ends = _joined([text if text.isascii() else _ascii(text) for text in texts])
    found = {
        (bisect(ends, match.start()), JOINED[word])
        for match in _BEHIND.finditer(data.translate(_FOLDED))
        if (word := match[1]) in JOINED
    }
    return sorted(found)


def _plain(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()  # half of a surrogate pair is no character
    return _CJK.sub(_pairs, unicodedata.normalize("NFKC", text))


def _ascii(text: str) -> str:
    """A text without accents, a byte for each character."""
    plain = _ACCENT.sub("", unicodedata.normalize("NFKD", _ENDING.sub(" ", text)))
    return plain.encode("ascii", "replace").decode()


def _joined(texts: Sequence[str]) -> tuple[bytes, list[int]]:
    """Texts as one, and where each of them ends."""
    encoded = [text.encode() for text in texts]
    return _END.join([*encoded, b""]), [*accumulate(len(each) + 1 for each in encoded)]


def _places(data: bytes, wanted: bytes) -> Iterator[int]:
    """Where the first of these is in each run without blanks that has one."""
    at = data.find(wanted)
    while at >= 0:
        yield at
        at = data.find(wanted, data.find(b" ", at))


def _parts(identifier: bytes) -> str:
    parts = _PART.findall(identifier.decode("utf-8", "replace"))
    return " ".join(parts) if 1 < len(parts) <= PARTS else ""


def _pairs(match: re.Match[str]) -> str:
    """Every pair of neighbours, and the last character by itself: any character begins one of them."""
    run = match[0]
    return f" {' '.join([*(run[n : n + 2] for n in range(len(run) - 1)), run[-1]])} "


def parse(query: str) -> list[Group]:
    """A person's query: words, "phrases", prefix*, OR and NOT between them.

    Raises:
        QueryInvalid: there is nothing in it to search for, or far too much.
    """
    if len(query) > QUERY_CHARS:
        raise QueryInvalid(
            f"The query has {len(query):,} characters; {QUERY_CHARS:,} are allowed.", hint=QUERY_HINT
        )
    groups, negated, count = [Group()], False, 0
    for phrase, star, word in _QUOTED.findall(query):
        if word in _BETWEEN:
            negated = word == "NOT"
            if word == "OR" and groups[-1].wanted:
                groups.append(Group())
            continue
        text = phrase or word
        if not any(map(str.isalnum, text)):
            continue
        count += len(text.split())
        term = Term(text.rstrip("*"), bool(phrase), bool(star) or (not phrase and text.endswith("*")))
        (groups[-1].unwanted if negated else groups[-1].wanted).append(term)
        negated = False
    found = [group for group in groups if group.wanted]
    if not found and any(group.unwanted for group in groups):
        raise QueryInvalid(f"{query[:100]!r} only says what not to find.", hint=NOT_HINT)
    if not found:
        raise QueryInvalid(f"{query[:100]!r} holds no word to search for.", hint=QUERY_HINT)
    if count > QUERY_WORDS:
        raise QueryInvalid(f"The query has {count} words; {QUERY_WORDS} are allowed.", hint=QUERY_HINT)
    return found


def expression(query: str) -> str:
    """A person's query in FTS5's language; raises as `parse` does.

    >>> expression('deploy "blue green" kube* OR stop NOT now')
    '("deploy" AND "blue green" AND "kube" *) OR ("stop" NOT "now")'
    >>> expression('"the in"').replace(JOINT, "+")
    '("+thein" AND "the in")'
    """
    groups = parse(query)
    told = [_group(group) for group in groups]
    return told[0] if len(told) == 1 else " OR ".join(f"({each})" for each in told)


def beside_prefixes(query: str) -> str:
    """What each match of a query with prefixes has beside them, in FTS5's language; '' where that is nothing.

    Raises as `parse` does.

    >>> beside_prefixes('deploy kube* OR "blue gre"* NOT now')
    '("deploy") OR ("blue")'
    """
    groups = parse(query)
    if not any(map(_begins, (term for group in groups for term in (*group.wanted, *group.unwanted)))):
        return ""
    whole = [" AND ".join(map(_term, _whole(group))) for group in groups]
    return " OR ".join(f"({each})" for each in whole) if all(whole) else ""


def _whole(group: Group) -> Iterator[Term]:
    """What is wanted, but for the words of which only the beginning is known."""
    for term in group.wanted:
        if not _begins(term):
            yield term
        elif before := _words(term.text)[:-1]:
            yield Term(" ".join(before), is_phrase=True)


def _words(text: str) -> list[str]:
    """What of a text is between blanks and has a letter or digit in it."""
    return [each for each in text.split() if any(map(str.isalnum, each))]


def _group(group: Group) -> str:
    wanted = " AND ".join(map(_term, group.wanted))
    if not group.unwanted:
        return wanted
    if len(group.wanted) > 1:
        wanted = f"({wanted})"
    unwanted = [_term(term) for term in group.unwanted]
    return f"{wanted} NOT {unwanted[0] if len(unwanted) == 1 else '(' + ' OR '.join(unwanted) + ')'}"


def _term(term: Term) -> str:
    spellings = dict.fromkeys([_cut(term.text)] if term.is_phrase else [_cut(term.text), *humps(term.text)])
    star = " *" if _begins(term) else ""
    told = [_spelled(spelling, star) for spelling in spellings]
    return told[0] if len(told) == 1 else f"({' OR '.join(told)})"


def _spelled(spelling: str, star: str) -> str:
    """A phrase; where it has words that are one behind each text, only of the few texts that have those."""
    certain = spelling if not star else " ".join(_words(spelling)[:-1])
    told = [*(f'"{joined}"' for _, joined in behind_the([certain])), f'"{spelling}"{star}']
    return told[0] if len(told) == 1 else f"({' AND '.join(told)})"


def _begins(term: Term) -> bool:
    """Whether its last word may go on; a character of Chinese by itself begins a pair."""
    is_alone = not term.is_phrase and len(term.text) == 1 and _CJK.fullmatch(term.text) is not None
    return term.is_prefix or is_alone


def humps(word: str) -> Iterator[str]:
    """The parts of an identifier, as one phrase: in this spelling they are behind the text."""
    if word.isalnum() and len(parts := _PART.findall(word)) > 1 and not _CJK.search(word):
        yield " ".join(parts)


def _cut(text: str) -> str:
    """What is searched for, cut as texts are; at its end a text may go on, so no last character alone."""
    text = unicodedata.normalize("NFKC", text).replace("\0", " ").replace('"', " ")
    text = text.encode("utf-8", "replace").decode()

    def pairs(match: re.Match[str]) -> str:
        is_end = match.end() == len(text) and len(match[0]) > 1
        cut = _pairs(match)
        return cut[:-3] + " " if is_end else cut

    return re.sub(r"\s+", " ", _CJK.sub(pairs, text)).strip()
