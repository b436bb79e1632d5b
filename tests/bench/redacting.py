"""The privacy gate: bytes a second on real transcripts, and the longest that one line takes."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Iterator
from pathlib import Path

from sessionsync.privacy.gate import Gate
from tests.bench.corpus import session_bytes
from tests.bench.figures import Figure

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "transcripts"
LINE_BYTES = 12_000_000
LEAST_MB_S = 25.0
MOST_S = 1.0
MB = 1_000_000


def measure(*, quick: bool) -> Iterator[Figure]:
    """Real transcripts where there are some, else made ones; then single lines of 12 MB."""
    files = sorted(SHARED.rglob("*.jsonl"))[: 20 if quick else None]
    data = [file.read_bytes() for file in files] or [session_bytes(1, 20 * MB)]
    gate = Gate()
    size = sum(map(len, data)) / MB
    took = _cpu_s(gate, data)
    yield Figure(
        f"redaction of {size:.0f} MB of {'real' if files else 'made'} transcripts",
        size / took,
        "MB/s a core",
        least=LEAST_MB_S,
    )
    chance = random.Random(1)
    image = base64.b64encode(chance.randbytes(LINE_BYTES * 3 // 4))
    words = b"so the token of the session was kept in a longer_name_of_it " * (LINE_BYTES // 60)
    for name, text in (("base64", image), ("words", words)):
        yield Figure(
            f"  one line of 12 MB of {name}", _cpu_s(gate, [b'{"a":"' + text + b'"}\n']), "s", most=MOST_S
        )


def _cpu_s(gate: Gate, data: list[bytes]) -> float:
    began = time.thread_time()
    for each in data:
        gate.data("a.jsonl", each)
    return time.thread_time() - began
