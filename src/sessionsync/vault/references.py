"""What of a session refers to what, and whether it is there.

checkpoint  the state names it, the journal has it; and what a session itself keeps as one
artifact    the session lists the file, the vault has its bytes
subagent    the same of what an agent had done by others
parent      the transcript that those others were called from

What a session lists is what was captured once, whatever its folder holds now: only of that it is known that
it was there.  What its text names, a subagent's id or `parentUuid`, often never was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from sessionsync.vault.verify import JOURNAL, VAULT, Bad, Expected

KINDS = ("checkpoint", "artifact", "subagent", "parent")
OK, BROKEN = RESULTS = ("ok", "broken")
_ARTIFACTS, _CHECKPOINTS, _SUBAGENTS, _SUBAGENT = "artifacts/", "checkpoints/", "/subagents/", "agent-"


def references(
    expected: Iterable[Expected], checkpoints: Collection[str], bad: Iterable[Bad]
) -> Counter[tuple[str, str]]:
    """How many references of a session lead to what is there, and how many nowhere, by kind and result.

    `checkpoints` are those that the state names, `bad` is what a look has found.
    """
    missing = [each.name for each in bad if each.store == VAULT and each.result == "missing"]
    found: Counter[tuple[str, str]] = Counter()
    lost = min(len(checkpoints), missing.count(JOURNAL))
    found["checkpoint", BROKEN] += lost
    found["checkpoint", OK] += len(checkpoints) - lost
    names = {file.name for file in expected}
    for name in names:
        if (kind := _kind(name)) not in {"parent", ""}:
            found[kind, BROKEN if name in missing else OK] += 1
    if found["subagent", OK] + found["subagent", BROKEN]:
        parents = {name for name in names if _kind(name) == "parent"} - set(missing)
        found["parent", OK if parents else BROKEN] += 1
    return +found


def _kind(name: str) -> str:
    """What a file of a session is to it; '' where nothing refers to it."""
    if name.startswith(_ARTIFACTS):
        return "artifact"
    if name.startswith(_CHECKPOINTS):
        return "checkpoint"
    if _SUBAGENTS in name or name.startswith(_SUBAGENT):
        return "subagent"
    return "" if "/" in name else "parent"
