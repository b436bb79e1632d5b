"""A program of the Agent SDK in CI: its session is stored, lost with the runner, restored, and gone on with."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from sessionsync.conversations import TranscriptStore
from tests.fakes import claude_cli
from tests.fakes.agent import SESSION
from tests.machine import Machine

sdk = pytest.importorskip("claude_agent_sdk")


@pytest.fixture
def machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Machine]:
    made = Machine(tmp_path / "one", monkeypatch, capsys)
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(made.home.agent))
    yield made
    made.close()


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


def test_a_session_goes_on_on_the_next_runner(machine: Machine, cli: Path) -> None:
    assert answered(machine, cli, "Is it safe?", session_id=SESSION) == "You asked 1 times."
    # the agent has written it there itself, and the store has doubled nothing
    assert [row["type"] for row in rows(machine)] == ["mode", "user", "assistant"]
    machine.settle()
    shutil.rmtree(machine.home.agent / "projects")  # the runner ends
    machine.rig.scan()
    assert machine("restore", SESSION).code == 0
    for asked in (2, 3):  # the agent goes on in a folder that is thrown away: only the store has it
        assert answered(machine, cli, "And now?", resume=SESSION) == f"You asked {asked} times."
        assert [row["type"] for row in rows(machine)] == ["mode", "user", "assistant"] * asked
    machine.settle()
    assert machine.rig.session().summary.prompts == 3
    uuids = [row["uuid"] for row in rows(machine) if "uuid" in row]
    assert len({*uuids}) == len(uuids) == 6
    parents = [row["parentUuid"] for row in rows(machine) if "uuid" in row]
    assert parents == [None, *uuids[:-1]]
    assert answered(machine, cli, "And again?", continue_conversation=True) == "You asked 4 times."


def test_without_what_was_stored_there_is_nothing_to_go_on_with(machine: Machine, cli: Path) -> None:
    with pytest.raises(Exception, match=r"exit code 1|No conversation"):
        answered(machine, cli, "Is it safe?", resume=SESSION)
