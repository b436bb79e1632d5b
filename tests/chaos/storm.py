"""One run: sessions grow on two machines while everything goes wrong; then everything is counted."""

from __future__ import annotations

import hashlib
import json
import random
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Self

from tests.chaos.book import AWAY, CAUSED, DISK, REFUSED, STATE, Span
from tests.chaos.machine import Machine
from tests.fakes.faults import accept_then_drop, limited, rule, server_error
from tests.fakes.github import FakeGitHub
from tests.fakes.world import FULL

SESSIONS = 4
NAMES = ("here", "there")  # two machines; each has a login of its own, that its requests are known by
WITHIN_S, END_S = 60.0, 240.0
VERIFIED = 10
# How far the daemon's figures may be from the harness's, in a run of minutes.
AGREE = 0.01
DISKS, CLOCKS = ("full", "read_only"), ("clock",)
TROUBLES = (
    *("kill", "kill", "freeze", "rot", "outage", "errors", "delete", "shrink"),
    *("limit", "exhaust", "revoke", "forbid", "publish"),
    *DISKS,
    *CLOCKS,
)
# When the hour ends whose requests are used up.
RESET_S = 20
# So long it takes at most until somebody starts what is down, or tells that what was wrong is no more.
PATIENCE_S = 15.0
# What nothing can be sent or copied with; what is counted over a while takes that while to pass.
PAUSES = {
    *(*CAUSED, "github_rate_limited", "github_not_permitted"),
    *("github_repository_public", "github_repository_missing"),
}
# What of an answer that came is none, whatever its status says.
SPOILED = {"truncate", "malformed", "html"}
# So long after its request a fault goes on.
LINGERS_S = {"refuse": 0.5, "hang": 2.0, "slow": 1.0}
WORDS = ("queue", "holds", "waits", "copy", "counts", "verified", "nothing", "sent", "twice")

_MARKER = re.compile(
    r"<!-- sessiond v1 session=(\S+) part=(\d+)/(\d+) revision=(\d+) sha256=[0-9a-f]{64} -->"
)
_RECORD = re.compile(r"^(`{3,})json\n(.*?)\n\1$", re.MULTILINE | re.DOTALL)


class Session:
    """A transcript of one machine, or of both, and every byte that was ever written to it there."""

    def __init__(self, machines: list[Machine], project: Path, session_id: str) -> None:
        self.id = session_id
        self.machines = machines
        self.is_gone = False
        self.written = {machine.name: b"" for machine in machines}
        self.project = project

    def file(self, machine: Machine) -> Path:
        """Where it lies there."""
        folder = machine.agent / "projects" / str(self.project).replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self.id}.jsonl"

    def grow(self, machine: Machine, data: bytes) -> None:
        """Append, as an agent does."""
        with self.file(machine).open("ab", buffering=0) as file:
            file.write(data)
        self.written[machine.name] += data


def _is_told(machine: Machine, codes: set[str]) -> bool:
    return codes <= machine.wrong


def _is_over(machine: Machine) -> bool:
    return not PAUSES & machine.wrong


def _is_well(machine: Machine) -> bool:
    """Whether all is mended; that a session is near a limit of its size is nothing to be mended."""
    return not machine.wrong - {"near_limit"}


