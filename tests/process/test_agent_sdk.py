"""A program of the Agent SDK in CI: its session is stored, lost with the runner, restored, and gone on with."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from sessionsync.conversations import TranscriptStore
from tests.fakes import claude_cli
from tests.fakes.agent import SESSION
from tests.fakes.github import FakeGitHub
from tests.machine import Machine, Make

sdk = pytest.importorskip("claude_agent_sdk")


@pytest.fixture
def make(make: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    def machine(name: str, **options: Any) -> Machine:
        made = make(name, **options)
        monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(made.home.agent))
        return made

    return machine


@pytest.fixture
def cli(tmp_path: Path) -> Path:
    """The program that the SDK starts in the agent's place."""
    path = tmp_path / "claude"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {claude_cli.__file__} "$@"\n')
    path.chmod(0o755)
    return path


def answered(machine: Machine, cli: Path, prompt: str, **options: Any) -> str:
    """What the program got as its answer."""

    async def program() -> str:
        wanted = sdk.ClaudeAgentOptions(
            cli_path=cli, cwd=machine.home.project, session_store=TranscriptStore(), **options
        )
        texts = []
        async for message in sdk.query(prompt=prompt, options=wanted):
            assert not isinstance(message, sdk.MirrorErrorMessage), message
            if isinstance(message, sdk.AssistantMessage):
                texts += [block.text for block in message.content]
        return " ".join(texts)

    return anyio.run(program)


def rows(machine: Machine) -> list[dict[str, Any]]:
    (file,) = machine.home.agent.glob(f"projects/*/{SESSION}.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_session_goes_on_on_the_next_runner(make: Make, gh: FakeGitHub, cli: Path) -> None:
    one = make("one", gh=gh)
    assert answered(one, cli, "Is it safe?", session_id=SESSION) == "You asked 1 times."
    # the agent has written it there itself, and the store has doubled nothing
    assert [row["type"] for row in rows(one)] == ["mode", "user", "assistant"]
    one.settle()
    one.rig.capture.include_history(one.rig.now)
    one.push()
    two = make("two", gh=gh, project="elsewhere/app")  # knows nothing but the repository
    done = two("restore", SESSION, "--yes", "--json")
    assert (done.code, done.json["from"]) == (0, "github"), done.err
    for asked in (2, 3):  # the agent goes on in a folder that is thrown away: only the store has it
        assert answered(two, cli, "And now?", resume=SESSION) == f"You asked {asked} times."
        assert [row["type"] for row in rows(two)] == ["mode", "user", "assistant"] * asked
    two.settle()
    assert two.rig.session().summary.prompts == 3
    uuids = [row["uuid"] for row in rows(two) if "uuid" in row]
    assert len({*uuids}) == len(uuids) == 6
    assert [row["parentUuid"] for row in rows(two) if "uuid" in row] == [None, *uuids[:-1]]
    assert answered(two, cli, "And again?", continue_conversation=True) == "You asked 4 times."


def test_without_what_was_stored_there_is_nothing_to_go_on_with(make: Make, cli: Path) -> None:
    with pytest.raises(Exception, match=r"exit code 1|No conversation"):
        answered(make("one"), cli, "Is it safe?", resume=SESSION)
