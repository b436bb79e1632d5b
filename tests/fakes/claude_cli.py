"""A stand-in for the `claude` program as the Agent SDK drives it: JSON lines in and out, a transcript beside.

It keeps its transcript where the real one does, says each line of it to the SDK (`--session-mirror`), and
answers with how often it was asked in this conversation, which it knows from the transcript alone.
"""

import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

NOW = "2026-03-01T09:00:00.000Z"


def main() -> int:
    if "-v" in sys.argv:
        print("2.1.240 (Claude Code)")
        return 0
    given = dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)
    session = given.get("--resume") or given.get("--session-id") or str(uuid.uuid4())
    here = os.path.realpath(".")
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in here)
    file = Path(os.environ["CLAUDE_CONFIG_DIR"], "projects", name, f"{session}.jsonl")
    if "--resume" in given and not file.exists():
        print(f"No conversation found with session ID: {session}", file=sys.stderr)
        return 1
    for line in sys.stdin:
        told = json.loads(line)
        if told["type"] == "control_request":
            response = {"subtype": "success", "request_id": told["request_id"], "response": {}}
            say({"type": "control_response", "response": response})
        elif told["type"] == "user":
            turn(file, session, here, told["message"]["content"])
    return 0


def turn(file: Path, session: str, here: str, prompt: Any) -> None:
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    asked = 1 + sum(row["type"] == "user" for row in known)
    answer = {"role": "assistant", "content": [{"type": "text", "text": f"You asked {asked} times."}]}
    parent = next((row["uuid"] for row in reversed(known) if "uuid" in row), None)
    rows: list[dict[str, Any]] = [{"type": "mode", "mode": "default", "sessionId": session}]
    for kind, message in (("user", {"role": "user", "content": prompt}), ("assistant", answer)):
        place = {"sessionId": session, "cwd": here, "version": "2.1.240", "timestamp": NOW}
        rows.append(
            {"type": kind, "uuid": str(uuid.uuid4()), "parentUuid": parent, **place, "message": message}
        )
        parent = rows[-1]["uuid"]
    file.parent.mkdir(parents=True, exist_ok=True)
    for part in (rows[:1], rows[1:]):
        with file.open("a") as transcript:
            transcript.writelines(json.dumps(row) + "\n" for row in part)
        say({"type": "transcript_mirror", "filePath": str(file), "entries": part})
    say(
        {
            "type": "assistant",
            "message": {**answer, "model": "none"},
            "parent_tool_use_id": None,
            "session_id": session,
        }
    )
    numbers = {"duration_ms": 1, "duration_api_ms": 1, "num_turns": 1, "total_cost_usd": 0.0}
    say({"type": "result", "subtype": "success", "is_error": False, "session_id": session, **numbers})


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    sys.exit(main())
