"""The one gate that everything passes before it leaves the machine.

Deterministic and line by line: the same prefix of a file is redacted to the same prefix, and of whole lines
`redact(a + b) == redact(a) + redact(b)`.  Fails closed: what cannot be judged is not let through.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, NewType, Self

from sessionsync.config import Privacy
from sessionsync.errors import ConfigError, RedactionFailed
from sessionsync.privacy import keys
from sessionsync.privacy.rules import CUSTOM, CUT_OFF, HALF, RULES, RULES_VERSION, Span, found, secret

ClearedText = NewType("ClearedText", str)
"""Text that has been through the gate: the only thing that is sent to GitHub."""

BLOCK_BYTES = 256 * 1024
"""What is searched at once: it stays in the processor's cache while one hint after another is looked for."""

# Fields that hold a transcript together.  The user's own expressions, and rules that go by the words around
# a secret, leave them alone: without them the session cannot be resumed.
_FIELDS = (
    "sessionId", "session_id", "uuid", "parentUuid", "logicalParentUuid", "leafUuid",
    "messageId", "message_id", "requestId", "promptId", "agentId", "agent_id", "id",
    "tool_use_id", "toolUseID", "parentToolUseID", "sourceToolAssistantUUID",
    "signature", "type", "version", "timestamp", "cwd",
)  # fmt: skip
_FIELD = re.compile(rb'"(?:%b)"[ \t]*:[ \t]*"(?:[^"\\\n]|\\.)*\Z' % "|".join(_FIELDS).encode())
_FIELD_BYTES = 1024
_HALF_BYTES = 8192
_ESCAPED = re.compile(rb"\\(?:u00[2-7][0-9A-Fa-f]|/)")
# A string of JSON, or its beginning where the line ends within it.
_STRING = re.compile(rb'"(?:[^"\\\n]++|\\[^\n])*+(?:"|\\?)')
_MARK = b"[REDACTED:%b]"


class Redacted(NamedTuple):
    """What may leave, and how many secrets of each kind were replaced in it."""

    data: bytes
    kinds: Counter[str]


