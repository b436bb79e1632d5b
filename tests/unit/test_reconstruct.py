"""What is made of a session of which no copy is whole: every line that lies anywhere, and no line that is a lie."""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sessiond.reconstructing import reconstruct
from sessionsync.errors import CopyMismatch, RestoreError
from sessionsync.model import Ref, Role
from sessionsync.restore import Known, loadable
from sessionsync.restore.copies import CopyFile
from sessionsync.restore.inferred import MARK
from sessionsync.restore.loadable import Row
from sessionsync.restore.pieces import Passage, Piece, Version, gaps_between, joined, lines_of, woven
from sessionsync.restore.reconstruct import session
from sessionsync.restore.remade import Made, transcript
from sessionsync.restore.remains import Remains, gather
from sessionsync.search import Index, Indexer
from sessionsync.search.said import said, unpaired
from sessionsync.sources.lines import Reader
from sessionsync.vault import Mirror, Vault
from tests.conftest import samples
from tests.fakes.agent import SESSION, Agent
from tests.fakes.github import FakeGitHub
from tests.machine import Machine, Make
from tests.rig import write

Json = dict[str, Any]


def talk(turns: int = 6) -> Agent:
    agent = Agent()
    for number in range(turns):
        agent.turn(f"Question {number}: what about it?", answer=f"Answer {number}: it is so.")
    return agent


def opened(made: Made, folder: Path) -> list[str]:
    path = folder / f"{SESSION}.jsonl"
    path.write_bytes(made.data)
    return loadable(path)


def check(made: Made, original: bytes, folder: Path) -> None:
    """What holds for whatever was lost: exact lines are the original's, in their order, and it can be opened."""
    was = original.splitlines(keepends=True)
    lines = made.data.splitlines(keepends=True)
    assert len(lines) == len(made.lines)
    exact = [line for line, told in zip(lines, made.lines, strict=True) if told["status"] == "exact"]
    places = iter(was)
    assert all(line in places for line in exact)  # in order: `in` goes on where it stopped
    for line, told in zip(lines, made.lines, strict=True):
        assert (MARK in json.loads(line)) == (told["status"] == "inferred")
    for gap in made.gaps:
        assert 0 <= gap.start < gap.end <= made.length
    assert opened(made, folder) == []


# --- pieces


def version(data: bytes, *ranges: tuple[int, int], where: str = "mirror", **more: Any) -> Version:
    return Version([Piece(start, data[start:end], where) for start, end in ranges], **more)


def test_gaps_between() -> None:
    assert gaps_between([(0, 3), (5, 6)], 8) == [(3, 5), (6, 8)]
    assert gaps_between([(5, 9), (1, 6)], 8) == [(0, 1)]
    assert gaps_between([], 4) == [(0, 4)]
    assert gaps_between([(0, 4)], 4) == []


def test_what_agrees_is_one_life_and_what_does_not_is_another() -> None:
    data = b"0123456789"
    (life,) = joined([version(data, (0, 3)), version(data, (2, 5), (8, 10)), version(data, (5, 6))])
    assert [(piece.offset, piece.data) for piece in life.pieces] == [
        (0, b"012"), (3, b"34"), (5, b"5"), (8, b"89"),
    ]  # fmt: skip
    assert life.gaps() == [(6, 8)]
    assert life.holds(1, 6)
    assert not life.holds(5, 9)
    assert len(joined([version(data, (0, 5)), version(b"01x", (0, 3))])) == 2
    assert len(joined([version(data, (0, 5)), version(data, (7, 9))])) == 2  # nobody knows
    one = version(data, (0, 5), generations=frozenset({1}))
    assert len(joined([one, version(data, (7, 9), generations=frozenset({1}))])) == 1
    assert len(joined([one, version(data, (0, 5), exact=False)])) == 2


def test_a_torn_line_is_none_and_a_whole_one_without_its_newline_is() -> None:
    data = b'{"uuid":"a"}\n{"uuid":"b"}\n{"uuid":"c"}'
    assert [line.uuid for line in lines_of(version(data, (0, len(data))))] == ["a", "b", "c"]
    assert [line.uuid for line in lines_of(version(data, (5, 30)))] == ["b"]
    assert [line.uuid for line in lines_of(version(data, (13, len(data))))] == ["b", "c"]


