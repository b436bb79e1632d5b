"""Foreign text made inert: on GitHub it shows as it was written and does nothing.

Outside code GitHub turns `@name` into a mention and `#1`, `GH-1`, `owner/repo#1`, URLs and commit hashes into
references, which notify people and mark other issues for good; inside code and HTML comments it does not
(GitHub docs).  So these become code, and Markdown's own signs are escaped.
"""

from __future__ import annotations

import re
import shlex
import unicodedata

_JOINERS = "\u200c\u200d"  # invisible, and part of words and emoji
_TOKEN = re.compile(
    r"""`(?P<code>[^`]+)`
      | (?:(?:https?|ftp|ssh|git|file)://|www\.|mailto:|xmpp:|(?:[\w-]+\.)*github\.com/) \S+
      | [\w.+/-]* @ \w [\w./-]*              # a mention, an address, a commit of somebody
      | [\w./-]* \# \d+                      # an issue, here or elsewhere
      | \b GH-\d+
      | \b (?: (?=[a-f]*\d) [0-9a-f]{7,19} | [0-9a-f]{20,64} ) \b     # a commit, and not "defaced"
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SIGN = re.compile(r"[\\`*\[\]~$#]|(?<![^\W_])_|_(?![^\W_])")
_ENTITY = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Behind these a backslash keeps a line from beginning a list, a rule or a heading.
_ITEM = re.compile(r"\d{1,9}(?=[.)])|(?=[-+=])")
# What would act outside a fence, should somebody break it, and what would not show, or turn the text around.
_IN_JSON = re.compile(
    r"@(?=\w)|\#(?=\d)|(?<=GH)-(?=\d)|/(?=(?:issues|pull|discussions|commit)/)|<(?=[!/A-Za-z])"
    "|[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]",
    re.IGNORECASE,
)


def cut(text: str, chars: int) -> str:
    """Return at most `chars` characters of `text`; one that was longer ends in `…`."""
    return text if len(text) <= chars else text[: chars - 1] + "…"


def one_line(text: str, chars: int) -> str:
    """Return `text` in one line: blanks are one space, what does not show is gone, the rest is cut."""
    shown = "".join(" " if c.isspace() or unicodedata.category(c) == "Cc" else c for c in text if _shows(c))
    return cut(" ".join(shown.split()), chars)


def plain(text: str, chars: int) -> str:
    """Markdown that shows one line of text.  Code in backticks stays code."""
    line = one_line(text, chars)
    out: list[str] = []
    at = 0
    for token in _TOKEN.finditer(line):
        out += _escaped(line[at : token.start()]), code(token["code"] or token[0])
        at = token.end()
    text = "".join((*out, _escaped(line[at:])))
    item = _ITEM.match(text)
    return f"{item[0]}\\{text[item.end() :]}" if item else text


def code(text: str) -> str:
    """Markdown that shows a line of text as code."""
    fence = "`" * (longest_run(text) + 1)
    pad = " " if text[:1] in "` " or text[-1:] in "` " else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def fenced(info: str, text: str) -> str:
    """Return lines of code with an info string, their fence longer than any run of backticks inside."""
    fence = "`" * max(3, longest_run(text) + 1)
    return f"{fence}{info}\n{text}\n{fence}"


def longest_run(text: str) -> int:
    """The length of the longest run of backticks."""
    return max((len(run) for run in re.findall("`+", text)), default=0)


def shell_word(text: str) -> str:
    """One word of a command for bash or zsh, on one line and without what does not show."""
    if text.isprintable():
        return shlex.quote(text)
    data = text.encode("utf-8", "surrogateescape")
    letters = (chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\x{b:02x}" for b in data)
    return f"$'{''.join(letters)}'"


def in_json(text: str) -> str:
    r"""Return the same JSON, with `\uXXXX` for what acts or does not show; `text` is JSON without `\/`."""
    return _IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _shows(char: str) -> bool:
    return char in _JOINERS or unicodedata.category(char) not in {"Cf", "Cs", "Co", "Cn"}


def _escaped(text: str) -> str:
    text = re.sub("[&<>]", lambda match: _ENTITY[match[0]], text)
    return _SIGN.sub(r"\\\g<0>", text)
