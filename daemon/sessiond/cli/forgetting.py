"""`sessiond forget`: what would be removed, the question, and what was."""

from __future__ import annotations

import sys
from typing import Any

from sessiond.cli.terminal import Terminal, clean, count, size, terminal, wall
from sessionsync.errors import NotConfirmed

Json = dict[str, Any]


LEFT = {
    "here": "What is on this machine",
    "comments": "Its comments",
    "archive": "What the archive has of it",
}


def planned(answer: Json, now: float, out: Terminal) -> list[str]:
    """What of a session is where: all that would be removed, and what would not."""
    del now
    stored = answer["bytes"]
    lines = [
        out.paint("  ".join(clean(answer[part]) for part in ("session", "project", "title")), "bold"),
        f"  plain copies  {size(stored['mirror'])}",
        f"  backup        {size(stored['vault'])}, {count(answer['checkpoints'], 'checkpoint')}",
    ]
    if stored["elsewhere"]:
        lines.append(f"  other versions  {size(stored['elsewhere'])}, as other machines had it")
    lines += [
        f"  GitHub        {count(each['comments'], 'comment')} in issue {each['issue']}"
        for each in answer["comments"]
    ]
    if answer["archived"]:
        lines.append("  archive       its refs; a host may keep for a while what they named")
    lines.append("  and its words in the search index; its numbers stay in the sums, nobody's")
    if answer["path"]:
        lines.append(f"Not removed: the agent's own file, {clean(answer['path'])}. It is captured no more.")
    lines += [f"Not removed, as it is not sessiond's: {clean(path)}" for path in answer["strays"]]
    if answer["machines"]:
        hosts = ", ".join(sorted({clean(each["host"]) or each["machine"] for each in answer["machines"]}))
        lines.append(
            f"Other machines had it, too: {hosts}. Forget it there as well, else they send it again."
        )
    return lines


def confirm(found: Json, *, yes: bool) -> None:
    """Ask a person who is there.

    Raises:
        NotConfirmed: nobody is there, or the answer is no.
    """
    if yes:
        return
    name = found["session"]
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise NotConfirmed(
            f"Forgetting {name} removes every copy of it for good.",
            hint=f"See what that is with --dry-run, then: sessiond forget {name} --yes",
        )
    out = terminal(sys.stderr)
    sys.stderr.write("\n".join([*planned(found, wall(), out), "Remove all this for good? [y/N] "]))
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise NotConfirmed(f"{name} was not forgotten.", hint="Nothing was removed.")


def done(answer: Json, now: float, out: Terminal) -> list[str]:
    """What was removed, and what is left to be."""
    del now, out
    lines = []
    if answer["forgotten"]:
        copies, kept = size(answer["bytes"]["mirror"]), size(answer["bytes"]["vault"])
        name = clean(answer["session"])
        lines = [f"{name} is forgotten: {copies} of plain copies and {kept} of backup are gone."]
    for left in answer["left"]:
        where = LEFT[left["where"]]
        reason = f" ({clean(left['reason'])})" if left["reason"] else ""
        lines.append(f"{where} will go as soon as that can be{reason}.")
    if answer["path"]:
        lines.append(f"The agent's own file stays: {clean(answer['path'])}")
        lines.append(f"To have it captured again: sessiond forget --undo {clean(answer['session'])}")
    return lines


def undone(answer: Json, now: float, out: Terminal) -> list[str]:
    """What happens next."""
    del now, out
    return [f"{clean(answer['session'])} is captured again, if its file is still there."]
