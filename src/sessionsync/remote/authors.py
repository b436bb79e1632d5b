"""Whose records count: a comment can be written by anyone who can see the issue."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

ACTIONS = "github-actions[bot]"
ASSOCIATIONS = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})


class Trusted(NamedTuple):
    """Those who may write records.

    The token's own `login` ('' where it is unknown), `authors` of the settings, GitHub Actions, and
    whoever GitHub says belongs to the repository.
    """

    login: str
    authors: Collection[str] = ()

    def counts(self, author: str, association: str) -> bool:
        """Whether a record by this author is believed."""
        return bool(author) and (
            author in {self.login, ACTIONS, *self.authors} or association in ASSOCIATIONS
        )
