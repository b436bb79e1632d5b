"""`sessiond ctl status`: one screen, whose first line answers the only question."""

from __future__ import annotations

from sessiond.cli.terminal import Terminal, ago, cells, clean, clock, count, seconds, span, wrap
from sessiond.client import other_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json

# What says that something on this disk has no copy, or no whole one.
UNCOPIED = (
    *("backup_disk_full", "state_disk_full", "copy_failed", "copy_mismatch", "source_unreadable"),
    *("copies_removed", "data_lost", "copy_damaged", "artifact_missing", "reference_broken"),
)
# What a daemon says that knows of no archive.
NO_ARCHIVE: Json = {"url": "", "behind": 0, "since": None, "buried": 0, "reason": "", "hint": ""}
# A capture that is this far behind is not just between two turns of its loop.
BEHIND_S = 60.0


class Headline:
    """The answer, what to do, and how bad it is: `green`, `yellow` or `red`."""

    __slots__ = ("advice", "colour", "text")

    def __init__(self, text: str, advice: str, colour: str) -> None:
        self.text = text
        self.advice = advice
        self.colour = colour


def render(status: Json, now: float, out: Terminal) -> list[str]:
    """The whole screen."""
    head = headline(status, now)
    lines = [out.paint(line, "bold", head.colour) for line in wrap(head.text, out.width)]
    if head.advice:
        lines += wrap(head.advice, out.width)
    rows = _rows(status, now)
    widest = max(cells(name) for name, _ in rows)
    lines.append("")
    for name, text in rows:
        label = f"  {name}{' ' * (widest - cells(name))}  "
        width = None if out.width is None else max(20, out.width - cells(label))
        first, *others = wrap(text, width)
        lines.append(out.paint(label, "dim") + first)
        lines += [" " * cells(label) + other for other in others]
    return lines


def headline(status: Json, now: float) -> Headline:
    """Whether everything is safe, and where not: what, since when, why, and what to do."""
    return _on_disk(status, now) or _in_archive(_on_github(status, now), status, now)


def _on_disk(status: Json, now: float) -> Headline | None:
    """What is wrong with the local copies; None where nothing is."""
    captured = seconds(status["captured_until"])
    if found := _uncopied(status):
        colour = "red" if found["severity"] == "critical" else "yellow"
        at = f"{clock(found['since'], now)} ({ago(found['since'], now)})"
        text = f"Not everything is on this disk twice since {at}: {_sentence(found['message'])}"
        return Headline(text, clean(found["hint"]), colour)
    if captured is None:
        running = span(status["uptime_seconds"])
        text = f"Not everything is on this disk twice yet: the first backup has run for {running}."
        return Headline(text, "Nothing to do: it goes on by itself.", "yellow")
    if now - captured <= BEHIND_S:
        return None
    at = f"{clock(status['captured_until'], now)} ({span(now - captured)} ago)"
    text = f"What changed after {at} is not on this disk twice."
    return Headline(text, "Nothing to do: it is being backed up.", "red")


def _uncopied(status: Json) -> Json | None:
    return next((found for found in status["findings"] if found["code"] in UNCOPIED), None)


def _on_github(status: Json, now: float) -> Headline:
    """Everything is on this disk twice; is it on GitHub?"""
    archive = status.get("archive") or NO_ARCHIVE
    archived = archive["url"] and not archive["behind"]
    copied = f"Everything until {clock(status['captured_until'], now)} is on this disk twice"
    reason, hint = _sentence(status["reason"]), clean(status["hint"])
    if status["mode"] == "local_only":
        copied += " and in the archive" if archived else ""
        return Headline(f"{copied}. Nothing goes to GitHub: {reason}", hint, "yellow")
    if status["sessions"]["unpushed"]:
        return _unpushed(status, now, copied)
    text = f"{copied}, on GitHub and in the archive" if archived else f"{copied} and on GitHub"
    text += _older(status)
    if status["mode"] == "paused":
        return Headline(f"{text} Nothing more is sent: {reason}", hint, "yellow")
    return Headline(text, "", "green")


def _older(status: Json) -> str:
    """The end of the line: what was there before the first start goes to GitHub only when it is asked for."""
    older = status["sessions"].get("uncommented", 0)
    verb = "is" if older == 1 else "are"
    return f"; {count(older, 'session')} from before the first start {verb} not on GitHub." if older else "."


def _in_archive(head: Headline, status: Json, now: float) -> Headline:
    """What is to be added where something is not in the archive: is that trouble, or just its turn?"""
    archive = status.get("archive") or NO_ARCHIVE
    if not archive["url"] or not archive["behind"]:
        return head
    waiting = count(archive["behind"], "session")
    since = seconds(archive["since"]) or now
    if not archive["reason"] and not archive["buried"]:
        text = f"{head.text} The archive follows by itself: {waiting}."
        return Headline(text, head.advice, head.colour)
    verb = "is" if archive["behind"] == 1 else "are"
    at = f"{clock(archive['since'], now)} ({span(now - since)})"
    refused = f"it refused {count(archive['buried'], 'checkpoint')} for good."
    reason = _sentence(archive["reason"]) or refused
    advice = [head.advice, clean(archive["hint"]) or (BURIED if archive["buried"] else RETRIED)]
    colour = "red" if head.colour == "red" or status["status"] == "critical" else "yellow"
    text = f"{head.text} {waiting} {verb} not in the archive since {at}: {reason}"
    return Headline(text, " ".join(part for part in advice if part), colour)


