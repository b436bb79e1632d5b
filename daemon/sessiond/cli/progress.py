"""How far it is: one line on stderr that is written over, for a person on a terminal and for nobody else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

Progress = Callable[[int, int], None]
"""Is told (done, all)."""


@contextmanager
def progress(label: str, least: int = 1) -> Iterator[Progress]:
    """A bar from the first that is told of at least `least` in all, until the end."""
    with ExitStack() as ends:
        bar: Any = None

        def tell(done: int, total: int) -> None:
            nonlocal bar
            if total < least or not sys.stderr.isatty():
                return
            if bar is None:
                import click  # noqa: PLC0415 - costs 30 ms, and nearly always nobody looks

                bar = ends.enter_context(click.progressbar(length=total, label=label, file=sys.stderr))
            bar.length = total
            bar.update(done - bar.pos)

        yield tell
