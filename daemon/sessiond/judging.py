"""What a look at the copies of a session means: which finding, and whether bytes are gone for good."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from sessionsync.events import Emit
from sessionsync.reliability.findings import CRITICAL, Findings
from sessionsync.reliability.indicators import BYTES
from sessionsync.sources.structured import ARTIFACTS
from sessionsync.store import Store
from sessionsync.vault.verify import Bad

# Found by looks at copies, and by nothing else: what was so at the end stays so until the next look.
DAMAGED, MISSING, BROKEN, LOST = "copy_damaged", "artifact_missing", "reference_broken", "data_lost"
LASTING = (DAMAGED, MISSING, BROKEN, LOST, "drill_failed")
_WORDS = {
    DAMAGED: "A copy is damaged, and nothing heals it",
    MISSING: "A file cannot be read from its copies",
    BROKEN: "It refers to something that no copy has",
}


class Judging:
    """Opens and closes the findings about sessions' copies.  Any thread may judge."""

    def __init__(self, findings: Findings, store: Store, emit: Emit) -> None:
        self._findings = findings
        self._store = store
        self._emit = emit

    def judge(self, session: str, bad: Sequence[Bad]) -> None:
        """A look has found this; nothing is best."""
        by_code: dict[str, list[Bad]] = {DAMAGED: [], MISSING: [], BROKEN: []}
        for each in bad:
            by_code[_code(each)].append(each)
        for code, found in by_code.items():
            if not found:
                self._findings.cleared(code, session)
                continue
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            self._findings.raised(
                code,
                CRITICAL,
                f"{_WORDS[code]}: {found[0].where} {found[0].what}{more}.",
                f"`sessiond ctl verify {session} --deep` lists it all; what is still sound can be restored.",
                time.time(),
                session,
            )
        if not bad:
            self._findings.cleared(LOST, session)

    def doubts(self, session: str) -> bool:
        """Whether something is open about the copies of a session."""
        codes = {DAMAGED, MISSING, BROKEN, LOST}
        return any(each.session == session and each.code in codes for each in self._findings.open())

    def mourn(self, session: str, left: Iterable[Bad]) -> None:
        """What every copy was asked for and none has is lost: counted once, and said while it is so."""
        left = list(left)
        lost = _bytes(left)
        key = f"lost {session}"
        counted = int(self._store.meta(key) or 0)
        if lost != counted:
            self._store.set_meta(key, str(lost or ""))
        if lost > counted:
            self._emit("bytes_lost", session=session, bytes=lost - counted)
        if lost:
            self._findings.raised(
                LOST,
                CRITICAL,
                f"{BYTES.said(lost)} that were captured are in no copy any more.",
                f"`sessiond ctl reconstruct {session}` saves what is left.",
                time.time(),
                session,
            )
        elif not any(bad.result == "error" for bad in left):  # else it could not be told
            self._findings.cleared(LOST, session)


def _code(bad: Bad) -> str:
    if bad.name.startswith(ARTIFACTS):
        return MISSING
    return BROKEN if bad.result == "missing" else DAMAGED


def _bytes(left: Iterable[Bad]) -> int:
    """How many bytes that is, what two copies lack counted once."""
    spans: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for bad in left:
        if bad.aside is None and bad.end > bad.start:
            spans.setdefault((bad.name, bad.generation), []).append((bad.start, bad.end))
    total = 0
    for found in spans.values():
        reached = 0
        for start, end in sorted(found):
            total += max(0, end - max(start, reached))
            reached = max(reached, end)
    return total
