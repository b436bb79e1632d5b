"""What an entry of a note says, and what it leaves out: its priority, a reason, a place, a time, anything.

Judged by words, never by meaning: what is found here is worth a second look, and nothing is changed by it.
"""

from __future__ import annotations

import re

from sessionsync.sources.note_terms import words_of

_LEVELS = {
    "critical": 0,
    "urgent": 0,
    "blocker": 0,
    "high": 1,
    "medium": 2,
    "normal": 2,
    "low": 3,
}
_NAMED = "|".join(_LEVELS)
_NUMBERED = {"p0", "p1", "p2", "p3", "p4"}
_PRIORITY = re.compile(
    rf"""\bP(?P<number>[0-4])\b                                       # P1
       | [\[(]\s*(?P<boxed>{_NAMED})\b[^\])]*[\])]                       # [high], (high priority)
       | ^\W*(?P<first>{_NAMED})\s*(?:priority\s*)?[:\u2014-]               # High:
       | \b(?P<said>{_NAMED})[\s-]+(?:priority|prio)\b                   # with high priority
       | \bprio(?:rity)?\s*[:=]\s*(?:P?(?P<digit>[0-4])\b|(?P<after>{_NAMED})\b)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_PATH = re.compile(
    r"(?<![\w/])(?!and/or\b|n/a\b)(?:~|\.{1,2})?/?[\w.@-]+/[\w./@-]*\w"  # src/a, ./a, /etc/hosts
    r"|\b[\w-]{2,}\.[A-Za-z][A-Za-z0-9]{0,4}\b(?![(\w])"  # cache.py, cache.py:12
)
_TIME = re.compile(
    r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}:\d{2}\b"
    r"|\b\d+(?:[.,]\d+)?\s*(?:s|sec|seconds?|m|min|minutes?|h|hours?|days?|weeks?)\b"
    r"|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.? \d{1,2}\b|\b\d{1,2}h\d{2}\b",
    re.IGNORECASE,
)
_BECAUSE = re.compile(
    r"\b(?:because|since|due to|caused by|owing to|as it|as the|so that|which|but|until|when|while|after)\b"
    r"|[:;\u2014\u2013(\u2192]|\s-+>?\s|=>|\.\s",
    re.IGNORECASE,
)
_TODO = re.compile(r"\b(?:TODO|FIXME|XXX)\b")
_REFERENCE = re.compile(r"#\d+\b|\bGH-\d+\b|https?://|`[^`]+`")
_BLANKS = frozenset(words_of("tbd tba todo fixme xxx placeholder lorem ipsum na none fill in me here later"))
# Words for anything: an entry that has no other says nothing.
_ANYTHING = """
    a an the and or of to for with in on at by from into up out it its this that these those there be is are
    was were has have do does did not no dont didnt doesnt isnt we i you my our all some any more most other
    others another few many several various misc miscellaneous etc stuff thing things something everything
    anything someone code codebase bug bugs issue issues problem problems error errors item items part parts
    rest remaining work works worked working task tasks change changes update updates improvement improvements
    fix fixes fixed fixing improve improved improving refactor refactoring cleanup clean debug debugging
    investigate investigating look looked looking check checked checking try tried trying test tests tested
    testing continue continued finish finished finalize complete completed implement implemented handle
    handled make made get got add added polish tweak tweaks adjust adjustments review better good bad nice
    properly correctly again later soon maybe probably somehow possibly needed necessary required as well also
    just still yet so too very really done doing keep going go on over follow resolve resolved solve solved
    rework optimise optimize broken wrong weird luck help helped failed fails fail failing happened reason why
    unknown nothing nope nah approach solution way idea ideas else now already still today tomorrow further
    need needs deal write writing docs documentation performance quality functionality feature features system
    app application project file files logic edge case cases
"""
_EMPTY = _BLANKS | frozenset(_ANYTHING.split())
CONTEXT_WORDS = 5
"""What a TODO says at least, where it names no place."""


def priority(text: str) -> int | None:
    """The priority that an entry carries, 0 the highest; None without one.

    >>> priority("P1: measure"), priority("[high] measure"), priority("measure the high load")
    (1, 1, None)
    """
    match = _PRIORITY.search(text)
    if match is None:
        return None
    if digit := match["number"] or match["digit"]:
        return int(digit)
    return _LEVELS[
        next(word for name in ("boxed", "first", "said", "after") if (word := match[name])).lower()
    ]


def is_priority(text: str) -> bool:
    """Whether nothing but a priority is said: `High Priority`, `P1 (now)`."""
    words = {*words_of(text)}
    named = words & (_LEVELS.keys() | _NUMBERED)
    return bool(named) and words - named <= _EMPTY | {"priority", "prio"}


def says_why(text: str) -> bool:
    """Whether more is said than what was tried: something behind a `because`, a colon or a dash.

    >>> says_why("a bigger pool: the lock is held, not the connection"), says_why("a bigger pool")
    (True, False)
    """
    return any(means(text[match.end() :]) for match in _BECAUSE.finditer(text))


def means(text: str) -> bool:
    """Whether a reason is more than that it did not work, and where and when that was."""
    bare = _TIME.sub(" ", _PATH.sub(" ", text))
    return any(word not in _EMPTY and not word.isdecimal() for word in words_of(bare))


def is_vague(text: str) -> bool:
    """Whether nobody could act on an entry: a placeholder, one word, or nothing but words for anything.

    >>> is_vague("Fix the remaining bugs"), is_vague("Fix the crash on an empty cart")
    (True, False)
    """
    text = _PRIORITY.sub(" ", text)
    bare = text.strip(" :\u2014\u2013-")
    words = words_of(bare)
    if not words or all(word in _BLANKS for word in words):
        return True
    if bare[0] in "[<{" and bare[-1] in "]>}" and len(words) < CONTEXT_WORDS:
        return True  # of somebody's template
    if _PATH.search(bare) or _REFERENCE.search(bare):
        return False
    meant = [word for word in words if word not in _EMPTY]
    return not meant or len(words) == 1


def has_path(text: str) -> bool:
    """Whether a file or a folder is named."""
    return _PATH.search(text) is not None


def has_time(text: str) -> bool:
    """Whether a date, a time of day or a duration is named."""
    return _TIME.search(text) is not None


def is_todo(text: str) -> bool:
    """Whether it is marked as such, in capitals."""
    return _TODO.search(text) is not None


def has_context(text: str) -> bool:
    """Whether a TODO says where, or enough to know what it is about."""
    bare = _TODO.sub(" ", _PRIORITY.sub(" ", text))
    if is_vague(bare):
        return False
    return has_path(bare) or _REFERENCE.search(bare) is not None or len(words_of(bare)) >= CONTEXT_WORDS
