"""Names and texts of anybody's, shown by every command: none of them moves a cursor or turns a line round."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.user import User

EVIL = "evil\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\u2066\r\x00end"
IN_NAMES = EVIL.replace("\x00", "")
# What a terminal obeys, or shows in another order: C0 but tab and newline, DEL, C1, and bidirectional controls.
OBEYED = {
    *map(chr, range(32)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
}


@pytest.fixture
def user(socket_dir: Path) -> Iterator[User]:
    with User(socket_dir, SESSIOND_ARCHIVE_URL=json.dumps(str(socket_dir / "archive.git"))) as made:
        folder = made.folder / "work" / IN_NAMES
        folder.mkdir()
        made.project = folder
        made.environ["SESSIOND_SOURCES_PROJECTS"] = json.dumps([str(made.folder / "work" / "*")])
        yield made


def test_no_command_shows_what_a_terminal_would_obey(user: User) -> None:
    user.start()
    path = user.say(EVIL)
    sessions = user.project / ".claude" / "sessions"
    (sessions / "plan").mkdir(parents=True)
    told = {"title": EVIL, "decisions": [EVIL], "next_steps": [EVIL], "current_phase": EVIL, "status": EVIL}
    (sessions / "plan" / "context.json").write_text(json.dumps(told))
    (sessions / "plan" / "artifacts").mkdir()
    (sessions / "plan" / "artifacts" / f"{IN_NAMES}.txt").write_text(f"password = '{EVIL}hunter2x'")
    note = f"# {IN_NAMES}\n\n**Status**: in_progress{IN_NAMES}\n\n## Decisions\n- {IN_NAMES}\n\n## Next steps\n- {IN_NAMES}\n"
    (sessions / f"{IN_NAMES}.md").write_text(note)
    for session in (path.stem, "plan"):
        user.ctl("checkpoint", acts=True, session=session)
    user.type("ctl", "sync", "--wait", "30")
    user.mirror.chmod(0o755)  # something for the doctor

    note_file = str(sessions / f"{IN_NAMES}.md")
    commands: list[tuple[str, ...]] = [
        ("list",),
        ("continue",),
        ("search", "evil"),
        ("ctl", "status"),
        ("ctl", "sessions"),
        ("ctl", "queue"),
        ("ctl", "health"),
        ("ctl", "events"),
        ("ctl", "logs"),
        ("ctl", "show", "plan"),
        ("ctl", "show", "plan", "--json"),
        ("ctl", "show", IN_NAMES),
        ("ctl", "checkpoint", IN_NAMES),
        ("ctl", IN_NAMES),
        ("privacy", "scan"),
        ("doctor",),
        ("note", "lint", note_file),
        ("note", "show"),
        ("restore", IN_NAMES),
        ("restore", "plan", "--list"),
        ("restore", "plan", "--out", str(user.folder / IN_NAMES)),
        ("init", "--yes", "--repo", IN_NAMES),
    ]
    environ = {"COLUMNS": "200", "SESSIOND_LOG_LEVEL": "debug"}
    shown = {}
    for arguments in commands:
        done = user.type(*arguments, **environ)
        shown[arguments] = done.stdout + done.stderr
        found = {letter for letter in shown[arguments] if letter in OBEYED} - {"\n", "\t"}
        assert not found, (arguments, found, shown[arguments])
        assert "Traceback" not in shown[arguments], shown[arguments]
        assert done.returncode != 70, (arguments, shown[arguments])
    assert "evil" in shown["list",]
    assert "evil" in shown["ctl", "show", "plan"]
    assert "evil" in shown["search", "evil"]