class Gate:
    """Replaces secrets with `[REDACTED:kind]`.

    `patterns` are more of them, as regular expressions for one line: all of a match is replaced, or its
    group `secret`.  `allow` is never replaced: values, or expressions for the whole of one.  With `redact`
    off everything passes as it is.  A pattern that is no regular expression is a `ConfigError`.
    """

    def __init__(
        self, *, redact: bool = True, patterns: Sequence[str] = (), allow: Sequence[str] = ()
    ) -> None:
        self._on = redact
        self.taken: Counter[str] = Counter()
        """How many secrets of each kind were replaced so far, in everything given."""
        self._patterns = [_pattern(text) for text in patterns]
        self._allowed = frozenset(text.encode() for text in allow)
        self._allowances = [expression for text in allow if (expression := _expression(text))]
        said = json.dumps([redact, [*patterns], [*allow]])
        self.fingerprint = hashlib.sha256(said.encode()).hexdigest()[:16]
        """The same for gates that redact alike under one `RULES_VERSION`."""
        self.rules = f"{RULES_VERSION}:{self.fingerprint}"
        """The same for gates that redact alike; stored with what has passed."""

    @classmethod
    def of(cls, settings: Privacy) -> Self:
        """The one that the settings want; ConfigError."""
        return cls(redact=settings.redact, patterns=settings.patterns, allow=settings.allow)

    def text(self, text: str) -> tuple[ClearedText, int]:
        """Clear one text; returns how many secrets were replaced.

        Half a surrogate pair becomes U+FFFD.  Half a secret before a final `…` goes as well.
        """
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        cleared, kinds = self.redact("", whole.encode())
        half = HALF.compiled.search(cleared, max(0, len(cleared) - _HALF_BYTES)) if self._on else None
        if half and not self._allow(half[0]):
            cleared = cleared[: half.start()] + _MARK % CUT_OFF.encode() + cleared[half.end() :]
            kinds[CUT_OFF] += 1
        return ClearedText(cleared.decode()), kinds.total()

    def data(self, name: str, data: bytes) -> tuple[bytes, int]:
        """Clear a file, or whole lines of one; returns how many secrets were replaced."""
        cleared = self.redact(name, data)
        return cleared.data, cleared.kinds.total()

    def redact(self, name: str, data: bytes) -> Redacted:
        """Clear a file, or whole lines of one, in any encoding.

        What was JSON is JSON afterwards: each line, and a file called `.json`, which must be given whole.
        """
        if not self._on:
            return Redacted(data, Counter())
        try:
            cleared = self._redact(data, whole_json=name.endswith(".json"))
            self.taken.update(cleared.kinds)
            return cleared
        except Exception as error:
            raise RedactionFailed(
                f"{name or 'a text'} could not be searched for secrets ({type(error).__name__})",
                hint="nothing of it was sent: look at [privacy] in config.toml, then `sessiond ctl retry`",
            ) from error

    def names_secret(self, name: str) -> bool:
        """Tell whether a file's name or an id holds a secret of certain form.

        Names are not redacted, since a session is restored under them.
        """
        data = name.encode("utf-8", "surrogateescape")
        return self._on and any(not self._allows(match) for *_, match in found(data, certain_only=True))

    def _redact(self, data: bytes, *, whole_json: bool) -> Redacted:
        lines = _merged(keys.in_lines(data))
        cleared = self._replace(data, lines, Counter())
        kinds = Counter({keys.KIND: keys.count(data, lines)} if lines else {})
        cleared = b"".join(
            self._unescape(self._replace(block, self._spans(block), kinds), kinds)
            for block in _blocks(cleared)
        )
        if whole_json and cleared != data and not _is_json(cleared) and _is_json(data):
            return self._redact_values(data, indent=2)
        return Redacted(cleared, kinds)

    def _spans(self, block: bytes) -> list[Span]:
        """Return the secrets in whole lines, in order, none overlapping."""
        return _merged([*keys.in_strings(block), *self._ruled(block), *self._custom(block)])

    def _ruled(self, block: bytes) -> Iterator[Span]:
        for rank, rule, match in found(block):
            span = Span(*match.span(match.lastgroup or 0), rank, rule.kind)
            if not self._allows(match) and (rule.certain or not _holds_together(block, span)):
                yield span

    def _custom(self, block: bytes) -> Iterator[Span]:
        start = 0
        for line in block.split(b"\n") if self._patterns else ():
            text = line.decode("utf-8", "surrogateescape")
            for pattern in self._patterns:
                for match in pattern.finditer(text):
                    group = "secret" if "secret" in pattern.groupindex else 0
                    first, last = (start + len(_bytes(text[:at])) for at in match.span(group))
                    span = Span(first, last, len(RULES) + 1, CUSTOM)
                    values = (_bytes(match[group] or ""), _bytes(match[0]))
                    if span.start < span.end and not (self._allow(*values) or _holds_together(block, span)):
                        yield span
            start += len(line) + 1

    def _allows(self, match: re.Match[bytes]) -> bool:
        return self._allow(secret(match), match[0])

    def _allow(self, *values: bytes) -> bool:
        return any(
            value in self._allowed or any(allowance.fullmatch(_text(value)) for allowance in self._allowances)
            for value in values
        )

    def _replace(self, block: bytes, spans: Sequence[Span], kinds: Counter[str]) -> bytes:
        """Replace the spans, line by line, since each line that was JSON must be JSON again."""
        out: list[bytes] = []
        at = i = 0
        while i < len(spans):
            start, end = _line(block, spans[i].start)
            j = i
            while j < len(spans) and spans[j].start < end:
                j += 1
            out += block[at:start], self._replace_line(block[start:end], spans[i:j], start, kinds)
            at, i = end, j
        return b"".join((*out, block[at:]))

    def _replace_line(self, line: bytes, spans: Sequence[Span], offset: int, kinds: Counter[str]) -> bytes:
        out: list[bytes] = []
        at = 0
        for span in spans:
            out += line[at : span.start - offset], _MARK % span.kind.encode()
            at = span.end - offset
        cleared = b"".join((*out, line[at:]))
        if line.lstrip()[:1] in (b"{", b"[") and not _is_json(cleared) and _is_json(line):
            values = self._redact_values(line)
            kinds.update(values.kinds)
            return values.data
        kinds.update(span.kind for span in spans)
        return cleared

    def _unescape(self, block: bytes, kinds: Counter[str]) -> bytes:
        """Clear the strings in which a letter or sign is written as an escape, where no rule knows it."""

        def cleared(match: re.Match[bytes]) -> bytes:
            string = match[0]
            if not _ESCAPED.search(string):
                return string
            try:
                value = json.loads(string)
            except ValueError:
                return string
            at = match.start()
            holds = _FIELD.search(match.string, max(0, at - _FIELD_BYTES), at + 1)
            if holds and not self.names_secret(value):
                return string
            clear = self._redact(value.encode("utf-8", "surrogatepass"), whole_json=False)
            kinds.update(clear.kinds)
            text = clear.data.decode("utf-8", "surrogatepass")
            return json.dumps(text).encode() if clear.kinds else string

        out: list[bytes] = []
        at = 0
        while escaped := _ESCAPED.search(block, at):
            start, end = _line(block, escaped.start())
            out += block[at:start], _STRING.sub(cleared, block[start:end])
            at = end
        return b"".join((*out, block[at:]))

    def _redact_values(self, data: bytes, *, indent: int | None = None) -> Redacted:
        """Clear JSON one string after another, where that is not possible in its text."""
        kinds: Counter[str] = Counter()

        def cleared(value: Any) -> Any:
            if isinstance(value, str):
                clear = self._redact(value.encode("utf-8", "surrogatepass"), whole_json=False)
                kinds.update(clear.kinds)
                return clear.data.decode("utf-8", "surrogatepass")
            if isinstance(value, list):
                return [cleared(item) for item in value]
            if isinstance(value, dict):
                return {
                    cleared(key): item if stays(key, item) else cleared(item) for key, item in value.items()
                }
            return value

        def stays(key: str, item: Any) -> bool:
            return key in _FIELDS and isinstance(item, str) and not self.names_secret(item)

        separators = (",", ": " if indent else ":")
        text = json.dumps(cleared(json.loads(data)), ensure_ascii=False, indent=indent, separators=separators)
        return Redacted(text.encode("utf-8", "backslashreplace"), kinds)


