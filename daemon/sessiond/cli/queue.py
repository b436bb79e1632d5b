"""What waits to be sent, as `ctl queue` shows it."""

from __future__ import annotations

from sessiond.cli.terminal import Terminal, seconds, span, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json


def render(answer: Json, now: float, out: Terminal) -> list[str]:
    """`ctl queue`."""
    found = answer["items"]
    if not found:
        return ["Nothing waits."]
    rows = [
        (
            each["session"] or f"index of issue {each.get('issue') or '?'}",
            each["checkpoint"],
            each["state"],
            str(each["attempts"]),
            _due(each["next_attempt_at"], now),
            each["last_error"],
        )
        for each in found
    ]
    heads = ("SESSION", "CHECKPOINT", "STATE", "TRIES", "NEXT", "LAST ERROR")
    return table(heads, rows, out, right=(3,))


def buried(answer: Json, now: float, out: Terminal) -> list[str]:
    """`ctl queue --buried`."""
    return render(answer, now, out) if answer["items"] else ["GitHub has refused nothing."]


def _due(text: str | None, now: float) -> str:
    at = seconds(text)
    if at is None:
        return ""
    return "now" if at <= now else f"in {span(at - now)}"