def test_lines_that_only_another_version_has_are_woven_in_where_they_were() -> None:
    def lines(text: str, *, is_main: bool) -> Any:
        data = b"".join(b'{"uuid":"%c"}\n' % ord(letter) for letter in text)
        return lines_of(version(data, (0, len(data))), is_main=is_main)

    def told(found: Any) -> str:
        return "".join(line.uuid for line in found)

    assert told(woven(lines("abef", is_main=True), lines("abcdef", is_main=False))) == "abcdef"
    assert told(woven(lines("ab", is_main=True), lines("xaby", is_main=False))) == "xaby"
    assert told(woven([], lines("ab", is_main=False))) == "ab"
    assert told(woven(lines("abc", is_main=True), lines("abc", is_main=False))) == "abc"


# --- one transcript


def test_what_is_held_whole_comes_out_as_it_was() -> None:
    data = talk().data[:-1]
    made = transcript(SESSION, [version(data, (0, len(data)))], length=len(data))
    assert made.data == data
    assert made.exact
    assert made.gaps == []


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_lost_of_it_the_agent_can_open_the_rest(tmp_path: Path, seed: int) -> None:
    chance = Random(seed)
    data = talk(8).data
    held = sorted(chance.sample(range(len(data)), 2 * chance.randint(1, 6)))
    ranges = list(zip(held[::2], held[1::2], strict=True))
    made = transcript(SESSION, [version(data, *ranges)], length=len(data))
    check(made, data, tmp_path)
    whole = [
        (start, start + len(line))
        for line, start in zip(data.splitlines(keepends=True), _starts(data), strict=True)
        if any(a <= start and start + len(line) <= b for a, b in ranges)
    ]
    assert made.count("exact") >= len(whole) - 2 * len(ranges)
    assert gaps_between([*whole, *((gap.start, gap.end) for gap in made.gaps)], len(data)) == []


def _starts(data: bytes) -> list[int]:
    starts, at = [], 0
    for line in data.splitlines(keepends=True):
        starts.append(at)
        at += len(line)
    return starts


def test_a_gap_says_where_it_is_and_what_hangs_on_it(tmp_path: Path) -> None:
    agent = talk(3)
    lines = agent.data.splitlines(keepends=True)
    start, end = len(b"".join(lines[:4])), len(b"".join(lines[:9]))
    made = transcript(
        SESSION, [version(agent.data, (0, start), (end, len(agent.data)))], length=len(agent.data)
    )
    check(made, agent.data, tmp_path)
    (gap,) = made.gaps
    uuids = [row["uuid"] for row in agent.rows]
    assert (gap.start, gap.end, gap.before, gap.after) == (start, end, uuids[3], uuids[9])
    assert gap.named == (uuids[8],)
    assert made.count("exact") == len(lines) - 5


def test_what_was_cut_and_set_aside_is_there_again(tmp_path: Path) -> None:
    agent = talk(4)
    data, lines = agent.data, agent.data.splitlines(keepends=True)
    cut = len(b"".join(lines[:6]))
    other = Agent(seed=9)
    other._parent = agent.rows[5]["uuid"]
    other.turn("Another way.")
    mirror = data[:cut] + other.data
    versions = [
        Version([Piece(0, mirror, "mirror")]),
        Version([Piece(cut, data[cut:], "aside")]),
    ]
    made = transcript(SESSION, versions, length=len(mirror))
    assert made.count("inferred") == 0
    assert set(made.data.splitlines()) == set((data + other.data).splitlines())
    assert {line["from"] for line in made.lines} == {"mirror", "aside"}
    assert opened(made, tmp_path) == []


def test_words_stand_in_for_what_is_lost(tmp_path: Path) -> None:
    agent = talk(4)
    data, lines = agent.data, agent.data.splitlines(keepends=True)
    start, end = len(b"".join(lines[:3])), len(b"".join(lines[:8]))
    passages = [
        Passage(0, start, 10, 0, "user", 1_790_000_000.0, "please do it"),
        Passage(0, start + 20, 10, 0, "tool", 1_790_000_001.0, "bash make"),
        Passage(0, start + 40, 10, 0, "assistant", 0.0, "done it"),
        Passage(0, 0, 10, 0, "user", 0.0, "is held"),
        Passage(0, start + 50, 10, 0, "title", 0.0, "a title"),
    ]
    made = transcript(
        SESSION, [version(data, (0, start), (end, len(data)))], length=len(data), passages=passages
    )
    check(made, data, tmp_path)
    text = made.data.decode()
    assert "please do it" in text
    assert "bash make" in text
    assert "a title" in text
    assert "is held" not in text
    rows = [json.loads(line) for line in made.data.splitlines()]
    words = [row for row in rows if row.get(MARK, {}).get("from") == "words"]
    assert [row["type"] for row in words] == ["user", "assistant", "assistant", "ai-title"]
    assert words[0]["timestamp"].startswith("2026-09-21T")


