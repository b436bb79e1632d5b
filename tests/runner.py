"""A stand-in for a GitHub runner: runs the steps of `action.yml` with bash, in a home of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.fakes.agent import Agent
from tests.machine import repository

Json = dict[str, Any]

ROOT = Path(__file__).parents[1]
ACTION: Json = yaml.safe_load((ROOT / "action.yml").read_text())
REPO = "o/r"


class Ran:
    """What a use of the action left behind."""

    def __init__(self, code: int, said: str, outputs: dict[str, str], summary: str) -> None:
        self.code, self.said, self.outputs, self.summary = code, said, outputs, summary

    @property
    def warnings(self) -> list[str]:
        """Its warning annotations."""
        return [line for line in self.said.splitlines() if line.startswith("::warning")]


class Runner:
    """A fresh runner with a checkout, in a job that an event has started.

    The action is not installed anew unless `installs`: what the tests run in stands in for its venv.
    """

    def __init__(
        self,
        folder: Path,
        *,
        api_url: str,
        token: str,
        event: Json,
        name: str = "pull_request",
        checkout: str = "work/r/r",
        branch: str = "main",
        ref: str = "refs/heads/main",
        installs: bool = False,
    ) -> None:
        self.home, self.temp, self.checkout = folder / "home", folder / "temp", folder / checkout
        for made in (self.home, self.temp, self.checkout):
            made.mkdir(parents=True)
        repository(self.checkout, f"https://github.com/{REPO}.git")
        self.checkout = self.checkout.resolve()
        if not installs:
            (self.temp / "sessiond-venv").symlink_to(sys.prefix)
        (folder / "event.json").write_text(json.dumps(event))
        self.github = {
            "token": token,
            "repository": REPO,
            "api_url": api_url,
            "workspace": str(self.checkout),
        }
        self.environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))},
            "HOME": str(self.home),
            "SESSIOND_HOME": str(folder / "s"),
            "CLAUDE_CONFIG_DIR": str(self.home / ".claude"),
            "SESSIOND_HTTP_LISTEN": "127.0.0.1:0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_API_URL": api_url,
            "GITHUB_EVENT_NAME": name,
            "GITHUB_EVENT_PATH": str(folder / "event.json"),
            "GITHUB_HEAD_REF": branch if name == "pull_request" else "",
            "GITHUB_REF": ref,
            "GITHUB_REF_NAME": branch,
            "GITHUB_REPOSITORY": REPO,
            "GITHUB_RUN_ID": "77",
            "GITHUB_SHA": "0" * 40,
            "RUNNER_TEMP": str(self.temp),
        }
        self._uses = 0

    def use(self, mode: str, **inputs: str) -> Ran:
        """`uses: ./` with these inputs."""
        self._uses += 1
        files = {
            name: self.temp / f"{name}-{self._uses}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
        }
        for file in files.values():
            file.touch()
        given = {"mode": mode} | {name.replace("_", "-"): value for name, value in inputs.items()}
        assert given.keys() <= ACTION["inputs"].keys()
        values = {
            f"inputs.{name}": given.get(name, self._value(str(said.get("default", "")), {}))
            for name, said in ACTION["inputs"].items()
        }
        (step,) = ACTION["runs"]["steps"]
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            env=self.environ
            | {name: str(file) for name, file in files.items()}
            | {name: self._value(text, values) for name, text in step["env"].items()},
            cwd=self._value(step["working-directory"], values),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        said = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
        outputs = {
            name: self._value(
                output["value"], {f"steps.{step['id']}.outputs.{each}": value for each, value in said.items()}
            )
            for name, output in ACTION["outputs"].items()
        }
        return Ran(done.returncode, done.stdout, outputs, files["GITHUB_STEP_SUMMARY"].read_text())

    def transcript(self, session: str) -> Path:
        """Where the agent keeps a session of the checkout."""
        name = re.sub("[^A-Za-z0-9]", "-", str(self.checkout))
        return self.home / ".claude" / "projects" / name / f"{session}.jsonl"

    def write(self, agent: Agent) -> Path:
        """What an agent has said so far, where it would write it."""
        path = self.transcript(agent.session)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(agent.data)
        return path

    def _value(self, text: str, values: dict[str, str]) -> str:
        known = {f"github.{name}": value for name, value in self.github.items()} | values
        return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda found: known.get(found[1], ""), text)


def about_issue(number: int) -> Json:
    """An event of a comment on an issue."""
    return {"issue": {"number": number}, "repository": {"full_name": REPO}}


def about_pull(number: int, *, head: str = REPO) -> Json:
    """An event of a pull request, from the repository itself or a fork."""
    pull = {
        "number": number,
        "head": {"repo": {"full_name": head}},
        "base": {"repo": {"full_name": REPO}},
    }
    return {"pull_request": pull, "repository": {"full_name": REPO}}
