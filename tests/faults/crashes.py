"""Stories that are killed at every system call, and disks that lose what was not flushed.

Run by test_vault_faults.py as `python -m tests.faults.crashes kill|power vault|mirror FOLDER`, in a process
of its own: it forks, kills itself and replaces functions of `os`.  Prints how often it crashed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, product
from pathlib import Path
from typing import Any

from sessionsync.errors import CopyError
from sessionsync.model import Ref
from sessionsync.vault import Mirror, Root, SessionVault, StoredFile, Vault

REF = Ref("claude", "s")
CALLS = [
    "open",
    "mkdir",
    "chmod",
    "fchmod",
    "pwrite",
    "fsync",
    "ftruncate",
    "link",
    "unlink",
    "rename",
    "replace",
]
AT = 1_767_600_000.0
Acknowledge = Callable[[str], object]


# --- the vault's story: what is acknowledged must be there


def content(name: str) -> dict[str, bytes]:
    """What the files are at the checkpoint of this name."""
    first = bytes(range(256)) * 8
    return {
        "1": {"a": first, "b": b"{}"},
        "2": {"a": first + b"more\n" * 99, "b": b'{"n": 2}'},
        "3": {"a": first[:700] + b"other\n" * 50, "b": b'{"n": 2}'},
    }[name]


def stated(name: str, generation: int, data: bytes) -> StoredFile:
    root = Root()
    root.update(data)
    return StoredFile(name, generation, len(data), root.hexdigest())


def snapshot(session: SessionVault, name: str, *generations: int) -> None:
    files = [
        stated(file, g, data) for g, (file, data) in zip(generations, content(name).items(), strict=True)
    ]
    session.snapshot(id=name, at=AT, trigger="story", alias="", files=files, meta={})


def tell_vault(folder: Path, acknowledge: Acknowledge) -> None:
    vault = Vault(folder)
    with vault.lock():
        session = vault.open("app", REF)
        session.describe(first_seen=AT, project_key="k", meta={})
        one, two, three = content("1"), content("2"), content("3")
        session.append("a", 0, 0, one["a"])
        session.append("b", 0, 0, one["b"])
        snapshot(session, "1", 0, 0)
        vault.flush()
        acknowledge("1")
        session.append("a", 0, len(one["a"]), two["a"][len(one["a"]) :])
        session.fork("b", 1, 0, 1)
        session.append("b", 1, 1, two["b"][1:])
        snapshot(session, "2", 0, 1)
        vault.flush()
        acknowledge("2")
        session.fork("a", 1, 0, 700)
        session.append("a", 1, 700, three["a"][700:])
        snapshot(session, "3", 1, 1)
        vault.flush()
        acknowledge("3")


def check_vault(folder: Path, acknowledged: list[str], *, honest: bool = True) -> None:
    """What was acknowledged reads back, the rest is whole or not there, and life goes on."""
    read_checkpoints(folder, acknowledged, honest=honest)
    vault = Vault(folder)
    with vault.lock():
        session = vault.open("app", REF)
        # the caller committed what was acknowledged and goes on from there, as after any crash
        generation = {"1": 0, "2": 0, "3": 1}[acknowledged[-1]] if acknowledged else 0
        data = content(acknowledged[-1])["a"] if acknowledged else b""
        session.append("a", generation, len(data), b"gone on")
        went_on = stated("a", generation, data + b"gone on")
        session.snapshot(id="next", at=AT, trigger="story", alias="", files=[went_on], meta={})
    session = Vault(folder).open("app", REF)
    assert session.files("next")["a"] == went_on
    read = b"".join(session.read("a", went_on.generation, went_on.length, root=went_on.root))
    assert read == data + b"gone on"
    read_checkpoints(folder, acknowledged, honest=honest)


def read_checkpoints(folder: Path, acknowledged: list[str], *, honest: bool) -> None:
    session = Vault(folder).open("app", REF)
    there = {found.id for found in session.snapshots()} - {"next"}
    assert there >= set(acknowledged)
    assert not acknowledged or session.first_seen() == AT
    assert not honest or session.damaged_lines() == 0
    for name in there:
        must = honest or name in acknowledged
        for file in session.files(name).values():
            try:
                read = b"".join(session.read(file.name, file.generation, file.length, root=file.root))
            except CopyError:
                assert not must
            else:
                assert read == content(name)[file.name]


# --- the mirror's story: no byte is ever lost

OLD = b"the old lines, as they were before the rewrite\n" * 40
NEW = OLD[:100] + b"other lines\n" * 30


def tell_mirror(folder: Path, acknowledge: Acknowledge) -> None:
    mirror = Mirror(folder)
    path = mirror.path_of("app", REF, "s.jsonl")
    mirror.write(path, 0, OLD[:50])
    mirror.write(path, 50, OLD[50:])
    mirror.flush()
    acknowledge("old")
    mirror.set_aside(path, 100, AT)
    mirror.write(path, 100, NEW[100:])
    mirror.flush()
    acknowledge("new")


def check_mirror(folder: Path, acknowledged: list[str], *, honest: bool = True) -> None:
    mirror = Mirror(folder)
    path = mirror.path_of("app", REF, "s.jsonl")
    look_at_mirror(path, acknowledged)
    live = folder.with_name("live")
    live.write_bytes(NEW)
    mirror.set_aside(path, shared := mirror.common_prefix(path, live), AT)
    mirror.write(path, shared, NEW[shared:])
    mirror.flush()
    look_at_mirror(path, [*acknowledged, "new"] if acknowledged else acknowledged)
    assert path.read_bytes() == NEW


def look_at_mirror(path: Path, acknowledged: list[str]) -> None:
    copy = path.read_bytes() if path.exists() else b""
    kept = [file.read_bytes() for file in path.parent.glob("s.2*")] if path.parent.exists() else []
    if "old" in acknowledged:
        assert copy == OLD or OLD[100:] in kept, "the old bytes are lost"
    if "new" in acknowledged:
        assert copy == NEW


STORIES = {"vault": (tell_vault, check_vault), "mirror": (tell_mirror, check_mirror)}


# --- killed at every call


def kill(story: str, folder: Path) -> int:
    """Tell the story again and again, killed at its first call, its second …; once more with torn writes."""
    tell, check = STORIES[story]
    crashes = 0
    for torn in (False, True):
        for number in count(1):
            acknowledged = told_until(number, tell, folder, torn=torn)
            if "end" in acknowledged:
                break
            crashes += 1
            try:
                check(folder, acknowledged)
            except BaseException as problem:
                problem.add_note(f"killed at call {number}, torn={torn}, acknowledged {acknowledged}")
                raise
            shutil.rmtree(folder)
        shutil.rmtree(folder)
    return crashes


def told_until(
    number: int, tell: Callable[[Path, Acknowledge], None], folder: Path, *, torn: bool
) -> list[str]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        plain = os.write
        with dying_at(number, torn=torn):
            tell(folder, lambda name: plain(writing, f"{name}\n".encode()))
        plain(writing, b"end\n")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        acknowledged = told.read().split()
    _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}, f"the story ended with {status}"
    return acknowledged


@contextmanager
def dying_at(number: int, *, torn: bool) -> Iterator[None]:
    calls = count(1)

    def deadly(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == number:
                if torn and name == "pwrite":
                    plain(args[0], bytes(args[1])[: len(args[1]) // 2], args[2])
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(*args, **kwargs)

        return call

    with replaced(deadly):
        yield


@contextmanager
def replaced(make: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    plain = {name: getattr(os, name) for name in CALLS}
    try:
        for name, call in plain.items():
            setattr(os, name, make(name, call))
        yield
    finally:
        for name, call in plain.items():
            setattr(os, name, call)


# --- a power cut: only what was flushed is sure


class Disk:
    """What of a folder is sure: contents as of their last fsync, names as of their folder's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.contents: dict[int, bytes] = {}
        self.names: dict[int, dict[str, int]] = {}

    def flushed(self, path: Path) -> None:
        if path.is_dir():
            self.names[path.stat().st_ino] = {entry.name: entry.stat().st_ino for entry in path.iterdir()}
        else:
            self.contents[path.stat().st_ino] = path.read_bytes()

    def after_the_cut(self, target: Path, fate: dict[str, str], *, names_reached: bool) -> None:
        """Lay down what may be left; `fate` says by name what became of bytes that were not flushed."""
        by_number = {path.stat().st_ino: path for path in [self.folder, *self.folder.rglob("*")]}
        self._lay(self.folder, target, by_number, fate, names_reached=names_reached)

    def _lay(
        self,
        folder: Path,
        target: Path,
        by_number: dict[int, Path],
        fate: dict[str, str],
        *,
        names_reached: bool,
    ) -> None:
        target.mkdir()
        names = dict(self.names.get(folder.stat().st_ino, {}))
        if names_reached:
            names |= {entry.name: entry.stat().st_ino for entry in folder.iterdir()}
        for name, number in names.items():
            now = by_number.get(number)
            if now is not None and now.is_dir():
                self._lay(now, target / name, by_number, fate, names_reached=names_reached)
                continue
            sure = self.contents.get(number, b"")
            written = sure if now is None else now.read_bytes()
            kind = name.partition("-")[0].partition(".part")[0]  # of a merge: pack-1, journal.part
            (target / name).write_bytes(left(sure, written, fate.get(kind, "lost")))


