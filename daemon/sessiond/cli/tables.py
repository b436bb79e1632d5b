"""The answers of `sessiond list` and of the `ctl` commands that look, as a person reads them."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import Any

from sessiond.cli.terminal import Terminal, ago, clean, clock, count, seconds, size, span, table, wrap

Json = dict[str, Any]

SHORT_ID = 8
# What stands around a match in a snippet until it is shown: STX and ETX, which no text that is shown has.
MARKS = ("\x02", "\x03")
SHOWN = 10
DAY_S = 86_400


def sessions(answer: Json, now: float, out: Terminal) -> list[str]:
    """`ctl sessions` and `list`."""
    found = answer["sessions"]
    if not found:
        return _none(answer)
    short = _short_ids([each["id"] for each in found])
    rows = [
        (
            short[each["id"]],
            each["source"],
            each["project"],
            ago(each["updated_at"], now),
            size(each["size"]),
            _whereabouts(each, now),
            _left(each),
            _title(each),
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
    short = _short_ids([each["id"] for each in found])
    rows = [
        (
            short[each["id"]],
            each["project"],
            ago(each["updated_at"], now),
            "; ".join(filter(None, (_newer(each), _copies(each)))),
            _left(each),
            _title(each) + (f" → {clean(each['next'])}" if each["next"] else ""),
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


def hits(answer: Json, now: float, out: Terminal, *, limit: int = 0) -> list[str]:
    """`search`: where it was said, by whom and when, and the words around it."""
    found = answer["hits"]
    if not found:
        return ["Nothing was found.", *_unindexed(answer)]
    short = _short_ids([each["session"] for each in found])
    lines: list[str] = []
    for each in found:
        said = (ago(each["at"], now),) if each["at"] else ()
        about = (short[each["session"]], clean(each["project"]), each["role"], *said)
        lines += [out.paint("  ".join(filter(None, about)), "dim"), f"  {_marked(each['snippet'], out)}"]
    if len(found) == limit:
        lines.append(f"There may be more: --limit {5 * limit} shows older ones.")
    return lines + _unindexed(answer)


def show(answer: Json, now: float, out: Terminal) -> list[str]:
    """`ctl show`."""
    critical = answer["critical_data"]
    lines = [
        out.paint(_title(answer), "bold"),
        f"{answer['source']}:{clean(answer['id'])}  {clean(answer['project'])}  {clean(answer['path'])}",
        ", ".join(
            (
                answer["state"],
                f"changed {ago(answer['updated_at'], now)}",
                size(answer["size"]),
                answer["tier"] or "no tier yet",
                count(answer["turns"], "turn"),
            )
        ),
        f"on GitHub: {_whereabouts(answer, now)}",
        f"restorable from: {', '.join(answer['copies']) or 'nowhere yet'}",
        f"the agent keeps it: {_left(answer) or 'until somebody deletes it'}",
    ]
    if bad := answer.get("bad_lines"):
        lines.append(f"{count(bad, 'line')} of it {'is' if bad == 1 else 'are'} not JSON; copied as they are")
    if quality := answer.get("quality"):
        scores = ", ".join(f"{clean(name)} {value:g}" for name, value in list(quality.items())[:SHOWN])
        lines += wrap(f"quality scores: {scores}", out.width, "    ")
    for title, words in (
        ("Phase", [critical["current_phase"]] if critical["current_phase"] else []),
        ("Next", critical["next_steps"]),
        ("Decided", critical["decisions"]),
        ("Findings", [f"{found['message']} {found['hint']}" for found in answer["findings"]]),
    ):
        if words:
            lines += ["", out.paint(title, "bold")]
            for word in words[:SHOWN]:
                lines += wrap(f"  - {clean(word)}", out.width, "    ")
    if answer["checkpoints"]:
        rows = [
            (
                point["id"],
                clock(point["at"], now),
                point["trigger"],
                size(point["size"]),
                "yes" if point["pushed"] else "",
                point["alias"],
            )
            for point in reversed(answer["checkpoints"][-SHOWN:])
        ]
        lines += [
            "",
            *table(("CHECKPOINT", "AT", "TRIGGER", "SIZE", "GITHUB", "ALIAS"), rows, out, right=(3,)),
        ]
    files = [
        (size(each["size"]), each["role"], each["path"] + (" (deleted)" if each["deleted_at"] else ""))
        for each in answer["files"]
    ]
    return [*lines, "", *table(("SIZE", "ROLE", "FILE"), files[: 2 * SHOWN], out, right=(0,)), *_more(files)]


def queue(answer: Json, now: float, out: Terminal) -> list[str]:
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
    return queue(answer, now, out) if answer["items"] else ["GitHub has refused nothing."]


def conflicts(answer: Json, now: float, out: Terminal) -> list[str]:
    """`ctl conflicts`."""
    found = answer["conflicts"]
    if not found:
        return ["No session has two versions."]
    rows = [
        (
            each["id"],
            ago(each["since"], now),
            _version(each["local"], now),
            _version(each["remote"], now),
            clean(each["local"].get("title") or "untitled"),
        )
        for each in found
    ]
    return [
        *table(("ID", "SINCE", "HERE", "ELSEWHERE", "TITLE"), rows, out),
        "",
        "To choose: sessiond ctl resolve ID --keep local|remote|both|merge  (with --dry-run first)",
    ]


def resolved(answer: Json, now: float, out: Terminal) -> list[str]:
    """`ctl resolve`: the two versions, and what becomes of them."""
    return [
        *table(
            ("VERSION", "OF", "SIZE", "TITLE"),
            [
                (
                    name,
                    _version(answer[name], now),
                    size(answer[name].get("size") or 0),
                    clean(answer[name].get("title") or ""),
                )
                for name in ("local", "remote")
            ],
            out,
            right=(2,),
        ),
        "",
        *wrap(f"{answer['keep']}: {clean(answer['does'])}", out.width, "  "),
    ]


def _version(told: Json, now: float) -> str:
    when = ago(told["updated_at"], now) if told.get("updated_at") else "not read yet"
    return f"{clean(told.get('host') or 'elsewhere')}, {when}"


def events(answer: Json, now: float, _out: Terminal) -> list[str]:
    """`ctl events`, one a line."""
    lines = []
    for each in answer["events"]:
        known = {"at", "event", "session", "number"}
        fields = " ".join(f"{clean(k)}={_value(v)}" for k, v in each.items() if k not in known)
        words = (clock(each["at"], now), clean(each["event"]), clean(each["session"]), fields)
        lines.append("  ".join(word for word in words if word))
    return lines


def _value(value: object) -> str:
    return ", ".join(map(clean, value)) if isinstance(value, list) else clean(value)


def health(answer: Json, now: float, out: Terminal) -> list[str]:
    """`ctl health`: what is wrong, and what to do."""
    colour = {"ok": "green", "warning": "yellow"}.get(answer["status"], "red")
    at = answer["checked_at"]
    checked = f"checked {ago(at, now)}" if at else "not everything is checked yet since the start"
    lines = [out.paint(answer["status"], "bold", colour) + f", {checked}"]
    for found in answer["findings"]:
        about = f"{found['session']}: " if found["session"] else ""
        lines += [
            "",
            *wrap(clean(f"{found['severity']} {found['code']}: {about}{found['message']}"), out.width, "  "),
        ]
        since = f"since {clock(found['since'], now)}, {ago(found['since'], now)}"
        doing = f"; {found['doing']}" if found.get("doing") else ""
        for text in (clean(found["hint"]), clean(f"{since}{doing}")):
            lines += wrap(f"  {text}", out.width, "  ")
    day = (answer.get("reliability") or {}).get("24h")
    if day is not None:
        mttr, ended = day["mttr_seconds"], count(day["incidents"], "incident")
        took = f", {ended} ended, after {span(mttr)} on average" if mttr is not None else ""
        lines += ["", f"{100 * day['score']:.2f} % reliable over 24 h{took}"]
    return lines


def hooks_in(answer: Json, _now: float, _out: Terminal) -> list[str]:
    """`hooks install`."""
    said = "has our hooks now" if answer["changed"] else "has our hooks already"
    return [f"{clean(answer['file'])} {said}.", "`sessiond hooks status` shows whether they are heard of."]


def hooks_out(answer: Json, _now: float, _out: Terminal) -> list[str]:
    """`hooks uninstall`."""
    if not answer["changed"]:
        return [f"{clean(answer['file'])} had none of our hooks."]
    gone = "held nothing else, and is removed" if answer["removed"] else "has none of our hooks any more"
    return [f"{clean(answer['file'])} {gone}."]


def hooks(answer: Json, now: float, out: Terminal) -> list[str]:
    """`hooks status`."""
    rows = [(each["scope"], _installed(each), each["file"]) for each in answer["scopes"]]
    lines = table(("SCOPE", "HOOKS", "FILE"), rows, out)
    lines += [f"{each['file']} turns hooks off: {each['setting']}" for each in answer["disabled_by"]]
    last = answer["last"]
    if last is None:
        return [*lines, "No hook was heard of yet."]
    return [
        *lines,
        f"Last heard of: {clean(last['hook'])} at {clock(last['at'], now)}, {clean(last['event'])}",
    ]


def _installed(scope: Json) -> str:
    if scope["problem"]:
        return clean(scope["problem"])
    if not scope["events"]:
        return "not installed"
    missing = f", without {', '.join(scope['missing'])}" if scope["missing"] else ""
    gone = (
        "" if scope["command_exists"] else f"; {scope['command']} is not there: run `sessiond hooks install`"
    )
    return f"installed{missing}{gone}"


def verify(answer: Json, _now: float, out: Terminal, *, deep: bool = False) -> list[str]:
    """`ctl verify`: what was looked at, and not more than that, and what is not right."""
    looked = f"{count(answer['checked'], 'session')} looked at, {size(answer['bytes'])} read"
    restored = answer.get("restored", [])
    passed = [each for each in restored if each["result"] == "ok"]
    lines = [f"{len(passed)} of {count(len(restored), 'restore')} whole and loadable."]
    if not restored:
        lines = ["There is no checkpoint yet that could be restored."]
    lines += [
        f"{clean(each['session'])} is so in the agent's own file, too: {clean(flaw)}."
        for each in restored
        if each["checkpoint"]
        for flaw in each["flaws"]
    ]
    lines = list(dict.fromkeys(lines)) if "restored" in answer else []
    if not answer["bad"]:
        if deep:
            return [f"{looked}: every copy is what was stored.", *lines]
        return [f"{looked}: nothing is damaged.  --deep reads every byte.", *lines]
    rows = [(each["session"], each["where"], each["what"]) for each in answer["bad"]]
    return [
        f"{looked}: {count(len(rows), 'place')} not as stored.",
        *lines,
        *table(("SESSION", "WHERE", "WHAT"), rows, out),
        "What another copy still has is put back by itself: `sessiond ctl events` tells.",
    ]


def repair(answer: Json, _now: float, out: Terminal) -> list[str]:
    """`ctl repair`."""
    lines = [f"{size(number)} healed from: {clean(name)}" for name, number in answer["healed_bytes"].items()]
    lines += [f"{count(answer['healed_bits'], 'bit')} of the journal turned back"] * bool(
        answer["healed_bits"]
    )
    lines += [f"damaged bytes are kept in {clean(path)}" for path in answer["kept"]]
    if not answer["left"]:
        return [*lines, "Every copy is what was stored."]
    rows = [(each["where"], each["what"]) for each in answer["left"]]
    return [*lines, "No other copy can heal:", *table(("WHERE", "WHAT"), rows, out)]


def reconstruct(answer: Json, _now: float, out: Terminal) -> list[str]:
    """`ctl reconstruct`: each file, what is missing of it, and where it all lies."""
    rows = [
        (
            each["path"],
            size(each["size"]),
            each["status"],
            f"{each['exact']:,}",
            f"{each['inferred']:,}",
            str(len(each["gaps"])),
        )
        for each in answer["files"]
    ]
    heads = ("FILE", "SIZE", "IS", "EXACT LINES", "INFERRED", "GAPS")
    lines = table(heads, rows, out, right=(1, 3, 4, 5))
    gaps = [(file["path"], gap) for file in answer["files"] for gap in file["gaps"]]
    for path, gap in gaps[:SHOWN]:
        end = gap["offset"] + gap["length"]
        lines.append(f"  - {clean(path)}: bytes {gap['offset']} to {end} are lost, behind {_line(gap)}.")
    lines += [f"  - and {len(gaps) - SHOWN} more gaps: see the report"] * (len(gaps) > SHOWN)
    lines += [f"  - {clean(path)} is lost." for path in answer["missing"][:SHOWN]]
    lines += [f"  - {len(answer['fragments'])} fragments are kept beside."] * bool(answer["fragments"])
    for note in answer["notes"]:
        lines += wrap(f"  - {clean(note)}", out.width, "    ")
    lines += [f"  - The agent may stumble over it: {clean(problem)}." for problem in answer["problems"]]
    if answer["complete"]:
        lines.append("Nothing is missing: `sessiond restore` may do as well.")
    return [*lines, clean(answer["path"])] if answer["path"] else [*lines, "Nothing was written."]


def _line(gap: Json) -> str:
    return f"line {clean(gap['after_uuid'])}" if gap["after_uuid"] else "the beginning"


def gc(answer: Json, _now: float, _out: Terminal, *, dry_run: bool = False) -> list[str]:
    """`ctl gc`."""
    lines = [clean(path) for path in answer["files"]]
    lines += [f"{size(each['bytes'])} in the pack of {clean(each['session'])}" for each in answer["packs"]]
    if not lines:
        return ["There is nothing to remove."]
    return [*lines, f"{size(answer['freed_bytes'])} {'would be' if dry_run else 'were'} removed."]


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


def checkpointed(answer: Json, _now: float, _out: Terminal) -> list[str]:
    """`ctl checkpoint`."""
    return [f"Checkpoint {clean(answer['checkpoint'])} of {clean(answer['session'])} is on this disk."]


def mode(answer: Json, _now: float, _out: Terminal) -> list[str]:
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


def reloaded(answer: Json, _now: float, _out: Terminal) -> list[str]:
    """`ctl reload`."""
    waiting = [clean(setting) for setting in answer.get("restart_needed", ())]
    changed = [clean(setting) for setting in answer["changed"]]
    applied = ", ".join(setting for setting in changed if setting not in waiting) or "nothing"
    lines = [f"The settings are read; changed: {applied}."]
    if waiting:
        how = "sessiond service stop, sessiond service start"
        lines.append(f"Restart to apply: {', '.join(waiting)} ({how}).")
    return lines


def stopped(answer: Json, _now: float, _out: Terminal) -> list[str]:
    """`ctl stop`."""
    return [f"sessiond has ended, pid {clean(answer['pid'])}." if "pid" in answer else "sessiond has ended."]


def _unindexed(answer: Json) -> list[str]:
    behind = answer["behind"]
    return [f"{count(behind, 'session')} not wholly indexed yet."] if behind else []


def _marked(snippet: str, out: Terminal) -> str:
    """A snippet with its matches in bold or, where there is none, as Markdown has it."""
    shown = "".join(letter if letter.isprintable() or letter in MARKS else " " for letter in snippet)
    if not out.colours:
        return starred(shown)
    pieces = shown.replace(MARKS[1], MARKS[0]).split(MARKS[0])
    bold = (out.paint(piece, "bold") for piece in pieces[1::2])
    return "".join(piece for pair in zip_longest(pieces[::2], bold, fillvalue="") for piece in pair)


def starred(snippet: str) -> str:
    """A snippet with its matches, which stand between `MARKS`, in Markdown's bold; stars around them go."""
    plain = re.sub(r"\*\*([^*]*\x02[^*]*)\*\*", r"\1", snippet)
    return re.sub(r"\**\x02([^\x03]*)\x03\**", r"**\1**", plain)


def _short_ids(ids: list[str]) -> dict[str, str]:
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


def _title(each: Json) -> str:
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


def _whereabouts(each: Json, now: float) -> str:
    if newer := _newer(each):
        return newer
    if each.get("repo") == "" and each["last_pushed_at"] is None:
        return "no, no repository is set"
    if each.get("unpushed"):
        return "waiting" if each["last_pushed_at"] is None else f"{size(each['unpushed_bytes'])} behind"
    return "no" if each["last_pushed_at"] is None else ago(each["last_pushed_at"], now)


def _left(each: Json) -> str:
    """How long the agent's own file will be there."""
    if each["state"] == "deleted":
        return "deleted"
    days = each["purge_in_days"]
    if days is None:
        return ""
    return span(days * DAY_S) if days > 0 else "overdue"


def _due(text: str | None, now: float) -> str:
    at = seconds(text)
    if at is None:
        return ""
    return "now" if at <= now else f"in {span(at - now)}"


def _more(rows: list[Any]) -> list[str]:
    hidden = len(rows) - 2 * SHOWN
    return [f"… and {count(hidden, 'file')} more: --json shows all"] if hidden > 0 else []
