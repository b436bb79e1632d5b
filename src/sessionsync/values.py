"""What each setting takes: one rule a setting, read from a TOML value, and how a value is shown to a person.

A reader raises `ValueError`, whose text, if any, is the reason.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sessionsync import age
from sessionsync.paths import absolute

if TYPE_CHECKING:
    from urllib.parse import SplitResult

KB = 1024
MOST = 2**31 - 1  # fits SQLite, timers and everybody's int

# GitHub's token prefixes, and age's secret key
TOKEN = re.compile(r"gh[a-z]_[A-Za-z0-9_]{20,}|github_pat_[A-Za-z0-9_]{20,}|AGE-SECRET-KEY-1[A-Z0-9]+")


def shown(value: object) -> str:
    """Return a value as TOML would write it, short, on one line, without logins and tokens."""
    import json  # noqa: PLC0415 - only for errors

    text = json.dumps("" if value is None else value, default=str, ensure_ascii=False)
    text = TOKEN.sub("…", re.sub(r"//[^/@]*@", "//…@", text))
    return plain(text if len(text) <= 200 else text[:199] + "…")


def plain(text: object) -> str:
    """Return a text that every terminal and log takes: no control characters, no lone surrogates."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(text))


class Rule(NamedTuple):
    """What a setting takes, in words, and the function that reads it or raises `ValueError`."""

    allowed: str
    read: Callable[[object, Path], object]
    is_text: bool = False  # then a variable's bare word will do


def _flag() -> Rule:
    def read(value: object, _home: Path) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    return Rule("true or false", read)


def _whole(low: int, high: int = MOST) -> Rule:
    def read(value: object, _home: Path) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError
        return value

    return Rule(f"a whole number from {low}" + (f" to {high}" if high < MOST else ""), read)


def _text(allowed: str, judge: Callable[[str, Path], object]) -> Rule:
    """A string; `judge` returns what becomes of it, or raises `ValueError`."""

    def read(value: object, home: Path) -> object:
        return judge(_line(value), home)

    return Rule(allowed, read, is_text=True)


