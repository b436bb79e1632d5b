"""Sessions, as `ctl sessions` and `list` show them."""

from __future__ import annotations

from sessiond.cli.terminal import Terminal, ago, clean, count, size, span, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json

SHORT_ID = 8
DAY_S = 86_400


def render(answer: Json, now: float, out: Terminal) -> list[str]:
    """`ctl sessions`."""
    found = answer["sessions"]
    if not found:
        return _none(answer)
    short = short_ids([each["id"] for each in found])
    rows = [
        (
            short[each["id"]],
            each["source"],
            each["project"],
            ago(each["updated_at"], now),
            size(each["size"]),
            whereabouts(each, now),
            left(each),
            title(each),
        )
        for each in found
    ]
    heads = ("ID", "SOURCE", "PROJECT", "CHANGED", "SIZE", "GITHUB", "AGENT KEEPS", "TITLE")
    return [*table(heads, rows, out, right=(4,)), *_kept_waiting(answer)]


def listed(answer: Json, now: float, out: Terminal) -> list[str]:
    """`list`: what a person resumes by."""
    found = answer["sessions"]
    if not found:
        return _none(answer)
    short = short_ids([each["id"] for each in found])
    rows = [
        (
            short[each["id"]],
            each["project"],
            ago(each["updated_at"], now),
            "; ".join(filter(None, (_newer(each), _copies(each)))),
            left(each),
            title(each) + (f" → {clean(each['next'])}" if each["next"] else ""),
        )
        for each in found
    ]
    heads = ("ID", "PROJECT", "CHANGED", "COPIES", "AGENT KEEPS", "TITLE → NEXT")
    hint = [] if answer.get("waiting") else [clean(answer.get("hint", ""))]
    return [*table(heads, rows, out), *_kept_waiting(answer), *filter(None, hint)]


def _none(answer: Json) -> list[str]:
    """What stands where there is no session to list."""
    waiting = answer.get("waiting", 0)
    first = "No sessions are known here."
    if answer.get("is_first"):
        first = "No sessions are known here yet: the first backup runs."
    if waiting:
        first = f"No sessions are known here yet: {waiting:,} to be captured."
    return _kept_waiting(answer) or [first, *filter(None, [clean(answer.get("hint", ""))])]


def _kept_waiting(answer: Json) -> list[str]:
    """How many sessions are not captured, and why, where something keeps them from it."""
    waiting, reason = answer.get("waiting", 0), clean(answer.get("reason", ""))
    if not (waiting and reason):
        return []
    verb = "waits" if waiting == 1 else "wait"
    said = f"{count(waiting, 'session')} {verb} to be captured: {reason.removesuffix('.')}."
    return [said, *filter(None, [clean(answer.get("hint", ""))])]


def short_ids(ids: list[str]) -> dict[str, str]:
    """The beginning of each UUID, as long as it takes to name one session; other ids are names, and stay."""
    short: dict[str, str] = {}
    ordered = sorted(set(ids))
    for before, each, after in zip(["", *ordered], ordered, [*ordered[1:], ""], strict=False):
        shared = max(_shared(each, other) for other in (before, after))
        is_uuid = len(each) == 36 and each.count("-") == 4
        short[each] = each[: max(SHORT_ID, shared + 1)] if is_uuid else each
    return short


def _shared(one: str, other: str) -> int:
    """How many first letters two ids have in common."""
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def title(each: Json) -> str:
    """What a session is called by a person."""
    return clean(each["title"]) or "(no title)"


def _copies(each: Json) -> str:
    """Where it can be restored from: of one that is too big for its comment the record names the machine."""
    nowhere = f"backup on {_host(each)}" if each["state"] == "elsewhere" else "nowhere yet"
    return ", ".join(each["copies"]) or nowhere


def _newer(each: Json) -> str:
    """What another machine has of a session that this one has not; of one that is only there, nothing."""
    if each.get("conflict"):
        return "two versions"
    is_newer = each.get("newer_elsewhere") and each.get("elsewhere") and each["state"] != "elsewhere"
    return f"newer on {_host(each)}" if is_newer else ""


def _host(each: Json) -> str:
    return clean((each.get("elsewhere") or {}).get("host", "")) or "another machine"


def whereabouts(each: Json, now: float) -> str:
    """Whether it is on GitHub, and what is not."""
    if newer := _newer(each):
        return newer
    if each.get("repo") == "" and each["last_pushed_at"] is None:
        return "no, no repository is set"
    if each.get("unpushed"):
        return "waiting" if each["last_pushed_at"] is None else f"{size(each['unpushed_bytes'])} behind"
    return "no" if each["last_pushed_at"] is None else ago(each["last_pushed_at"], now)


def left(each: Json) -> str:
    """How long the agent's own file will be there."""
    if each["state"] == "deleted":
        return "deleted"
    days = each["purge_in_days"]
    if days is None:
        return ""
    return span(days * DAY_S) if days > 0 else "overdue"
