"""Where any of a hundred fixed texts stands, for little more than the price of a few.

`bytes.find` takes a pass for each of them, at 1 to 2 GB/s (measured, as what follows).  To skip to a single
byte is what `re` does fastest, at 2.7 GB/s, and what is asked there costs only where that byte stands.  So
hints that share a rare sign are found in one pass, however many they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

_SIGNS = b"~$=_-.QJKGVzwkbMNOA"
"""Rare in transcripts, and the first of them in base64 too: a hint goes by the first that is in it."""


class _Hint(NamedTuple):
    """`text`, which goes by the sign at `at` in it; where `then` is not empty, one of it must follow."""

    text: bytes
    at: int
    then: bytes

    @property
    def sign(self) -> bytes:
        return self.text[self.at : self.at + 1]

    @property
    def before(self) -> bytes:
        """The byte before the sign, if any."""
        return self.text[: self.at][-1:]

    def behind(self, at: int) -> bytes:
        """An expression for what stands from `at` on."""
        then = b"[%b]" % re.escape(self.then) if self.then else b""
        return b"(?=%b%b)" % (re.escape(self.text[at:]), then)

    def meets(self, other: _Hint) -> bool:
        """Tell whether both may stand at the same sign."""
        begin = min(self.at, other.at)
        mine, its = (hint.text[hint.at - begin :] for hint in (self, other))
        return mine.startswith(its) or its.startswith(mine)


class _Together:
    """Hints that go by the same sign."""

    def __init__(self, sign: bytes, hints: Iterable[_Hint]) -> None:
        self._sign = sign
        self._hints = sorted(hints, key=lambda hint: hint.before)

    @cached_property
    def _expression(self) -> re.Pattern[bytes]:
        """The sign, and at it an empty group for each hint; compiled when it is first needed."""
        only, sign = self._hints[0], re.escape(self._sign)
        if len(self._hints) == 1 and only.at == 0:
            # All of it but the last byte, with which the next may begin: `re` looks for that at once.
            last = len(only.text) - 1
            return re.compile(re.escape(only.text[:last]) + only.behind(last) + b"()")
        befores: list[bytes] = []
        choices: list[bytes] = []
        for before, hints in groupby(self._hints, lambda hint: hint.before):
            there = (b"(?<=%b)%b()" % (re.escape(h.text[: h.at + 1]), h.behind(h.at + 1)) for h in hints)
            choices.append(b"(?<=%b)(?:%b)" % (re.escape(before) + sign, b"|".join(there)))
            befores.append(before)
        # Of most signs the byte before, or behind, tells at once that no hint stands there.
        seen = b"(?<=[%b]%b)" % (re.escape(b"".join(befores)), sign)
        if b"" in befores:
            follows = [hint.text[hint.at + 1 :][:1] for hint in self._hints]
            seen = b"(?=[%b])" % re.escape(b"".join(follows)) if all(follows) else b""
        return re.compile(sign + seen + b"(?:%b)" % b"|".join(choices))

    @cached_property
    def _there(self) -> list[list[_Hint]]:
        """For each group of the expression, what may stand where it is found: its own hint, and others."""
        return [[hint for hint in self._hints if hint.meets(found)] for found in self._hints]

    def places(self, text: bytes) -> dict[bytes, list[int]]:
        places: dict[bytes, list[int]] = {}
        if self._sign in text:
            for match in self._expression.finditer(text):
                for hint in self._there[(match.lastindex or 0) - 1]:
                    at = match.start() - hint.at
                    if at >= 0 and text.startswith(hint.text, at):
                        places.setdefault(hint.text, []).append(at)
        return places


class Hints:
    """Fixed texts that are looked for together: each with the bytes one of which must follow it, or none."""

    def __init__(self, texts: Mapping[bytes, bytes]) -> None:
        groups: dict[bytes, list[_Hint]] = {}
        for text, then in texts.items():
            hint = _Hint(text, next((text.index(sign) for sign in _SIGNS if sign in text), 0), then)
            groups.setdefault(hint.sign, []).append(hint)
        self._groups = [_Together(sign, hints) for sign, hints in groups.items()]
        self.passes = len(self._groups)
        """How often a text is looked through."""

    def places(self, text: bytes) -> dict[bytes, list[int]]:
        """Where each of those that occur begins, in order; some may lack what must follow."""
        return {hint: at for group in self._groups for hint, at in group.places(text).items()}