def test_a_redacted_version_is_never_called_exact(tmp_path: Path) -> None:
    agent = talk(2)
    redacted = agent.data.replace(b"Question 0", b"[REDACTED:x]")
    made = transcript(
        SESSION, [Version([Piece(0, redacted, "github")], length=len(redacted), exact=False)], length=0
    )
    assert made.count("exact") == 0
    assert not made.exact
    assert opened(made, tmp_path) == []


def test_nothing_at_all_still_says_what_is_known(tmp_path: Path) -> None:
    made = transcript(SESSION, [], length=5000, told="Title: it")
    assert opened(made, tmp_path) == []
    assert "Title: it" in made.data.decode()
    assert [(gap.start, gap.end) for gap in made.gaps] == [(0, 5000)]
    again = transcript(SESSION, [], length=5000, told="Title: it")
    assert again.data == made.data  # the same remains make the same session
    assert transcript(SESSION, [], length=0, is_main=False).lines == []


def test_real_transcripts_lose_their_middle_and_can_be_opened(shared: Path, tmp_path: Path) -> None:
    tried = 0
    read = Reader(Row).read
    for file in samples(shared, "claude-code-transcript"):
        if file.suffix != ".jsonl":
            continue
        data = file.read_bytes()
        if len(data) > 2_000_000:
            continue
        rows = [row for line in data.splitlines() for row in read(line)[0]]
        sid = next((row.session for row in rows if row.session), "")
        path = tmp_path / f"{sid}.jsonl"
        path.write_bytes(data)
        if not sid or loadable(path):
            continue
        size = len(data)
        made = transcript(sid, [version(data, (0, size // 3), (size // 2, size))], length=size)
        path.write_bytes(made.data)
        assert loadable(path) == [], file
        tried += 1
    assert tried > 20


# --- a whole session


def known(**more: Any) -> Known:
    return Known(Ref("claude", SESSION), SESSION, **more)


def test_a_file_that_is_rewritten_is_whole_or_in_fragments() -> None:
    remains = Remains()
    remains.add("todos/x.json", version(b"[1, 2]", (0, 2), length=6))
    remains.add("todos/x.json", version(b"[1]", (0, 3)))
    remains.add(f"{SESSION}/tool-results/a", version(b"abcdef", (0, 2), (4, 6), length=6))
    remains.long(f"{SESSION}/tool-results/b", 9)
    made = session(known(), remains)
    assert made.files["todos/x.json"].data == b"[1]"
    assert made.fragments == {
        f"{SESSION}/tool-results/a.0.fragment": b"ab",
        f"{SESSION}/tool-results/a.4.fragment": b"ef",
    }
    assert made.missing == [f"{SESSION}/tool-results/a", f"{SESSION}/tool-results/b"]


def test_what_the_session_itself_dropped_stays_dropped() -> None:
    remains = Remains(deleted={"artifacts/x"})
    remains.add("artifacts/x", version(b"x", (0, 1)))
    assert session(Known(Ref("structured", "plan"), "plan"), remains).files.keys() == {"context.json"}


def test_of_a_structured_session_its_checkpoints_tell_what_context_said() -> None:
    remains = Remains()
    said = b'{"at": "2026-01-02T03:04:05Z", "trigger": "manual", "summary": "The phase"}'
    remains.add("checkpoints/cp1.json", version(said, (0, len(said))))
    made = session(Known(Ref("structured", "plan"), "plan"), remains)
    context = json.loads(made.files["context.json"].data)
    assert context[MARK] is True
    assert [entry["id"] for entry in context["checkpoints"]] == ["cp1"]
    assert made.files["checkpoints/cp1.json"].exact
    assert made.files["context.json"].count("inferred") == 1


def test_copies_elsewhere_are_taken_as_far_as_they_can_be_read(tmp_path: Path) -> None:
    agent = talk(3)
    lines = agent.data.splitlines(keepends=True)
    name = f"{SESSION}.jsonl"

    class Away:
        origin, exact = "archive", True

        def __init__(self, checkpoint: str, data: bytes) -> None:
            self.checkpoint, self.data = checkpoint, data

        def files(self) -> list[CopyFile]:
            return [CopyFile(name, len(self.data), Role.MAIN)]

        def read(self, file: CopyFile) -> Iterator[bytes]:
            if self.checkpoint == "3":
                raise CopyMismatch(f"{file.name} is damaged")
            yield self.data

    remains = gather(
        known(),
        vault=Vault(tmp_path / "v"),
        mirror=Mirror(tmp_path / "m"),
        replaced=tmp_path / "r",
        live=(),
        away=[Away("1", lines[0]), Away("2", b"".join(lines[:3])), Away("3", agent.data)],  # type: ignore[list-item] # all it needs
        filed=None,
        catalog=None,
        index=None,
    )
    (held,) = remains.versions[name]
    assert held.pieces[0].data == b"".join(lines[:3])
    assert held.pieces[0].where == "archive 2"
    assert "is damaged" in remains.notes[0]


# --- from outside


def answers(machine: Machine, *arguments: str) -> Json:
    """`ctl reconstruct`, without the daemon between."""
    from sessiond.retrieval import opened as restoring

    with machine._monkeypatch.context() as patch:
        for name, value in machine.environ.items():
            patch.setenv(name, value)
        patch.chdir(machine.here)
        with restoring() as found:
            out = Path(arguments[1]) if len(arguments) > 1 else None
            return reconstruct(found, found.find(arguments[0]), out, dry_run=False)


def indexed(machine: Machine) -> None:
    rig = machine.rig
    index = Index(machine.home.state / "index.db", rig.store.meta("state"))
    indexer = Indexer(index, rig.catalog, rig.mirror, rig.vault, rig.sources)
    for number in indexer.behind():
        indexer.index(number)
    index.close()


def lose(machine: Machine, live: Path) -> None:
    """Transcript, mirror and vault are gone."""
    live.unlink()
    shutil.rmtree(machine.home.mirror)
    shutil.rmtree(machine.home.vault)


def test_with_comment_index_and_artifacts_left_every_text_comes_back(make: Make, gh: FakeGitHub) -> None:
    one = make("one", gh=gh)
    agent = one.agent()
    for number in range(40):
        agent.turn(
            f"Frage {number}: was ist mit Größe_{number} 日本語?",
            answer=f"It is {number}, so said I. " + "x y " * 400,
        )
    live = one.write(agent)
    write(live.parent, [(f"{agent.session}/tool-results/a.txt", b"an artifact")])
    one.settle()
    one.push()
    indexed(one)
    assert one.rig.session().tier is not None
    lose(one, live)
    answer = answers(one, agent.session)
    folder = Path(answer["path"])
    path = folder / live.name
    assert loadable(path) == []
    assert answer["problems"] == []
    assert (folder / agent.session / "tool-results" / "a.txt").read_bytes() == b"an artifact"
    text = path.read_text()
    for number in range(40):
        assert f"frage {number} was ist mit große {number} 日本語" in text
        assert f"it is {number} so said i" in text
    report = json.loads((folder / "report.json").read_text())
    (main,) = (file for file in report["files"] if file["path"] == live.name)
    assert main["was"] == len(agent.data)
    assert [(gap["offset"], gap["length"]) for gap in main["gaps"]] == [(0, len(agent.data))]
    assert {line["status"] for line in main["lines"]} == {"inferred"}
    assert len(main["lines"]) == len(path.read_bytes().splitlines())


def test_a_small_session_is_in_its_comment_whole(make: Make, gh: FakeGitHub) -> None:
    one = make("one", gh=gh)
    agent = one.agent()
    agent.turn("hello")
    live = one.write(agent)
    one.push()
    lose(one, live)
    answer = answers(one, agent.session, str(one.home.folder / "out"))
    assert answer["complete"]
    assert (one.home.folder / "out" / live.name).read_bytes() == agent.data


def test_nothing_is_ever_written_over(make: Make) -> None:
    one = make("one")
    agent = one.agent()
    agent.turn("hello")
    live = one.write(agent)
    out = one.home.folder / "out"
    write(out, [("mine.txt", b"mine")])
    with pytest.raises(RestoreError, match="there already"):
        answers(one, agent.session, str(out))
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    first, second = answers(one, agent.session)["path"], answers(one, agent.session)["path"]
    assert first != second
    assert live.read_bytes() == agent.data
    assert not list(one.home.folder.rglob("*sessiond-restore*"))


def test_what_a_restore_has_replaced_is_looked_at_too(make: Make) -> None:
    one = make("one")
    agent = one.agent()
    agent.turn("first")
    live = one.write(agent)
    short = live.read_bytes()
    agent.turn("second")
    live.write_bytes(agent.data)  # nobody has captured it
    point = one.rig.session().checkpoint or ""
    assert one("restore", agent.session, "--at", point, "--force").code == 0
    assert live.read_bytes() == short
    shutil.rmtree(one.home.vault)
    answer = answers(one, agent.session)
    assert Path(answer["path"], live.name).read_bytes() == agent.data
    assert answer["complete"]


def test_a_full_disk_leaves_no_folder(make: Make) -> None:
    one = make("one")
    agent = one.agent()
    agent.turn("x" * 200_000)
    one.write(agent)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    try:
        with pytest.raises(RestoreError, match="File too large"):
            answers(one, agent.session, str(one.home.folder / "out"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (one.home.folder / "out").exists()
    assert not list(one.home.folder.glob(".out*"))


def test_a_damaged_vault_and_a_cut_mirror_make_a_session_together(make: Make) -> None:
    one = make("one")
    agent = one.agent()
    for number in range(30):
        agent.turn(f"{number} " + Random(number).randbytes(3000).hex())
        if number % 10 == 9:
            live = one.write(agent)
    live.unlink()
    (copy,) = one.home.mirror.rglob(live.name)
    copy.write_bytes(agent.data[: len(agent.data) // 3])
    (pack,) = (path for path in one.home.vault.rglob("pack*") if "claude." in str(path.parent))
    data = bytearray(pack.read_bytes())
    for at in (1000, len(data) // 2):
        data[at] ^= 0xFF
    pack.write_bytes(data)
    answer = answers(one, agent.session)
    (main,) = (file for file in answer["files"] if file["path"] == live.name)
    assert main["exact"] > 50
    assert answer["problems"] == []
    check_lines = set(agent.data.splitlines(keepends=True))
    path = Path(answer["path"], live.name)
    exact = [line for line in path.read_bytes().splitlines(keepends=True) if MARK.encode() not in line]
    assert set(exact) <= check_lines


def test_a_damaged_segment_costs_what_is_in_it_and_no_more(make: Make) -> None:
    one = make("one")
    agent = one.agent()
    for number in range(30):
        agent.turn(f"{number} " + Random(number).randbytes(3000).hex())
        if number % 10 == 9:
            live = one.write(agent)
    live.unlink()
    shutil.rmtree(one.home.mirror)
    (pack,) = (path for path in one.home.vault.rglob("pack*") if "claude." in str(path.parent))
    data = bytearray(pack.read_bytes())
    data[1000] ^= 0xFF
    pack.write_bytes(data)
    answer = answers(one, agent.session)
    (main,) = (file for file in answer["files"] if file["path"] == live.name)
    assert len(main["gaps"]) == 1
    assert main["gaps"][0]["offset"] == 0
    lines = agent.data.splitlines(keepends=True)
    assert main["exact"] >= len(lines) * 2 // 3 - 1
    assert Path(answer["path"], live.name).read_bytes().endswith(b"".join(lines[-20:]))
    assert answer["problems"] == []


def test_the_words_of_the_index(make: Make) -> None:
    one = make("one")
    agent = one.agent()
    agent.prompt("Call getUserName() for Jürgen, please!")
    agent.say("日本語 is done.")
    live = one.write(agent)
    indexed(one)
    index = Index(one.home.state / "index.db", one.rig.store.meta("state"), read_only=True)
    found = [(hit.role, text) for hit, text in said(index, one.rig.session().id)]
    index.close()
    assert [role for role, _ in found] == ["user", "assistant"]
    assert found[0][1].startswith("call getusername for jurgen please")
    assert found[1][1] == "日本語 is done"
    assert live.exists()


def test_pairs_are_put_together_again() -> None:
    assert unpaired([]) == ""
    assert unpaired(["日本", "本語", "語", "日"]) == "日本語 日"
    assert unpaired(["a", "日"]) == "a 日"


def test_it_is_quick_with_a_large_session() -> None:
    agent = talk(1)
    line = agent.data
    data = line * 300
    began = time.process_time()
    transcript(SESSION, [version(data, (0, len(data) // 2))], length=len(data))
    assert time.process_time() - began < 20
