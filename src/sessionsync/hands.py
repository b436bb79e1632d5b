"""Hands that do work whose parts need not wait for each other.

This package starts no threads: its own hands are `map`, one after the other in the caller's thread.
A process that has threads hands in the `map` of a pool of them: hashing, compressing and waiting for a
disk leave the interpreter free.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from typing import Protocol, TypeVar

W = TypeVar("W")
R = TypeVar("R")


class Hands(Protocol):
    """Called like `map`; the results come in the order of the work."""

    def __call__(self, step: Callable[[W], R], work: Iterable[W], /) -> Iterable[R]:
        """Do `step` with each."""


def ahead(hands: Hands, step: Callable[[W], R], work: Iterable[W], most: int) -> Generator[R, None, None]:
    """Do `step` with each, in order; where there are other hands up to `most` before they are asked for."""
    begun: deque[Iterator[R]] = deque()
    try:
        for one in work:
            begun.append(iter(hands(step, (one,))))
            if len(begun) > most:
                yield next(begun.popleft())
        while begun:
            yield next(begun.popleft())
    finally:
        for left in begun if hands is not map else ():  # what they have begun may use what is closed now
            with suppress(Exception):
                next(left)


def each(hands: Hands, step: Callable[[W], object], work: Iterable[W]) -> list[Exception | None]:
    """Do `step` with each, all of them; returns what each failed with, None for what was done."""

    def attempt(one: W) -> Exception | None:
        try:
            step(one)
        except Exception as error:  # noqa: BLE001 - handed to the caller
            return error
        return None

    return list(hands(attempt, work))
