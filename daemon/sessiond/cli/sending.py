"""What goes to GitHub and the archive, as `sync`, `ctl sync` and `ctl retry` say it."""

from __future__ import annotations

from sessiond.cli.terminal import Terminal, clean, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json

TIMEOUT_S = 600
"""How long `sync --once` takes at most, where it is not told otherwise."""


def synced(answer: Json, _now: float, _out: Terminal) -> list[str]:
    """`ctl sync` and `sync --once`: what went, what did not, why, and what to do.

    Also what is kept where nothing is sent, and what has changed and is no checkpoint yet.
    """
    due, left, refused = answer["due"], answer["left"], answer["buried"]
    reason, hint = clean(answer.get("reason", "")), clean(answer.get("hint", ""))
    line = f"{answer['pushed']:,} of {due:,} pushed"
    if not due and not left:
        line = "Nothing is sent" if reason else "Nothing waits"
    line += f", {left:,} left" if left else ""
    line += f", {refused:,} refused for good" if refused else ""
    line += f": {reason.removesuffix('.')}." if reason else ""
    if left and not reason:
        hint = "They are on their way: `sessiond ctl queue` shows how far."
    why = ["`sessiond ctl queue --buried` shows why; `sessiond ctl retry` tries again."] if refused else []
    lines = [line if reason or due or left else f"{line}.", *filter(None, [hint]), *why]
    if not due and not left and reason and "kept" in answer:
        kept = answer["kept"]
        lines.append(f"{count(kept, 'session')} {'is' if kept == 1 else 'are'} on this disk twice.")
    if unsettled := answer.get("unsettled", 0):
        follow = "follows when it rests" if unsettled == 1 else "follow when they rest"
        lines.append(
            f"{count(unsettled, 'session')} changed since the newest checkpoint and {follow};"
            " `sessiond ctl checkpoint ID` makes one now."
        )
    return lines


def to_sync(answer: Json, _now: float, _out: Terminal) -> list[str]:
    """`ctl sync --dry-run`."""
    return [*_waiting(answer, "would be sent"), "Nothing was sent."]


def retried(answer: Json, _now: float, _out: Terminal) -> list[str]:
    """`ctl retry`."""
    if not answer["due"]:
        return ["Nothing waits."]
    return _waiting(answer, "is tried now" if answer["due"] == 1 else "are tried now")


def _waiting(answer: Json, otherwise: str) -> list[str]:
    """How many checkpoints there are to send, and why they stay, where they do."""
    due, reason = count(answer["due"], "checkpoint"), clean(answer.get("reason", "")).removesuffix(".")
    if not reason:
        return [f"{due} {otherwise}."]
    return [f"{due} to be sent, but: {reason}.", *filter(None, [clean(answer.get("hint", ""))])]