def _holds_together(block: bytes, span: Span) -> bool:
    return bool(_FIELD.search(block, max(0, span.start - _FIELD_BYTES), span.start))


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Return the spans in order, those that overlap as one."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            first = min(last, span, key=lambda s: s.rank)
            merged[-1] = Span(last.start, max(last.end, span.end), first.rank, first.kind)
        else:
            merged.append(span)
    return merged


def _line(data: bytes, at: int) -> tuple[int, int]:
    """Where the line with `at` in it begins and ends, without its newline."""
    end = data.find(b"\n", at)
    return data.rfind(b"\n", 0, at) + 1, len(data) if end < 0 else end


def _blocks(data: bytes) -> Iterator[bytes]:
    """Return `data` in pieces that end with a line, so that no rule sees half of one."""
    at = 0
    while at < len(data):
        end = len(data)
        if at + BLOCK_BYTES < end:
            newline = data.rfind(b"\n", at, at + BLOCK_BYTES)
            newline = newline if newline >= 0 else data.find(b"\n", at + BLOCK_BYTES)
            end = newline + 1 if newline >= 0 else end
        yield data[at:end]
        at = end


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(
            f"privacy.patterns: {text!r} is no regular expression: {error}",
            hint="write it as Python's `re` takes it, in single quotes in config.toml",
        ) from error


def _expression(text: str) -> re.Pattern[str] | None:
    """Return an allowance as an expression, where it is one: it is a value in any case."""
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return None
