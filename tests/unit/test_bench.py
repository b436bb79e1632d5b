"""The measuring itself: what it says, and that it compares the same bytes."""

import json
import sys
import tempfile
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import backup, peers
from tests.bench.figures import Beside, Figure, of_rounds, row, said, write


def test_a_goal_is_held_or_missed() -> None:
    assert row(Figure("start", 0.5, "s", most=1)).endswith("≤ 1 s held")
    assert row(Figure("start", 1.5, "s", most=1)).endswith("≤ 1 s MISSED")
    assert Figure("start", 1.5, "s").held is None


def test_a_goal_may_be_a_multiple_of_a_peers() -> None:
    beside = Figure("backup", 3.0, "s", most=0.5, peer=Beside("restic", 8.0), times=True)
    assert (beside.ratio, beside.held, beside.goal) == (0.375, True, "≤ 0.5 x")
    assert Figure("backup", 5.0, "s", most=0.5, peer=Beside("restic", 8.0), times=True).held is False
    assert Figure("index", 9.0, "MB/s", least=8, peer=Beside("other", 1.0), times=True).held is True
    assert Figure("backup", 5.0, "s", most=0.5, times=True).held is None, "nobody to compare with"


def test_the_table_is_for_people_and_for_machines(tmp_path: Path) -> None:
    figures = [said("so it goes"), Figure("backup", 5, "s", most=0.5, peer=Beside("restic", 8), times=True)]
    write(tmp_path / "new", figures)
    head, rule, words, line = (tmp_path / "new" / "bench.md").read_text().splitlines()[-4:]
    assert {text.count("|") for text in (head, rule, words, line)} == {9}
    assert line == "| backup | 5.00 s |  | restic 8.00 |  | 0.62 x | ≤ 0.5 x | **missed** |"
    told = json.loads((tmp_path / "new" / "bench.json").read_text())["figures"][1]
    assert told["peer"] == {"name": "restic", "value": 8}
    assert (told["ratio"], told["held"]) == (0.625, False)


def test_rounds_are_told_with_their_spread() -> None:
    figure = of_rounds("backup", [3.0, 1.0, 20.0], "s")
    assert figure.value == 3.0
    assert row(figure).split() == ["backup", "3.00", "s", "(1.00", "to", "20.0)"]


def test_a_remark_is_no_number() -> None:
    assert row(said("so it goes")) == " so it goes:"


def test_a_part_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--quick", "nonsense"])
    with pytest.raises(SystemExit) as end:
        bench.main()
    assert end.value.code == 2
    assert "no such part: nonsense" in capsys.readouterr().err


def test_peers_are_given_the_same_bytes(tmp_path: Path) -> None:
    size = backup.grow(tmp_path / "a", 10, 300_000)
    assert backup.grow(tmp_path / "b", 10, 300_000) == size
    files = sorted((tmp_path / "a").rglob("*.jsonl"))
    assert len(files) == 10
    assert 200_000 < sum(file.stat().st_size for file in files) == size
    assert all(
        (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes() == file.read_bytes()
        for file in files
    )


def test_a_command_that_fails_is_no_figure(tmp_path: Path) -> None:
    place = peers.Place(tmp_path, tmp_path / "store", {"PATH": "/usr/bin:/bin"})
    place.store.mkdir()
    assert place.run("sleep", "0.05").wall_s >= 0.05
    (tmp_path / "data").write_bytes(bytes(100_000))
    assert 100_000 <= place.run("cat", tmp_path / "data").read < 200_000
    with pytest.raises(Exception, match="returned non-zero exit status 3"):
        place.run("sh", "-c", "exit 3")


def test_what_a_turn_wrote_back_stays_and_the_next_writes_anew(tmp_path: Path) -> None:
    place = peers.Place(tmp_path, tmp_path / "store", {"PATH": "/usr/bin:/bin"})
    place.store.mkdir()
    for turn in range(2):
        place.run("mkdir", "made", inside=peers.ALL)  # which would fail where it is there
        place.set_aside(turn)
    assert {path.name for path in place.store.iterdir()} == {"out-0", "out-1"}


def test_too_small_a_disk_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(backup, "LEFT_BY_A_ROUND", 10**9)
    with pytest.raises(SystemExit, match="set TMPDIR to a folder on a larger disk"):
        list(backup.measure(quick=True))
    assert not list(tmp_path.glob("bench-*"))
