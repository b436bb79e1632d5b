"""However the appended bytes are split over captures, the checkpoints are the same, to the byte."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sessionsync.model import Summary
from sessionsync.vault import Root
from tests.fakes.agent import SESSION, Agent
from tests.faults.machine import quick_folder
from tests.rig import Home, Rig

# What an agent, a crash or a careless restore leaves: whole lines, compactions, lines glued together,
# torn ones that another line follows or is glued to, blank ones, and zeros where a block was never written.
KINDS = ("prompt", "say", "compact", "glue", "tear", "tear and glue", "blank", "zeros")
# Where a line may be cut is counted from its end: the brace, the newline and what is around them matter most.
NEAR_AN_END = st.tuples(st.integers(0, 12), st.integers(-3, 3))


class Seen(NamedTuple):
    """What a split must not change."""

    compactions: list[tuple[int, str]]
    final: tuple[int, str]
    summary: Summary


def transcript(kinds: list[str], cwd: str, *, ends: bool) -> bytes:
    agent = Agent(cwd=cwd)
    written = b""
    for number, kind in enumerate(kinds):
        agent.lines.clear()
        match kind:
            case "prompt":
                agent.prompt(f"question {number}")
            case "say":
                agent.say(f"answer {number} " * 20)
            case "blank":
                agent.lines.append(b" \n")
            case "zeros":
                agent.lines.append(b"\0" * 40 + b"\n")
            case _:
                agent.compact()
        line = agent.data
        if kind == "glue":
            line = line.removesuffix(b"\n")
        elif kind.startswith("tear"):
            line = line[: len(line) // 2] + (b"" if "glue" in kind else b"\n")
        written += line
    return written if ends else written.removesuffix(b"\n")


def seen(pieces: list[bytes], folder: Path) -> Seen:
    """The checkpoints of a transcript that came in these pieces."""
    home = Home(folder)
    rig = Rig(home)
    path = home.transcript(SESSION)
    for piece in pieces:
        with path.open("ab") as file:
            file.write(piece)
        rig.now += 0.5
        os.utime(path, (rig.now, rig.now))
        rig.scan()
    rig.wait(rig.config.sources.quiet_seconds + 1)
    session = rig.session()
    vault = rig.vault.open(session.project or "", session.stored_as)
    states = [(snapshot, vault.files(snapshot.id)[path.name]) for snapshot in vault.snapshots()]
    rig.close()
    return Seen(
        [(file.length, file.root) for snapshot, file in states if snapshot.trigger == "compaction"],
        (states[-1][1].length, states[-1][1].root),
        session.summary,
    )


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=12),
    st.lists(NEAR_AN_END, max_size=8),
    st.booleans(),
)
@example(["prompt", "compact", "prompt"], [(2, -1)], True)  # between a boundary and its newline
@example(["prompt", "glue", "prompt"], [(2, 0)], True)  # between a boundary and what is glued to it
@example(["prompt", "compact"], [(2, -1)], False)
def test_any_split_gives_the_same_checkpoints(
    kinds: list[str], cuts: list[tuple[int, int]], ends: bool
) -> None:
    with tempfile.TemporaryDirectory(prefix="s-", dir=quick_folder(Path(tempfile.gettempdir()))) as name:
        folder = Path(name)
        cwd = str(folder / "work")
        data = transcript(kinds, cwd, ends=ends)
        lengths = [len(transcript(kinds[:n], cwd, ends=True)) for n in range(len(kinds) + 1)]
        places = {lengths[number % len(lengths)] + off for number, off in cuts}
        bounds = [0, *sorted(place for place in places if 0 < place < len(data)), len(data)]
        pieces = [data[a:b] for a, b in itertools.pairwise(bounds)]
        whole, split = seen([data], folder / "whole"), seen(pieces, folder / "split")
    root = Root()
    root.update(data)
    assert whole.final == split.final == (len(data), root.hexdigest())
    assert split.compactions == whole.compactions
    assert split.summary == whole.summary
