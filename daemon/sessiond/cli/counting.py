"""`sessiond stats`: the numbers of this home, brought up to date first, with or without a daemon."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from sessiond.cli.searching import Searching
from sessiond.cli.since import since_of
from sessiond.cli.terminal import Terminal, clean, count, size, table
from sessiond.counting import beside, read_live, storage
from sessionsync.captured import Captured
from sessionsync.config import load, paths
from sessionsync.events import silent
from sessionsync.sources.claude import Claude
from sessionsync.stats import Beside, Counter, Numbers, count_live, figures, returns

Json = dict[str, Any]
BARS = "▁▂▃▄▅▆▇█"
DAYS = 30
SHOWN = 8
KB_TOKENS = 1000


def stats(since: str) -> Json:
    """What `stats --json` prints."""
    now = time.time()
    after = since_of(since, now)
    where = paths(os.environ)
    config = load(os.environ, where.config_file)
    if not where.state_db.exists():
        numbers = Numbers(None)
        count_live(numbers, Claude(config.claude_roots(os.environ), silent), read_live)
        answer = figures(numbers, Beside(storage(None, config, where)), since=after, now=now)
        hint = "Nothing was captured yet, so this is what the agent's own files say: `sessiond run` begins."
        return {**answer, "hint": hint}
    home = Searching(config, where)
    try:
        numbers = Numbers(where.numbers_db)
        try:
            counter = Counter(
                numbers,
                home.catalog,
                Captured(home.mirror, home.vault),
                home.sources.values(),
                returns.noted(where.returns),
            )
            for _ in counter.catch_up():
                pass
            return figures(numbers, beside(home.catalog, config, where), since=after, now=now)
        finally:
            numbers.close()
    finally:
        home.store.close()


def render(answer: Json, now: float, out: Terminal) -> list[str]:
    """The same for a person: a few lines, a sparkline, and what cost most."""
    del now
    lines = [*_summary(answer), "", *_days(answer), *_goals(answer, out)]
    for kind in ("project", "agent"):
        heads = (kind.upper(), "SESSIONS", "RESUMED", "TOKENS", "CACHED", "ANSWER p95", "API ERRORS")
        rows = [
            (
                each[kind],
                f"{each['sessions']['total']:,}",
                f"{each['sessions']['resumed']:,}",
                tokens(each["tokens"]["total"]),
                _percent(each["tokens"]["saved_ratio"]),
                _seconds(each["response_seconds"]["p95"]),
                f"{each['errors']['api']:,}",
            )
            for each in answer[f"by_{kind}"]
        ]
        lines += _shown(heads, rows, out)
    models = [
        (
            each["model"],
            f"{each['answers']:,}",
            tokens(each["tokens"]["total"]),
            _percent(each["tokens"]["saved_ratio"]),
        )
        for each in answer["by_model"]
    ]
    lines += _shown(("MODEL", "ANSWERS", "TOKENS", "CACHED"), models, out)
    return [*lines, *(["", clean(answer["hint"])] if answer.get("hint") else [])]


def _shown(heads: Sequence[str], rows: Sequence[Sequence[str]], out: Terminal) -> list[str]:
    """A table of what cost most."""
    if not rows:
        return []
    more = [f"and {len(rows) - SHOWN:,} more: --json shows them"] if len(rows) > SHOWN else []
    return ["", *table(heads, rows[:SHOWN], out, right=range(1, len(heads))), *more]


def _summary(answer: Json) -> list[str]:
    said, waits, spent = answer["sessions"], answer["response_seconds"], answer["tokens"]
    errors, quality = answer["errors"], list(answer["quality"].items())[:SHOWN]
    counts = f"{said['new']:,} new, {said['resumed']:,} resumed ({_percent(said['reuse_ratio'])})"
    sent = f"{tokens(spent['input'])} in, {tokens(spent['output'])} out"
    read, made = tokens(spent["cache_read"]), tokens(spent["cache_creation"])
    cached = f"{read} read from the cache, {made} written to it"
    turns = f"p50, p95, p99 of {count(waits['turns'], 'turn')}; {waits['interrupted']:,} interrupted"
    requests = f"{count(errors['requests'], 'request')} to the API ({_percent(errors['ratio'])})"
    stored = ", ".join(f"{name} {size(number)}" for name, number in answer["storage_bytes"].items())
    lines = (
        ("Sessions", f"{said['total']:,}: {counts}"),
        ("Tokens", f"{sent}, {cached}: {_percent(spent['saved_ratio'])} of what was sent was saved"),
        ("Answers", f"begin after {_three(waits)}, end after {_three(waits['to_last'])} ({turns})"),
        ("Errors", f"{errors['api']:,} of {requests}, {errors['tools']:,} of tools"),
        ("Storage", stored),
        ("Growth", f"{size(answer['growth']['bytes_a_day'])} a day"),
        *(
            ("Quality", f"{clean(name)} {score['mean']:g}, in {count(score['sessions'], 'session')}")
            for name, score in quality
        ),
    )
    return [f"{name:<10} {text}" for name, text in lines]


def _days(answer: Json) -> list[str]:
    """Tokens a day as a sparkline: the last days on which there was anything, with those between."""
    found = {each["day"]: each["tokens"]["total"] for each in answer["by_day"]}
    if not found:
        return []
    days = _calendar(min(found), max(found))[-DAYS:]
    most = max(found.get(day, 0) for day in days) or 1
    bars = "".join(BARS[round(found.get(day, 0) / most * (len(BARS) - 1))] for day in days)
    return [f"Tokens     {bars}  {days[0]} to {days[-1]}, at most {tokens(most)} a day", ""]


def _calendar(first: str, last: str) -> list[str]:
    from datetime import date, timedelta  # noqa: PLC0415 - only here

    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    begin = max(begin, end - timedelta(days=DAYS))
    return [(begin + timedelta(days=number)).isoformat() for number in range((end - begin).days + 1)]


def _goals(answer: Json, out: Terminal) -> list[str]:
    said = {True: ("held", "green"), False: ("missed", "red"), None: ("unknown yet", "dim")}
    lines = []
    for goal in answer["goals"]:
        word, style = said[goal["held"]]
        value = "" if goal["value"] is None else f"{_of_goal(goal, goal['value'])}, "
        name = goal["name"].replace("_", " ")
        lines.append(f"Goal       {name} {_of_goal(goal, goal['target'])}: {value}{out.paint(word, style)}")
    return lines


def _of_goal(goal: Json, value: float) -> str:
    return f"{value:g}" if goal["name"] == "corruption" else _percent(value)


def _three(said: Json) -> str:
    return ", ".join(_seconds(said[name]) for name in ("p50", "p95", "p99"))


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min"


def _percent(value: float) -> str:
    return f"{value:.1%}".replace(".0%", "%").replace("%", " %")


def tokens(number: float) -> str:
    """A number of tokens in its largest unit."""
    for unit in ("", "k", "M", "G"):
        if number < KB_TOKENS or unit == "G":
            return f"{number:.0f}{unit}" if number >= 100 or not unit else f"{number:.1f}{unit}"
        number /= KB_TOKENS
    return ""
