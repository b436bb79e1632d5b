"""A step of the GitHub Action (`action.yml`): `python -m sessiond.action restore|save`.

It never fails the job: what goes wrong is an annotation, and the exit code is 0.  Whatever a session or
GitHub says is kept to one line, so that none of it is read as a workflow command.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sessiond.ci import ci_context, is_from_fork

Json = dict[str, Any]

TIMEOUT_S = 120.0
# Beyond its own limit a command gets so long to end.
GRACE_S = 30.0
BUSY, NOT_THERE = 75, 4
BUSY_WAIT_S = 1.0
# What the first step tells the last, which writes the one line of the summary.
TOLD = "sessiond-resumed.json"
SHOWN_CHARACTERS = 400


class Step:
    """One step of a job: its inputs and files, by the environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        inputs = {name: environ.get(f"INPUT_{name}", "").strip() for name in ("ISSUE", "PR", "TIMEOUT")}
        context = ci_context(environ)
        self.issue = _positive(inputs["ISSUE"]) or context.issue
        self.pull = _positive(inputs["PR"]) or context.pr
        try:
            self.timeout_s = max(1.0, min(float(inputs["TIMEOUT"] or TIMEOUT_S), 21_600.0))
        except ValueError:
            self.timeout_s = TIMEOUT_S
            self.annotate("warning", f"timeout is no number of seconds: {inputs['TIMEOUT']}")
        self._told = Path(environ.get("RUNNER_TEMP") or "/tmp") / TOLD  # noqa: S108 - no runner is without

    # --- the two steps

    def restore(self) -> None:
        """Put the newest session about the job's pull request or issue back, else the project's newest."""
        began = time.monotonic()
        wishes = [["--for-pr", str(self.pull)]] if self.pull else []
        wishes += [["--for-issue", str(self.issue)]] if self.issue else []
        self._told.unlink(missing_ok=True)
        for wish in wishes or [["--latest"]]:
            code, answer, said = self._sessiond("restore", *wish, "--yes", "--json")
            if code != NOT_THERE:
                break
        took_s = time.monotonic() - began
        self.put(resumed=str("id" in answer).lower(), seconds=f"{took_s:.1f}")
        if "id" not in answer:
            self.annotate("notice" if code == NOT_THERE else "warning", f"Nothing is resumed. {said}")
            return
        line = f"resumed {_code(answer['id'])} from {_line(answer['from'])} in {took_s:.1f} s"
        line += f" ({answer['size'] / 1e6:.1f} MB{'' if answer['exact'] else ', redacted'})"
        self._told.write_text(json.dumps({"id": answer["id"], "line": line}))
        has_id = answer["source"] == "claude"
        self.put(
            session_id=answer["id"] if has_id else "",
            claude_args=f"--resume {answer['id']}" if has_id else "",
            source=answer["from"],
            path=answer["path"],
        )
        self.annotate("notice" if code == 0 else "warning", f"{line}. {said}".strip())

    def save(self) -> None:
        """Send what the job's sessions have become, and write the summary."""
        until = time.monotonic() + self.timeout_s
        while True:
            left_s = max(1.0, until - time.monotonic())
            code, counts, said = self._sessiond("sync", "--once", "--timeout", f"{left_s:.0f}", "--json")
            if code != BUSY or time.monotonic() + BUSY_WAIT_S > until:
                break
            time.sleep(BUSY_WAIT_S)  # another job of this machine is at it
        reason = " ".join(_line(counts.get(key, "")) for key in ("reason", "hint")).strip() or said
        is_saved = code == 0 and not counts.get("reason")
        where = self._where()
        self.put(saved=str(is_saved).lower())
        if is_saved:
            then = f"saved to {where}" if where else "nothing to save"
        elif is_from_fork(self._environ):
            then = "not saved: this pull request comes from a fork, whose token may only read"
        else:
            then = f"not all is saved{f', but what is there is in {where}' if where else ''}: {reason}"
        if not is_saved:
            self.annotate("warning", f"{then[:1].upper()}{then[1:]}")
        self._summarise(f"{self._resumed()}; {then}")

    def _resumed(self) -> str:
        try:
            return str(json.loads(self._told.read_text())["line"])
        except (OSError, ValueError, KeyError, TypeError):
            return "nothing resumed"

    def _where(self) -> str:
        """Where the job's newest session is by now, as the state tells."""
        _, listed, _ = self._sessiond("list", "--json")
        sessions = [each for each in listed.get("sessions", []) if each.get("source") == "claude"]
        if not sessions:
            return ""
        newest = sessions[0]
        places = ["a comment"] if newest.get("last_pushed_at") else []
        places += ["the archive"] if "archive" in newest.get("copies", []) else []
        return f"{' and '.join(places)} ({_code(newest['id'])})" if places else ""

    # --- what a runner understands

    def put(self, **outputs: str) -> None:
        """Outputs of the step."""
        self._append(
            "GITHUB_OUTPUT", [f"{name.replace('_', '-')}={_line(outputs[name])}" for name in outputs]
        )

    def annotate(self, level: str, text: str) -> None:
        """An annotation of the job."""
        text = _line(text).replace("%", "%25")
        sys.stdout.write(f"::{level} title=sessiond::{text}\n")
        sys.stdout.flush()

    def _summarise(self, line: str) -> None:
        self._append("GITHUB_STEP_SUMMARY", [f"**sessiond** {_line(line)}"])

    def _append(self, variable: str, lines: list[str]) -> None:
        file = self._environ.get(variable)
        if not file:
            return
        try:
            with Path(file).open("a", encoding="utf-8") as stream:
                stream.writelines(f"{line}\n" for line in lines)
        except OSError as problem:
            self.annotate("warning", f"{variable} cannot be written: {problem.strerror}")

    def _sessiond(self, *arguments: str) -> tuple[int, Json, str]:
        """Its exit code, its answer, and what else it said."""
        environ = {name: value for name, value in self._environ.items() if not name.startswith("INPUT_")}
        try:
            done = subprocess.run(
                [sys.executable, "-m", "sessiond", *arguments],
                env=environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.timeout_s + GRACE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return 1, {}, f"sessiond {arguments[0]} did not end within {self.timeout_s + GRACE_S:.0f} s."
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            answer = {}
        return (
            done.returncode,
            answer if isinstance(answer, dict) else {},
            _line(done.stderr.decode(errors="replace")),
        )


def _line(value: object) -> str:
    """A text as one line without anything that steers a terminal or a runner."""
    text = " ".join(str(value).split())
    text = "".join(each for each in text if each.isprintable())
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _code(value: object) -> str:
    return f"`{_line(value).replace('`', '')}`"


def _positive(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0


def main(mode: str) -> int:
    """Do one step; the exit code, which is always 0."""
    step = Step(os.environ)
    try:
        step.restore() if mode == "restore" else step.save()
    except Exception as problem:  # noqa: BLE001 - the job goes on whatever happens to its context
        step.annotate("warning", f"{mode} failed: {type(problem).__name__}: {problem}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
