"""`sessiond hooks`: what it does to Claude Code's settings, and what it leaves alone."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from sessiond import hooks
from sessiond.hooklog import HookLog
from sessiond.jsontext import Text
from sessionsync.errors import ConfigError
from sessionsync.paths import Paths, paths

PROGRAM = Path("/opt/my tools/sessiond")


@pytest.fixture
def where(home: Path) -> Paths:
    return paths(os.environ)


@pytest.fixture
def file(home: Path) -> Path:
    (home / ".claude").mkdir()
    return hooks.settings_file("user", os.environ, home)


def install(file: Path, where: Paths, program: Path = PROGRAM) -> bool:
    return hooks.install(hooks.read("user", file), where, program)


def uninstall(file: Path, where: Paths) -> bool:
    return hooks.uninstall(hooks.read("user", file), where)


def commands(file: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for event, groups in json.loads(file.read_text()).get("hooks", {}).items():
        found[event] = [handler["command"] for group in groups for handler in group["hooks"]]
    return found


OURS = {event: [f"'/opt/my tools/sessiond' hook {event}"] for event in hooks.EVENTS}

OTHERS = {
    "minified": '{"model":"opus","hooks":{"Stop":[{"hooks":[{"type":"command","command":"say done"}]}]}}',
    "tabs": '{\n\t"hooks": {\n\t\t"PreCompact": [\n\t\t\t{ "matcher": "auto", "hooks": [] }\n\t\t]\n\t},\n\t"z": 1e400\n}\n',
    "four blanks, no newline": '{\n    "permissions": {"allow": ["Bash(ls:*)"]},\n    "env": {}\n}',
    "windows": '{\r\n  "model": "x",\r\n  "unknown": [1,\r\n 2]\r\n}\r\n',
    "marked": '\ufeff{\r\n  "model": "x"\r\n}\r\n',
    "odd": '  {  "a" : [ ] ,\n"hooks"\n:\n{ "Other" : [ 1, "x", {"hooks": 7} ] } , "b": "\\ud83d\\ude00 \\/ é" }  \n\n',
    "one line": '{ "a": 1, "b": 2 }\n',
    "empty event": '{"hooks": {"Stop": []}}',
    "empty hooks": '{"hooks": {}}\n',
    "empty": "{}",
    "empty, spaced": "{ \n }\n",
    "nothing": "",
    "blank": " \n",
    "a handler like ours": '{"hooks":{"Stop":[{"hooks":[{"type":"command","command":"/x/sessiond-like hook Stop"},{"command":"echo sessiond hook Stop"}]}]}}',
}


@pytest.mark.parametrize("before", OTHERS.values(), ids=OTHERS)
def test_in_and_out_leaves_no_trace(file: Path, where: Paths, before: str) -> None:
    file.write_bytes(before.encode())
    file.chmod(0o640)
    assert install(file, where)
    installed = file.read_bytes()
    assert not install(file, where)
    assert file.read_bytes() == installed
    assert all(
        OURS[event][0] in commands_of for event, commands_of in commands_if_any(file).items() if event in OURS
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert uninstall(file, where)
    assert file.read_bytes() == before.encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert not uninstall(file, where)


def commands_if_any(file: Path) -> dict[str, list[str]]:
    settings = hooks.read("user", file).json
    found: dict[str, list[str]] = {}
    for entry in hooks.entries(settings):
        found.setdefault(entry.event, []).append(entry.command)
    assert set(found) == set(hooks.EVENTS)
    return found


@pytest.mark.parametrize("before", [text for text in OTHERS.values() if text.strip() not in {"", "{}"}])
def test_out_needs_no_memory_where_there_was_something(file: Path, where: Paths, before: str) -> None:
    """Without what `install` remembers the same bytes come back, but for objects that were empty."""
    file.write_bytes(before.encode())
    install(file, where)
    for kept in (where.state_dir / "hooks").iterdir():
        kept.unlink()
    uninstall(file, where)
    if "{}" in before or "[]}" in before or "{ \n }" in before:
        assert set(json.loads(file.read_bytes())) <= set(json.loads(before))
    else:
        assert file.read_bytes() == before.encode()


def test_a_file_that_was_not_there_goes_again(file: Path, where: Paths) -> None:
    assert install(file, where)
    assert commands(file) == OURS
    said = json.loads(file.read_text())["hooks"]["Stop"][0]["hooks"][0]
    assert said == {"type": "command", "command": "'/opt/my tools/sessiond' hook Stop", "timeout": 30}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    uninstall(file, where)
    assert not file.exists()


def test_what_was_changed_meanwhile_stays(file: Path, where: Paths) -> None:
    file.write_text('{\n  "model": "opus"\n}\n')
    install(file, where)
    text = file.read_text().replace('"opus"', '"sonnet"')
    file.write_text(text)
    uninstall(file, where)
    assert file.read_text() == '{\n  "model": "sonnet"\n}\n'


def test_others_handlers_in_our_group_stay(file: Path, where: Paths) -> None:
    install(file, where)
    settings = json.loads(file.read_text())
    settings["hooks"]["Stop"][0]["hooks"].append({"type": "command", "command": "mine"})
    file.write_text(json.dumps(settings))
    uninstall(file, where)
    assert json.loads(file.read_text()) == {
        "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "mine"}]}]}
    }


def test_an_entry_that_runs_a_program_elsewhere_is_mended(file: Path, where: Paths) -> None:
    file.write_text('{\n  "a": 1\n}\n')
    install(file, where, Path("/old/sessiond"))
    install(file, where)
    assert commands(file) == OURS
    uninstall(file, where)
    assert file.read_text() == '{\n  "a": 1\n}\n'


def test_a_persons_own_timeout_stays(file: Path, where: Paths) -> None:
    install(file, where)
    file.write_text(file.read_text().replace('"timeout": 30', '"timeout": 45', 1))
    assert not install(file, where)
    assert '"timeout": 45' in file.read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n  // mine\n  "a": 1\n}', "line 2, column 3: a key in quotes is missing, '/' is there"),
        ('{"a": 1,}', "line 1, column 9: a key in quotes is missing, '}' is there"),
        ('{"a": [1,]}', "line 1, column 10: a value is missing, ']' is there"),
        ('{"a": 1\n "b": 2}', "line 2, column 2: ',' or '}' is missing"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' is there twice"),
        ('{"a": "x\ny"}', "line 1"),
        ("{\"a\": 'x'}", "a value is missing"),
        ('{"a": NaN}', "a value is missing"),
        ('{"a": 01}', "is missing"),
        ('{"a": 1} x', "something follows the end, 'x' is there"),
        ('{"a": ', "the text ends there"),
        ("[]", "it is no JSON object"),
        ('{"hooks": []}', '"hooks" is no object'),
        ('{"hooks": {"Stop": {}}}', '"hooks.Stop" is no list'),
        ('{"a": 1, \ufeff}', "line 1, column 10"),
        ("[" * 100_000, "it is nested too deep"),
    ],
)
def test_what_is_not_json_is_refused_and_left(file: Path, where: Paths, text: str, said: str) -> None:
    file.write_bytes(text.encode())
    for act in (install, uninstall):
        with pytest.raises(ConfigError) as refused:
            act(file, where)
        assert said in str(refused.value)
        assert str(file) in str(refused.value)
        assert refused.value.hint
    assert file.read_bytes() == text.encode()


def test_what_is_not_text_is_refused(file: Path, where: Paths) -> None:
    file.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ConfigError, match="not UTF-8") as refused:
        install(file, where)
    assert "UTF-8" in refused.value.hint
    file.write_bytes(b'{"hooks": []}')
    with pytest.raises(ConfigError) as refused:
        install(file, where)
    assert '{"hooks": {"Stop": [' in refused.value.hint, "what is wrong is no comma"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ConfigError, match="no regular file"):
        install(file, where)
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match="no regular file"):
        install(file, where)


def test_a_link_stays_a_link(file: Path, where: Paths, tmp_path: Path) -> None:
    dotfiles = tmp_path / "dotfiles.json"
    dotfiles.write_text('{"a": 1}')
    file.symlink_to(dotfiles)
    install(file, where)
    assert file.is_symlink()
    assert commands(dotfiles) == OURS
    uninstall(file, where)
    assert file.is_symlink()
    assert dotfiles.read_text() == '{"a": 1}'
    dotfiles.unlink()
    install(file, where)
    uninstall(file, where)
    assert file.is_symlink()
    assert not dotfiles.exists()


def test_a_change_by_another_program_is_not_lost(file: Path, where: Paths) -> None:
    file.write_text("{}")
    settings = hooks.read("user", file)
    file.write_text('{"a": 1}')
    with pytest.raises(ConfigError, match="another program"):
        hooks.install(settings, where, PROGRAM)
    assert file.read_text() == '{"a": 1}'


def test_scopes_are_the_agents(home: Path, tmp_path: Path) -> None:
    assert hooks.settings_file("user", os.environ, tmp_path) == home / ".claude" / "settings.json"
    assert hooks.settings_file("user", {"HOME": "/h"}, tmp_path) == Path("/h/.claude/settings.json")
    assert hooks.settings_file("project", os.environ, tmp_path) == tmp_path / ".claude" / "settings.json"
    assert hooks.settings_file("local", os.environ, tmp_path) == tmp_path / ".claude" / "settings.local.json"


def test_status_tells_what_is_where(home: Path, file: Path, where: Paths, tmp_path: Path) -> None:
    def status() -> dict[str, Any]:
        return hooks.status(os.environ, where, tmp_path, tmp_path / "managed.json")

    nothing = status()
    assert [scope["events"] for scope in nothing["scopes"]] == [[], [], []]
    assert (nothing["disabled_by"], nothing["last"]) == ([], None)

    program = tmp_path / "sessiond"
    install(file, where, program)
    (user, *_) = status()["scopes"]
    assert (user["events"], user["missing"], user["command_exists"]) == (list(hooks.EVENTS), [], False)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert status()["scopes"][0]["command_exists"]

    (tmp_path / "managed.json").write_text('{"allowManagedHooksOnly": true, "disableAllHooks": false}')
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / "settings.json").write_text('{"disableAllHooks": true}')
    (tmp_path / ".claude" / "settings.local.json").write_text("{")
    HookLog(where.log_dir, hook="Stop", session="claude:x")("session_copied")
    said = status()
    assert [each["setting"] for each in said["disabled_by"]] == ["disableAllHooks", "allowManagedHooksOnly"]
    assert "line 1" in said["scopes"][2]["problem"]
    assert (said["last"]["hook"], said["last"]["session"]) == ("Stop", "claude:x")


def test_the_program_is_absolute_and_can_be_run() -> None:
    program = hooks.program()
    assert program.is_absolute()
    assert os.access(program, os.X_OK)


def test_json_text_gives_places() -> None:
    text = Text.parse(' {"a" : [1, {"b": "c"}]} ')
    node = text.root.get("a")
    assert node is not None
    assert text.text[node.start : node.end] == '[1, {"b": "c"}]'
    assert [text.text[item.start : item.end] for item in node.items] == ["1", '{"b": "c"}']


def test_a_folder_that_install_made_goes_with_what_it_put_there(tmp_path: Path, where: Paths) -> None:
    for others in (False, True):
        file = hooks.settings_file("project", os.environ, tmp_path)
        assert not file.parent.exists()
        assert install(file, where)
        assert not install(file, where)
        assert install(file, where, Path("/elsewhere/sessiond"))
        if others:
            (file.parent / "CLAUDE.md").write_text("x")
        assert uninstall(file, where)
        assert file.parent.exists() == others
        assert not file.exists()


@pytest.mark.parametrize("first", [0, 1])
def test_a_folder_that_two_files_were_put_into_goes_with_the_last(
    tmp_path: Path, where: Paths, first: int
) -> None:
    files = [hooks.settings_file(scope, {}, tmp_path / "project") for scope in ("project", "local")]
    (tmp_path / "project").mkdir()
    for file in files:
        assert install(file, where)
    for file in (files[first], files[1 - first]):
        assert uninstall(file, where)
    assert list((tmp_path / "project").iterdir()) == []


def test_a_keepsake_that_is_none_is_not_believed(file: Path, where: Paths) -> None:
    file.write_text('{"a": 1}')
    for said in ("[]", "{", '{"before": 7, "after": "%s"}', '{"after": "%s"}'):
        install(file, where)
        (kept,) = (where.state_dir / "hooks").iterdir()
        kept.write_text(said.replace("%s", hashlib.sha256(file.read_bytes()).hexdigest()))
        assert uninstall(file, where)
        assert file.read_text() == '{"a": 1}'
