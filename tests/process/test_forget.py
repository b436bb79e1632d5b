"""`sessiond forget` from outside: everywhere, on purpose, to the end, and no further."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.archive import objects_of, refs_of
from tests.fakes.github import FakeGitHub
from tests.process.user import User

WORD = "quokkaburger"


@pytest.fixture
def gh() -> Iterator[FakeGitHub]:
    with FakeGitHub() as made:
        made.token("T", login="ann")
        made.add_repo("o/r")
        yield made


@pytest.fixture
def user(socket_dir: Path, gh: FakeGitHub) -> Iterator[User]:
    with User(socket_dir, gh) as made:
        yield made


@pytest.fixture
def archiver(socket_dir: Path, gh: FakeGitHub) -> Iterator[User]:
    with User(socket_dir, gh, SESSIOND_ARCHIVE_URL=str(socket_dir / "archive")) as made:
        yield made


def holding(folder: Path, text: str) -> list[str]:
    """The files below a folder whose name or content has this text."""
    needle = text.encode()
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if text in path.name or (path.is_file() and needle in path.read_bytes())
    ]


def everywhere(user: User, text: str) -> list[str]:
    """Where on this machine a text is, but for the agent's own files and the log."""
    found = holding(user.folder, text)
    return [name for name in found if not name.startswith(("home/.claude/", "s/log/"))]


def told(gh: FakeGitHub) -> str:
    bodies = [comment.body for comment in gh.all_comments()]
    return "\n".join([*bodies, *(issue.body or "" for issue in gh.issues.values())])


def archived(user: User) -> dict[str, str]:
    """The refs in the archive, which may not be there yet."""
    folder = user.folder / "archive"
    return refs_of(folder) if (folder / "HEAD").is_file() else {}


def test_a_session_is_forgotten_everywhere_and_stays_so_until_that_is_undone(
    user: User, gh: FakeGitHub, wait_until: Callable[..., None]
) -> None:
    user.start()
    kept, gone = user.say("this one stays"), user.say(f"about the {WORD}")
    wait_until(lambda: gone.stem in told(gh) and kept.stem in told(gh), 60)
    wait_until(lambda: WORD in user.type("search", WORD).stdout)
    before = gone.read_bytes()

    shown = user.type("forget", gone.stem[:8], "--dry-run").stdout
    assert "GitHub        1 comment in issue" in shown
    assert str(gone) in shown
    code, said, hint = user.fails("forget", gone.stem)
    assert (code, "--yes" in hint, gone.stem in said) == (5, True, True)
    assert WORD in told(gh)

    done = user.type("forget", gone.stem[:8], "--yes", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["left"] == []
    assert gone.stem not in told(gh)
    assert kept.stem in told(gh)
    wait_until(lambda: not holding(user.folder / "s" / "state", WORD))
    assert gone.read_bytes() == before

    # neither a hook, nor a rescan, nor a restart, nor a request brings it back
    event = {"session_id": gone.stem, "transcript_path": str(gone), "hook_event_name": "Stop"}
    subprocess.run(
        [sys.executable, "-m", "sessiond", "hook", "Stop"],
        input=json.dumps(event), text=True, env=user.environ, cwd=user.home, check=True,
    )  # fmt: skip
    user.say("and more of it", gone)
    user.stop()
    user.start()
    for command in (["ctl", "checkpoint"], ["forget"], ["restore"]):
        code, said, todo = user.fails(*command, gone.stem)
        assert (code, "was forgotten" in said, f"forget --undo claude:{gone.stem}" in todo) == (4, True, True)
    user.save(kept)
    assert everywhere(user, WORD) == []
    assert everywhere(user, gone.stem) == []
    assert user.fails("forget", gone.stem, "--yes")[0] == 4
    assert user.status()["sessions"]["watched"] == 1

    assert user.type("forget", "--undo", gone.stem[:8]).returncode == 0
    assert user.fails("forget", "--undo", gone.stem)[0] == 4
    wait_until(lambda: gone.stem in told(gh), 60)
    user.check_kept(gone)


def test_what_cannot_be_reached_is_forgotten_when_it_can_whoever_was_killed(
    archiver: User, gh: FakeGitHub, wait_until: Callable[..., None]
) -> None:
    user = archiver
    user.start()
    path = user.say(f"about the {WORD}")
    wait_until(lambda: path.stem in told(gh) and archived(user), 60)
    with gh.refused():
        wanted = {"session": path.stem, "wait": 0}
        left = user.ctl("forget", acts=True, **wanted)["left"]
        assert "comments" in {each["where"] for each in left}
        assert holding(user.mirror, path.stem) == holding(user.vault, path.stem) == []
        user.kill()
    assert WORD in told(gh)
    user.start()
    wait_until(lambda: path.stem not in told(gh), 60)
    wait_until(lambda: archived(user) == {}, 60)
    wait_until(
        lambda: not [oid for oid, _, data in objects_of(user.folder / "archive") if WORD.encode() in data]
    )
    wait_until(lambda: everywhere(user, path.stem) == everywhere(user, WORD) == [])
