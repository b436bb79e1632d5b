"""What `sessiond stats` tells: the numbers added up, as plain JSON values, and the goals held or missed.

Days are those of UTC.  Percentiles are interpolated between the two nearest values.  A ratio without events
is 1; a goal about which nothing is known yet is neither held nor missed, and its value is null.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sessionsync.peek import UNKNOWN
from sessionsync.sources.usage import DAY_MS
from sessionsync.stats.numbers import Numbers

Json = dict[str, Any]

# The goals of the project (issue of its beginning): what is asked of each, and whether more is better.
RESPONSE_GOAL_S = 30.0
RESPONSE_SHARE, REUSE, SAVED, ERRORS = 0.95, 0.80, 0.50, 0.01
TOKENS = ("input", "output", "cache_read", "cache_creation")
PART = "subagents"
GROWTH_DAYS = 7


class Beside(NamedTuple):
    """What the numbers do not hold: sizes by area, and the quality scores of sessions by name.

    `checks` is how many comparisons of what is kept went well and how many did not; None: nobody has counted.
    """

    storage: Mapping[str, int]
    quality: Mapping[str, Mapping[str, float]] = {}
    checks: tuple[float, float] | None = None


@dataclass(slots=True)
class _Sums:
    """Everything of one project, agent, model or day, or of all."""

    tokens: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    answers: int = 0
    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    interrupted: int = 0
    prompted: set[int] = field(default_factory=set)
    resumed: set[int] = field(default_factory=set)
    starts: list[int] = field(default_factory=lambda: [0, 0])
    api: int = 0
    tool: int = 0
    volume: int = 0


class _Groups:
    """The sums of all and of each project, agent, model and day."""

    def __init__(self) -> None:
        self.all = _Sums()
        self.by: dict[str, dict[str, _Sums]] = {
            kind: defaultdict(_Sums) for kind in ("project", "agent", "model", "day")
        }

    def each(self, **names: str) -> Iterable[_Sums]:
        """Those that something belongs to."""
        yield self.all
        for kind, name in names.items():
            yield self.by[kind][name]


def figures(numbers: Numbers, beside: Beside, *, since: float = 0.0, now: float) -> Json:
    """`stats`: everything since then (Unix seconds)."""
    groups = _summed(numbers, int(since * 1000))
    every, goals = groups.all, _goals(groups.all, beside.checks)
    days = groups.by["day"]
    return {
        "since": _rfc3339(since) if since else None,
        "tokens": _tokens(every),
        "response_seconds": {
            **_percentiles(every.first),
            "to_last": _percentiles(every.last),
            "turns": len(every.first),
            "interrupted": every.interrupted,
        },
        "sessions": _sessions(every),
        "storage_bytes": dict(beside.storage),
        "growth": {
            "bytes": every.volume,
            "bytes_a_day": _growth(days, now),
        },
        "errors": _errors(every),
        "quality": _quality(beside.quality),
        "goals": goals,
        **{f"by_{kind}": _table(groups.by[kind], kind) for kind in ("project", "agent", "day")},
        "by_model": [
            {"model": name, "tokens": _tokens(sums), "answers": sums.answers}
            for name, sums in _dearest(groups.by["model"])
        ],
    }


class Waits(NamedTuple):
    """Seconds to the first line of an answer: how many were within each bound, of how many, and their sum."""

    within: tuple[int, ...]
    number: int
    seconds: float


class Totals(NamedTuple):
    """What `/metrics` counts: tokens by (agent, kind), starts by whether new or reused, waits by agent."""

    tokens: Mapping[tuple[str, ...], float]
    lookups: Mapping[str, float]
    waits: Mapping[str, Waits]


def totals(numbers: Numbers, bounds: Sequence[float]) -> Totals:
    """Everything that was ever counted; `bounds` are those of the waits, in seconds."""
    tokens: dict[tuple[str, ...], float] = {}
    for source, *sums in numbers.rows(
        f"SELECT source, {', '.join(f'sum({kind})' for kind in TOKENS)}"
        " FROM answers JOIN sessions ON sessions.id = session GROUP BY source"
    ):
        tokens |= {(source, kind): float(value) for kind, value in zip(TOKENS, sums, strict=True)}
    starts = dict(numbers.rows("SELECT resumed, count(*) FROM starts GROUP BY resumed"))
    waits = {
        source: Waits(tuple(within), number, sum_ms / 1000)
        for source, number, sum_ms, *within in numbers.rows(
            f"SELECT source, count(*), sum(first_ms) {', sum(first_ms <= ?)' * len(bounds)}"
            " FROM turns JOIN sessions ON sessions.id = session WHERE NOT interrupted GROUP BY source",
            tuple(bound * 1000 for bound in bounds),
        )
    }
    return Totals(tokens, {"new": float(starts.get(0, 0)), "reused": float(starts.get(1, 0))}, waits)


def _summed(numbers: Numbers, since: int) -> _Groups:
    groups = _Groups()
    known = _known(numbers)
    for session, day, model, part, answers, *tokens in numbers.rows(
        f"SELECT session, at / {DAY_MS}, models.name, part, count(*), sum(input), sum(output),"
        " sum(cache_read), sum(cache_creation) FROM answers JOIN models ON models.id = model WHERE at >= ?"
        " GROUP BY 1, 2, 3, 4",
        (since,),
    ):
        source, project = known[session]
        agent = f"{source} {PART}" if part else source
        for sums in groups.each(project=project, agent=agent, model=model or UNKNOWN, day=_day(day)):
            sums.answers += answers
            sums.tokens = [old + new for old, new in zip(sums.tokens, tokens, strict=True)]
    for table, columns, take in _EVENTS:
        for session, day, *values in numbers.rows(
            f"SELECT session, at / {DAY_MS}, {columns} FROM {table} WHERE at >= ?", (since,)
        ):
            source, project = known[session]
            for sums in groups.each(project=project, agent=source, day=_day(day)):
                take(sums, session, *values)
    for session, day, size in numbers.rows(
        "SELECT session, day, bytes FROM volume WHERE day >= ?", (since // DAY_MS,)
    ):
        source, project = known[session]
        for sums in groups.each(project=project, agent=source, day=_day(day)):
            sums.volume += size
    return groups


def _take_turn(sums: _Sums, session: int, first_ms: int, last_ms: int, interrupted: int) -> None:
    sums.prompted.add(session)
    if interrupted:
        sums.interrupted += 1
    else:
        sums.first.append(first_ms / 1000)
        sums.last.append(last_ms / 1000)


def _take_start(sums: _Sums, session: int, resumed: int) -> None:
    sums.starts[resumed] += 1
    sums.prompted.add(session)
    if resumed:
        sums.resumed.add(session)


def _take_failure(sums: _Sums, _session: int, kind: str) -> None:
    setattr(sums, kind, getattr(sums, kind) + 1)


_EVENTS: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("turns", "first_ms, last_ms, interrupted", _take_turn),
    ("starts", "resumed", _take_start),
    ("failures", "kind", _take_failure),
)


def _known(numbers: Numbers) -> dict[int, tuple[str, str]]:
    """The agent and the project of every session."""
    rows = numbers.rows("SELECT id, source, project FROM sessions")
    return {number: (source, project or UNKNOWN) for number, source, project in rows}


# --- the parts of the answer


def _tokens(sums: _Sums) -> Json:
    read, sent = sums.tokens[2], sums.tokens[0] + sums.tokens[2] + sums.tokens[3]
    return {
        **dict(zip(TOKENS, sums.tokens, strict=True)),
        "total": sum(sums.tokens),
        "saved_ratio": _ratio(read, sent) if sent else 0.0,
    }


def _sessions(sums: _Sums) -> Json:
    """`resumed` are sessions, `starts` is how often work was begun, and begun again."""
    total, resumed = len(sums.prompted), len(sums.resumed)
    return {
        "total": total,
        "new": total - resumed,
        "resumed": resumed,
        "reuse_ratio": _ratio(resumed, total),
        "starts": {"new": sums.starts[0], "resumed": sums.starts[1]},
    }


def _errors(sums: _Sums) -> Json:
    requests = sums.answers + sums.api
    ratio = round(sums.api / requests, 6) if requests else 0.0
    return {"api": sums.api, "ratio": ratio, "requests": requests, "tools": sums.tool}


def _goals(sums: _Sums, checks: tuple[float, float] | None) -> list[Json]:
    fast = sum(1 for seconds in sums.first if seconds < RESPONSE_GOAL_S)
    total, sent = len(sums.prompted), sums.tokens[0] + sums.tokens[2] + sums.tokens[3]
    requests, looked = sums.answers + sums.api, checks is not None and sum(checks) > 0
    return [
        _goal("response_under_30_s", RESPONSE_SHARE, fast / len(sums.first) if sums.first else None),
        _goal("reuse", REUSE, len(sums.resumed) / total if total else None),
        _goal("tokens_saved", SAVED, sums.tokens[2] / sent if sent else None),
        _goal("errors", ERRORS, sums.api / requests if requests else None, held=lambda value: value < ERRORS),
        _goal("corruption", 0, checks[1] if checks and looked else None, held=lambda value: value == 0),
    ]


def _goal(
    name: str, target: float, value: float | None, *, held: Callable[[float], bool] | None = None
) -> Json:
    is_held = None if value is None else held(value) if held is not None else value >= target
    return {
        "name": name,
        "target": target,
        "value": None if value is None else round(value, 6),
        "held": is_held,
    }


def _quality(scores: Mapping[str, Mapping[str, float]]) -> Json:
    """Each score over all sessions that have it: how many, and their mean."""
    gathered: dict[str, list[float]] = defaultdict(list)
    for said in scores.values():
        for name, value in said.items():
            gathered[name].append(value)
    return {
        name: {"sessions": len(values), "mean": round(sum(values) / len(values), 6)}
        for name, values in sorted(gathered.items())
    }


def _table(groups: Mapping[str, _Sums], kind: str) -> list[Json]:
    """By day the oldest first, else what cost most."""
    ordered = sorted(groups.items()) if kind == "day" else _dearest(groups)
    return [
        {
            kind: name,
            "tokens": _tokens(sums),
            "response_seconds": _percentiles(sums.first),
            "sessions": _sessions(sums),
            "errors": _errors(sums),
            "bytes": sums.volume,
        }
        for name, sums in ordered
    ]


def _dearest(groups: Mapping[str, _Sums]) -> list[tuple[str, _Sums]]:
    return sorted(groups.items(), key=lambda pair: (-sum(pair[1].tokens), pair[0]))


def _percentiles(values: Sequence[float]) -> Json:
    ordered = sorted(values)
    return {f"p{part}": percentile(ordered, part / 100) for part in (50, 95, 99)}


def percentile(ordered: Sequence[float], part: float) -> float | None:
    """The value below which this part of them lies, interpolated; None of none."""
    if not ordered:
        return None
    place = part * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return round(ordered[low] + (ordered[high] - ordered[low]) * (place - low), 3)


def _growth(days: Mapping[str, _Sums], now: float) -> int:
    """Bytes that were written a day, over the last seven."""
    recent = {_day(int(now * 1000) // DAY_MS - back) for back in range(GROWTH_DAYS)}
    return round(sum(sums.volume for name, sums in days.items() if name in recent) / GROWTH_DAYS)


def _ratio(part: float, whole: float) -> float:
    return round(part / whole, 6) if whole else 1.0


def _day(number: int) -> str:
    return datetime.fromtimestamp(number * 86_400, UTC).strftime("%Y-%m-%d")


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
