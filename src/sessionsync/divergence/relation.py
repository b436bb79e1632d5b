"""How two versions relate."""

from __future__ import annotations

from enum import StrEnum


class Relation(StrEnum):
    """How our version relates to theirs."""

    EQUAL = "equal"
    OURS_EXTENDS = "ours_extends"
    THEIRS_EXTENDS = "theirs_extends"
    DIVERGED = "diverged"

    def __and__(self, other: Relation) -> Relation:
        """How two wholes relate of which one part relates so and another so."""
        if Relation.EQUAL in {self, other}:
            return other if self is Relation.EQUAL else self
        return self if self is other else Relation.DIVERGED
