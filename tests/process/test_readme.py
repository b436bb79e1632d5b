"""What the README says can be typed: every command is one, and each of its examples runs, in the README's order.

Those of the service run where there is a service manager, in under_systemd.py.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest

from sessiond.cli.commands import sessiond
from sessiond.cli.overview import COMMANDS
from sessionsync.config import load
from tests import readme
from tests.conftest import ROOT
from tests.process.user import User
from tests.rig import append, line
from tests.sitting import sit

# What stands for something of the reader's own.
STANDS_FOR = {
    "N": "12",
    "TOPIC": "cart",
    "WORDS": "cart",
    "EVENT": "Stop",
    "DIR": "/tmp",
    "FILE": str(ROOT / "README.md"),
    "…": "both",
}
SESSION = "5f0c2f6e-9a4b-4c1d-8e57-1b7a90d3c201"
SAID = "The proxy closes idle connections after 60 s. Decision: retry an upload at most 3 times."
# Who has it installed already, and whose manager is not the user's own.
ELSEWHERE = ("pipx install .", "sessiond service ")


def parsed(command: str) -> click.Context:
    """As the command line would take it; nothing is done."""
    words = re.sub(r"\[([^]]*)\]", r"\1", command)
    arguments = [STANDS_FOR.get(word, word) for word in shlex.split(words)[1:]]
    group: click.Command = sessiond
    name, context = "sessiond", None
    while True:
        context = group.make_context(name, arguments, parent=context)
        if not isinstance(group, click.Group) or not (rest := [*context._protected_args, *context.args]):
            return context
        found, below, arguments = group.resolve_command(context, rest)
        assert below is not None
        assert found is not None
        name, group = found, below


@pytest.mark.parametrize("command", readme.named())
def test_what_a_sentence_names_is_a_command(command: str) -> None:
    # without what it takes a sentence may name it, never with what it does not know
    with suppress(click.MissingParameter):
        parsed(command)


def test_no_command_is_left_out_of_the_table() -> None:
    known = {" ".join(command.split()[1:3]) for command in readme.named()}
    missing = []
    for name in COMMANDS[""]:
        paths = [f"{name} {each}" for each in COMMANDS.get(name, ())] or [name]
        missing += [path for path in paths if not any(f"{each} ".startswith(f"{path} ") for each in known)]
    assert missing == []


def test_the_settings_it_shows_are_settings(tmp_path: Path) -> None:
    shown = readme.blocks("toml")
    assert len(shown) > 2
    for number, block in enumerate(shown):
        file = tmp_path / f"{number}.toml"
        file.write_text(block)
        load({"HOME": str(tmp_path)}, file)


def test_the_targets_it_names_are_in_the_makefile() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`make ([a-z-]+)", readme.TEXT)) <= set(targets)


def test_its_examples_run_as_they_stand(tmp_path: Path) -> None:
    """In one life of a new user, who says what the examples look for."""
    with User(tmp_path) as user:
        tools = tmp_path / "bin"  # without any service manager of this machine
        tools.mkdir()
        for name in ("git", "sh"):
            (tools / name).symlink_to(str(shutil.which(name)))
        (tools / "sessiond").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sessiond "$@"\n')
        (tools / "sessiond").chmod(0o755)
        user.before = ()
        user.environ |= {"PATH": str(tools)}
        path = user.folder_of_project / f"{SESSION}.jsonl"
        append(path, line("user", "why?", user.project), line("assistant", SAID, user.project))
        ran = [command for command in readme.typed() if not command.startswith(ELSEWHERE)]
        assert len(ran) > 10
        for command in ran:
            typed(user, command.replace(" ID ", f" {SESSION} "))


def typed(user: User, command: str) -> None:
    """Type a command; the first that needs a daemon finds one."""
    if command == "sessiond init":
        # without a repository, hooks and a service: for those there is a test of its own
        answers = ("none", str(user.folder / "archive.git"), "n", "n", "")
        code, screen = sit(["/bin/sh", "-c", command], *answers, environ=user.environ, cwd=user.project)
        assert code == 0, screen
        user.start()
        user.save(user.folder_of_project / f"{SESSION}.jsonl")
        return
    if command == "sessiond run":
        user.stop()
        user.start()
        return
    if command.startswith("sessiond restore"):
        (user.folder_of_project / f"{SESSION}.jsonl").unlink()  # which is why
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env=user.environ,
        cwd=user.project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    said = done.stdout + done.stderr
    if command.startswith("sessiond ctl resolve"):  # two versions have a test of their own
        assert "There is no conflict about" in said
    else:
        assert done.returncode == 0, f"{command}: {said}"
    if "search" in command or command.startswith("sessiond restore"):
        assert SESSION[:8] in said
