"""Folders of copies that go, or become others, under the one who writes there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sessiond.footing import Footing


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    roots = [tmp_path / "mirror", tmp_path / "vault"]
    for root in roots:
        for project in ("app", "web"):
            (root / project).mkdir(parents=True)
        (root / "a file").write_text("x")
        (root / "link").symlink_to(root / "app")
    return roots


def test_what_is_as_it_was_or_is_new_is_not_lost(roots: list[Path], tmp_path: Path) -> None:
    footing = Footing([*roots, tmp_path / "not there yet"])
    (roots[0] / "a file").unlink()
    (roots[0] / "link").unlink()
    (roots[1] / "app" / "session").mkdir()
    (roots[1] / "new").mkdir()
    (tmp_path / "not there yet").mkdir()
    assert footing.lost() == []


def test_what_is_gone_or_another_one_is_told_once(roots: list[Path], tmp_path: Path) -> None:
    mirror, vault = roots
    footing = Footing(roots)
    shutil.rmtree(mirror)
    assert sorted(footing.lost()) == [mirror, mirror / "app", mirror / "web"]
    assert footing.lost() == []
    vault.joinpath("app").rename(tmp_path / "away")
    vault.joinpath("app").mkdir()
    assert footing.lost() == [vault / "app"]
    vault.rename(tmp_path / "vault.old")
    shutil.copytree(tmp_path / "vault.old", vault)
    assert footing.lost()[0] == vault
    assert footing.lost() == []


def test_what_cannot_be_looked_into_is_not_taken_for_lost(
    roots: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, real = roots[0], os.scandir
    footing = Footing(roots)

    def refusing(path: Any) -> Any:
        if path == mirror:
            raise PermissionError(path)
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing)
        assert footing.lost() == []
    assert footing.lost() == []
    (mirror / "app").rmdir()
    assert footing.lost() == [mirror / "app"]
