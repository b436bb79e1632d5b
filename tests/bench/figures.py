"""What was measured, beside what others take and what was aimed at: a table for people, JSON for machines."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from sessionsync import __version__

REMARK = "remark"


class Beside(NamedTuple):
    """What the same takes somebody else, in the figure's unit: a peer, or the machine with nothing between."""

    name: str
    value: float


class Figure(NamedTuple):
    """One number.  `most` or `least` is the goal, in its unit or, with `times`, in multiples of the peer.

    Without either it is only told.  A median of several rounds has the `lowest` and the `highest` as well.
    `limit` is what no program on this machine could beat.
    """

    name: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None
    lowest: float | None = None
    highest: float | None = None
    peer: Beside | None = None
    times: bool = False
    limit: Beside | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the peer's; None without one."""
        return self.value / self.peer.value if self.peer is not None and self.peer.value else None

    @property
    def held(self) -> bool | None:
        """Whether the goal was held; None without one, and where the peer of a ratio was not there."""
        value = self.ratio if self.times else self.value
        if value is None:
            return None
        if self.most is not None:
            return value <= self.most
        return None if self.least is None else value >= self.least

    @property
    def goal(self) -> str:
        """The goal as a person writes it."""
        sign, bound = ("≤", self.most) if self.most is not None else ("≥", self.least)
        if bound is None:
            return ""
        return f"{sign} {bound:g} {'x' if self.times else self.unit}".strip()


def of_rounds(
    name: str,
    values: Sequence[float],
    unit: str,
    *,
    most: float | None = None,
    least: float | None = None,
    peer: Beside | None = None,
    times: bool = False,
    limit: Beside | None = None,
) -> Figure:
    """The median of what several rounds gave, with the lowest and the highest."""
    return Figure(
        name,
        median(values),
        unit,
        most=most,
        least=least,
        lowest=min(values),
        highest=max(values),
        peer=peer,
        times=times,
        limit=limit,
    )


def best(peers: Iterable[tuple[str, Sequence[float]]]) -> Beside | None:
    """The peer whose median is the lowest; None where none is installed."""
    medians = [Beside(name, median(values)) for name, values in peers if values]
    return min(medians, key=lambda peer: peer.value, default=None)


def said(remark: str) -> Figure:
    """A line of words in the table."""
    return Figure(remark, 0.0, REMARK)


def quantile(values: Iterable[float], part: float) -> float:
    """The value below which so large a part of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def machine() -> str:
    """What the numbers were measured on, in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return (
        f"{platform.system()} {platform.release()}, {os.cpu_count()} x {model}, {memory:.0f} GiB,"
        f" load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, sessiond {__version__}"
    )


COLUMNS = ("figure", "sessiond", "lowest to highest", "best peer", "limit", "ratio", "goal", "")


def cells(figure: Figure) -> tuple[str, ...]:
    """One row of the table, a text a column."""
    spread = (
        f"{number(figure.lowest)} to {number(figure.highest)}"
        if figure.lowest is not None and figure.highest is not None
        else ""
    )
    return (
        figure.name.strip(),
        f"{number(figure.value)} {figure.unit}".strip(),
        spread,
        _beside(figure.peer),
        _beside(figure.limit),
        f"{figure.ratio:.2f} x" if figure.ratio is not None else "",
        figure.goal,
        {None: "", True: "held", False: "**missed**"}[figure.held],
    )


def row(figure: Figure) -> str:
    """A line of the table as it comes, for a terminal."""
    if figure.unit == REMARK:
        return f" {figure.name}:"
    name, value, spread, peer, limit, ratio, goal, verdict = cells(figure)
    rest = [
        f"({spread})" if spread else "",
        *(f"{what} {text};" for what, text in (("peer", peer), ("limit", limit)) if text),
        *(text for text in (ratio, goal) if text),
        verdict.strip("*").upper() if verdict.startswith("*") else verdict,
    ]
    return f"  {name:<62} {value:>16}  {' '.join(filter(None, rest))}".rstrip()


def _beside(beside: Beside | None) -> str:
    return f"{beside.name} {number(beside.value)}" if beside is not None else ""


def number(value: float) -> str:
    """As many digits as say something."""
    return f"{value:,.{2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0}f}"


def summary(figures: Sequence[Figure]) -> str:
    """How many goals were held, and how many missed."""
    missed = sum(figure.held is False for figure in figures)
    return f"{sum(figure.held is True for figure in figures)} goals held, {missed} missed"


def write(folder: Path, figures: Sequence[Figure]) -> None:
    """Write everything as `bench.json`, and as a table for people, `bench.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        "command": [sys.executable, "-m", "tests.bench", *sys.argv[1:]],
        "machine": machine(),
        "figures": [_data(figure) for figure in figures],
    }
    text = json.dumps(found, indent=2, ensure_ascii=False)
    (folder / "bench.json").write_text(f"{text}\n", encoding="utf-8")
    (folder / "bench.md").write_text("\n".join(_markdown(figures)) + "\n", encoding="utf-8")


def _data(figure: Figure) -> dict[str, object]:
    beside = {
        name: each._asdict() if each is not None else None
        for name, each in (("peer", figure.peer), ("limit", figure.limit))
    }
    return figure._asdict() | beside | {"ratio": figure.ratio, "held": figure.held}


def _markdown(figures: Sequence[Figure]) -> Iterable[str]:
    yield f"`python -m tests.bench {' '.join(sys.argv[1:])}`".replace(" `", "`")
    yield f"on {machine()}: {summary(figures)}."
    yield ""
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|{'---|' * len(COLUMNS)}"
    for figure in figures:
        row = (f"*{figure.name}*", *[""] * 7) if figure.unit == REMARK else cells(figure)
        yield f"| {' | '.join(row)} |"
