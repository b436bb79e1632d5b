"""The reader of notes: whatever bytes, it ends; whatever order, each section says what stands below it."""

import string

from hypothesis import given
from hypothesis import strategies as st

from sessionsync.notes.lint import lint
from sessionsync.notes.naming import slug
from sessionsync.notes.thread import Paper, thread
from sessionsync.sources.markdown import plain
from sessionsync.sources.note_reading import read
from sessionsync.sources.note_terms import SECTIONS, state_of
from tests.unit.test_note_reading import summary

WORD = st.text(string.ascii_lowercase, min_size=2, max_size=8).filter(
    lambda w: w not in {"na", "none", "nothing"}
)
ITEM = st.lists(WORD, min_size=1, max_size=5).map(" ".join)
MARKDOWN = st.text("#*-_>`~|[]()<!&\\ \n\t1.ax:✅é\r\0", max_size=300)
HEADED = st.fixed_dictionaries(
    {
        "name": st.sampled_from(sorted(SECTIONS)),
        "depth": st.integers(1, 6),
        "items": st.lists(ITEM, max_size=4),
        "mark": st.sampled_from(["- ", "* ", "1. ", "- [ ] "]),
    }
)


@given(st.binary(max_size=2000))
def test_no_bytes_bring_it_down(data: bytes) -> None:
    made = summary(data)
    assert made.title
    assert len(made.critical.decisions) <= 50


@given(MARKDOWN, st.sampled_from(["", "## Next Steps\n", "## Decisions\n", "## Status\n", "# Metadata\n"]))
def test_no_markdown_brings_it_down(text: str, before: str) -> None:
    made = summary(before + text)
    for said in (
        *made.critical.decisions,
        *made.critical.next_steps,
        made.title,
        made.critical.current_phase,
    ):
        assert len(said) <= 500
        assert "\n" not in said
    state_of(text)
    plain(text)


@given(MARKDOWN)
def test_line_ends_make_no_difference(text: str) -> None:
    text = text.replace("\r", "")
    assert read(text.encode()) == read(text.replace("\n", "\r\n").encode())


@given(st.lists(HEADED, max_size=6), st.data())
def test_each_section_has_what_stands_below_it(
    sections: list[dict[str, object]], data: st.DataObject
) -> None:
    said: dict[str, list[str]] = {}
    text = ""
    for section in sections:
        name, items = str(section["name"]), section["items"]
        assert isinstance(items, list)
        title = data.draw(st.sampled_from(SECTIONS[name].split("|")))
        text += f"{'#' * int(str(section['depth']))} {title.title()}\n\n"
        text += "".join(f"{section['mark']}{item}\n" for item in items) + "\n"
        said.setdefault(name, []).extend(items)
    found = read(text.encode())
    assert set(found.sections) == set(said)
    assert {name: found.entries(name) for name in said} == said


@given(st.binary(max_size=2000) | MARKDOWN.map(str.encode), st.text(max_size=30))
def test_lint_and_story_take_whatever_there_is(data: bytes, name: str) -> None:
    last = len(data.splitlines()) + 2
    for problem in lint(name, data, now=1.8e9, exists=lambda _name: False):
        assert 1 <= problem.line <= last
        assert problem.message
        assert problem.hint
    (note,) = thread([Paper(name, name, data)])
    assert note.title or not note.topic


@given(st.text(max_size=200))
def test_a_slug_is_a_part_of_a_files_name_and_stays_one(topic: str) -> None:
    made = slug(topic)
    assert slug(made) == made
    assert len(made.encode()) <= 80
    assert all(letter.isalnum() or letter == "-" for letter in made)