class Storm:
    """Everything random comes from `seed` but the kernel's timing.  `tell` is given a line for each trouble.

    With `hides_s` the daemons are mutants that keep so much of their downtime to themselves, with `hastens` such as
    tell that they have mended everything in that part of the time.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        tell: Callable[[str], object] = print,
        patience_s: float = PATIENCE_S,
        hides_s: float = 0,
        hastens: float = 1,
    ) -> None:
        self.chance = random.Random(seed)
        self._tell = tell
        self._patience_s = patience_s
        self._bag: list[str] = []
        self._ends = ExitStack()
        self.gh = FakeGitHub(seed=seed)
        self.gh.add_repo("o/r", private=True)
        # a run makes more requests than a person's daemons do in an hour
        self.gh.behave(content_per_minute=100_000, content_per_hour=100_000)
        self.project = folder / "work" / "app"
        self.project.mkdir(parents=True)
        self._folder = folder
        self._mutant = {"CHAOS_HIDES": str(hides_s), "CHAOS_HASTENS": str(hastens)}
        self.counts: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._ends.enter_context(self.gh)
        settings = {
            "SESSIOND_GITHUB_AUTHORS": json.dumps(NAMES),
            "SESSIOND_GITHUB_REPO": "o/r",
            "SESSIOND_GITHUB_API_URL": self.gh.url,
            "SESSIOND_GITHUB_CREATIONS_PER_HOUR": "500",
            "SESSIOND_SOURCES_QUIET_SECONDS": "1",
            "SESSIOND_ARCHIVE_URL": str(self._folder / "archive.git"),
        }
        self.machines = []
        for name in NAMES:
            (self._folder / name).mkdir()
            self.gh.token(f"token-of-{name}", login=name)
            of_it = {"GH_TOKEN": f"token-of-{name}", **self._mutant}
            machine = Machine(self._folder / name, name, **settings, **of_it)
            self.machines.append(self._ends.enter_context(machine))
            machine.up()
        self.sessions = [
            Session([machine], self.project, self._id()) for machine in self.machines for _ in range(SESSIONS)
        ]
        both = Session(self.machines, self.project, self._id())
        first = self._lines(1)
        for machine in self.machines:  # it began on one, and was brought to the other
            both.grow(machine, first)
        self.sessions.append(both)
        for lack in sorted({lack for machine in self.machines for lack in machine.lacks}):
            self._tell(f"  left out: {lack}")
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def keep_logs(self, folder: Path) -> None:
        """Leave what the daemons have logged in a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        for machine in self.machines:
            machine.keep_logs(folder)

    # --- what happens

    def blow(self, name: str = "") -> None:
        """Let sessions grow, and one thing go wrong, this or the next, until it is right again."""
        machine = self.chance.choice(self.machines)
        name = name or self._next()
        if name in self._left_out():
            return
        self.counts[name] = self.counts.get(name, 0) + 1
        self._tell(f"  {name} {machine.name}")
        self._grow(machine)
        trouble: Callable[[Machine], None] = getattr(self, f"_{name}")
        trouble(machine)
        self._grow(machine)

    @property
    def missing(self) -> set[str]:
        """What has not gone wrong yet, and can."""
        return {*TROUBLES} - self.counts.keys() - self._left_out()

    def _left_out(self) -> set[str]:
        disks = () if all(machine.has_disk for machine in self.machines) else DISKS
        clocks = () if all(machine.has_clock for machine in self.machines) else CLOCKS
        return {*disks, *clocks}

    def _next(self) -> str:
        """Any trouble, but each as often as it is named before any comes more often."""
        self._bag = self._bag or self.chance.sample(TROUBLES, len(TROUBLES))
        return self._bag.pop()

    def _kill(self, machine: Machine) -> None:
        machine.down()
        self._grow(machine)  # the agent goes on while nobody watches
        self._wait()
        machine.up()

    def _freeze(self, machine: Machine) -> None:
        machine.freeze()
        try:
            self._grow(machine)
            time.sleep(self.chance.uniform(0.2, 2))
        finally:
            machine.thaw()

    def _full(self, machine: Machine) -> None:
        disk = self.chance.choice((machine.mirror, machine.vault, machine.state))
        code = STATE if disk == machine.state else DISK
        with self._wrong(machine) as mend:
            mend.callback(machine.fill(disk).unlink)
            self._grow(machine, 30)
            self._until(partial(_is_told, machine, {code}), f"that {disk.name} is full is noticed")
            self._copy_in_vain(machine, mend, code)

    def _read_only(self, machine: Machine) -> None:
        with self._wrong(machine) as mend:
            machine.read_only(on=True)
            mend.callback(machine.read_only, on=False)
            self._grow(machine, 3)
            self._until(partial(_is_told, machine, {DISK}), "the disk that cannot be written is noticed")
            self._copy_in_vain(machine, mend, DISK)

    def _rot(self, machine: Machine) -> None:
        mine = [each for each in self.sessions if each.machines == [machine] and not each.is_gone]
        for session in mine:
            self._save(machine, session)
        victim = machine.rot(self.chance)
        machine.tell("verify", session=victim, deep=True)
        self._until(
            lambda: not machine.tell("verify", session=victim, deep=True)["bad"], "what rots is healed"
        )

    def _outage(self, machine: Machine) -> None:
        with self._wrong(*self.machines) as mend:
            mend.callback(self.gh.clear_faults)
            self.gh.refuse()
            for each in self.machines:
                self._grow(each)
                self._checkpoint(each)
            for each in self.machines:
                self._until(partial(_is_told, each, {AWAY}), "the outage is noticed")
            # then it takes connections and answers none, so that each try in vain is known
            self.gh.fault(rule("drop"))
            self.gh.accept()
            began = time.monotonic()
            for each in self.machines:
                each.tell("sync")
            for each in self.machines:
                self._until(partial(self._in_vain, each, began), f"{each.name} tries again")

    def _errors(self, machine: Machine) -> None:
        faults = [
            accept_then_drop(method="POST", probability=0.4),
            accept_then_drop(method="PATCH|DELETE", probability=0.3),
            rule("drop", reset=True, probability=0.2),
            rule("refuse", delay_s=LINGERS_S["refuse"], probability=0.1),
            rule("hang", delay_s=LINGERS_S["hang"], probability=0.1),
            rule("slow", delay_s=LINGERS_S["slow"], probability=0.2),
            rule("truncate", method="GET", probability=0.2),
            rule("truncate", method="POST|PATCH", probability=0.2),
            rule("malformed", method="GET", probability=0.2),
            rule("html", probability=0.1),
            server_error(502, effect=True, method="POST", probability=0.3),
            server_error(500, effect=False, probability=0.2),
        ]
        with self._wrong(*self.machines) as mend:
            mend.callback(self.gh.clear_faults)
            for fault in self.chance.sample(faults, self.chance.randint(1, 4)):
                self.gh.fault(fault)
            for _ in range(3):
                self._grow(machine)
                self._checkpoint(machine)
                time.sleep(self.chance.uniform(0, 1))

    def _limit(self, machine: Machine) -> None:
        with self._wrong(*self.machines) as mend:
            mend.callback(self.gh.clear_faults)
            status, wording = self.chance.choice(((403, "secondary"), (429, "secondary"), (403, "abuse")))
            self.gh.fault(limited(status, retry_after_s=2, wording=wording, method="POST|PATCH", times=2))
            self._checkpoint(machine)
            time.sleep(1)

    def _exhaust(self, machine: Machine) -> None:
        """The hour's requests are used up, by somebody else with the same login."""
        with self._wrong(machine):
            self.gh.rate_limit(machine.name, remaining=0, reset_in_s=RESET_S)
            self._grow(machine)
            self._checkpoint(machine)
            self._until(partial(_is_told, machine, {"github_rate_limited"}), "the used up limit is noticed")

    def _revoke(self, machine: Machine) -> None:
        with self._wrong(machine, then="resume") as mend:
            mend.callback(self.gh.token, f"token-of-{machine.name}", login=machine.name)
            self.gh.revoke_token(f"token-of-{machine.name}")
            self._grow(machine)
            self._checkpoint(machine)
            self._until(partial(_is_told, machine, {REFUSED}), "the revoked token is noticed")

    def _forbid(self, machine: Machine) -> None:
        with self._wrong(machine, then="resume") as mend:
            mend.callback(self.gh.permit, f"token-of-{machine.name}", FULL)
            self.gh.permit(f"token-of-{machine.name}", {"metadata": "read", "issues": "read"})
            self._grow(machine)
            self._checkpoint(machine)
            self._until(partial(_is_told, machine, {"github_not_permitted"}), "the lost right is noticed")

    def _publish(self, machine: Machine) -> None:
        """The repository is readable by everyone for a while: nothing may go there."""
        with self._wrong(*self.machines, then="resume") as mend:
            mend.callback(self.gh.make_public, "o/r", public=False)
            self.gh.make_public("o/r")
            for each in self.machines:
                each.tell("resume")  # it looks again
                self._grow(each)
                self._checkpoint(each)
            for each in self.machines:
                self._until(
                    partial(_is_told, each, {"github_repository_public"}), "what is public is noticed"
                )

    def _clock(self, machine: Machine) -> None:
        machine.set_clock(self.chance.choice((-7200, -90, 90, 3600, 86_400)))
        self._grow(machine)
        time.sleep(self.chance.uniform(1, 2.5))  # seen within a second
        machine.set_clock(0)

    def _delete(self, machine: Machine) -> None:
        session = self._old_one(machine)
        if session is not None:
            self._save(machine, session)
            session.file(machine).unlink()
            session.is_gone = True

    def _shrink(self, machine: Machine) -> None:
        session = self._old_one(machine)
        if session is not None:
            self._save(machine, session)
            file = session.file(machine)
            with file.open("r+b") as there:
                there.truncate(len(session.written[machine.name]) // 2)
            session.is_gone = True  # nobody writes to it any more, and what was cut is to be had

    # --- with what

    def _id(self) -> str:
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))

    def _grow(self, machine: Machine, most: int = 3) -> None:
        mine = [each for each in self.sessions if machine in each.machines and not each.is_gone]
        for session in self.chance.sample(mine, min(len(mine), 2)):
            session.grow(machine, self._lines(self.chance.randint(1, most)))

    def _lines(self, turns: int) -> bytes:
        lines = []
        for _ in range(turns):
            for kind in ("user", "assistant"):
                said = " ".join(f"{self.chance.choice(WORDS)} {self.chance.random()}" for _ in range(30))
                message = {
                    "role": kind,
                    "content": said if kind == "user" else [{"type": "text", "text": said}],
                }
                more: dict[str, object] = (
                    {"id": f"msg_{self._id()}", "stop_reason": "end_turn"} if kind == "assistant" else {}
                )
                entry: dict[str, object] = {
                    "type": kind,
                    "uuid": self._id(),
                    "parentUuid": None,
                    "timestamp": "2026-09-21T10:00:00.000Z",
                    "cwd": str(self.project),
                    "message": message | more,
                }
                lines.append(json.dumps(entry).encode() + b"\n")
        return b"".join(lines)

    def _old_one(self, machine: Machine) -> Session | None:
        """A session that may be lost: there are always others, and a new one takes its place."""
        mine = self._mine(machine)
        if not mine:
            return None
        self.sessions.append(Session([machine], self.project, self._id()))
        return self.chance.choice(mine)

    def _mine(self, machine: Machine) -> list[Session]:
        """The sessions with words in them that are written to on this machine alone."""
        mine = [each for each in self.sessions if each.machines == [machine] and not each.is_gone]
        return [each for each in mine if each.written[machine.name]]

    def _save(self, machine: Machine, session: Session) -> None:
        if session.written[machine.name]:
            machine.tell("checkpoint", session=session.id)

    def _checkpoint(self, machine: Machine) -> None:
        for session in self.sessions:
            if machine in session.machines and not session.is_gone:
                self._save(machine, session)

    @contextmanager
    def _wrong(self, *machines: Machine, then: str = "sync") -> Iterator[ExitStack]:
        """Something is wrong inside the block; what it is given mends it at its end.  Left when all is over.

        The daemons are told so with a verb some time later, lest everything took as long as they may take
        to see it, and for a token that they must not show again.
        """
        with ExitStack() as mend:
            yield mend
        self._wait()
        for machine in machines:
            told = time.monotonic()
            machine.tell(then)
            machine.account.vain.append((REFUSED, Span(told, time.monotonic())))
        for machine in machines:
            self._until(partial(_is_over, machine), f"{machine.name} gets over it")

    def _asked(self, machine: Machine, since: float = 0.0) -> list[tuple[float, bool]]:
        """What a machine has asked of GitHub: until when, and whether there was an answer."""
        asked = []
        for each in self.gh.requests():
            if each.account == machine.name and each.monotonic_s >= since:
                is_answered = each.status is not None and each.status < 500 and each.fault not in SPOILED
                asked.append((each.monotonic_s + LINGERS_S.get(each.fault, 0.0), is_answered))
        return asked

    def _in_vain(self, machine: Machine, since: float) -> bool:
        return any(not good for _, good in self._asked(machine, since))

    def _copy_in_vain(self, machine: Machine, mend: ExitStack, code: str) -> None:
        """Have it try once more to copy what does not fit, just before `mend` makes room."""
        session = next(each for each in self.sessions if each.machines == [machine] and not each.is_gone)
        for _ in range(5):  # what still fits is kept
            session.grow(machine, self._lines(10))
            try:
                machine.tell("checkpoint", session=session.id)
            except OSError:
                mend.callback(self._was_in_vain, machine, code, time.monotonic())
                return

    def _was_in_vain(self, machine: Machine, code: str, since: float) -> None:
        machine.account.vain.append((code, Span(since, time.monotonic())))

    def _wait(self) -> None:
        time.sleep(0.5 + self.chance.uniform(0, self._patience_s))

    def _until(self, condition: Callable[[], object], what: str, within_s: float = WITHIN_S) -> None:
        end = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < end, f"not within {within_s:.0f} s: {what}"
            time.sleep(0.02)

    # --- what has come of it

    def check(self, within: float = AGREE) -> None:
        """Nothing is lost, nothing is doubled, and the daemons' account is the harness's, within such a part.

        Raises:
            AssertionError: it is not so.
        """
        self.gh.clear_faults()
        for machine in self.machines:
            self._grow(machine)
            self._checkpoint(machine)
        for machine in self.machines:
            self._until(partial(self._is_through, machine), f"{machine.name} comes to rest", END_S)
        for machine in self.machines:
            self._until(partial(_is_well, machine), f"{machine.name} is well", END_S)
            # what was found bad once or twice is then a small part of what was looked at
            for _ in range(VERIFIED):
                assert machine.tell("verify", deep=True)["bad"] == [], f"every copy on {machine.name}"
        self._agree(within)
        self._restore()
        self._on_github()
        for machine in self.machines:
            self._lose(machine, within)

    def _is_through(self, machine: Machine) -> bool:
        machine.tell("sync")
        status = machine.ask("status")
        time.sleep(0.3)
        return not (status["queue"]["pending"] or status["sessions"]["unpushed"])

    def _restore(self) -> None:
        """Every byte that was ever durable comes back, on each machine at once."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._restore_on, self.machines))

    def _restore_on(self, machine: Machine) -> None:
        for session in self.sessions:
            data = session.written.get(machine.name)
            if not data:
                continue
            for source in ("mirror", "vault", "archive"):
                got = self._restored(machine, session, source)
                if len(session.machines) == 1:
                    if source == "mirror" and session.is_gone:
                        continue  # the plain copy follows the file; what was cut lies beside it
                    assert got == data, f"{session.id} of {machine.name} from {source}"
                else:
                    missing = set(data.splitlines()) - set(got.splitlines())
                    assert not missing, f"{len(missing)} lines of {session.id} from {source}"

    def _restored(self, machine: Machine, session: Session, source: str) -> bytes:
        with tempfile.TemporaryDirectory(dir=machine.home) as out:
            done = machine.said("restore", session.id, "--from", source, "--out", out, "--yes")
            # 5: two versions were united
            assert done.returncode in {0, 5}, f"restore from {source}: {done.stderr}"
            return next(Path(out).rglob("*.jsonl")).read_bytes()

    def _on_github(self) -> None:
        """The newest checkpoint of each session is in the stand-in's storage, in one record."""
        found: dict[str, list[tuple[int, int, int, str]]] = {}
        for comment in self.gh.all_comments():
            if (marker := _MARKER.match(comment.body)) is not None:
                session, *numbers = marker.groups()
                found.setdefault(session, []).append((*map(int, numbers), comment.body))  # type: ignore[arg-type]
        for session in self.sessions:
            if not any(session.written.values()):
                continue
            parts = sorted(found.pop(session.id, []))
            assert parts, f"{session.id} is on GitHub"
            assert [part[0] for part in parts] == list(range(1, parts[0][1] + 1)), (
                f"{session.id} is there once"
            )
            assert len({part[2] for part in parts}) == 1, f"{session.id} is of one revision"
            record = _RECORD.search(parts[0][3])
            assert record is not None, f"the record of {session.id}"
            if len(session.machines) == 1 and not session.is_gone:
                (data,) = session.written.values()
                told = json.loads(record[2])
                assert told["size"] == len(data), f"{session.id} is the newest: {told['size']} of {len(data)}"
                assert told["files"][0]["sha256"] == hashlib.sha256(data).hexdigest(), (
                    f"{session.id} is exact"
                )
        assert not found, f"nobody wrote {sorted(found)}"

    def _lose(self, machine: Machine, within: float) -> None:
        """A session's last copy goes: so much is lost of all that was ever written there."""
        victim = self.chance.choice(self._mine(machine))
        lost = len(victim.written[machine.name])
        written = sum(len(session.written.get(machine.name, b"")) for session in self.sessions)
        machine.down()
        victim.file(machine).unlink()
        machine.lose(victim.id)
        machine.up()
        machine.tell("verify", session=victim.id, deep=True)
        self._until(lambda: machine.figures()["counts"]["lost_bytes"], "that bytes are gone is noticed")
        said = machine.figures()
        ratio = lost / written
        self._tell(
            f"  {machine.name}: lost {said['data_loss_ratio']:.4%}, by the harness {ratio:.4%}: {lost} of {written}"
            f" bytes, by the daemon {said['counts']['lost_bytes']:.0f} of {said['counts']['captured_bytes']:.0f}"
        )
        assert abs(said["data_loss_ratio"] - ratio) <= within * ratio, f"what {machine.name} has lost"

    def _tell_each(self, machine: Machine, cleared: list[tuple[str, float]]) -> None:
        """Set the incidents beside each other, so that it shows which one they do not agree about."""
        for code in CAUSED:
            theirs = [f"{seconds:.2f}" for each, seconds in cleared if each == code]
            ours = [machine.account.took(each) for each in machine.account.mended if each.code == code]
            spans = [f"{each.least:.2f} to {each.most:.2f}" for each in ours]
            for pair in zip_longest(theirs, spans, fillvalue="unknown"):
                self._tell(f"    {code}: {pair[0]} s, by the harness {pair[1]} s")

    def _agree(self, within: float) -> None:
        """Score, time to recovery and loss, by the daemon and by the harness."""
        for machine in self.machines:
            said, account = machine.figures(), machine.account
            account.asked = self._asked(machine)
            now = time.monotonic()
            checks = said["counts"]["integrity_ok"] + said["counts"]["integrity_bad"]
            integrity = 1 - account.flips / checks if checks else 1.0
            score = account.uptime_ratio(now) * integrity
            cleared = machine.cleared()
            all_of_them = [seconds for _, seconds in cleared]
            ours = [seconds for code, seconds in cleared if code in CAUSED]
            theirs, mttr = sum(ours) / max(1, len(ours)), account.mttr()
            counts = said["counts"]
            self._tell(
                f"  {machine.name}: score {said['score']:.4f}, by the harness {score:.4f}; down"
                f" {said['state_seconds']['down']:.1f} s, {account.downtime():.1f} s; of {checks:.0f} checks"
                f" {counts['integrity_bad']:.0f} were bad, of {account.flips} flips; {len(ours)} and"
                f" {len(account.mended)} mended in {theirs:.2f} s, {mttr.least:.2f} to {mttr.most:.2f} s; lost"
                f" {said['data_loss_ratio']:.1%}; synced {counts['sync_success']:.0f} in time,"
                f" {counts['sync_failure']:.0f} late"
            )
            self._tell_each(machine, cleared)
            assert abs(said["score"] - score) <= within * score, f"the score of {machine.name}"
            assert said["data_loss_ratio"] == 0, f"what {machine.name} calls lost"
            assert len(ours) == len(account.mended), f"how often {machine.name} was mended"
            assert mttr.least * (1 - within) <= theirs <= mttr.most * (1 + within), (
                f"how fast {machine.name} was mended"
            )
            told = said["incidents"] * (said["mttr_seconds"] or 0.0)
            assert said["incidents"] == len(cleared), f"the incidents of {machine.name}"
            assert abs(told - sum(all_of_them)) <= 0.001 * len(cleared), (
                f"the time to recovery of {machine.name} is that of its incidents"
            )
