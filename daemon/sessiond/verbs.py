"""What `sessiond ctl` can ask and tell: one method a verb, one path of the control socket each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from sessiond import searching
from sessiond.control import Answer, Params, Verb, flag, number, text
from sessiond.forgetting import FORGET_S, forget, remember, what_is_there
from sessiond.loops import TROUBLES
from sessiond.modes import LOCAL_ONLY, PAUSED, Mode
from sessiond.reconstructing import reconstruct
from sessiond.retrieval import opened, strangers
from sessiond.running import Running
from sessiond.spool import Save
from sessionsync import __version__, report
from sessionsync.archiving import Archiving
from sessionsync.catalog import Session
from sessionsync.config import needs_restart
from sessionsync.conflict import WAYS, Conflicts
from sessionsync.errors import AmbiguousSession, CopyError, Limited, NoSuchSession, UsageError
from sessionsync.forgotten import meant, was_forgotten
from sessionsync.model import Found, Ref, Tier
from sessionsync.push import Push
from sessionsync.queue import ARCHIVE, Item, Lane
from sessionsync.reliability.findings import Finding
from sessionsync.search import ROLES, Index
from sessionsync.sources.folders import readable
from sessionsync.upkeep import Healing, Verdict, outcome
from sessionsync.vault import Mirror, Vault
from sessionsync.vault.verify import Part

# How long `sync --wait` waits unless told otherwise, and how often it looks.
WAIT_S = 120.0
LOOK_S = 0.1
# Nobody reads more of what a search finds.
HITS = 1000
# How often a repair reads the bytes of a session to look at its copies once, and how often it tells.
LOOK_READS = 3
TOLD_BYTES = 4 * 1024 * 1024
# A checkpoint reads what is new of one session; the first of a huge one takes its time.
CHECKPOINT_S = 600.0


class Verbs:
    """The verbs of a running daemon.  Called from the control server's threads."""

    LOOKS = ("status", "sessions", "show", "search", "queue", "conflicts", "events", "health")
    ACTS = (
        "checkpoint",
        "session_save",
        "sync",
        "retry",
        "resolve",
        "forget",
        "pause",
        "resume",
        "local-only",
        "reindex",
        "verify",
        "repair",
        "reconstruct",
        "gc",
        "reload",
        "stop",
    )
    NAMES = LOOKS + ACTS

    def __init__(self, app: Running) -> None:
        self._app = app

    def table(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {name: Verb(name, self._handler(name), acts=name in self.ACTS) for name in self.NAMES}

    def _handler(self, name: str) -> Callable[[Params], Answer]:
        handler: Callable[[Params], Answer] = getattr(self, name.replace("-", "_"))
        return handler

    # --- looking

    def status(self, params: Params) -> Answer:
        """One screen: is everything safe, and if not, since when and why."""
        app = self._app
        return report.status(app.engine.catalog, app.engine.queue, self.live(), time.time())

    def sessions(self, params: Params) -> Answer:
        """Every session, or those of the project that a folder is in; newest first.

        `waiting` is how many were seen and are still to be captured, `reason` and `hint` why nothing is;
        `is_first` says that the first backup since the start has not ended.
        """
        engine, folder = self._app.engine, text(params, "project", "")
        project, everywhere = Path(folder) if folder else None, flag(params, "everywhere")
        archived = engine.gather.heard if engine.gather is not None else ()
        found = report.sessions(
            engine.catalog,
            time.time(),
            project,
            everywhere=everywhere,
            strangers=strangers(engine.config, engine.catalog, project, archived) if everywhere else (),
        )
        capture = self._app.capture
        is_first = capture.captured_until is None
        return {**found, "waiting": capture.waiting, "is_first": is_first, **self._stopped()}

    def show(self, params: Params) -> Answer:
        """One session whole."""
        catalog = self._app.engine.catalog
        tiers = self._app.engine.config.tiers
        limits = {Tier.GITHUB_ONLY: tiers.github_only_bytes, Tier.HYBRID: tiers.hybrid_bytes}
        session = self._resolve(text(params, "session"))
        shown = report.show(catalog, session, self.findings(), time.time(), limits)
        return shown | {"repo": self._app.engine.config.github.repo}

    def search(self, params: Params) -> Answer:
        """What was said, found by its words."""
        engine, role = self._app.engine, text(params, "role", "")
        if role not in {"", *ROLES}:
            raise UsageError(f"Nobody has the role {role[:40]!r}.", hint=f"Known are: {', '.join(ROLES)}.")
        backup = engine.config.backup
        index = Index(engine.paths.index_db, engine.state_id, read_only=True)
        try:
            return searching.search(
                index,
                engine.catalog,
                Mirror(backup.mirror_dir),  # those of the engine are its loops'
                Vault(backup.vault_dir),
                engine.sources,
                text(params, "query"),
                project=text(params, "project", ""),
                since=number(params, "since", 0),
                role=role,
                limit=min(max(int(number(params, "limit", 20)), 1), HITS),
            )
        finally:
            index.close()

    def queue(self, params: Params) -> Answer:
        """What waits, or what is buried."""
        return report.queue(self._app.engine.catalog, self._app.engine.queue, buried=flag(params, "buried"))

    def conflicts(self, params: Params) -> Answer:
        """The sessions of which there are two versions."""
        return report.conflicts(self._app.engine.catalog)

    def events(self, params: Params) -> Answer:
        """The newest events behind `after`."""
        return report.events(
            self._app.engine.store,
            after=int(number(params, "after", 0)),
            limit=int(number(params, "limit", 100)),
        )

    def health(self, params: Params) -> Answer:
        """The findings that are open, and how reliable it has been until now."""
        health, now = self._app.health, time.time()
        checked_at = now if health.is_checked else None
        found = health.shown(health.keep_books(), now)
        return report.health(found, self._app.books.all_figures(), checked_at)

    # --- acting

    def checkpoint(self, params: Params) -> Answer:
        """Capture a session as it is on disk and make a checkpoint, committed when this returns."""
        app = self._app
        name = text(params, "session")
        trigger = text(params, "trigger", "manual")
        ref = self._ref(name)
        made = app.capture.call(lambda now: app.engine.capture.checkpoint(ref, trigger, now), CHECKPOINT_S)
        session = app.engine.catalog.find(ref)
        return {"session": session.key if session is not None else ref.session_id, "checkpoint": made.id}

    def session_save(self, params: Params) -> Answer:
        """What a hook asks: a checkpoint of a session as it is on disk, named after the hook's event."""
        wanted = Save(
            session=text(params, "session"),
            trigger=text(params, "trigger"),
            transcript=text(params, "transcript"),
            size=int(number(params, "size", 0)),
        )
        made = self._app.capture.call(lambda now: self._app.saves.save(wanted, now), CHECKPOINT_S)
        return {
            "session": wanted.session,
            "checkpoint": made.id,
            "trigger": wanted.trigger,
            "bytes": made.size,
        }

    def sync(self, params: Params) -> Answer:
        """Make everything that waits due now; with `wait` come back when it is through.

        Where there is such a thing, `unsettled` is how many sessions have changed since their newest
        checkpoint, and `kept`, with nowhere to send to, how many have one.
        """
        app = self._app
        session = self._session(params)
        dry_run = flag(params, "dry_run")
        added = 0
        if flag(params, "full"):
            ref = session.ref if session is not None else None
            added = app.capture.call(
                lambda now: app.engine.capture.include_history(now, ref, dry_run=dry_run), CHECKPOINT_S
            )
        if flag(params, "capture") and not dry_run:
            app.capture.call(self._capture_all, CHECKPOINT_S)
        due, refused = self._waiting(session), self._buried(session)
        if dry_run:
            counts = {"due": due + added, "pushed": 0, "left": due + added, "buried": refused}
            return counts | (self._held() if due + added else {})
        self._push_now(session, buried=False)
        until = time.monotonic() + number(params, "wait", 0.0)
        while self._moving(session) and time.monotonic() < until:
            time.sleep(LOOK_S)
        left = self._waiting(session)
        buried = self._buried(session)
        pushed = max(0, due - left - max(0, buried - refused))
        if file := text(params, "textfile", ""):
            app.metrics.write(Path(file))
        counts = {"due": due, "pushed": pushed, "left": left, "buried": buried}
        if app.engine.archiving is None and not app.engine.config.github.repo:
            counts["kept"] = app.engine.catalog.kept()
        if unsettled := app.engine.catalog.unsettled(None if session is None else session.id):
            counts["unsettled"] = unsettled
        return {**counts, **(self._why() if left else {})}

    def retry(self, params: Params) -> Answer:
        """Try again what waits or is buried, now."""
        session = self._session(params)
        due = self._push_now(session, buried=True)
        return {"due": due, **(self._held() if due else {})}

    def resolve(self, params: Params) -> Answer:
        """Settle a conflict: which of the two versions the record is."""
        engine = self._app.engine
        session = self._resolve(text(params, "session"))
        keep = text(params, "keep")
        conflict = Conflicts(engine.store).of(session.id)
        if keep not in WAYS:
            raise UsageError(
                f"{keep[:40]!r} is no way to settle a conflict.", hint=f"One of: {', '.join(WAYS)}."
            )
        if conflict is None:
            raise UsageError(
                f"There is no conflict about {session.name}.", hint="`sessiond ctl conflicts` lists them."
            )
        push = engine.judging()
        answer = {
            "session": session.ref.session_id,
            "keep": keep,
            "local": conflict.told_of_ours,
            "remote": conflict.remote,
            **push.judge.preview(session, conflict, keep),
        }
        if not flag(params, "dry_run"):
            self._app.push.call(lambda now: push.others.resolve(session, conflict, keep, now))
            self._app.push.look_now()
        return answer

    def forget(self, params: Params) -> Answer:
        """Remove a session everywhere, or say what that would remove; with `undo` take it in again."""
        app, name = self._app, text(params, "session")
        if flag(params, "undo"):
            return remember(app, self._forgotten(name) or self._never_forgotten(name))
        session = self._resolve(name)
        there = what_is_there(app, session)
        if flag(params, "dry_run"):
            return there
        return there | forget(app, session, number(params, "wait", FORGET_S))

    def _never_forgotten(self, name: str) -> NoReturn:
        """Why a session cannot be taken in again."""
        known = None
        with suppress(NoSuchSession):
            known = self._app.engine.catalog.resolve(name)
        if known is not None:
            raise NoSuchSession(f"Session {known.name} is not forgotten.", hint="There is nothing to undo.")
        raise NoSuchSession(
            f"No session {name!r} was forgotten here.",
            hint="Where the agent's file of it is gone, only its whole id will do.",
        )

    def pause(self, params: Params) -> Answer:
        """Push nothing until `resume`; capturing goes on."""
        self._app.modes.command(paused=True)
        return self._mode()

    def resume(self, params: Params) -> Answer:
        """Push again; also lifts a pause whose cause is mended, even that for a refused token."""
        self._app.modes.command(paused=False)
        self._push_now(None, buried=False, insist=True)
        return self._mode()

    def local_only(self, params: Params) -> Answer:
        """Let nothing leave this machine, or end that."""
        on = flag(params, "on")
        if flag(params, "dry_run"):
            return self._mode(self._app.modes.if_local_only(on=on))
        self._app.modes.command(local_only=on)
        return self._mode()

    def reindex(self, params: Params) -> Answer:
        """Begin the search index anew, and how many sessions are still to be indexed."""
        if flag(params, "begin"):
            self._app.index.rebuild()
        return {"left": self._app.index.left()}

    def verify(self, params: Params) -> Answer | Iterator[Answer]:
        """Look at the copies of one session or of all; what is damaged is then repaired by itself.

        With `progress` also how many sessions of how many were looked at, before the answer.
        """
        steps = self._verify(
            self._session(params),
            _part(text(params, "sample", "")),
            deep=flag(params, "deep"),
            drill=flag(params, "drill"),
        )
        return steps if flag(params, "progress") else list(steps)[-1]

    def _verify(
        self, session: Session | None, part: Part | None, *, deep: bool, drill: bool
    ) -> Iterator[Answer]:
        app = self._app
        found = Verdict()
        sessions = [session] if session is not None else list(app.engine.catalog.each())
        for done, each in enumerate(sessions):
            yield {"done": done, "total": len(sessions)}
            verdict = outcome(app.copies.verify(each, part, deep=deep))
            found.add(verdict)
            if verdict.bad:
                app.upkeep.heal(each)
        if session is None:
            others = outcome(app.copies.verify_others(part, deep=deep))
            found.add(others)
            for name in {name for name, _ in others.bad}:
                app.upkeep.heal_named(name)
        answer: dict[str, Any] = {
            "checked": found.checked,
            "bytes": found.size,
            "bad": [{"session": name, "where": bad.where, "what": bad.what} for name, bad in found.bad],
        }
        yield answer | self._drill(session, answer) if drill else answer

    def _drill(self, session: Session | None, answer: dict[str, Any]) -> dict[str, Any]:
        """Put sessions back into a scratch folder, one or a sample, and add what came of it."""
        done = self._app.upkeep.rehearse(None if session is None else [session])
        bad = [
            {"session": each.session, "where": each.where, "what": what}
            for each in done
            for what in (*each.problems, *([each.untried] if each.untried else []))
        ]
        return {
            "bytes": answer["bytes"] + sum(each.size for each in done),
            "bad": answer["bad"] + bad,
            "restored": [
                {
                    "session": each.session,
                    "from": each.origin,
                    "checkpoint": each.checkpoint,
                    "files": each.files,
                    "result": each.result,
                    "flaws": each.flaws,
                }
                for each in done
            ],
        }

    def repair(self, params: Params) -> Answer | Iterator[Answer]:
        """Heal the copies of a session from each other, and from the live file.

        With `progress` also how many bytes of how many were read, before the answer.
        """
        steps = self._repair(self._resolve(text(params, "session")))
        return steps if flag(params, "progress") else list(steps)[-1]

    def _repair(self, session: Session) -> Iterator[Answer]:
        # each look reads so much, and where something was healed there is another one
        files = self._app.engine.catalog.files(session.id).values()
        look = max(1, LOOK_READS * sum(file.length for file in files))
        work, done, told = self._app.upkeep.repair(session), 0, -TOLD_BYTES
        while True:
            if done - told >= TOLD_BYTES:
                told = done
                yield {"done": done, "total": look * (done // look + 1)}
            try:
                done += next(work)
            except StopIteration as end:
                healing: Healing = end.value
                break
        yield {
            "session": session.ref.session_id,
            "healed_bytes": healing.healed,
            "healed_bits": healing.bits,
            "kept": [readable(str(path)) for path in healing.kept],
            "left": [{"where": bad.where, "what": bad.what} for bad in healing.left],
        }

    def reconstruct(self, params: Params) -> Answer:
        """Make the best of what is left of a session, in a folder of its own."""
        out = text(params, "out", "")
        with opened() as restoring:
            session = restoring.find(text(params, "session"))
            folder = Path(out) if out else None
            return reconstruct(restoring, session, folder, dry_run=flag(params, "dry_run"))

    def gc(self, params: Params) -> Answer:
        """Remove what nothing names any longer."""
        return outcome(self._app.copies.gc(time.time(), dry_run=flag(params, "dry_run")))

    def reload(self, params: Params) -> Answer:
        """Read the settings again."""
        changed = self._app.reload()
        return {"changed": changed, "restart_needed": list(filter(needs_restart, changed))}

    def stop(self, params: Params) -> Answer:
        """End the daemon."""
        self._app.end()
        return {"pid": os.getpid()}

    # --- inside

    def _capture_all(self, now: float) -> None:
        """What `sync --once` does first: everything on disk becomes a checkpoint, and can be sent.

        Raises:
            CopyError: of some a copy could not be made; the others have theirs.
        """
        self._app.saves.take_in(now)
        capture = self._app.engine.capture
        failed: CopyError | None = None
        for ref in capture.survey():
            try:
                capture.capture(ref, now)
            except CopyError as error:
                failed = failed or error
            else:
                failed = failed or capture.is_behind(ref)
        capture.checkpoint_all("once", now)
        for ref in capture.due(now):  # what was only skimmed
            try:
                capture.capture(ref, now)
            except CopyError as error:
                failed = failed or error
        capture.flush(now)
        if failed is not None:
            raise failed

    def _mode(self, mode: Mode | None = None) -> Answer:
        """The mode, as it is or as it would be; `archive` is that of the archive, '' where there is none."""
        mode = mode or self._app.modes.now()
        paused = self._app.modes.is_paused
        answer = {"mode": mode.name, "reason": mode.reason, "hint": mode.hint, "paused": paused}
        if self._app.engine.archiving is None:
            return answer | {"archive": ""}
        if mode.reason == LOCAL_ONLY:
            return answer | {"archive": mode.name}
        return answer | {"archive": "paused" if paused else "normal"}

    def _session(self, params: Params) -> Session | None:
        name = text(params, "session", "")
        return self._resolve(name) if name else None

    def _resolve(self, name: str) -> Session:
        """The session a person means, or why it is not known."""
        try:
            return self._app.engine.catalog.resolve(name)
        except AmbiguousSession:
            raise
        except NoSuchSession:
            if (ref := self._forgotten(name)) is not None:
                raise was_forgotten(ref) from None
            raise

    def _forgotten(self, name: str) -> Ref | None:
        """The session a person means that was forgotten: a hash of its id is all that is left of it here."""
        there = (found.ref for source in self._app.engine.sources for found in source.find())
        return meant(self._app.engine.forget.tombstones, name, there)

    def _ref(self, name: str) -> Ref:
        """The session a person means, also one that no scan has seen yet."""
        try:
            return self._app.engine.catalog.resolve(name).ref
        except NoSuchSession as unknown:
            if unknown.exit_code != NoSuchSession.exit_code:
                raise
            sources = self._app.engine.sources
            source_name, _, session_id = name.partition(":")
            if source_name not in {source.name for source in sources}:
                source_name, session_id = "", name
            for source in sources:
                if source_name not in {"", source.name}:
                    continue
                for found in source.find():
                    if found.ref.session_id == session_id or self._is_called(found, session_id):
                        return found.ref
            if (ref := self._forgotten(name)) is not None:
                raise was_forgotten(ref) from None
            raise

    def _is_called(self, found: Found, name: str) -> bool:
        """Whether a file has this name, made of its project's: that is known when it is captured."""
        if not found.stem or not name.endswith(found.stem.replace("/", "-")):
            return False
        engine = self._app.engine

        def look(now: float) -> None:
            engine.capture.capture(found.ref, now)
            engine.capture.flush(now)

        self._app.capture.call(look, CHECKPOINT_S)
        session = engine.catalog.find(found.ref)
        return session is not None and session.key == name

    def _push_now(self, session: Session | None, *, buried: bool, insist: bool = False) -> int:
        engine = self._app.engine
        self._app.capture.go_on()
        due = engine.queue.make_due(time.time(), session.id if session is not None else None, buried=buried)
        if engine.push is not None:
            engine.push.probe_now(insist=insist)
        if engine.archiving is not None:
            engine.archiving.probe_now(insist=insist)
        self._app.push.look_now()
        self._app.archive.bell.ring()
        self._app.health.bell.ring()  # what kept it from sending may be gone
        return due

    def _waiting(self, session: Session | None) -> int:
        engine = self._app.engine
        # where the archive is all that is set up, nobody waits for comments that never go
        lane = None if engine.config.github.repo or engine.archiving is None else Lane.ARCHIVE
        return _count(engine.queue.items(lane=lane), session)

    def _buried(self, session: Session | None) -> int:
        return _count(self._app.engine.queue.items(buried=True), session)

    def _moving(self, session: Session | None) -> bool:
        """Whether something waits that goes by itself, without a person acting first."""
        app = self._app
        push, archiving = app.engine.push, app.engine.archiving
        limited = push is not None and push.uplink.paused_by(Limited)
        lanes = [Lane.GITHUB] if app.modes.now().name == "normal" or limited else []
        if archiving is not None and app.modes.may_push() and not archiving.is_stuck:
            lanes.append(Lane.ARCHIVE)
        return any(_count(app.engine.queue.items(lane=lane), session) for lane in lanes)

    def _held(self) -> Answer:
        """What keeps everything from being sent, and what to do; nothing where nothing does."""
        mode = self._app.modes.now()
        return {} if mode.name == "normal" else {"reason": mode.reason, "hint": mode.hint}

    def _why(self) -> Answer:
        """Why something is left, and what to do; nothing where it is just not its turn yet."""
        mode, reason, hint = self._app.modes.now()
        if mode == "normal" or not self._app.engine.queue.items(lane=Lane.GITHUB):
            reason, hint = report.trouble(self._app.engine.queue)
        return {"reason": reason, "hint": hint} if reason else {}

    def _stopped(self) -> Answer:
        """Why sessions are not captured, and what to do; nothing where nothing keeps them."""
        codes = {kind.code for kind in TROUBLES}
        found = next((found for found in self._app.findings.open() if found.code in codes), None)
        return {} if found is None else {"reason": found.message, "hint": found.hint}

    def findings(self) -> list[Finding]:
        """What is to be told of what is wrong now."""
        now, health = time.time(), self._app.health
        return health.shown(health.open(now), now)

    def live(self) -> report.Live:
        """What only the running process knows."""
        app = self._app
        push = app.engine.push
        mode = app.modes.now()
        archiving = app.engine.archiving
        limit = push.github.limits.get("core") if push is not None else None
        return report.Live(
            version=__version__,
            pid=os.getpid(),
            uptime_seconds=max(0.0, time.time() - app.started_at),
            mode=mode.name,
            captured_until=app.capture.captured_until,
            reason=mode.reason,
            hint=mode.hint,
            repo=app.engine.config.github.repo,
            reachable=_reachable(push) if push is not None else None,
            rate_limit=(limit.limit, limit.remaining, float(limit.reset_at)) if limit is not None else None,
            next_attempt_at=push.next_at(time.time()) if push is not None and app.modes.may_push() else None,
            findings=self.findings(),
            score=self._app.books.score("24h"),
            archive=archiving.address.url if archiving is not None else "",
            archive_trouble=_archive_trouble(archiving, allowed=app.modes.may_push()),
        )


def _count(items: list[Item], session: Session | None) -> int:
    """How many checkpoints are among them, of one session or of all; an index is no checkpoint."""
    checkpoints = [item for item in items if item.operation in {"comment", ARCHIVE}]
    return sum(1 for item in checkpoints if session is None or item.subject == session.id)


def _archive_trouble(archiving: Archiving | None, *, allowed: bool) -> tuple[str, str]:
    """Why nothing goes to the archive, and what to do; '' where nothing keeps it."""
    if archiving is None:
        return "", ""
    if not allowed:
        return f"{LOCAL_ONLY}, or {PAUSED}", "`sessiond ctl local-only off`, or `resume`, ends it."
    if (pause := archiving.uplink.pause) is not None:
        return pause.message, pause.hint
    if archiving.uplink.reach.unreachable:
        return "The archive does not answer.", "Nothing to do: it is tried again by itself."
    return "", ""


def _part(said: str) -> Part | None:
    """`N/T` as a part; None for ''."""
    number_of, _, of = said.partition("/")
    if not said:
        return None
    if not (number_of.isdecimal() and of.isdecimal() and 1 <= int(number_of) <= int(of)):
        raise UsageError(f"{said[:40]!r} is no sample.", hint="N/T is the N-th of T parts: 1/7, 2/7 … 7/7.")
    return Part(int(number_of), int(of))


def _reachable(push: Push) -> bool | None:
    """None while nothing has been asked yet."""
    if push.uplink.reach.unreachable:
        return False
    return None if push.uplink.reached_at is None else True
