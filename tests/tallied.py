"""An independent count of transcripts: plain `json`, plain dictionaries, nothing of the program's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

KINDS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_creation": "cache_creation_input_tokens",
}


def objects(text: str) -> Iterator[dict[str, Any]]:
    """Every object in a file of JSON lines; of a line that is glued from two, both."""
    decoder = json.JSONDecoder()
    for line in text.split("\n"):
        at = 0
        while at < len(line):
            try:
                value, at = decoder.raw_decode(line, at)
            except ValueError:
                break
            if isinstance(value, dict):
                yield value
            at += len(line[at:]) - len(line[at:].lstrip())


def tokens(files: Iterable[Path]) -> dict[str, int]:
    """Tokens of every answer, once per (message id, request id), the largest that any line says."""
    most: dict[tuple[Any, Any], dict[str, int]] = {}
    for file in files:
        for row in objects(file.read_text(errors="replace")):
            inner = (row.get("data") or {}).get("message") if row.get("type") == "progress" else None
            said = inner if isinstance(inner, dict) else row
            message = said.get("message")
            if said.get("type") != "assistant" or not isinstance(message, dict) or "usage" not in message:
                continue
            if message.get("model") == "<synthetic>":
                continue
            known = most.setdefault((message.get("id"), said.get("requestId")), dict.fromkeys(KINDS, 0))
            for kind, name in KINDS.items():
                known[kind] = max(known[kind], message["usage"].get(name) or 0)
    return {kind: sum(answer[kind] for answer in most.values()) for kind in KINDS}


def waits(file: Path) -> list[float]:
    """Seconds from each prompt of a transcript without copies and interruptions to the first answer line."""
    found: list[float] = []
    asked: float | None = None
    for row in objects(file.read_text(errors="replace")):
        if row.get("isSidechain"):
            continue
        content = (row.get("message") or {}).get("content")
        if row.get("type") == "user" and isinstance(content, str) and not row.get("isMeta"):
            asked = datetime.fromisoformat(row["timestamp"]).timestamp()
        elif row.get("type") == "assistant" and asked is not None:
            found.append(datetime.fromisoformat(row["timestamp"]).timestamp() - asked)
            asked = None
    return found
