"""A conflict is settled: by a person here, or on another machine, as its notice tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sessionsync.catalog import Session
from sessionsync.conflict.means import Means, Ours
from sessionsync.conflict.rows import FLIPPED, NOTICE, Conflict, critical_of
from sessionsync.divergence import merge_critical
from sessionsync.elsewhere import Version, machine_name
from sessionsync.errors import UsageError
from sessionsync.model import CriticalData, rfc3339
from sessionsync.privacy.gate import ClearedText
from sessionsync.remote import comments
from sessionsync.remote.github import Comment


class Settling:
    """Chooses, hears what was chosen, and tells."""

    def __init__(self, means: Means) -> None:
        self._means = means

    def preview(self, session: Session, conflict: Conflict, keep: str) -> dict[str, Any]:
        """What choosing would do, in words."""
        host = conflict.remote.get("host") or "elsewhere"
        restorable = bool(conflict.remote.get("restorable"))
        back = (
            f"`sessiond restore {session.key} --from github --at {conflict.remote.get('checkpoint')}`"
            if restorable
            else f"the backup on {host}"
        )
        if conflict.kind == "edit":
            does = {
                "local": "The record says what this machine says; what was edited is in its history.",
                "remote": "The record says what was edited by hand, and what changes here from now on.",
                "both": "The record lists all entries of both.",
                "merge": "The record has each side's additions and removals.",
            }
        else:
            does = {
                "local": f"The record stays this machine's version. The other: {back}.",
                "remote": f"The record becomes the version of {host}; {back} puts its files here.",
                "both": f"The record stays this machine's version; that of {host} gets one of its own.",
                "merge": f"The record holds both; of files that differ, that of {host} under another name.",
            }
        return {"does": does[keep]}

    def choose(self, session: Session, conflict: Conflict, keep: str, ours: Ours, now: float) -> None:
        """Settle a conflict; the record and the notice follow with the next push.

        Raises:
            UsageError: there is nothing to take, as only the other machine has its bytes.
        """
        version = self._means.versions.get(session.id, conflict.machine)
        if version is None:
            raise UsageError(
                f"The other version of {session.name} was not seen yet.",
                hint="It is fetched by itself within two minutes; `sessiond ctl sync` does it now.",
            )
        if keep == "merge" and conflict.kind != "edit" and not version.whole:
            raise UsageError(
                f"Only {version.host} has the bytes of its version of {session.name}.",
                hint="Choose another way, or set up [archive] on both machines.",
            )
        with self._means.store.transaction():
            if conflict.kind == "edit":
                self._amend(session, keep, ours, version)
                self._means.versions.judge(version, "kept")
            else:
                verdict = {"local": "kept", "remote": "taken", "both": "both", "merge": "united"}[keep]
                self._means.versions.judge(version, verdict, ours.content if keep == "remote" else "")
            self._means.conflicts.save(replace(conflict, chosen=keep, chosen_at=now))
            self._means.store.execute("UPDATE records SET content = '' WHERE session = ?", (session.id,))
            if session.checkpoint is not None and self._means.tells:
                self._means.queue.enqueue("comment", session.id, session.checkpoint, now)
            if self._means.tells:
                self._means.queue.enqueue(NOTICE, session.id, f"{conflict.fork} {keep}", now)
        self._means.emit("conflict_resolved", session=session.name, kind=conflict.kind, kept=keep)

    def _amend(self, session: Session, keep: str, ours: Ours, version: Version) -> None:
        own = critical_of(ours.draft.record.critical_data)
        theirs = version.record.critical_data
        if keep == "remote":
            self._means.conflicts.amend(session.id, own, theirs)
        elif keep == "both":
            self._means.conflicts.amend(session.id, own, merge_critical(CriticalData(), own, theirs))
        elif keep == "merge":
            # what was edited was ours: what is missing there was removed
            self._means.conflicts.amend(session.id, own, merge_critical(own, own, theirs))

    # --- notices

    def hear(self, session: Session, comment: Comment) -> None:
        """A notice that another machine wrote, or chose in: the same conflict is known here too."""
        now = self._means.issues.now
        notice = comments.parse_notice(comment.text)
        if notice is None or not self._means.issues.counts(comment.author, comment.author_association):
            return
        known = self._means.conflicts.get(session.id, notice.fork)
        if known is None:
            if notice.state == comments.OPEN and self._means.conflicts.of(session.id) is None:
                self._adopt(session, notice, comment, now)
            return
        if known.notice != comment.id and known.notice:
            return
        known = replace(known, notice=comment.id)
        if known.is_open and notice.state != comments.OPEN:
            chosen = notice.state if known.won else FLIPPED.get(notice.state, notice.state)
            known = replace(known, chosen=chosen, chosen_at=now, told=notice.state)
            if (version := self._means.versions.get(session.id, known.machine)) is not None:
                self._means.versions.judge(version, "")  # what goes on from here is looked at anew
            self._means.emit("conflict_resolved", session=session.name, kind=known.kind, kept=chosen)
        self._means.conflicts.save(known)

    def recognise(self, session: Session, conflict: Conflict, listing: Iterable[Comment]) -> Conflict:
        """The conflict with its notice, where there is one already, or one of the same two versions."""
        for comment in listing:
            notice = comments.parse_notice(comment.text)
            if notice is None or notice.session_id != session.key:
                continue
            if not self._means.issues.counts(comment.author, comment.author_association):
                continue
            if notice.fork == conflict.fork:
                return replace(conflict, notice=comment.id, told=notice.state)
            is_theirs = notice.state == comments.OPEN and notice.machine == conflict.machine
            if is_theirs and conflict.is_open and self._means.conflicts.get(session.id, notice.fork) is None:
                # they met ours as we met theirs: one notice is enough
                return replace(
                    conflict,
                    fork=notice.fork,
                    notice=comment.id,
                    told=notice.state,
                    local=conflict.local | {"won": False},
                )
        return conflict

    def _adopt(self, session: Session, notice: comments.Notice, comment: Comment, now: float) -> None:
        machine = machine_name(notice.machine)
        if machine == self._means.machine:  # our own, from before the state was lost
            machine = next((v.machine for v in self._means.versions.of(session.id)), machine)
        version = self._means.versions.get(session.id, machine)
        remote: dict[str, Any] = {"machine": machine}
        if version is not None:
            remote |= {
                "host": version.host,
                "revision": version.revision,
                "updated_at": version.at,
                "title": version.record.title,
                "size": version.record.size,
                "sha256": version.record.sha256,
                "checkpoint": version.checkpoint,
                "restorable": version.whole,
            }
        local = {
            "host": self._means.host,
            "machine": self._means.machine,
            "updated_at": rfc3339(session.checkpoint_at or session.modified_at),
            "title": session.summary.title,
            "size": session.size,
            "won": notice.machine == self._means.machine,
        }
        kind = "transcript" if session.ref.source == "claude" else "files"
        conflict = Conflict(
            0,
            session.id,
            notice.fork,
            kind,
            now,
            machine,
            local,
            remote,
            notice=comment.id,
            told=comments.OPEN,
        )
        self._means.conflicts.add(conflict)

    def notice(self, session: Session, conflict: Conflict) -> ClearedText:
        """The text of a conflict's notice."""
        first = conflict.local if conflict.won else conflict.remote
        other = conflict.remote if conflict.won else conflict.local
        machine = str(first.get("machine") or self._means.machine)
        return comments.render_notice(
            self._means.gate,
            comments.Notice(conflict.fork, session.key, machine, conflict.state),
            title=str(first.get("title") or ""),
            record=_side(first),
            other=_side(other),
        )


def _side(told: Mapping[str, Any]) -> comments.Side:
    return comments.Side(
        str(told.get("host") or ""),
        int(told.get("revision") or 0),
        str(told.get("updated_at") or ""),
        str(told.get("tier") or ""),
        int(told.get("size") or 0),
    )
