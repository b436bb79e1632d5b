import errno
import os
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sessionsync.errors import CopyError, CopyMismatch
from sessionsync.model import Ref
from sessionsync.vault.mirror import Mirror
from tests.conftest import PATIENCE_S

SID = "0b6e2f6e-64f1-4c39-9df5-3f0d6d8f5a11"
CLAUDE = Ref("claude", SID)
AT = 1_767_600_000.0  # 2026-01-05T08:00:00Z


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mirror"


@pytest.fixture
def mirror(folder: Path) -> Mirror:
    return Mirror(folder)


@pytest.fixture
def copy(mirror: Mirror) -> Path:
    path = mirror.path_of("app", CLAUDE, f"{SID}.jsonl")
    mirror.write(path, 0, b"0123456789")
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def few_descriptors(more: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/dev/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(highest + more, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- where copies lie


@pytest.mark.parametrize(
    ("ref", "name", "path"),
    [
        (CLAUDE, f"{SID}.jsonl", f"app/{SID}.jsonl"),
        (CLAUDE, f"{SID}/subagents/agent-1.jsonl", f"app/{SID}/subagents/agent-1.jsonl"),
        (CLAUDE, f"{SID}/tool-results/a/b.txt", f"app/{SID}/tool-results/a/b.txt"),
        (CLAUDE, "agent-1.jsonl", f"app/{SID}/agent-1.jsonl"),
        (CLAUDE, f"todos/{SID}-agent.json", f"app/{SID}/todos/{SID}-agent.json"),
        (CLAUDE, f"file-history/{SID}/f@v1", f"app/{SID}/file-history/{SID}/f@v1"),
        (CLAUDE, f"projects/-home-x/{SID}.jsonl", f"app/{SID}/projects/-home-x/{SID}.jsonl"),
        (Ref("claude", f"{SID}-a1b2c3"), f"{SID}.jsonl", f"app/{SID}-a1b2c3.jsonl"),
        (Ref("claude", f"{SID}-a1b2c3"), f"{SID}/subagents/x", f"app/{SID}-a1b2c3/subagents/x"),
        (Ref("structured", "alpha"), "context.json", "app/alpha/context.json"),
        (Ref("structured", "alpha"), "alpha/x/context.json", "app/alpha/alpha/x/context.json"),
        (Ref("structured", "alpha"), "alpha.jsonl", "app/alpha/alpha.jsonl"),
        (Ref("note", "note.app.2026-01-05"), "2026-01-05.tmp", "app/note.app.2026-01-05/2026-01-05.tmp"),
    ],
)
def test_where_a_copy_lies(mirror: Mirror, folder: Path, ref: Ref, name: str, path: str) -> None:
    assert mirror.path_of("app", ref, name) == folder / path


def test_no_two_files_share_a_copy(mirror: Mirror) -> None:
    below = [
        "agent-1.jsonl",
        f"todos/{SID}",
        f"tasks/{SID}/1",
        "projects/a/b",
        f"{SID}/x/y",
        f"{SID}.jsonl",
        "x/y",
    ]
    names = [f"{SID}.jsonl", "agent-1.jsonl", f"todos/{SID}", f"tasks/{SID}/1", "projects/a/b"]
    names += [f"{SID}/{name}" for name in below]
    assert len({mirror.path_of("app", CLAUDE, name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/", "a/.", "a\0b"]
)
def test_a_name_with_a_trick_is_refused(mirror: Mirror, name: str) -> None:
    with pytest.raises(CopyError):
        mirror.path_of("app", Ref("structured", "alpha"), name)


@pytest.mark.parametrize("project", ["", "..", ".", "a/b", "a\0"])
def test_a_project_with_a_trick_is_refused(mirror: Mirror, project: str) -> None:
    with pytest.raises(CopyError):
        mirror.path_of(project, CLAUDE, "x")
    with pytest.raises(CopyError):
        mirror.path_of("app", Ref("structured", project), "x")


@pytest.mark.parametrize("path", ["/etc/passwd", "mirror/../x", "x"])
def test_a_path_outside_is_refused(mirror: Mirror, folder: Path, path: str) -> None:
    outside = folder.parent / path
    with pytest.raises(CopyError):
        mirror.write(outside, 0, b"x")
    with pytest.raises(CopyError):
        mirror.read(outside, 0, 1)


def test_long_names_fit_and_stay_apart(mirror: Mirror) -> None:
    ids = ["ü" * 200 + end for end in ("a", "b")]
    paths = [mirror.path_of("p" * 400, Ref("claude", sid), f"{sid}.jsonl") for sid in ids]
    paths += [mirror.path_of("p" * 400, Ref("structured", sid), f"{sid}/{sid}") for sid in ids]
    assert len(set(paths)) == 4
    for path in paths:
        mirror.write(path, 0, b"0123")
        aside = mirror.set_aside(path, 1, AT)
        assert aside is not None
        assert (path.read_bytes(), aside.read_bytes()) == (b"0", b"123")
    assert paths[0].suffix == ".jsonl"


def test_names_need_not_be_text(mirror: Mirror) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    path = mirror.path_of("app", Ref("structured", "alpha"), name)
    mirror.write(path, 0, b"x")
    assert [os.fsencode(entry.name) for entry in path.parent.iterdir()] == [b"caf\xe9.txt"]


# --- writing and reading


def test_bytes_come_back(mirror: Mirror, copy: Path) -> None:
    mirror.write(copy, 10, b"abc")
    assert copy.read_bytes() == b"0123456789abc"
    assert mirror.size(copy) == 13
    assert mirror.read(copy, 8, 12) == b"89ab"
    assert mirror.read(copy, 8, 99) == b"89abc"
    assert mirror.read(copy, 20, 30) == b""


def test_what_is_not_there_is_empty(mirror: Mirror) -> None:
    path = mirror.path_of("app", CLAUDE, "x")
    assert (mirror.size(path), mirror.read(path, 0, 9), mirror.common_prefix(path, Path("/dev/null"))) == (
        0,
        b"",
        0,
    )
    assert mirror.set_aside(path, 0, AT) is None
    assert not path.parent.exists()


def test_an_empty_file_has_a_copy(mirror: Mirror) -> None:
    path = mirror.path_of("app", CLAUDE, "x")
    mirror.write(path, 0, b"")
    assert path.read_bytes() == b""


def test_a_large_write_is_whole(mirror: Mirror, copy: Path) -> None:
    data = os.urandom(3_000_001)
    mirror.write(copy, 10, data)
    assert copy.read_bytes() == b"0123456789" + data


@pytest.mark.parametrize(("offset", "data"), [(0, b"0123456789"), (3, b"34"), (8, b"89abc"), (10, b"")])
def test_the_same_bytes_may_be_written_again(mirror: Mirror, copy: Path, offset: int, data: bytes) -> None:
    mirror.write(copy, offset, data)
    assert copy.read_bytes().startswith(b"0123456789")
    assert mirror.size(copy) == max(10, offset + len(data))


@pytest.mark.parametrize(("offset", "data"), [(0, b"x"), (3, b"3x"), (9, b"xabc"), (0, b"012345678x")])
def test_other_bytes_are_never_written_over(mirror: Mirror, copy: Path, offset: int, data: bytes) -> None:
    with pytest.raises(CopyMismatch, match="already has other bytes"):
        mirror.write(copy, offset, data)
    assert copy.read_bytes() == b"0123456789"


def test_no_hole_is_left(mirror: Mirror, copy: Path) -> None:
    with pytest.raises(CopyMismatch, match="hole"):
        mirror.write(copy, 11, b"x")
    assert copy.read_bytes() == b"0123456789"


@pytest.mark.parametrize("mask", [0, 0o077, 0o777])
def test_everything_is_private_whatever_the_umask(folder: Path, mask: int) -> None:
    folder = folder / "deep" / "er"
    mirror = Mirror(folder)
    path = mirror.path_of("app", CLAUDE, f"{SID}/subagents/x")
    with umask(mask):
        mirror.write(path, 0, b"0123")
        aside = mirror.set_aside(path, 2, AT)
    assert aside is not None
    assert (mode(path), mode(aside)) == (0o600, 0o600)
    for ancestor in (path.parent, path.parents[1], path.parents[2], folder, folder.parent):
        assert mode(ancestor) == 0o700


def test_what_was_found_open_is_made_private(mirror: Mirror, copy: Path, folder: Path) -> None:
    folder.chmod(0o755)
    copy.parent.chmod(0o755)
    copy.chmod(0o644)
    mirror.write(copy, 10, b"x")
    assert (mode(copy), mode(copy.parent)) == (0o600, 0o700)
    assert mode(folder) == 0o755, "the user made it: it is the user's choice"


def test_two_processes_write_the_same_bytes_at_once(mirror: Mirror, folder: Path, tmp_path: Path) -> None:
    data = os.urandom(400_000)
    live = tmp_path / "live"
    live.write_bytes(data)
    script = """
import sys
from pathlib import Path
from sessionsync.model import Ref
from sessionsync.vault.mirror import Mirror
mirror, data = Mirror(Path(sys.argv[1])), Path(sys.argv[2]).read_bytes()
path = mirror.path_of("app", Ref("claude", "s"), "s.jsonl")
print("ready", flush=True)
sys.stdin.readline()
position = 0
while position < len(data):
    mirror.write(path, position, data[position : position + 1000])
    position += 1000
    position = max(position, mirror.size(path) - 2000)
mirror.flush()
"""
    command = [sys.executable, "-c", script, str(folder), str(live)]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=PATIENCE_S)
    assert [process.returncode for process in both] == [0, 0]
    path = mirror.path_of("app", Ref("claude", "s"), "s.jsonl")
    assert mirror.common_prefix(path, live) == len(data) == mirror.size(path)


# --- what lies in the way


def test_no_link_is_followed(mirror: Mirror, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"precious")
    (folder / "app" / SID).mkdir(parents=True)
    (folder / "app" / SID / "x").symlink_to(outside / "x")
    (folder / "app" / SID / "new").symlink_to(outside / "new")
    (folder / "app" / SID / "sub").symlink_to(outside)
    (folder / "evil").symlink_to(outside)
    paths = [mirror.path_of("app", CLAUDE, name) for name in ("x", "new", "sub/x", "sub/y")]
    paths.append(folder / "evil" / "x")
    for path in paths:
        with pytest.raises(CopyError):
            mirror.write(path, 0, b"gone")
        with pytest.raises(CopyError):
            mirror.read(path, 0, 9)
        with pytest.raises(CopyError):
            mirror.set_aside(path, 0, AT)
    assert (outside / "x").read_bytes() == b"precious"
    assert names_in(outside) == ["x"]


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    mirror = Mirror(tmp_path / "link")
    mirror.write(mirror.path_of("app", CLAUDE, "x"), 0, b"1")
    assert (tmp_path / "disk" / "app" / SID / "x").read_bytes() == b"1"


def test_special_files_are_refused_at_once(
    mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder / "app" / SID
    place.mkdir(parents=True)
    os.mkfifo(place / "fifo")
    (place / "folder").mkdir()
    (place / "file").write_bytes(b"")
    monkeypatch.chdir(place)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name in ("fifo", "folder", "socket", "file/below"):
            path = mirror.path_of("app", CLAUDE, name)
            with pytest.raises(CopyError) as caught:
                mirror.write(path, 0, b"x")
            assert caught.value.hint
            with pytest.raises(CopyError):
                mirror.size(path)
            with pytest.raises(CopyError):
                mirror.common_prefix(path, Path("/dev/null"))


def test_a_hard_link_elsewhere_keeps_its_bytes(mirror: Mirror, copy: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    os.link(copy, snapshot)
    mirror.write(copy, 10, b"x")
    os.link(copy, tmp_path / "second")
    mirror.set_aside(copy, 4, AT)
    assert snapshot.read_bytes() == b"0123456789"
    assert (tmp_path / "second").read_bytes() == b"0123456789x"
    assert copy.read_bytes() == b"0123"
    assert mode(copy) == 0o600


# --- agreeing with the live file


@pytest.mark.parametrize("agree", [0, 1, 9, 10, 1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1, 2_500_000])
@pytest.mark.parametrize("by_descriptor", [True, False])
def test_how_far_copy_and_file_agree(mirror: Mirror, tmp_path: Path, agree: int, by_descriptor: bool) -> None:
    data = os.urandom(2_500_000)
    path, live = mirror.path_of("app", CLAUDE, "x"), tmp_path / "live"
    mirror.write(path, 0, data)
    live.write_bytes(data[:agree] + bytes(255 - byte for byte in data[agree : agree + 5]))
    descriptor = os.open(live, os.O_RDONLY)
    try:
        assert mirror.common_prefix(path, descriptor if by_descriptor else live) == agree
        assert mirror.common_prefix(path, descriptor, start=agree // 2) == agree
    finally:
        os.close(descriptor)


def test_one_may_be_shorter(mirror: Mirror, copy: Path, tmp_path: Path) -> None:
    live = tmp_path / "live"
    for text, agree in ((b"", 0), (b"0123", 4), (b"0123456789", 10), (b"0123456789abc", 10)):
        live.write_bytes(text)
        assert mirror.common_prefix(copy, live) == agree
    assert mirror.common_prefix(copy, live, start=12) == 10, "what is taken as read is not there"


def test_the_live_file_must_be_a_file(mirror: Mirror, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(copy)
    for path in (tmp_path / "none", tmp_path / "link", tmp_path, Path("/dev/null")):
        with pytest.raises(CopyError):
            mirror.common_prefix(copy, path)


# --- setting aside


def test_old_bytes_are_set_aside_and_only_then_cut(mirror: Mirror, copy: Path) -> None:
    aside = mirror.set_aside(copy, 4, AT)
    assert aside == copy.with_name(f"{SID}.20260105T080000Z.4.jsonl")
    assert aside.read_bytes() == b"456789"
    assert copy.read_bytes() == b"0123"
    assert names_in(copy.parent) == sorted([aside.name, copy.name])


@pytest.mark.parametrize("offset", [10, 11])
def test_nothing_behind_is_nothing_to_set_aside(mirror: Mirror, copy: Path, offset: int) -> None:
    assert mirror.set_aside(copy, offset, AT) is None
    assert names_in(copy.parent) == [copy.name]


def test_no_file_set_aside_is_ever_written_over(mirror: Mirror, copy: Path) -> None:
    kept: dict[Path, bytes] = {}
    for number in range(3):
        mirror.write(copy, 4, b"%d" % number) if number else None
        aside = mirror.set_aside(copy, 4, AT)
        assert aside is not None
        assert aside not in kept
        kept[aside] = b"%d" % number if number else b"456789"
    assert {path.name for path in kept} == {
        f"{SID}.20260105T080000Z{again}.4.jsonl" for again in ("", "-2", "-3")
    }
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_foreign_file_or_link_of_that_name_stays(mirror: Mirror, copy: Path, tmp_path: Path) -> None:
    taken = copy.with_name(f"{SID}.20260105T080000Z.4.jsonl")
    taken.symlink_to(tmp_path / "nowhere")
    aside = mirror.set_aside(copy, 4, AT)
    assert aside is not None
    assert aside.name == f"{SID}.20260105T080000Z-2.4.jsonl"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("name", "aside"),
    [
        ("plain", "plain.20260105T080000Z.1"),
        (".hidden", ".hidden.20260105T080000Z.1"),
        ("a.tar.gz", "a.tar.20260105T080000Z.1.gz"),
        ("sub/x.json", "sub/x.20260105T080000Z.1.json"),
    ],
)
def test_the_name_of_a_file_set_aside(mirror: Mirror, folder: Path, name: str, aside: str) -> None:
    path = mirror.path_of("app", Ref("structured", "s"), name)
    mirror.write(path, 0, b"ab")
    assert mirror.set_aside(path, 1, AT) == folder / "app" / "s" / aside


def test_a_disk_without_hard_links(mirror: Mirror, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*names: object, **folders: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    first, second = mirror.set_aside(copy, 4, AT), mirror.set_aside(copy, 2, AT)
    mirror.write(copy, 2, b"??")
    third = mirror.set_aside(copy, 2, AT)
    assert [path and path.read_bytes() for path in (first, second, third)] == [b"456789", b"23", b"??"]
    assert len(names_in(copy.parent)) == 4


def test_what_a_hook_adds_meanwhile_is_set_aside_too(
    mirror: Mirror, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, added = os.fsync, [b"b", b"a"]

    def slow_fsync(descriptor: int) -> None:
        if added:
            with copy.open("ab") as other:
                other.write(added.pop())
        plain(descriptor)

    monkeypatch.setattr(os, "fsync", slow_fsync)
    aside = mirror.set_aside(copy, 4, AT)
    assert aside is not None
    assert aside.read_bytes() == b"456789ab"
    added += [b"x"] * 1000
    with pytest.raises(CopyError, match="grows"):
        mirror.set_aside(copy, 2, AT)
    assert copy.read_bytes().startswith(b"0123x")


def test_a_draft_left_by_a_kill_costs_nothing(mirror: Mirror, copy: Path) -> None:
    first = mirror.set_aside(copy, 4, AT)
    assert first is not None
    # killed between naming the file and taking the draft's name away
    os.link(first, copy.with_name(f".{copy.name}.part"))
    mirror.write(copy, 4, b"new bytes")
    second = mirror.set_aside(copy, 4, AT)
    assert second is not None
    assert (first.read_bytes(), second.read_bytes()) == (b"456789", b"new bytes")
    assert first.stat().st_nlink == 1


def test_a_foreign_file_is_adopted_where_it_agrees(mirror: Mirror, tmp_path: Path) -> None:
    path, live = mirror.path_of("app", CLAUDE, f"{SID}.jsonl"), tmp_path / "live"
    live.write_bytes(b"the session goes on and on")
    path.parent.mkdir(parents=True)
    for foreign, kept in ((b"the session", None), (b"the session stops", b"stops"), (b"nothing", b"nothing")):
        path.write_bytes(foreign)
        agree = mirror.common_prefix(path, live)
        aside = mirror.set_aside(path, agree, AT)
        assert (aside.read_bytes() if aside else None) == kept
        mirror.write(path, agree, live.read_bytes()[agree:])
        assert path.read_bytes() == live.read_bytes()


# --- flushing


def test_flush_counts_files(mirror: Mirror, copy: Path) -> None:
    mirror.write(copy, 10, b"x")
    mirror.write(mirror.path_of("app", CLAUDE, "x"), 0, b"x")
    assert mirror.flush() == 2
    assert mirror.flush() == 0


def test_flush_says_what_is_gone(mirror: Mirror, copy: Path) -> None:
    other = mirror.path_of("app", CLAUDE, "x")
    mirror.write(other, 0, b"x")
    copy.unlink()
    with pytest.raises(CopyError, match=SID):
        mirror.flush()
    assert mirror.flush() == 0
    mirror.write(copy, 0, b"again")
    assert mirror.flush() == 1


def test_a_folder_removed_meanwhile_is_made_again(mirror: Mirror, copy: Path, folder: Path) -> None:
    mirror.flush()
    copy.unlink()
    copy.parent.rmdir()
    folder.rmdir()
    mirror.write(copy, 0, b"again")
    assert mirror.flush() == 1
    assert copy.read_bytes() == b"again"


def test_many_sessions_need_few_descriptors(mirror: Mirror) -> None:
    with few_descriptors(12):
        for number in range(300):
            ref = Ref("claude", f"s{number}")
            mirror.write(mirror.path_of("app", ref, f"s{number}.jsonl"), 0, b"x")
            mirror.write(mirror.path_of(f"app{number}", ref, f"s{number}/a/b"), 0, b"x")
        assert mirror.flush() == 600


def test_the_hook_waits_for_no_library() -> None:
    script = """
import sys
from sessionsync.vault import Mirror
assert Mirror.__name__ == "Mirror"
print([name for name in ("zstandard", "msgspec", "sqlite3", "json", "shutil", "ctypes") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert done.stdout == "[]\n"
