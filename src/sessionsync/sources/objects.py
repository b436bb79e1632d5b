"""What people's JSON says, read generously: nobody has fixed its keys or the shape of its values.

Keys count without regard to case and to `_`, `-` and spaces; an entry may be a text or an object, a time a
text or a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sessionsync.model import Context, Summary, rfc3339, unix_seconds
from sessionsync.sources.prose import TITLE_CHARS, clip

ENTRIES = 50
"""The record's limit for a list."""

_DONE = frozenset({"done", "completed", "complete", "finished", "cancelled", "skipped", "deleted"})
_ACTIVE = frozenset({"in_progress", "in progress", "active", "doing", "started"})
_CREATED = ("startedat", "createdat", "started", "created", "starttime")
_UPDATED = ("updatedat", "lastupdated", "updated", "lastactivity")
TIMES = ("at", "timestamp", "createdat", "created", "time", "date")

PHASE = ("currentphase", "phase")

_INNER = ("session", "context", "metadata", "criticaldata")  # objects that some put all of it in
_TEXT = ("decision", "text", "title", "summary", "content", "description", "task", "step", "name", "subject")
_WHY = ("rationale", "reason", "because", "why")
_NUMBER_AT_END = re.compile(r"(?:^|[#/])(\d{1,9})/?$")
_YEAR_3000 = 32_503_680_000


_STEPS = ("nextsteps", "next", "todo", "todos", "pendingtasks", "remaining")


def take(summary: Summary, said: Mapping[str, Any]) -> None:
    """Bring `summary` up to date from an object, keys alike, that says what a session is about."""
    critical = summary.critical
    summary.title = clip(text_of(said, ("title", "name", "goal", "task")), TITLE_CHARS)
    summary.status = clip(text_of(said, ("status",)), 40)
    summary.started_at = time_of(said, _CREATED) or summary.started_at
    summary.last_at = time_of(said, _UPDATED) or summary.last_at
    summary.agent_version = clip(text_of(said, ("agentversion",)), 40)
    summary.branch = clip(text_of(said, ("branch", "gitbranch")), 200)
    summary.context = Context(
        repo=clip(text_of(said, ("repo", "repository")), 200),
        branch=summary.branch,
        commit=clip(text_of(said, ("commit", "sha")), 64),
        issue=number_of(said, ("issue", "issuenumber")),
        pr=number_of(said, ("pr", "prnumber", "pullrequest")),
        run_id=number_of(said, ("runid",)),
    )
    decisions = (words_of(item, why=True) for item in items_of(said, ("decisions", "keydecisions")))
    critical.decisions = [text for text in decisions if text][-ENTRIES:]
    steps = list(items_of(said, _STEPS))
    open_steps = [text for step in steps if not _is(step, _DONE | _ACTIVE) and (text := words_of(step))]
    critical.next_steps = open_steps[-ENTRIES:]
    active = next((words_of(step) for step in steps if _is(step, _ACTIVE)), "")
    critical.current_phase = clip(text_of(said, PHASE) or active)


def alike(value: object) -> dict[str, Any]:
    """An object with its keys made alike, and those of the objects some wrap it in; {} for anything else."""
    if not isinstance(value, dict):
        return {}
    found = {_same(key): item for key, item in value.items()}
    for name in _INNER:
        if isinstance(inner := found.get(name), dict):
            found = {_same(key): item for key, item in inner.items()} | found
    return found


def _same(key: object) -> str:
    return re.sub(r"[\s_-]", "", str(key)).lower()


def text_of(values: Mapping[str, Any], keys: Iterable[str]) -> str:
    """The first of these that says something: a text, a number, or an object with a text."""
    return next((text for key in keys if (text := words_of(values.get(key)))), "")


def words_of(item: object, *, why: bool = False) -> str:
    """The text of an entry: itself, or of an object what it calls its text, with the reason if wanted."""
    if isinstance(item, str):
        return clip(item)
    if isinstance(item, int | float) and not isinstance(item, bool):
        return str(item)
    if not isinstance(item, dict):
        return ""
    said = alike(item)
    text = next(
        (clip(said[key]) for key in _TEXT if isinstance(said.get(key), str) and said[key].strip()), ""
    )
    reason = next((said[key] for key in _WHY if isinstance(said.get(key), str) and said[key].strip()), "")
    return clip(f"{text} — {reason}") if why and text and reason else text


def items_of(values: Mapping[str, Any], keys: Iterable[str]) -> list[object]:
    """The entries of the first of these that has any: a list's, an object's as `{name: …}`, a single text."""
    for key in keys:
        value = values.get(key)
        if isinstance(value, list) and value:
            return value
        if isinstance(value, str) and value.strip():
            return [value]
        if isinstance(value, dict) and value:
            return [_named(str(name), item) for name, item in value.items()]
    return []


def _named(name: str, item: object) -> object:
    text = f"{name}: {words_of(item)}"
    if not isinstance(item, dict):
        return text
    return {key: value for key, value in item.items() if _same(key) not in _TEXT} | {"text": text}


def _is(step: object, states: frozenset[str]) -> bool:
    if not isinstance(step, dict):
        return False
    said = alike(step)
    done = said.get("done") is True or said.get("completed") is True
    return str(said.get("status", "")).lower() in states or (done and "done" in states)


def number_of(values: Mapping[str, Any], keys: Iterable[str]) -> int:
    """A number that may be written `12`, `"#12"`, as the end of an address, or `{"number": 12}`."""
    for key in keys:
        value = values.get(key)
        if isinstance(value, dict):
            value = value.get("number")
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**15:
            return value
        if isinstance(value, str) and (match := _NUMBER_AT_END.search(value.strip())):
            return int(match[1])
    return 0


def time_of(values: Mapping[str, Any], keys: Iterable[str]) -> str:
    """The first of these that is a time, as RFC 3339; without a zone it is taken as UTC."""
    for key in keys:
        value = values.get(key)
        try:
            if isinstance(value, str):
                return rfc3339(_unix(value))
            if (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and 0 < value < _YEAR_3000 * 1000
            ):
                return rfc3339(value / 1000 if value > _YEAR_3000 else value)
        except (ValueError, OverflowError, OSError):
            continue
    return ""


def moment(text: str) -> str:
    """A time as people write it, as RFC 3339; without a zone it is taken as UTC, '' where it is none."""
    text = text.strip().removesuffix(" UTC").strip()
    try:
        return rfc3339(_unix(text))
    except (ValueError, OverflowError, OSError):
        return ""


def _unix(text: str) -> float:
    try:
        return unix_seconds(text)
    except ValueError:
        return unix_seconds(f"{text}Z" if len(text) > 10 else f"{text}T00:00:00Z")
