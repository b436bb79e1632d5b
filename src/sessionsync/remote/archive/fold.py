"""Many idle refs become one: what was not changed for 30 days goes on under the ref of a month.

A host shows every ref at every push, 100 bytes each, and each run of a throw-away machine leaves one a
session.  So refs that have rested are folded, whichever machine they are of and by any machine that may
push: a commit of `refs/sessiond/cold/<yyyy-mm>` has one file a folded ref, `<source>/<session>/<machine>`,
that names its tip, and the tips among its parents, so that nothing is lost there.  The new ref and the
deleted ones go in one atomic push, each deletion only if the ref is still what was folded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from sessionsync.errors import RemoteError, ServerFailed
from sessionsync.remote.archive import refs
from sessionsync.remote.archive.cache import Cache
from sessionsync.remote.archive.git import AGAIN, Git
from sessionsync.remote.archive.host import Host
from sessionsync.remote.archive.refs import OBJECT, Place

IDLE_S = 30 * 86_400.0
# Parents of one commit: git takes any number, its readers do not.
PARENTS = 100
# What one push folds: the deletions stand in its arguments.
FOLDED = 200


class Cold:
    """What is folded in an archive, and the folding of more.

    A repository of its own, `folder`, holds the cold commits without what leads to them, and the commits of
    other machines without their trees; it is a cache as well.
    """

    def __init__(self, git: Git, folder: Path) -> None:
        self._cache = Cache(folder, git)
        self._known: dict[str, dict[Place, str]] = {}

    def close(self) -> None:
        """Let go of what is held open."""
        self._cache.close()

    def tidy(self) -> None:
        """Begin anew where this has become many packs: what is needed is fetched again."""
        if self._cache.is_untidy():
            self._cache.drop()
            self._known.clear()

    def index(self, host: Host, listed: Mapping[str, str], now: float) -> dict[Place, str]:
        """The newest commit of everything that was folded, by what is `listed` there (ref to object).

        Raises:
            RemoteError: the archive does not answer.
        """
        cold = {ref: tip for ref, tip in listed.items() if refs.is_cold(ref)}
        missing = {ref: ref for ref, tip in cold.items() if tip not in self._known and not self._has(tip)}
        if missing:
            self._cache.make()
            host.fetch(missing, self._cache.folder, now, options=["--depth=1", "--force"])
        found: dict[Place, str] = {}
        for ref in sorted(cold):  # a later month knows better
            if cold[ref] not in self._known:
                self._known[cold[ref]] = self._read(cold[ref])
            found |= self._known[cold[ref]]
        return found

    def _has(self, commit: str) -> bool:
        return self._cache.read(commit) is not None

    def _read(self, commit: str) -> dict[Place, str]:
        listing = self._cache.git.run(["ls-tree", "-r", "-z", commit], folder=self._cache.folder)
        found = {}
        for entry in listing.out.decode("utf-8", "surrogateescape").split("\0"):
            head, _, path = entry.partition("\t")
            place = refs.parse(path)
            if place is None:
                continue
            tip = (
                (self._cache.read(head.split(" ")[-1], at_most=100) or b"").decode("ascii", "replace").strip()
            )
            if OBJECT.fullmatch(tip):
                found[place] = tip
        return found

    def drop(self) -> None:
        """Delete the local copy: it is fetched again when it is needed."""
        self._cache.drop()
        self._known.clear()

    def erase(
        self, host: Host, listed: Mapping[str, str], is_meant: Callable[[Place], bool], now: float
    ) -> None:
        """Write the months anew in which something that is meant was folded, without it and what led there.

        Raises:
            RemoteError: the archive does not answer, or refuses.
        """
        self.index(host, listed, now)
        for ref, old in listed.items():
            folded = self._known.get(old, {}) if refs.is_cold(ref) else {}
            kept = {place: tip for place, tip in folded.items() if not is_meant(place)}
            if len(kept) == len(folded):
                continue
            new = ""
            if kept:
                self._fetch_commits(host, {tip: tip for tip in kept.values()}, now)
                new = self._commit(ref, "", {place.ref: tip for place, tip in kept.items()}, now)
            told = host.push(
                [f"{new}:{ref}"],
                self._cache.folder,
                now,
                options=["--no-thin", f"--force-with-lease={ref}:{old}"],
                negotiate=True,
            )
            if ref not in told or not told[ref].taken:
                raise ServerFailed(f"{ref} was changed meanwhile, or may not be.", hint=AGAIN)

    # --- folding

    def fold(self, host: Host, now: float) -> list[Place]:
        """Fold what has rested for `IDLE_S`; returns what was folded, at most `FOLDED`.

        Raises:
            RemoteError: the archive does not answer, or refuses.
        """
        listed = host.refs(now)
        alive = {
            ref: tip for ref, tip in listed.items() if not refs.is_cold(ref) and refs.parse(ref) is not None
        }
        idle = self._idle(host, alive, now)[:FOLDED]
        if not idle:
            return []
        month = refs.cold(datetime.fromtimestamp(now, UTC).strftime("%Y-%m"))
        cold = max([month, *filter(refs.is_cold, listed)])  # also where this clock, or one before, was wrong
        self.index(host, {ref: tip for ref, tip in listed.items() if ref == cold}, now)
        tip = self._commit(cold, listed.get(cold, ""), {ref: alive[ref] for ref in idle}, now)
        told = host.push(
            [f"{tip}:{cold}", *(f":{ref}" for ref in idle)],
            self._cache.folder,
            now,
            options=["--atomic", "--no-thin", *(f"--force-with-lease={ref}:{alive[ref]}" for ref in idle)],
        )
        if cold not in told or not told[cold].taken:
            return []  # somebody was quicker: another day
        return [place for ref in idle if told[ref].taken and (place := refs.parse(ref)) is not None]

    def _idle(self, host: Host, alive: Mapping[str, str], now: float) -> list[str]:
        """The refs whose newest commit is old, the oldest first."""
        self._fetch_commits(host, {ref: tip for ref, tip in alive.items() if not self._has(tip)}, now)
        at = {ref: self._cache.committed_at(tip) for ref, tip in alive.items()}
        return sorted(
            (ref for ref, when in at.items() if when is not None and when <= now - IDLE_S),
            key=lambda ref: (at[ref], ref),
        )

    def _fetch_commits(self, host: Host, missing: Mapping[str, str], now: float) -> None:
        """The newest commits alone, without trees and history where the host can do that."""
        if not missing:
            return
        self._cache.make()
        wanted = {ref: f"refs/tips/{ref.removeprefix(refs.PREFIX)}" for ref in missing}
        settings = self._cache.folder / "config"
        before = settings.read_bytes()
        try:
            host.fetch(wanted, self._cache.folder, now, options=["--depth=1", "--filter=tree:0"])
        except RemoteError:
            host.fetch(wanted, self._cache.folder, now, options=["--depth=1"])
        finally:
            # git has noted there where it may ask for the rest whenever it misses it: it never shall
            settings.write_bytes(before)

    def _commit(self, ref: str, parent: str, folded: Mapping[str, str], now: float) -> str:
        """The commit that stands for these refs; of many, a chain of them."""
        tip, waiting = parent, list(folded.items())
        with self._cache.writing() as writer:
            while waiting:
                some, waiting = waiting[:PARENTS], waiting[PARENTS:]
                changes = [
                    (name.removeprefix(refs.PREFIX), writer.blob(commit.encode() + b"\n"))
                    for name, commit in some
                ]
                others = [commit for _, commit in some]
                tip = writer.commit(ref, tip, now, f"fold {len(some)}", changes, others=others)
            writer.publish()
        return tip
