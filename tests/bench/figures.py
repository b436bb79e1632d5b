"""What was measured, beside what was aimed at: as a table for people, as JSON for machines."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sessionsync import __version__


class Figure(NamedTuple):
    """One number.  `most` or `least` is the goal; without either it is only told."""

    name: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None

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
    verdict = {None: "", True: "held", False: "MISSED"}[figure.held]
    number = f"{figure.value:,.{2 if figure.value < 10 else 1 if figure.value < 1000 else 0}f}"
    return f"  {figure.name:<58} {number:>10} {figure.unit:<7} {figure.goal:<14} {verdict}".rstrip()


def write(file: Path, figures: Sequence[Figure]) -> None:
    """Write everything as JSON."""
    found = {
        "command": [sys.executable, "-m", "tests.bench", *sys.argv[1:]],
        "machine": machine(),
        "figures": [figure._asdict() | {"held": figure.held} for figure in figures],
    }
    file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
