"""Which forgotten session a person means, by the hashes that are left."""

from __future__ import annotations

from pathlib import Path

import pytest

from sessionsync.errors import AmbiguousSession
from sessionsync.forgotten import meant
from sessionsync.model import Ref
from sessionsync.tombstones import Tombstones

GONE = Ref("claude", "3333aaaa-0000-4000-8000-000000000001")
NEAR = Ref("claude", "3333bbbb-0000-4000-8000-000000000002")
PLAN = Ref("structured", "3333-plan", "/app")


@pytest.fixture
def tombstones(tmp_path: Path) -> Tombstones:
    marks = Tombstones(tmp_path)
    for ref in (GONE, PLAN):
        marks.add(ref.source, ref.session_id, ref.scope)
    return marks


@pytest.mark.parametrize("text", [GONE.session_id, str(GONE), "3333a", "claude:3333"])
def test_a_forgotten_session_is_meant_by_its_id_or_its_beginning(tombstones: Tombstones, text: str) -> None:
    assert meant(tombstones, text, [GONE, NEAR, PLAN]) == GONE


def test_where_its_file_is_gone_only_its_whole_id_will_do(tombstones: Tombstones) -> None:
    assert meant(tombstones, str(GONE)) == meant(tombstones, GONE.session_id, [NEAR]) == GONE
    assert meant(tombstones, "3333a", [NEAR]) is None
    assert meant(tombstones, "3333-plan", [NEAR]) is None, "of which project is not known"


@pytest.mark.parametrize("text", ["", ":", "claude:", "3333b", str(NEAR)])
def test_what_was_not_forgotten_is_not_meant(tombstones: Tombstones, text: str) -> None:
    assert meant(tombstones, text, [NEAR]) is None


def test_several_are_told_apart_by_more_of_the_id(tombstones: Tombstones) -> None:
    with pytest.raises(AmbiguousSession, match=r"claude:3333aaaa.*structured:3333-plan"):
        meant(tombstones, "3333", [GONE, NEAR, PLAN])
    assert meant(tombstones, "structured:3333", [GONE, NEAR, PLAN]) == PLAN
