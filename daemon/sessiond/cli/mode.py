"""What is sent from now on, as `ctl pause`, `resume` and `local-only` say it."""

from __future__ import annotations

from sessiond.cli.terminal import Terminal, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json


def render(answer: Json, _now: float, _out: Terminal) -> list[str]:
    """`ctl pause`, `resume` and `local-only`: what is sent from now on, and why nothing is."""
    said = {
        "normal": "Everything is sent as it comes",
        "paused": "Nothing is sent for now",
        "local_only": "Everything stays on this machine",
    }[answer["mode"]]
    if answer["mode"] == "local_only" and answer.get("archive") == "normal":
        said = "Everything goes to the archive, and nothing to GitHub"
    if answer["mode"] == "local_only" and answer.get("archive") == "paused":
        return ["Nothing is sent to the archive for now: it is paused.", "`sessiond ctl resume` ends that."]
    reason = clean(answer["reason"]).removesuffix(".")
    lines = [f"{said}: {reason}." if reason else f"{said}.", *filter(None, [clean(answer["hint"])])]
    also = ["It is paused as well: `sessiond ctl resume` ends that."]
    return lines + also * bool(answer["paused"] and answer["mode"] != "paused")