def _unpushed(status: Json, now: float, copied: str) -> Headline:
    """Something is not on GitHub: is that trouble, or just its turn?"""
    waiting, queue = status["sessions"]["unpushed"], status["queue"]
    buried = (status.get("archive") or NO_ARCHIVE)["buried"]
    queue = queue | {"buried": queue["buried"] - buried}
    trouble = status["mode"] != "normal" or status["reason"] or queue["buried"]
    if not trouble and status["github"]["reachable"] is not False:
        safe = clock(status["safe_until"], now)
        follow = (
            "1 session changed since and follows by itself"
            if waiting == 1
            else f"{waiting:,} sessions changed since and follow by themselves"
        )
        text = f"Everything until {safe} is on this disk twice and on GitHub; {follow}{_older(status)}"
        return Headline(text, "", "green")
    since = seconds(status["unpushed_since"]) or now
    verb = "is" if waiting == 1 else "are"
    at = f"{clock(status['unpushed_since'], now)} ({span(now - since)})"
    text = f"{copied}, but {count(waiting, 'session')} {verb} not on GitHub since {at}"
    if queue["buried"] and not queue["pending"]:
        return Headline(
            f"{text}: GitHub refused {count(queue['buried'], 'checkpoint')} for good.", BURIED, "red"
        )
    reason = _sentence(status["reason"]) or "GitHub cannot be reached."
    colour = "red" if status["status"] == "critical" else "yellow"
    return Headline(f"{text}: {reason}", clean(status["hint"]) or RETRIED, colour)


BURIED = "See why: sessiond ctl queue --buried. Try again: sessiond ctl retry."
RETRIED = "Nothing to do: it is tried again by itself."


def _rows(status: Json, now: float) -> list[tuple[str, str]]:
    sessions, archive = status["sessions"], status.get("archive") or NO_ARCHIVE
    older = sessions.get("uncommented", 0)
    counted = ("watched", "active", *(("unpushed",) if status["github"]["repo"] else ()))
    rows = [
        ("GitHub", _github(status, now)),
        *([("Archive", _archive(archive))] if archive["url"] else []),
        ("Queue", _queue(status, now)),
        ("Sessions", ", ".join(f"{sessions[name]:,} {name}" for name in counted)),
        ("Restorable", f"elsewhere: {sessions['restorable_elsewhere']:,} of {sessions['watched']:,}"),
    ]
    if older and status["mode"] != "local_only":
        archived = archive["url"] and not archive["behind"]
        places = "not on GitHub, but in the archive" if archived else "not on GitHub"
        kept = f"{count(older, 'session')} from before the first start {places}"
        rows.append(("Older", f"{kept}; to send them: sessiond ctl sync --full"))
    up = f"up {span(status['uptime_seconds'])}, pid {status['pid']}, version {status['version']}"
    rows += [
        ("Last push", ago(status["last_push_at"], now)),
        ("Daemon", f"{status['mode'].replace('_', '-')}, {up}"),
    ]
    if differs := other_version(clean(status["version"])):
        rows.append(("Versions", differs))
    if status["reliability_score"] is not None:
        rows.append(("Reliability", f"{100 * status['reliability_score']:.2f} % over 24 h"))
    rows += [
        ("Warning" if found["severity"] == "warning" else "Critical", _finding(found, now))
        for found in status["findings"]
        if found["session"] or found is not _uncopied(status)  # the first lines are all of that one
    ]
    return rows


def _github(status: Json, now: float) -> str:
    github = status["github"]
    if not github["repo"]:
        return "no repository"
    reachable = {True: "reachable", False: "not reachable", None: "not asked yet"}[github["reachable"]]
    words = [clean(github["repo"]), reachable]
    if limit := github["rate_limit"]:
        left = f"{limit['remaining']:,} of {limit['limit']:,} requests left"
        words.append(f"{left} until {clock(limit['reset_at'], now)}" if limit["reset_at"] else left)
    return ", ".join(words)


def _archive(archive: Json) -> str:
    behind = f"{count(archive['behind'], 'session')} behind" if archive["behind"] else "up to date"
    return f"{clean(archive['url'])}, {behind}"


def _queue(status: Json, now: float) -> str:
    queue, words = status["queue"], []
    if not status["github"]["repo"]:
        words += [f"{queue['pending']:,} waiting for the archive"] if queue["pending"] else []
        kept = queue.get("kept", 0)
        words += [f"{kept:,} kept until a repository is set"] if kept else []
    elif queue["pending"]:
        words.append(f"{queue['pending']:,} waiting, the oldest for {span(queue['oldest_age_seconds'])}")
        due = seconds(queue["next_attempt_at"])
        if due is not None:
            words.append("next attempt now" if due <= now else f"next attempt in {span(due - now)}")
    if queue["buried"]:
        words.append(f"{queue['buried']:,} refused for good (sessiond ctl queue --buried)")
    return ", ".join(words) or "empty"


def _finding(found: Json, now: float) -> str:
    about = f"{clean(found['session'])}: " if found["session"] else ""
    doing = f"; {clean(found['doing'])}" if found.get("doing") else ""
    return f"{about}{_sentence(found['message'])} {clean(found['hint'])} ({ago(found['since'], now)}{doing})"


def _sentence(text: str) -> str:
    text = clean(text)
    return text if not text or text[-1] in ".!?" else f"{text}."
