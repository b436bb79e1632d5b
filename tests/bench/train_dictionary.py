"""Train the dictionary that segments are compressed with: `python -m tests.bench.train_dictionary`.

It learns from the made-up corpus alone, in pieces as the vault cuts them, and comes out the same each
time.  A vault keeps the dictionaries its frames need, but a program with another dictionary under the
same id could not read it: whoever changes what comes out here gives it the next id and ships both.
"""

from __future__ import annotations

import sys

import zstandard

from sessionsync.vault.pack import DICTIONARY, LEVEL
from tests.bench.corpus import SESSIONS_OF_A_PROJECT, session_bytes, structured_files

# From 32768 on ids are free for everybody (RFC 8878, section 5).
ID = 0x5E55_0001
SIZE_BYTES = 64 * 1024
# Projects that nothing else uses, so that what is measured on others is true.
FIRST_SEED = 1_000_000
SESSIONS = 60
SESSION_BYTES = 160 * 1024
PIECE_BYTES = 8 * 1024


def train() -> bytes:
    """The dictionary."""
    seeds = range(FIRST_SEED, FIRST_SEED + SESSIONS * SESSIONS_OF_A_PROJECT, SESSIONS_OF_A_PROJECT)
    sessions = [session_bytes(seed, SESSION_BYTES) for seed in seeds]
    pieces: list[bytes | bytearray | memoryview] = []
    pieces += [data[n : n + PIECE_BYTES] for data in sessions for n in range(0, len(data), PIECE_BYTES)]
    pieces += [data for seed in seeds for data in structured_files(seed).values()]
    return zstandard.train_dictionary(SIZE_BYTES, pieces, dict_id=ID, level=LEVEL).as_bytes()


if __name__ == "__main__":
    DICTIONARY.write_bytes(train())
    sys.stdout.write(f"{DICTIONARY}: {DICTIONARY.stat().st_size} bytes, id {ID}\n")
