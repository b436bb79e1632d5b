"""A word that was said is found, in whatever session, alive or gone."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sessionsync import report
from sessionsync.errors import IndexBroken, QueryInvalid
from sessionsync.model import rfc3339
from sessionsync.search import Hit, Index, Indexer, expression, passage_of, snippet, words
from sessionsync.search.said import said
from sessionsync.search.words import JOINED
from sessionsync.sources.passages import Passage, of_transcript
from tests.rig import Rig, append, line, write

WIDE = "\uff21\uff22\uff23"  # ABC, each as wide as a Chinese character


class Searching:
    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.index = Index(rig.home.state / "index.db", "s1")
        self.indexer = Indexer(self.index, rig.catalog, rig.mirror, rig.vault, rig.sources)

    def keep_up(self) -> int:
        return sum(self.indexer.index(number) for number in self.indexer.behind())

    def find(self, query: str, **filters: object) -> list[str]:
        self.rig.scan()
        self.keep_up()
        return [self.text(hit) for hit in self.index.search(query, **filters)]  # type: ignore[arg-type]

    def text(self, hit: Hit) -> str:
        session = self.rig.catalog.session(hit.session)
        files = self.rig.catalog.files(hit.session)
        source = next(s for s in self.rig.sources if s.name == session.ref.source)
        return passage_of(hit, session, files, source, self.rig.mirror, self.rig.vault)


@pytest.fixture
def searching(rig: Rig) -> Searching:
    return Searching(rig)


def test_the_first_line_that_a_rewrite_changes_is_found(searching: Searching, rig: Rig) -> None:
    path = say(rig, "the first quokka")
    append(path, line("user", "the second quokka", rig.home.project))
    assert len(searching.find("quokka")) == 2
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second.replace(b"the second", b"another"))  # the line begins as it did
    assert searching.find("another") == ["another quokka"]
    path.write_bytes(first + second.replace(b"the second", b"a third"))
    assert searching.find('"a third"') == ["a third quokka"]
    every = ["a third quokka", "another quokka", "the first quokka", "the second quokka"]
    assert sorted(searching.find("quokka")) == every
    searching.index.begin_anew()
    assert sorted(searching.find("quokka")) == every


def test_what_is_old_leaves_the_index_where_there_is_too_much_and_nothing_else(
    searching: Searching, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = say(rig, "an old quokka")
    assert searching.find("quokka") == ["an old quokka"]
    monkeypatch.setattr("sessionsync.catalog.INDEXED_BYTES", 500)
    rig.now += 400 * 86_400
    new = say(rig, "a new quokka " + "x" * 400)
    os.utime(new, (rig.now, rig.now))
    os.utime(old, (rig.now - 400 * 86_400,) * 2)
    rig.wait(5)
    rig.wait(200)
    number = rig.catalog.named(old.stem).id  # type: ignore[union-attr]
    assert rig.catalog.rotated(rig.now) == {number}
    searching.indexer = Indexer(
        searching.index, rig.catalog, rig.mirror, rig.vault, rig.sources, rig.catalog.rotated(rig.now)
    )
    assert searching.indexer.outdated() == [number]
    searching.index.rotate(number)
    assert not searching.index.is_stale()
    assert searching.indexer.behind() in ([], [rig.catalog.named(new.stem).id])  # type: ignore[union-attr]
    assert all("old" not in text for text in searching.find("quokka"))
    assert rig.restored(rig.catalog.session(number))[old.name] == old.read_bytes()
    states = {each["id"]: each["state"] for each in report.sessions(rig.catalog, rig.now)["sessions"]}
    assert states == {old.stem: "rotated", new.stem: "active"}
    # gone on with, it is no longer old
    append(old, line("user", "quokka again", rig.home.project))
    os.utime(old, (rig.now, rig.now))
    rig.wait(5)
    assert rig.catalog.rotated(rig.now) == set()
    searching.indexer = Indexer(searching.index, rig.catalog, rig.mirror, rig.vault, rig.sources)
    assert {"an old quokka", "quokka again"} <= set(searching.find("quokka"))


def test_many_old_sessions_that_left_are_worth_a_rebuild(
    searching: Searching, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(rig, "an old quokka")
    searching.find("quokka")
    monkeypatch.setattr("sessionsync.search.index.ROTATED_BYTES", 10)
    searching.index.rotate(rig.session().id)
    assert searching.index.is_stale()


def say(rig: Rig, *texts: str, path: Path | None = None) -> Path:
    path = path or rig.home.transcript()
    append(path, *(line("user", text, rig.home.project) for text in texts))
    rig.now += 5
    return path


def test_where_nothing_is_new_no_session_is_compared_with_the_index(rig: Rig, searching: Searching) -> None:
    for number in range(3):
        say(rig, f"quokka {number}")
    assert len(searching.find("quokka")) == 3
    asked: list[str] = []
    rig.store._connection.set_trace_callback(asked.append)
    assert searching.indexer.behind() == []
    rig.store._connection.set_trace_callback(None)
    assert [each for each in asked if "ORDER BY" in each] == []
    first, _, third = (each.id for each in rig.catalog.sessions())
    seen = searching.index.seen()
    searching.index.mark(first, seen[first] + 1)  # as many captured bytes as there are, of others
    searching.index.mark(third, seen[third] - 1)
    assert sorted(searching.indexer.behind()) == sorted((first, third))
    searching.index.mark(third, seen[third])
    assert searching.indexer.behind() == [first]


def test_words_phrases_and_prefixes_are_found_newest_first(rig: Rig, searching: Searching) -> None:
    say(rig, "the blue kubernetes cluster", "a green cluster", "blue sky")
    assert searching.find("cluster") == ["a green cluster", "the blue kubernetes cluster"]
    assert searching.find("blue cluster") == ["the blue kubernetes cluster"]
    assert searching.find('"green cluster"') == ["a green cluster"]
    assert searching.find('"cluster green"') == []
    assert searching.find("kuber*") == ["the blue kubernetes cluster"]
    assert searching.find("sky OR kubernetes") == ["blue sky", "the blue kubernetes cluster"]
    assert searching.find("blue NOT sky") == ["the blue kubernetes cluster"]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("call getUserName here", "getUserName"),
        ("call getUserName here", "username"),
        ("call getUserName here", '"call getUserName here"'),
        ("see src/auth/token_store.py", "token_store"),
        ("see src/auth/token_store.py", "auth"),
        ("HTTPServer2Handler", "handler"),
        ("日本語のテスト", "日本語"),
        ("日本語のテスト", "テスト"),
        ("日本語のテスト", "語"),
        ("数据库迁移", "迁移"),
        ("데이터베이스", "이터"),
        ("Ärger im Café", "cafe"),
        ("straße 42", "42"),
        ("ours is on GitHub", "github"),
        ("ours is on github", "GitHub"),
        ("call get_user_name here", "getUserName"),
        ("call getUserName here", "get_user_name"),
        ("call getUserName here", "getuser*"),
        ("parseHTTPHeader", "http"),
        ("写于日本", "本"),
        ("日本語abc", '"日本語abc"'),
        (f"{WIDE} 全角", "abc"),
        ("first\0second", "second"),
        ("🚀 launched", "🚀 launched"),
        ("open the index", '"open the in"*'),
        ("the the in", '"the in"'),
        ("thé, IN", "the-in"),
        ("call theIn here", '"the in"'),
    ],
)
def test_code_and_other_scripts_are_found(rig: Rig, searching: Searching, text: str, query: str) -> None:
    say(rig, text)
    expected = [] if query == "username" else [text]
    assert searching.find(query) == expected


def test_tool_calls_titles_and_structured_files_are_found_and_tool_results_are_not(
    rig: Rig, searching: Searching
) -> None:
    path = say(rig, "go")
    call = {
        "type": "assistant",
        "uuid": "u",
        "timestamp": "2026-09-21T10:00:00Z",
        "message": {
            "role": "assistant",
            "content": [{"type": "tool_use", "name": "Bash", "input": {"command": "terraform apply"}}],
        },
    }
    result = {
        "type": "user",
        "message": {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ApplyComplete"}],
        },
    }
    title = {"type": "custom-title", "customTitle": "Quarterly migration"}
    append(path, *(json.dumps(row).encode() + b"\n" for row in (call, result, title)))
    write(rig.home.structured("plan"), [("context.json", b'{"decisions": ["prefer sqlite"]}')])
    rig.now += 5
    assert searching.find("terraform") == ["Bash\nterraform apply"]
    assert searching.find("terraform", role="user") == []
    assert searching.find("quarterly") == ["Quarterly migration"]
    assert searching.find("ApplyComplete") == []
    assert len(searching.find("prefer sqlite")) == 1


def test_appends_are_found_without_reading_what_is_indexed(rig: Rig, searching: Searching) -> None:
    path = say(rig, *(f"early {n}" for n in range(200)))
    searching.find("early")
    before = path.stat().st_size
    say(rig, "late words", path=path)
    rig.scan()
    assert searching.keep_up() == path.stat().st_size - before
    assert searching.find("late") == ["late words"]
    assert searching.indexer.behind() == []


def test_what_was_cut_or_deleted_stays_findable(rig: Rig, searching: Searching) -> None:
    path = say(rig, "first thought", "second thought")
    searching.find("thought")
    keep = path.read_bytes().index(b"\n") + 1
    with path.open("rb+") as file:
        file.truncate(keep)
    rig.now += 5
    rig.scan()
    say(rig, "third thought", path=path)
    assert sorted(searching.find("thought")) == ["first thought", "second thought", "third thought"]
    path.unlink()
    rig.now += 5
    assert sorted(searching.find("thought")) == ["first thought", "second thought", "third thought"]
    searching.index.begin_anew()
    assert sorted(searching.find("thought")) == ["first thought", "second thought", "third thought"]


@pytest.mark.parametrize("gone", ["mirror", "vault"])
def test_one_copy_is_enough(rig: Rig, searching: Searching, gone: str) -> None:
    say(rig, "first thought")
    write(rig.home.structured("plan"), [("context.json", b'{"title": "a thought"}')])
    assert len(searching.find("thought")) == 2
    rig.wait(1000)
    shutil.rmtree(getattr(rig.home, gone))
    assert len(searching.find("thought")) == 2
    assert all(searching.find("thought"))
    searching.index.begin_anew()
    searching.keep_up()
    assert all(map(searching.text, searching.index.search("thought")))
    assert len(searching.index.search("thought")) == 2


def test_the_index_may_be_lost_damaged_or_belong_to_another_state(rig: Rig, searching: Searching) -> None:
    say(rig, "remember me")
    assert searching.find("remember") == ["remember me"]
    searching.index.close()
    (rig.home.state / "index.db").write_bytes(b"no database" * 1000)
    again = Searching(rig)
    assert again.find("remember") == ["remember me"]
    again.index.close()
    other = Index(rig.home.state / "index.db", "another state")
    assert other.search("remember") == []
    other.close()


@pytest.mark.parametrize(
    "query",
    [
        "",
        '"',
        "***",
        "OR",
        "()",
        "   ",
        "🚀",
        "\0",
        "\ud800",
        "word " * 10_000,
        "a" * 20_000,
        "NOT a",
        "NOT a OR NOT b",
    ],
)
def test_a_query_without_a_word_is_refused(query: str) -> None:
    with pytest.raises(QueryInvalid):
        expression(query)


@pytest.mark.parametrize(
    "query",
    [
        *('a" b', "(x", "x)", "a-b", "^a", "col:val", "NEAR(a b)", "a AND", "-x", "é*", '"a', 'a"*'),
        *("NOT a b", "a NOT", "a OR", "OR a NOT b OR", "a\0b", "\ud800a", "🚀a", "{a b}: c", "a + b"),
        *("a " * 150, "x" * 5_000, "'; DROP TABLE files; --", "語" * 300, "Aa" * 200),
    ],
)
def test_any_query_with_a_word_is_answered(rig: Rig, searching: Searching, query: str) -> None:
    say(rig, "text")
    searching.find(query)


def test_not_leaves_out_and_or_widens_wherever_they_stand(rig: Rig, searching: Searching) -> None:
    say(rig, "red apple", "green apple", "green pear", "red pear tree")
    assert searching.find("apple NOT red") == ["green apple"]
    assert searching.find("NOT red apple") == ["green apple"]
    assert searching.find("pear NOT red tree OR apple NOT green") == ["red apple"]
    assert searching.find('"red pear" OR "green apple"') == ["red pear tree", "green apple"]


def test_what_was_said_last_comes_first_however_it_came_into_the_index(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db", "s")
    moments = [40, 30, 10, 20, 50, 45]  # days: a first backup goes back in time, then life goes on
    for session, day in enumerate(moments):
        said = [_passage(f"word {n}", n, day * 86_400 + n) for n in range(20_000)]
        index.add(session, "a.jsonl", 0, 20_000, said)
    index.tidy()
    for query in ("word", "wor*"):
        hits = index.search(query, limit=1000)
        assert [hit.at for hit in hits] == sorted((hit.at for hit in hits), reverse=True)
        assert {hit.session for hit in hits} == {4}
    assert [hit.session for hit in index.search("19999")] == [4, 5, 0, 1, 3, 2]
    assert [hit.offset for hit in index.search("word", sessions={2}, limit=2)] == [19_999, 19_998]
    assert index.search("word", sessions={2}, since=11 * 86_400) == []
    assert len(index.search("7", since=39 * 86_400)) == 3
    index.close()


def _passage(text: str, offset: int, at: float) -> Passage:
    return Passage("user", rfc3339(at), offset, 1, text)


def test_a_text_that_is_written_anew_is_found_as_it_is_now(rig: Rig, searching: Searching) -> None:
    folder = rig.home.structured("plan")
    for text in (b'{"decisions": ["prefer sqlite"]}', b'{"decisions": ["prefer postgres"]}'):
        write(folder, [("context.json", text)])
        rig.now += 5
        rig.scan()
        searching.keep_up()
    assert searching.find("sqlite") == []
    assert len(searching.find("postgres")) == 1
    before = searching.index.bytes()
    for number in range(200):
        write(folder, [("context.json", b'{"decisions": ["prefer number %d"]}' % number)])
        rig.now += 5
        rig.scan()
        searching.keep_up()
    assert len(searching.find("prefer")) == 1
    searching.index.tidy()
    assert searching.index.bytes() <= before + 8192


def test_a_text_that_grows_is_in_the_index_once(rig: Rig, searching: Searching) -> None:
    folder = rig.home.structured("plan")
    log = b"".join(b"line %d of the log, as long as such lines are\n" % n for n in range(2_000))
    for end in (20_000, 20_060, 50_000, len(log)):
        write(folder, [("artifacts/run.log", log[:end]), ("context.json", b"{}")])
        rig.now += 5
        found = searching.find("1199")
        assert len(found) == (1 if end > 55_000 else 0)
    assert len(searching.find("line", limit=1000)) == -(-len(log) // 8_000)


def test_a_line_of_12_mb_is_searched_at_its_beginning(rig: Rig, searching: Searching) -> None:
    say(rig, "needle " + "x" * 12_000_000, "after it")
    assert searching.find("after") == ["after it"]
    (text,) = searching.find("needle")
    assert len(text) <= 20_000


def test_half_a_surrogate_pair_stops_nothing(rig: Rig, searching: Searching) -> None:
    say(rig, "half \ud800 a pair")
    assert len(searching.find("half pair")) == 1


def test_data_in_a_text_is_not_indexed(rig: Rig, searching: Searching) -> None:
    blob = "aZ09" * 4_000
    say(rig, f"the blob {blob} ends")
    assert len(searching.find("blob ends")) == 1
    searching.index.tidy()
    assert searching.index.bytes() < 100_000


def test_a_session_that_is_forgotten_is_found_no_longer(rig: Rig, searching: Searching) -> None:
    say(rig, "keep this")
    path = say(rig, "forget this")
    assert len(searching.find("this")) == 2
    number = next(s.id for s in rig.catalog.sessions() if s.location == path)
    rig.store.execute("DELETE FROM sessions WHERE id = ?", (number,))
    assert searching.indexer.gone() == [number]
    searching.index.forget(number)
    assert [hit.session for hit in searching.index.search("this")] != [number]
    assert len(searching.index.search("this")) == 1
    assert searching.indexer.gone() == []


def test_an_index_of_another_version_is_made_anew_by_its_writer_alone(tmp_path: Path) -> None:
    file = tmp_path / "index.db"
    Index(file, "s").close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(IndexBroken, match="another state or version"):
        Index(file, "s", read_only=True)
    Index(file, "s").close()
    Index(file, "s", read_only=True).close()


def test_an_index_that_is_full_or_locked_is_not_thrown_away(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db", "s")
    index.add(1, "a", 0, 1, [_passage("kept", 0, 5.0)])
    index._connection.execute("PRAGMA max_page_count=30")
    with pytest.raises(IndexBroken):
        index.add(2, "a", 0, 1, [_passage(f"word{n} {n}", n, 5.0) for n in range(50_000)])
    assert not index.is_damaged
    assert len(index.search("kept")) == 1
    index._connection.execute("PRAGMA busy_timeout=1")
    with closing(sqlite3.connect(index.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexBroken):
            index.mark(1, 1)
        other.execute("ROLLBACK")
    assert not index.is_damaged
    index.close()


def test_damage_inside_an_index_is_told(tmp_path: Path) -> None:
    file = tmp_path / "index.db"
    index = Index(file, "s")
    index.add(1, "a", 0, 1, [_passage(f"word{n}", n, 5.0) for n in range(5_000)])
    index.tidy()
    index.close()
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xaa" * (len(data) - 4096)
    file.write_bytes(data)
    with pytest.raises(IndexBroken, match="cannot be used") as broken:
        Index(file, "s", read_only=True).search("word1")
    assert "--rebuild" in broken.value.hint


def test_the_newest_come_first_also_where_what_is_older_was_indexed_behind_them(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db", "s")
    index.add(1, "main", 0, 1, [_passage("the quokka", n, 1_000.0 + n) for n in range(30)])
    for agent in range(9):
        index.add(1, f"agent-{agent}", 0, 1, [_passage("a quokka", n, 10.0 + n) for n in range(100)])
    found = index.search("quokka", limit=20)
    assert [(hit.name, hit.at) for hit in found] == [("main", 1_029 - n) for n in range(20)]
    index.close()


@pytest.mark.parametrize(
    ("query", "backward", "found"),
    [
        ('"green apple"', 0, 1),  # looked for in every shard, each read once and forward
        ('"red apple"', 0, 0),
        ("zebra apple", 0, 0),
        ("apple", 1, 5),  # the newest shard has enough: it alone is read backward
        ("app*", 1, 5),
    ],
)
def test_only_a_shard_with_more_than_is_asked_for_is_read_backward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str, backward: int, found: int
) -> None:
    """FTS5 goes through the words backward at nearly twice the price, and a rare phrase is looked for in all."""
    monkeypatch.setattr("sessionsync.search.index.SHARD_ROWS", 20)
    index = Index(tmp_path / "index.db", "x")
    texts = ["green apple", *["apple, and a red one"] * 99]
    for number, text in enumerate(texts):
        index.add(number, "a", 0, 1, [_passage(text, number, 100.0 + number)])
    asked: list[str] = []
    index._connection.set_trace_callback(asked.append)
    assert len(index.search(query, limit=5)) == found
    shards = [each for each in asked if "MATCH" in each]
    assert sum("DESC" in each for each in shards) == backward
    assert len(shards) == (5 if not backward else 1 if "*" in query else 2)
    index.close()


@pytest.mark.parametrize(
    ("query", "gathered", "found"),
    [
        ("green appl*", 1, 1),
        ('appl* "red on"* green', 0, 0),
        ("green OR bana*", 5, 1),  # a match need hold nothing but what the prefix stands for
        ("green app* OR blue r*", 1, 1),
        ("green NOT re*", 1, 1),
        ('"green appl"*', 1, 1),
        ('"green appl - "*', 1, 1),  # what is behind its last word is none
        ("緑 appl*", 5, 0),  # a character by itself begins a pair: a prefix as well
    ],
)
def test_a_prefix_is_gathered_only_where_the_rest_of_the_query_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str, gathered: int, found: int
) -> None:
    """FTS5 gathers what it stands for from all of a shard, however rare the rest is (measured: `t*`, 17 ms)."""
    monkeypatch.setattr("sessionsync.search.index.SHARD_ROWS", 20)
    index = Index(tmp_path / "index.db", "x")
    for number, text in enumerate(["green apple", *["apple, and a red one"] * 99]):
        index.add(number, "a", 0, 1, [_passage(text, number, 100.0 + number)])
    asked: list[str] = []
    index._connection.set_trace_callback(asked.append)
    assert len(index.search(query, limit=5)) == found
    assert sum('" *' in each for each in asked if "MATCH" in each) == gathered
    index.close()


def test_a_rebuild_takes_the_place_of_what_is_still_read(rig: Rig, searching: Searching) -> None:
    say(rig, "remember me")
    assert len(searching.find("remember")) == 1
    reader = Index(searching.index.file, "s1", read_only=True)
    draft = Index(rig.home.state / "index.db.new", "s1", is_draft=True)
    rebuilding = Indexer(draft, rig.catalog, rig.mirror, rig.vault, rig.sources)
    assert [done for done, _, _ in rebuilding.fill(lambda error: pytest.fail(str(error)))][-1] == 1
    searching.index.close()
    draft.take_place_of(searching.index.file)
    assert len(reader.search("remember")) == 1
    reader.close()
    again = Searching(rig)
    assert again.indexer.behind() == []
    assert again.index.file.read_bytes()[18:20] == b"\2\2", "readers read beside the writer (WAL)"
    assert len(again.index.search("remember")) == 1
    again.index.close()


@pytest.mark.parametrize(
    ("text", "query", "shown"),
    [
        ("un café noir", "cafe", "un [café] noir"),
        (WIDE, "abc", f"[{WIDE}]"),
        ("getUserName and user", "user", "getUserName and [user]"),
        ("only getUserName", "user", "only get[User]Name"),
        ("日本語のテスト", "テスト", "日本語の[テスト]"),
        ("a\x1b[31mb\x07c", "b", "a [31m[b] c"),
        ("deploys deploy", "deploy*", "[deploys] [deploy]"),
        ("a blue green sky", '"blue green"', "a [blue green] sky"),
        ("see token_store now", "token_store", "see [token_store] now"),
    ],
)
def test_a_snippet_marks_what_was_found(text: str, query: str, shown: str) -> None:
    assert snippet(text, query, lambda found: f"[{found}]") == shown


def test_a_snippet_shows_where_most_words_are_together() -> None:
    text = "cache " + "word " * 100 + "cache of the queue " + "word " * 100
    assert "[cache] of the [queue]" in snippet(text, "cache queue", lambda found: f"[{found}]")


def test_a_snippet_shows_the_match_in_the_middle_of_its_words() -> None:
    text = "word " * 100 + "needle " + "word " * 100
    shown = snippet(text, "needle", lambda found: f"[{found}]")
    assert "[needle]" in shown
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert len(shown) < 200


def test_the_index_is_much_smaller_than_what_is_indexed(
    rig: Rig, searching: Searching, transcripts: list[Path]
) -> None:
    text = 0
    for source in transcripts:
        path = rig.home.transcript()
        path.write_bytes(source.read_bytes())
        rig.now += 1
    rig.scan()
    searching.keep_up()
    for session in rig.catalog.sessions():
        data = session.location.read_bytes()
        text += sum(len(p.text.encode()) for p in rig.sources[0].passages(session.location.name, data, 0))
    searching.index.tidy()
    raw = sum(session.size for session in rig.catalog.sessions())
    assert searching.index.bytes() <= 0.6 * text
    assert searching.index.bytes() <= 0.2 * raw


def test_words_are_split_alike_in_texts_and_queries() -> None:
    assert words(["getUserName"])[0].split() == ["getUserName", "get", "User", "Name"]
    assert expression("getUserName*") == '("getUserName" * OR "get User Name" *)'


def test_texts_are_cut_alike_together_and_each_by_itself() -> None:
    """Nothing goes from one to the next: no end of an identifier, of data, or of what is said behind `the`."""
    data = 50 * "a"
    around = [
        "",
        "get",
        "User",
        "HTTP",
        "Server",
        "the",
        "in",
        " in",
        "the in é",
        "日",
        "本",
        "é",
        "\ud800",
        data,
        data + "B",
    ]
    texts = [f"{one}{two}" for one in around for two in around] + around
    together = words(texts)
    assert together == [each for text in texts for each in words([text])]
    assert any(JOINED[b"in"] in each for each in together)
    assert "get User" in " ".join(together)
    assert not any(2 * data in each for each in together)


def test_a_phrase_that_nobody_says_is_not_looked_for_in_all_that_has_its_words(tmp_path: Path) -> None:
    """FTS5 goes through the places of its words together: here in all texts, and in none beside each other."""
    index = Index(tmp_path / "index.db", "x")
    texts = [
        60 * text for text in ("the cache is in use, ", "in all of the tests ", "and so the queue is ")
    ] * 1_000
    index.add(1, "a", 0, 1, [_passage(text, n, 100.0 + n) for n, text in enumerate(texts)])
    index.tidy()
    steps = {query: _steps(index, query) for query in ('"the in"', '"in the"', '"the is"*')}
    index.close()
    assert 2 * steps['"the in"'] < steps['"in the"']
    assert 2 * steps['"the in"'] < steps['"the is"*'], "of a word that may go on nothing is known"


def _steps(index: Index, query: str) -> int:
    """How many steps of the database a search takes: each page that FTS5 reads is one or more."""
    taken = 0

    def step() -> int:
        nonlocal taken
        taken += 1
        return 0

    index._connection.set_progress_handler(step, 1)
    assert index.search(query) == []
    index._connection.set_progress_handler(None, 1)
    return taken


def test_whatever_sqlite_finds_right_behind_the_is_asked_for() -> None:
    """Every letter, accent and sign there is, in a word and between two."""
    around = (
        "The{}in",
        "the {}in",
        "the{} in",
        "th{}e in",
        "the i{}n",
        "x{}the in",
        "the in{}x",
        "the{}- {}in",
    )
    signs = [chr(n) for n in (*range(0x20, 0x3100), *range(0xA640, 0xAC00), *range(0xF900, 0x10000))]
    beside = _right_behind_the([each.format(sign, sign) for sign in signs for each in around])
    assert beside[b"in"] > 10_000


def test_whatever_people_said_right_behind_the_is_asked_for(transcripts: list[Path]) -> None:
    of_people = (p.text for path in transcripts for p in of_transcript(path.read_bytes(), 0))
    assert any(_right_behind_the([text[:200] for text in of_people]).values())


def _right_behind_the(texts: list[str]) -> dict[bytes, int]:
    """In how many texts each word is behind `the`, as SQLite sees it; all of them have it as one word as well."""
    counts: dict[bytes, int] = {}
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute('CREATE VIRTUAL TABLE t USING fts5 (text, tokenize="unicode61 remove_diacritics 2")')
        db.executemany("INSERT INTO t (rowid, text) VALUES (?, ?)", enumerate(words(texts)))
        for word, joined in JOINED.items():
            beside = {
                row
                for (row,) in db.execute("SELECT rowid FROM t WHERE t MATCH ?", (f'"the {word.decode()}"',))
            }
            found = {row for (row,) in db.execute("SELECT rowid FROM t WHERE t MATCH ?", (f'"{joined}"',))}
            assert beside <= found, [texts[row] for row in beside - found][:5]
            counts[word] = len(beside)
    return counts


def test_what_the_index_still_knows_of_a_text_has_no_word_that_nobody_said(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db", "x")
    index.add(1, "a", 0, 1, [_passage("Is the in-memory cache the one?", 0, 100.0)])
    assert [text for _, text in said(index, 1)] == ["is the in memory cache the one"]
    index.close()
