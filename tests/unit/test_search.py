"""A word that was said is found, in whatever session, alive or gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sessionsync.errors import QueryInvalid
from sessionsync.search import Hit, Index, Indexer, expression, passage_of, snippet, words
from tests.rig import Home, Rig, append, line, write


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
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(Home(tmp_path))
    yield made
    made.close()


@pytest.fixture
def searching(rig: Rig) -> Searching:
    return Searching(rig)


def say(rig: Rig, *texts: str, path: Path | None = None) -> Path:
    path = path or rig.home.transcript()
    append(path, *(line("user", text, rig.home.project) for text in texts))
    rig.now += 5
    return path


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


@pytest.mark.parametrize("query", ["", '"', "***", "OR", "()", "   "])
def test_a_query_without_a_word_is_refused(query: str) -> None:
    with pytest.raises(QueryInvalid):
        expression(query)


@pytest.mark.parametrize(
    "query", ['a" b', "(x", "x)", "a-b", "^a", "col:val", "NEAR(a b)", "a AND", "-x", "é*"]
)
def test_any_query_with_a_word_is_answered(rig: Rig, searching: Searching, query: str) -> None:
    say(rig, "text")
    searching.find(query)


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
    assert words("getUserName").split() == ["getUserName", "get", "User", "Name"]
    assert expression("getUserName*") == '("getUserName" * OR "get User Name" *)'
