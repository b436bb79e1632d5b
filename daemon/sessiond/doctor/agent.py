"""The agent: its folders, how long it keeps what it writes, and its hooks."""

from __future__ import annotations

from pathlib import Path

from sessiond.doctor.here import FAILED, OK, WARNING, Here, Said
from sessiond.hooks import status
from sessionsync.sources.cleanup import cleanup_days
from sessionsync.sources.folders import can_enter, folders_in


def folders(here: Here) -> Said:
    """Whether the agent's folders are there and can be read."""
    missing = []
    for root in here.settings.claude_roots(here.environ):
        folder = root / "projects"
        if not folder.is_dir():
            missing.append(folder)
            continue
        for path in (str(folder), *sorted(folders_in(folder))):
            if not can_enter(path):
                hint = "Let this user read it: run sessiond as the user who runs the agent."
                return Said(FAILED, f"{path} cannot be read.", hint)
    if missing:
        return Said(
            WARNING,
            f"There is no {missing[0]} yet: no session of Claude Code.",
            "Set CLAUDE_CONFIG_DIR or sources.claude if it lies elsewhere.",
        )
    return Said(OK, "Claude Code's folders are there and can be read.")


def purge(here: Here) -> Said:
    """How long the agent keeps its transcripts."""
    told = []
    for root in here.settings.claude_roots(here.environ):
        days = cleanup_days(root)
        if days is None:
            return Said(
                WARNING, f"How long {root} keeps transcripts cannot be read.", "Mend its settings.json."
            )
        if days < 1:
            return Said(
                WARNING,
                f"Claude Code is set to keep no transcript ({root}).",
                "Set cleanupPeriodDays to 30 or more in its settings.json.",
            )
        told.append(f"{days:.0f}")
    return Said(OK, f"Claude Code keeps transcripts for {', '.join(told)} days; here they stay.")


def hooks(here: Here) -> Said:
    """Whether the agent's hooks are installed, run a program that is there, and were heard of."""
    found = status(here.environ, here.paths, Path.cwd())
    used = [scope for scope in found["scopes"] if scope["events"]]
    broken = [scope for scope in found["scopes"] if scope["problem"]]
    install = "sessiond hooks install"
    if broken:
        return Said(FAILED, f"{broken[0]['problem']}", "Mend that file.")
    if not used:
        return Said(
            WARNING, "No hooks: sessions are seen within a second, not at once.", f"Add them: {install}"
        )
    if off := found["disabled_by"]:
        return Said(
            WARNING,
            f"Hooks are installed, but {off[0]['setting']} in {off[0]['file']} turns them off.",
            "Unset it.",
        )
    if gone := [scope for scope in used if not scope["command_exists"]]:
        return Said(
            FAILED, f"The hooks run {gone[0]['command']}, which is not there.", f"Mend them: {install}"
        )
    if found["last"] is None:
        return Said(
            WARNING,
            "The hooks are installed; none was heard of yet.",
            "Restart the agent, and say something.",
        )
    return Said(
        OK, f"The hooks are installed; the last was {found['last']['hook']} at {found['last']['at']}."
    )