def _texts(allowed: str, judge: Callable[[str, Path], object]) -> Rule:
    def read(value: object, home: Path) -> tuple[object, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError
        return tuple(judge(_line(entry), home) for entry in value)

    return Rule(f"a list of {allowed}", read)


def _line(value: object) -> str:
    if not isinstance(value, str | Path | None):  # Path and None are defaults
        raise ValueError
    text = str(value or "")
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise ValueError("it contains a control character")
    return text


def _recipients() -> Rule:
    texts = _texts(f"at most {age.RECIPIENTS} age recipients (age1…, ssh-ed25519 …, ssh-rsa …)", _recipient)

    def read(value: object, home: Path) -> object:
        found = texts.read(value, home)
        if isinstance(found, tuple) and not age.fits(found):
            raise ValueError(f"these {len(found)} are too many, or their keys too long")
        return found

    return Rule(texts.allowed, read)


def _recipient(value: str, _home: Path) -> str:
    try:
        age.recipient(value)
    except age.Unavailable:
        pass  # nothing is archived then, and that is said
    except ValueError as problem:
        raise ValueError(f"{shown(value)}: {problem}") from problem
    return value


def _matching(pattern: str) -> Callable[[str, Path], str]:
    def judge(value: str, _home: Path) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError
        return value

    return judge


def _one_of(*words: str) -> Rule:
    return _text("one of " + ", ".join(words), _matching("|".join(words)))


def _glob(value: str, home: Path) -> str:
    return str(absolute(value, home))


def _file_or_none(value: str, home: Path) -> Path | None:
    return absolute(value, home) if value else None


def _repo(value: str, _home: Path) -> str:
    _matching(r"|[a-zA-Z0-9][\w-]{0,99}/(?!\.{1,2}$)[\w.-]{1,100}")(value, _home)
    if value.lower().endswith(".git"):
        raise ValueError("it ends in .git")
    return value


def _api_url(value: str, _home: Path) -> str:
    parts = _split(value)
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        raise ValueError
    if parts.username or parts.query or parts.fragment:
        raise ValueError("it holds more than scheme, host, port and path")
    return value.rstrip("/")


def _archive_url(value: str, home: Path) -> str:
    if value in ("", "github"):
        return value
    if re.match(r"[~/]", value):
        return str(absolute(value, home))
    if re.fullmatch(r"(\w[\w.-]*@)?[a-zA-Z0-9][\w.-]*:[^-:\s][^:\s]*", value) and "://" not in value:
        return value  # ssh as scp writes it
    parts = _split(value)
    if parts.password is not None or (parts.username and parts.scheme != "ssh"):
        raise ValueError("it holds a password or a token: git's credential helper is the place for it")
    loopback = parts.scheme == "http" and _is_loopback(parts.hostname or "")
    local = parts.scheme == "file" and parts.path.startswith("/") and not parts.netloc
    if not (parts.scheme in ("https", "ssh") or loopback or local):
        raise ValueError
    return value


def _split(value: str) -> "SplitResult":
    """Return the parts of a URL; raise `ValueError` where it has no proper host or port."""
    from urllib.parse import urlsplit  # noqa: PLC0415 - heavy, and rarely wanted

    parts = urlsplit(value)
    host = r"[a-zA-Z0-9][\w.-]*|[0-9a-f:]+"  # never a dash first: git and ssh would read an option
    if parts.scheme != "file" and not re.fullmatch(host, parts.hostname or "", re.ASCII):
        raise ValueError("it has no host")
    if re.search(r"\s", value) or parts.port == 0:
        raise ValueError
    return parts


def address(value: str) -> tuple[str, int]:
    """Return host and port of `host:port`; raise `ValueError` where it is none, or not on loopback."""
    match = re.fullmatch(r"(localhost|[0-9.]+|\[[0-9a-fA-F:]+\]):([0-9]{1,5})", value, re.ASCII)
    if not match or int(match[2]) > 65535 or not _is_loopback(match[1].strip("[]")):
        raise ValueError
    return match[1].strip("[]"), int(match[2])


def _listen(value: str, _home: Path) -> str:
    if value:
        address(value)
    return value


def _is_loopback(host: str) -> bool:
    from ipaddress import ip_address  # noqa: PLC0415 - heavy, and rarely wanted

    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _command(value: str, _home: Path) -> str:
    import shlex  # noqa: PLC0415 - heavy, and rarely wanted

    shlex.split(value)  # raises ValueError for an open quote
    return value


def _pattern(value: str, _home: Path) -> str:
    import warnings  # noqa: PLC0415 - heavy, and rarely wanted

    try:
        with warnings.catch_warnings(action="error"):  # Python warns where it doubts the meaning
            compiled = re.compile(value)
    except (re.error, OverflowError, RecursionError, Warning) as problem:
        raise ValueError(str(problem)) from problem
    if compiled.match(""):
        raise ValueError("it matches the empty text")
    return value


LOGIN = r"[a-zA-Z0-9][\w-]{0,99}(\[bot\])?"

RULES: Mapping[str, Rule] = {
    "sources.claude": _texts("folders, absolute or under ~", absolute),
    "sources.projects": _texts("folders or globs, absolute or under ~", _glob),
    "sources.quiet_seconds": _whole(1),
    "github.repo": _text('"owner/name" as in the repository\'s address, or ""', _repo),
    "github.api_url": _text("an https URL, or http on loopback, without a login", _api_url),
    "github.issue": _whole(0),
    "github.authors": _texts("GitHub logins, without @", _matching(LOGIN)),
    "github.allow_public": _flag(),
    "github.creations_per_hour": _whole(1, 500),
    "tiers.github_only_bytes": _whole(0),
    "tiers.hybrid_bytes": _whole(0),
    "tiers.comment_bytes": _whole(4 * KB, 64 * KB),
    "backup.mirror_dir": _text("a folder, absolute or under ~", absolute),
    "backup.vault_dir": _text("a folder, absolute or under ~", absolute),
    "backup.keep_checkpoints": _whole(1),
    "archive.url": _text(
        '"github", a git URL (https, ssh), a folder (absolute or under ~), or ""', _archive_url
    ),
    "archive.encrypt_to": _recipients(),
    "archive.identity_file": _text('a file, absolute or under ~, or ""', _file_or_none),
    "archive.file_history": _flag(),
    "privacy.redact": _flag(),
    "privacy.patterns": _texts("regular expressions of Python's `re`", _pattern),
    "privacy.allow": _texts("values or regular expressions, none empty", _matching(r"(?s).+")),
    "health.interval_seconds": _whole(1),
    "health.on_critical": _text('a command, or ""', _command),
    "http.listen": _text('"host:port" on loopback, or "" for off (as a variable \'""\')', _listen),
    "log.level": _one_of("debug", "info", "warning", "error"),
    "log.format": _one_of("auto", "json", "text"),
}
