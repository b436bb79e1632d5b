"""Whatever JSON there is: our entries go in and out, and the rest is the same to the byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sessiond import hooks
from sessiond.jsontext import Text

PROGRAM = Path("/a b/sessiond")

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=12,
)
handlers = st.fixed_dictionaries({"type": st.just("command"), "command": words}) | values
groups = (
    st.fixed_dictionaries({"hooks": st.lists(handlers, max_size=3)}, optional={"matcher": words}) | values
)
lists = st.lists(groups, max_size=3)
events = st.dictionaries(st.sampled_from([*hooks.EVENTS, "PostToolUse", "x"]), lists, max_size=4)
settings = st.dictionaries(words.filter(lambda key: key != "hooks"), values, max_size=4).flatmap(
    lambda rest: st.just(rest) | events.map(lambda hooked: {**rest, "hooks": hooked})
)
blanks = st.text(st.sampled_from(" \t\n\r"), max_size=3)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Settings as people and programs write them: indented, minified, or with blanks anywhere."""
    given_settings = draw(settings)
    match draw(st.sampled_from(["indented", "minified", "default", "windows", "wild"])):
        case "indented":
            indent: Any = draw(st.sampled_from([1, 2, 4, "\t"]))
            return json.dumps(given_settings, indent=indent, ensure_ascii=draw(st.booleans())) + "\n"
        case "minified":
            return json.dumps(given_settings, separators=(",", ":"))
        case "windows":
            return json.dumps(given_settings, indent=2).replace("\n", "\r\n")
        case "wild":
            return draw(blanks) + wild(given_settings, draw) + draw(blanks)
    return json.dumps(given_settings)


def wild(value: Any, draw: st.DrawFn) -> str:
    def gap() -> str:
        return draw(blanks)

    if isinstance(value, dict) and value:
        inside = ",".join(
            f"{gap()}{json.dumps(k)}{gap()}:{gap()}{wild(v, draw)}{gap()}" for k, v in value.items()
        )
        return "{" + inside + "}"
    if isinstance(value, list) and value:
        return "[" + ",".join(gap() + wild(each, draw) + gap() for each in value) + "]"
    return json.dumps(value)


def is_empty_where_we_write(value: Any) -> bool:
    """Whether something that we may fill is empty: its blanks are not known any more when it is emptied."""
    if not value:
        return True
    hooked = value.get("hooks")
    return hooked is not None and (not hooked or any(hooked.get(event) == [] for event in hooks.EVENTS))


@given(texts())
def test_in_and_out(text: str) -> None:
    before = Text.parse(text)
    assert not list(hooks.entries(before))
    inside = hooks.with_ours(before, PROGRAM)
    assert {entry.event for entry in hooks.entries(inside)} == set(hooks.EVENTS)
    assert hooks.with_ours(inside, PROGRAM).text == inside.text
    merged, was = json.loads(inside.text), json.loads(text)
    for event in hooks.EVENTS:
        merged["hooks"][event].pop()
        if not merged["hooks"][event] and event not in was.get("hooks", {}):
            del merged["hooks"][event]
    if not merged["hooks"] and "hooks" not in was:
        del merged["hooks"]
    assert merged == was
    assert list(merged) == list(was)
    out = hooks.without_ours(inside)
    if not is_empty_where_we_write(was):
        assert out.text == text
    else:
        assert {k: v for k, v in json.loads(out.text).items() if k != "hooks"} == {
            k: v for k, v in was.items() if k != "hooks"
        }


@given(values, st.sampled_from([None, 2, "\t"]))
def test_what_json_reads_is_read(value: Any, indent: Any) -> None:
    text = json.dumps(value, indent=indent)
    root = Text.parse(text).root
    assert (root.start, root.end) == (0, len(text))


@given(st.text(st.sampled_from('{}[]",:\\ \n1-.eE0tfnul/*\u00e9'), max_size=20))
def test_what_json_refuses_is_refused(text: str) -> None:
    def refuse(_name: str) -> None:
        raise ValueError

    try:
        json.loads(text, parse_constant=refuse, object_pairs_hook=_once)
        good = True
    except ValueError:
        good = False
    try:
        Text.parse(text)
        assert good
    except ValueError:
        assert not good


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError
    return dict(pairs)
