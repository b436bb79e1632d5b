"""Hints, with real files and the kernel's own events."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from watchdog.events import FileSystemEvent
from watchdog.utils import BaseThread

from sessiond.watcher import HEARD_S, LONGEST_SETTLE_S, SETTLE_S, Watcher
from tests.conftest import PATIENCE_S

Wait = Callable[..., None]


class Watched:
    """A watcher, what it emitted, and everything it ever hinted at."""

    def __init__(self, *roots: Path, most_paths: int = 10_000) -> None:
        self.roots = list(roots)
        self.emitted: list[tuple[str, dict[str, Any]]] = []
        self.news = threading.Event()
        self.paths: set[Path] = set()
        self.rescans = 0
        self.watcher = Watcher(lambda: self.roots, self.emit, self.news.set, most_paths=most_paths)

    def emit(self, event: str, **fields: Any) -> None:
        self.emitted.append((event, fields))

    def look(self) -> bool:
        hints = self.watcher.take(time.monotonic())
        self.paths |= hints.paths
        if hints.rescan:
            self.rescans += 1
            self.watcher.refresh()
        return bool(hints.paths or hints.rescan)

    def saw(self, *paths: Path) -> bool:
        self.look()
        return self.paths.issuperset(paths)

    def settle(self) -> None:
        """Rescan until nothing asks for it: until then paths belong to the rescan."""
        while self.look():
            pass
        self.rescans = 0
        self.paths.clear()

    def rescanned(self) -> bool:
        self.look()
        if self.rescans:
            self.settle()
            return True
        return False


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "projects"
    folder.mkdir()
    return folder


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    started: list[Watched] = []

    def start(*roots: Path, **settings: Any) -> Watched:
        watched = Watched(*roots, **settings)
        watched.watcher.start()
        started.append(watched)
        return watched

    yield start
    for watched in started:
        watched.watcher.stop()
    assert [thread for thread in threading.enumerate() if isinstance(thread, BaseThread)] == []


def test_a_change_is_hinted_at_once_it_has_settled(
    root: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    watched = watch(root)
    file = root / "a.jsonl"
    began = time.monotonic()
    file.write_bytes(b"{}\n")
    assert watched.news.wait(PATIENCE_S)
    wait_until(lambda: watched.watcher.counts.get("created"))
    hints = watched.watcher.take(0.0)  # long before anything has settled
    assert not hints.paths
    assert not hints.rescan
    assert hints.next_at is not None
    assert began + SETTLE_S <= hints.next_at <= time.monotonic() + LONGEST_SETTLE_S
    assert file in watched.watcher.take(hints.next_at).paths
    assert watched.watcher.take(time.monotonic() + 9).next_at is None


@pytest.mark.skipif(sys.platform != "linux", reason="there each root has a reader")
def test_what_happens_wakes_one_thread(
    root: Path, watch: Callable[..., Watched], wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_by = set()
    happened = Watcher._happened

    def told(watcher: Watcher, event: FileSystemEvent) -> None:
        told_by.add(threading.current_thread())
        happened(watcher, event)

    monkeypatch.setattr(Watcher, "_happened", told)
    watched = watch(root)
    (root / "a.jsonl").write_bytes(b"{}\n")
    wait_until(lambda: watched.saw(root / "a.jsonl"))
    assert told_by == {watched.watcher._observer._reader}  # type: ignore[union-attr]


def test_a_steady_writer_cannot_hold_its_hint_back(
    root: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    watched = watch(root)
    file = root / "busy.jsonl"
    heard: list[float] = []

    def write_on() -> bool:
        """Write as somebody who never pauses, for much longer than a hint is held back at most."""
        with file.open("ab") as stream:
            stream.write(b"{}\n")
        if not heard and watched.watcher.counts:
            heard.append(time.monotonic())
        return bool(heard) and time.monotonic() > heard[0] + 3 * LONGEST_SETTLE_S

    wait_until(write_on, interval_s=SETTLE_S / 4)
    hints = watched.watcher.take(0.0)  # long before anything has settled
    assert hints.next_at is not None
    assert hints.next_at <= heard[0] + LONGEST_SETTLE_S
    assert file in watched.watcher.take(hints.next_at).paths


def test_appending_moving_and_deleting_are_seen(
    root: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    old, new = root / "old.json.tmp", root / "new.json"
    old.write_bytes(b"{}")
    watched = watch(root)
    old.replace(new)
    wait_until(lambda: watched.saw(old, new))
    watched.paths.clear()
    new.unlink()
    wait_until(lambda: watched.saw(new))


def test_a_folder_that_moves_is_seen_with_all_that_is_in_it(
    tmp_path: Path, root: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    other = tmp_path / "other"
    (root / "old" / "deep").mkdir(parents=True)
    other.mkdir()
    (root / "old" / "deep" / "x").touch()
    watched = watch(root, other)
    (root / "old").rename(root / "new")
    wait_until(lambda: watched.saw(root / "old" / "deep" / "x", root / "new" / "deep" / "x"))
    (root / "new").rename(other / "new")
    wait_until(lambda: watched.saw(root / "new", other / "new" / "deep" / "x"))
    watched.paths.clear()
    (other / "new" / "deep" / "y").touch()
    wait_until(lambda: watched.saw(other / "new" / "deep" / "y"))
    assert watched.watcher.watches == 4
    assert watched.watcher.alive()


def test_all_roots_share_their_threads(
    tmp_path: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    roots = [tmp_path / f"{number}" / "sessions" for number in range(100)]
    for root in roots:
        root.parent.mkdir()
    before = {*threading.enumerate()}  # of which those of earlier tests may end meanwhile
    watched = watch(*roots)  # of which none is there yet
    assert len({*threading.enumerate()} - before) == 2
    for root in roots:
        root.mkdir()
    wait_until(watched.rescanned)
    files = [root / "x" for root in roots]
    for file in files:
        file.touch()
    wait_until(lambda: watched.saw(*files))
    assert len({*threading.enumerate()} - before) == 2


def test_two_thousand_folders_made_while_running_are_watched(
    root: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    watched = watch(root)
    folders = [root / f"p{n // 100}" / f"s{n}" for n in range(2000)]
    for folder in folders:
        folder.mkdir(parents=True)
    wait_until(lambda: watched.look() or watched.watcher.watches == 1 + 20 + 2000)
    wait_until(lambda: watched.watcher.watches == 1 + 20 + 2000)
    watched.settle()
    files = [folder / "x.jsonl" for folder in folders]
    for file in files:
        file.write_bytes(b"{}\n")
    wait_until(lambda: watched.saw(*files))
    assert not watched.rescans
    assert watched.emitted == []


def test_a_file_in_a_folder_made_with_it_is_seen(
    root: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    watched = watch(root)
    file = root / "p" / "s" / "subagents" / "agent.jsonl"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"{}\n")
    wait_until(lambda: watched.saw(file))


def test_reading_is_no_event(root: Path, watch: Callable[..., Watched], wait_until: Wait) -> None:
    for number in range(300):
        (root / f"d{number}").mkdir()
        (root / f"d{number}" / "x.jsonl").write_bytes(b"{}\n")
    watched = watch(root)
    for folder, _, names in os.walk(root):
        for name in names:
            assert Path(folder, name).read_bytes()
    last = root / "last"
    last.touch()
    wait_until(lambda: watched.saw(last))
    assert watched.paths == {last}
    assert watched.watcher.counts.keys() <= {"created", "modified"}
    assert sum(watched.watcher.counts.values()) <= 2


def test_more_paths_than_may_be_held_ask_for_a_rescan(
    root: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    watched = watch(root, most_paths=10)
    for number in range(50):
        (root / f"{number}").touch()
    wait_until(lambda: watched.watcher.counts.get("created") == 50)
    hints = watched.watcher.take(time.monotonic())
    assert hints.rescan
    assert not hints.paths
    assert watched.emitted == [("watch_overflowed", {"queue": "paths"})]
    (root / "again").touch()
    wait_until(lambda: watched.saw(root / "again"))


def test_an_overflow_of_the_kernels_queue_ends_in_a_rescan_and_fresh_watches(
    root: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    watched = watch(root)
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    assert limit < 100_000
    blocked = watched.watcher._happening  # so that nobody reads, as in a process that is frozen
    reader = watched.watcher._observer._reader  # type: ignore[union-attr]
    with reader._lock, blocked:
        for number in range(limit + 2000):
            (root / f"{number}").touch()
        (root / "made-meanwhile").mkdir()
    wait_until(lambda: ("watch_overflowed", {"queue": "kernel"}) in watched.emitted)
    wait_until(watched.rescanned)
    inside = root / "made-meanwhile" / "x"
    inside.touch()
    wait_until(lambda: watched.saw(inside))
    assert watched.watcher.alive()


def test_it_claims_no_more_than_it_can_have_heard(
    root: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    watched = watch(root)
    watcher = watched.watcher
    watched.settle()
    assert watcher.heard_until(50.0) == 50.0 - HEARD_S
    before = time.monotonic()
    (root / "a").touch()
    wait_until(lambda: watcher.counts.get("created") == 1)
    later = time.monotonic() + 60
    heard = watcher.heard_until(later)
    assert heard is not None
    assert before - HEARD_S <= heard < later - 30, "what settles is not taken yet"
    wait_until(lambda: watched.saw(root / "a"))
    assert watcher.heard_until(later) == later - HEARD_S
    # what nobody has read yet
    reader = watcher._observer._reader  # type: ignore[union-attr]
    with reader._lock:
        (root / "b").touch()
        wait_until(lambda: reader.is_drained)  # it has this one in its hands
        (root / "c").touch()
        assert watcher.heard_until(later) is None
    wait_until(lambda: watched.saw(root / "b", root / "c"))
    assert watcher.heard_until(later) == later - HEARD_S
    watcher._want_rescan()
    assert watcher.heard_until(later) is None
    watched.settle()
    watcher.stop()
    assert watcher.heard_until(later) is None


def test_a_dead_emitter_is_noticed_and_replaced(
    root: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    watched = watch(root)
    assert watched.watcher.alive()
    (emitter,) = watched.watcher._observer._observer.emitters  # type: ignore[union-attr]
    emitter.stop()
    emitter.join(PATIENCE_S)
    assert watched.watcher.dead() == [str(root)]
    (root / "missed").touch()
    watched.news.clear()
    watched.watcher.restart()
    assert watched.watcher.alive()
    assert watched.news.is_set()
    watched.settle()
    (root / "seen").touch()
    wait_until(lambda: watched.saw(root / "seen"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reader_that_broke_is_noticed(root: Path, watch: Callable[..., Watched], wait_until: Wait) -> None:
    watched = watch(root)
    reader = watched.watcher._observer._reader  # type: ignore[union-attr]
    reader.handle_event = lambda event: 1 / 0
    (root / "x").touch()
    wait_until(lambda: watched.watcher.dead() == ["reader"])
    watched.watcher.restart()
    watched.settle()
    (root / "y").touch()
    wait_until(lambda: watched.saw(root / "y"))


@pytest.mark.parametrize("ends", ["moved", "stopped"])
def test_a_folder_that_was_moved_out_and_left_its_name_to_another_ends_nothing(
    root: Path, watch: Callable[..., Watched], wait_until: Wait, ends: str
) -> None:
    watched = watch(root)
    folder, moved = root / "project", root.parent / "moved"
    folder.mkdir()
    watched.settle()
    wait_until(lambda: watched.watcher.watches == 2)
    folder.rename(moved)
    folder.mkdir()
    wait_until(lambda: watched.watcher.watches == 3)
    folder.rmdir()
    wait_until(lambda: watched.watcher.watches == 2)
    if ends == "moved":
        moved.rmdir()
        wait_until(lambda: watched.watcher.watches == 1)
    else:
        watched.watcher.restart()
    (root / "x").touch()
    wait_until(lambda: watched.saw(root / "x") or watched.rescans)
    assert watched.watcher.alive()


def test_a_root_that_appears_later_is_watched(
    tmp_path: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    root = tmp_path / "home" / ".claude" / "projects"
    watched = watch(root)
    assert watched.watcher.alive()
    (tmp_path / "home" / "unrelated").mkdir()
    root.parent.mkdir()
    wait_until(watched.rescanned)
    assert not watched.watcher.refresh()
    root.mkdir()
    wait_until(watched.rescanned)
    (root / "x").touch()
    wait_until(lambda: watched.saw(root / "x"))
    assert watched.paths == {root / "x"}


@pytest.mark.parametrize("arrives", [".claude", ".claude/sessions"])
def test_a_root_that_comes_while_it_is_begun_to_be_waited_for_is_watched(
    tmp_path: Path,
    watch: Callable[..., Watched],
    wait_until: Wait,
    monkeypatch: pytest.MonkeyPatch,
    arrives: str,
) -> None:
    root, real = tmp_path / ".claude" / "sessions", Watcher._schedule

    def just_before(watcher: Watcher, folder: str, *events: Any, **how: Any) -> Any:
        if folder == str(tmp_path):
            (tmp_path / arrives).mkdir(parents=True, exist_ok=True)
        return real(watcher, folder, *events, **how)

    monkeypatch.setattr(Watcher, "_schedule", just_before)
    watched = watch(root)
    root.mkdir(exist_ok=True)
    wait_until(lambda: watched.look() or root in watched.watcher.folders)
    wait_until(lambda: not watched.look() and root in watched.watcher.folders)
    file = root / "new.md"
    file.write_bytes(b"x")
    wait_until(lambda: watched.saw(file))


def test_a_root_that_is_deleted_and_comes_back_is_watched_again(
    root: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    watched = watch(root)
    shutil.rmtree(root)
    wait_until(watched.rescanned)
    assert watched.watcher.alive()
    root.mkdir()
    wait_until(watched.rescanned)
    (root / "x").touch()
    wait_until(lambda: watched.saw(root / "x"))


def test_a_folder_that_took_a_roots_place_is_watched_instead(
    root: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    watched = watch(root)
    root.rename(root.with_name("moved"))
    root.mkdir()
    assert watched.watcher.refresh()
    assert watched.watcher.take(time.monotonic()).rescan
    assert not watched.watcher.refresh()
    watched.settle()
    (root.with_name("moved") / "elsewhere").touch()
    (root / "x").touch()
    wait_until(lambda: watched.saw(root / "x"))
    assert watched.paths == {root / "x"}


def test_a_symbolic_link_is_followed_once_and_named_by_its_target(
    tmp_path: Path, root: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    (root / "inner").symlink_to(tmp_path)  # a loop, if it were followed
    watched = watch(link, root)
    assert watched.watcher.watches == 1
    (root / "x").touch()
    wait_until(lambda: watched.saw(root / "x"))
    other = tmp_path / "other"
    other.mkdir()
    link.unlink()
    link.symlink_to(other)
    watched.roots = [link]
    assert watched.watcher.refresh()
    watched.settle()
    (other / "y").touch()
    wait_until(lambda: watched.saw(other / "y"))


def test_roots_come_and_go_while_running(
    tmp_path: Path, root: Path, watch: Callable[..., Watched], wait_until: Wait
) -> None:
    watched = watch(root)
    more, below = tmp_path / "more", root / "below"
    more.mkdir()
    below.mkdir()
    wait_until(lambda: watched.watcher.watches == 2)
    watched.roots = [root, more, below]
    assert watched.watcher.refresh()
    assert watched.watcher.watches == 3  # what lies below a root is watched with it
    watched.settle()
    (below / "x").touch()
    (more / "y").touch()
    wait_until(lambda: watched.saw(below / "x", more / "y"))
    watched.roots = [more]
    assert watched.watcher.refresh()
    wait_until(lambda: watched.watcher.watches == 1)


def opened() -> set[tuple[str, str]]:
    """This process's descriptors, each with what it is of, but for the one that looks."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add((entry.name, str(entry.readlink())))
    return found


def test_stopping_is_prompt_and_leaves_no_thread_and_no_descriptor(root: Path) -> None:
    threads, descriptors = {*threading.enumerate()}, opened()  # those of earlier tests may end meanwhile
    watched = Watched(root)
    watched.watcher.start()
    assert opened() - descriptors
    started = time.monotonic()
    watched.watcher.stop()
    watched.watcher.stop()
    assert time.monotonic() - started < PATIENCE_S
    assert {*threading.enumerate()} <= threads
    assert opened() <= descriptors
    assert not watched.watcher.alive()
    assert not watched.watcher.refresh()
