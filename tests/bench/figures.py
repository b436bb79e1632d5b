"""What was measured, beside what was aimed at: as a table for people, as JSON for machines."""

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


class Figure(NamedTuple):
    """One number.  `most` or `least` is the goal; without either it is only told.

    A median of several rounds has the `lowest` and the `highest` of them as well.
    """

    name: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None
    lowest: float | None = None
    highest: float | None = None

    @property
    def held(self) -> bool | None:
        """Whether the goal was held; None without one."""
        if self.most is not None:
            return self.value <= self.most
        return None if self.least is None else self.value >= self.least

    @property
    def goal(self) -> str:
        """The goal as a person writes it."""
        if self.most is not None:
            return f"≤ {self.most:g} {self.unit}"
        return "" if self.least is None else f"≥ {self.least:g} {self.unit}"


def of_rounds(name: str, values: Sequence[float], unit: str, *, most: float | None = None) -> Figure:
    """The median of what several rounds gave, with the lowest and the highest."""
    return Figure(name, median(values), unit, most=most, lowest=min(values), highest=max(values))


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


def row(figure: Figure) -> str:
    """A line of the table."""
    if figure.unit == REMARK:
        return f" {figure.name}:"
    verdict = {None: "", True: "held", False: "MISSED"}[figure.held]
    spread = (
        f"({_number(figure.lowest)} to {_number(figure.highest)})"
        if figure.lowest is not None and figure.highest is not None
        else figure.goal
    )
    return f"  {figure.name:<58} {_number(figure.value):>10} {figure.unit:<7} {spread:<14} {verdict}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.{2 if value < 10 else 1 if value < 1000 else 0}f}"


def write(file: Path, figures: Sequence[Figure]) -> None:
    """Write everything as JSON."""
    found = {
        "command": [sys.executable, "-m", "tests.bench", *sys.argv[1:]],
        "machine": machine(),
        "figures": [figure._asdict() | {"held": figure.held} for figure in figures],
    }
    file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
