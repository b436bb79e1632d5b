r"""What a secret looks like, rule by rule.

Every rule works on bytes and inside one line, so that a prefix of a file is redacted like the prefix it is.
It begins with a hint, a few fixed bytes that `bytes.find` looks for at 2 GB/s (measured); only where one
stands is a pattern tried.  Patterns see text as it lies in JSON, where a line end is `\n` and a quote `\"`,
and never take a quote or a backslash around the secret with them.

Repetitions are bounded and possessive, so that no line takes longer than its length.

Forms are those that the services document.  What is only likely (`password = …`) must look like a secret as
well: a word taken out for nothing costs the session its identical bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

RULES_VERSION = 1
"""Raised with every change of what is found: what was sent under other rules is never redacted anew."""

CUSTOM = "custom"
"""The kind of what the user's own expressions find."""
CUT_OFF = "cut_off"
"""The kind of what may be half a secret, at the end of a text that was cut."""


class Span(NamedTuple):
    """A secret at `[start, end)`.  Where two overlap, the lower `rank` names both."""

    start: int
    end: int
    rank: int
    kind: str


def secret(match: re.Match[bytes]) -> bytes:
    """The secret in a match: its last named group, else all of it."""
    return match[match.lastgroup or 0]


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret: `pattern` is tried where a hint stands.

    `folded` rules have hints in lower case and find them in any.  A `certain` rule knows the secret by its
    own form, not by the words around it.
    """

    kind: str
    hints: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    plausible: Callable[[re.Match[bytes]], bool] = bool
    folded: bool = False
    certain: bool = True

    def matches(self, block: bytes, lower: bytes) -> Iterator[re.Match[bytes]]:
        """Every match in `block`; `lower` is the block in lower case."""
        text = lower if self.folded else block
        for hint in self.hints:
            at = text.find(hint)
            while at >= 0:
                match = self.pattern.match(block, at)
                if match and self.plausible(match):
                    yield match
                    at = match.end() - 1
                at = text.find(hint, at + 1)


# What stands where a secret would, in templates, manuals and code.
_PLACEHOLDER = re.compile(
    rb"required|optional|nullable|string|invalid|incorrect|missing|[<$%{*]|\.{3}|\xe2\x80\xa6|\[REDACTED:|x{4}|(?:your|my|the|some)[_-]|example|change-?me|placeholder"
    rb"|process\.env|os\.environ|(?:env|self|this|config|settings|secrets?)\.",
    re.IGNORECASE,
)
# Words with a few figures, as names, files and slugs have them: `access_token_v2`, `my-app-2024`.
_WORDS = re.compile(rb"(?:[A-Za-z]*\d{0,4}[^A-Za-z0-9]+)*[A-Za-z]*\d{0,3}")
_REFERENCE = re.compile(rb"[A-Za-z_]\w*(?:(?:\.|->|::)[A-Za-z_]\w*)+")
_NUMBER = re.compile(rb"[+-]\d+|0x[0-9A-Fa-f]+|\d+\.\d+")
_TOKEN = re.compile(rb"[A-Za-z0-9_+/=.~:%-]+")
_OPTION = re.compile(rb"--[\w-]*\Z")
_LITERAL = re.compile(rb"(?:--|[?&])[\w-]*\Z")
_PATH = (b"/", b"./", b"../", b"~/", b"http:", b"https:", b"file:")
_DIGITS = b"0123456789"
_SYMBOLS = b"!@#$%^&*?+~"


def _count(value: bytes, among: bytes) -> int:
    return len(value) - len(value.translate(None, among))


def _is_filled_in(match: re.Match[bytes]) -> bool:
    return not _PLACEHOLDER.match(secret(match))


def _has_digit(match: re.Match[bytes]) -> bool:
    return _count(secret(match), _DIGITS) > 0


def _is_credential(match: re.Match[bytes]) -> bool:
    """`Bearer authentication` is none, `Bearer 3f9ac1…` is."""
    value = secret(match)
    mixed = _has_digit(match) or not (value.islower() or value.isupper())
    return mixed and _is_filled_in(match) and not _WORDS.fullmatch(value.rstrip(b"="))


def _is_password(match: re.Match[bytes]) -> bool:
    value = secret(match)
    if not _is_value(match):
        return False
    if _count(value, _SYMBOLS) or value.isdigit():
        return True
    if _is_literal(match):
        return not value.isupper()
    named = value.isupper() or b"pass" in value.lower()  # `password=new_password2` in code
    if match.lastgroup == "bare":
        return _has_digit(match) and not named
    return _has_digit(match) or (len(value) >= 8 and not named)


def _is_random(match: re.Match[bytes]) -> bool:
    value = secret(match)
    if not _is_value(match) or not _TOKEN.fullmatch(value) or value.isdigit():
        return False
    digits = _count(value, _DIGITS)
    if _is_literal(match):
        return len(value) >= 8 and digits >= 1
    if _WORDS.fullmatch(value):
        return False
    if match.lastgroup == "bare":
        return (digits >= 3 and len(value) >= 16) or (digits >= 1 and len(value) >= 32)
    return len(value) >= 12 and digits >= 1


def _is_value(match: re.Match[bytes]) -> bool:
    """No template, path, name of something in code, number of JSON, or prose."""
    value, bare = secret(match), match.lastgroup == "bare"
    if _PLACEHOLDER.match(value) or value.startswith(_PATH):
        return False
    if match["sep"].isspace() and not _is_behind(_OPTION, match):
        return False
    return not (bare and (match["close"] or _REFERENCE.fullmatch(value) or _NUMBER.fullmatch(value)))


def _is_literal(match: re.Match[bytes]) -> bool:
    """`DB_PASSWORD=…`, `--password=…`, `?password=…`: what follows is a value and no name of one."""
    return match["sep"] == b"=" and (match["key"].isupper() or _is_behind(_LITERAL, match))


def _is_behind(sign: re.Pattern[bytes], match: re.Match[bytes]) -> bool:
    return bool(sign.search(match.string, max(0, match.start() - 40), match.start()))


# Where a token may begin: not inside a word, but behind what only looks like a letter: an escape of JSON
# or of a URL, or the end of a terminal's colour.
_BEGIN = rb"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4})|(?<=%[0-9A-Fa-f]{2})|(?<=[\[;0-9]m))"


def _form(
    kind: str, hints: bytes, pattern: bytes, plausible: Callable[[re.Match[bytes]], bool] = bool
) -> Rule:
    return Rule(kind, tuple(hints.split()), re.compile(_BEGIN + pattern), plausible)


# `word = value` in the ways of shells, settings, JSON, YAML, query strings, options and code.
_ASSIGNED = (
    r"""(?P<key>(?:%s)(?:(?:[_-]?access)?[_-]?key(?:[_-]?base)?)?)(?P<close>\\*["'])?"""
    r"""[ \t]*(?P<sep>:[ \t]*[A-Za-z_][\w.]*[ \t]*=|=>|:=|={1,2}|:|[ ])[ \t]*"""
    r"""(?:[bfru]{0,2}\\*["'`](?P<quoted>[^\s"'`\\]{6,4096}+)(?=\\*["'`])"""
    r"""|(?P<bare>[^\s"'`\\,;&<>(){}\[\]|]{6,4096}+)(?=\Z|[\s"'`\\,;&<>)}\]|]))"""
)


def _assigned(
    kind: str, words: str, plausible: Callable[[re.Match[bytes]], bool], behind: bytes = b""
) -> Rule:
    names = "|".join(word.replace("_", "[_-]?") for word in words.split())
    spelled = [
        hint for word in words.split() for hint in (word, word.replace("_", "-"), word.replace("_", ""))
    ]
    hints = tuple(hint.encode() for hint in dict.fromkeys(spelled))
    pattern = re.compile(behind + (_ASSIGNED % names).encode(), re.IGNORECASE)
    return Rule(kind, hints, pattern, plausible, folded=True, certain=False)


RULES: tuple[Rule, ...] = (
    _form("aws_access_key", b"AKIA ASIA ABIA ACCA", rb"[A-Z]{4}[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _form(
        "github_token",
        b"ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        rb"(?:github_pat_[A-Za-z0-9_]{20,255}+|gh[a-z]_(?:[A-Za-z0-9]{20,255}+|\d+_eyJ[\w.-]{20,4096}+))",
    ),
    _form("gitlab_token", b"glpat-", rb"glpat-[A-Za-z0-9_-]{20,4096}+"),
    _form("anthropic_key", b"sk-ant-", rb"sk-ant-[A-Za-z0-9_-]{20,4096}+"),
    _form(
        "openai_key",
        b"sk-",
        rb"sk-(?:(?:proj|svcacct|admin|or-v1)-[A-Za-z0-9_-]{20,4096}+|[A-Za-z0-9]{20,4096}+)(?![A-Za-z0-9_-])",
        _has_digit,
    ),
    _form(
        "slack_token",
        b"xox xapp- hooks.slack.com/services/",
        rb"(?:xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{10,4096}+|xapp-\d-[A-Za-z0-9-]{10,4096}+"
        rb"|hooks\.slack\.com/services/(?P<secret>T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{16,4096}+))",
        _has_digit,
    ),
    _form(
        "stripe_key",
        b"sk_live_ sk_test_ rk_live_ rk_test_ whsec_",
        rb"(?:[rs]k_(?:live|test)_[A-Za-z0-9]{16,4096}+|whsec_[A-Za-z0-9+/=]{24,4096}+)",
    ),
    _form(
        "google_key",
        b"AIza ya29. GOCSPX-",
        rb"(?:(?<!\+)AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])|ya29\.[A-Za-z0-9_-]{20,4096}+|GOCSPX-[A-Za-z0-9_-]{20,4096}+)",
    ),
    _form("huggingface_token", b"hf_", rb"hf_[A-Za-z0-9]{30,4096}+(?![A-Za-z0-9_])"),
    _form("npm_token", b"npm_", rb"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    _form("pypi_token", b"pypi-AgE", rb"pypi-AgE[A-Za-z0-9_-]{16,4096}+"),
    _form("jwt", b"eyJ", rb"eyJ[A-Za-z0-9_-]{8,4096}+\.eyJ[A-Za-z0-9_-]{8,4096}+\.[A-Za-z0-9_-]{8,4096}+"),
    # Up to the last `@` before the path, for passwords with an `@`; `image:tag@sha256:…` has none.
    Rule(
        "url_password",
        (b"://",),
        re.compile(
            rb"://(?!\[REDACTED:)[^\s:/?#@\"'`\\<>]{0,255}:(?P<secret>[^\s/?#\"'`\\<>]{1,255})@(?!sha256:)[\w\[$.%{-]"
        ),
        _is_filled_in,
    ),
    Rule(
        "authorization",
        (b"authorization", b"bearer"),
        re.compile(
            rb"(?:authorization\\*[\"']?[ \t]*[:=,][ \t]*(?:[bfru]{0,2}\\*[\"'`])?"
            rb"(?:(?:basic|bearer|digest|token|apikey|negotiate)[ \t]+)?|bearer[ \t]+)"
            rb"(?P<secret>[A-Za-z0-9._~+/-]{8,4096}+={0,2})(?![A-Za-z0-9._~+/-])",
            re.IGNORECASE,
        ),
        _is_credential,
        folded=True,
        certain=False,
    ),
    _assigned("password", "password passwd passphrase pwd", _is_password),
    _assigned("secret", "secret", _is_random),
    # Not the tokens that only name a page or a public key.
    _assigned("token", "token", _is_random, rb"(?<!next)(?<!next_)(?<!page)(?<!page_)(?<!publickey)"),
    _assigned("api_key", "api_key access_key", _is_random),
)

_FORMS = b"|".join(re.escape(hint) for rule in RULES if rule.certain for hint in rule.hints if hint != b"://")
HALF = re.compile(
    rb"(?:%b(?:%b)|://[^\s/?#\[]{0,255}:|-----BEGIN [^\n\[]{0,4096}"
    rb"|(?i:(?:pass(?:word|wd|phrase)|pwd|secret|token|key)\W{0,4}[=:][ \t]*|(?:bearer|basic)[ \t]+))"
    rb"[^\s\[/]{0,4096}(?=\xe2\x80\xa6\Z)" % (_BEGIN, _FORMS)
)
"""Where a text was cut (it ends in `…`), a secret may have lost the end by which a rule knows it."""

KINDS: tuple[str, ...] = ("private_key", *(rule.kind for rule in RULES), CUT_OFF, CUSTOM)
"""Every kind there is, in the order of their ranks: the labels of a metric."""