def left(sure: bytes, written: bytes, fate: str) -> bytes:
    more = max(0, len(written) - len(sure))
    return {
        "lost": sure,
        "reached": written,
        "zeros": sure + bytes(more),
        "half": sure + written[len(sure) :][: more // 2],
    }[fate]


def power(story: str, folder: Path) -> int:
    """Tell the story once; at each flush, look at every disk that a power cut might leave."""
    tell, check = STORIES[story]
    disk, image = Disk(folder), folder.with_name("image")
    acknowledged: list[str] = []
    cuts = 0

    def cut() -> None:
        nonlocal cuts
        if not folder.exists():
            return
        fates = ("lost", "reached", "zeros", "half")
        for pack, lines, reached in product(fates, fates, (False, True)):
            fate = {"pack": pack, "journal": lines, "s.jsonl": pack}
            disk.after_the_cut(image, fate, names_reached=reached)
            cuts += 1
            try:
                check(image, acknowledged, honest=False)
            except BaseException as problem:
                problem.add_note(f"cut {cuts}: {fate}, names reached: {reached}, acknowledged {acknowledged}")
                raise
            shutil.rmtree(image)

    def watched(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name != "fsync":
                return plain(*args, **kwargs)
            path = Path(os.readlink(f"/proc/self/fd/{args[0]}"))  # noqa: PTH115 - a link that only looks like one
            if not path.is_relative_to(folder.parent):
                return plain(*args)
            with originals():
                cut()
                disk.flushed(path)
                cut()
            return None

        return call

    plain = {name: getattr(os, name) for name in CALLS}

    @contextmanager
    def originals() -> Iterator[None]:
        ours = {name: getattr(os, name) for name in CALLS}
        for name, call in plain.items():
            setattr(os, name, call)
        yield
        for name, call in ours.items():
            setattr(os, name, call)

    # the folder's own name is sure once its parent was flushed; here it is from the start
    folder.mkdir()
    with replaced(watched):
        tell(folder, acknowledged.append)
    cut()
    return cuts


if __name__ == "__main__":
    _, way, which, where = sys.argv
    print({"kill": kill, "power": power}[way](which, Path(where) / "copies"))
