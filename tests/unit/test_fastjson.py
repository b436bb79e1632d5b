"""JSON by the half in C is JSON as the standard library has it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionsync import fastjson
from tests.conftest import PATIENCE_S

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_values_come_and_go_as_with_json(value: Any) -> None:
    text = json.dumps(value)
    assert fastjson.dumps(value) == text
    assert fastjson.loads(text) == value
    assert (
        fastjson.loads(
            f" \n{json.dumps(value, ensure_ascii=False, indent=2)}\t".encode("utf-8", "surrogatepass")
        )
        == value
    )


@given(st.binary() | st.text(alphabet='{}[]",:0123456789.eE-\\ntrufalsN \t\ufeff\ud800'))
def test_what_is_taken_and_what_is_refused_is_as_with_json(data: bytes | str) -> None:
    def told(loads: Any) -> object:
        try:
            return repr(loads(data))
        except ValueError as error:
            return type(error), str(error)

    assert told(fastjson.loads) == told(json.loads)


@pytest.mark.parametrize("value", [object(), {"a": {1}}, {("a",): 1}, [b"x"]])
def test_what_json_has_not_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="not"):
        fastjson.dumps(value)


def test_a_circle_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(ValueError, match="Circular"):
        fastjson.dumps(value)


@pytest.mark.parametrize("data", ["[" * 100_000, '{"a":' * 100_000])
def test_what_is_nested_without_end_is_refused(data: str) -> None:
    with pytest.raises(RecursionError):
        fastjson.loads(data)


@pytest.mark.parametrize("text", ["", "{", "[1,", '{"a" 1}', '"\\x"', "[1] 2", "nul"])
def test_what_is_refused_before_json_was_ever_imported(text: str) -> None:
    code = "import sys; from sessionsync import fastjson as f\ntry: f.loads(sys.argv[1])\nexcept ValueError: print('refused')"
    done = subprocess.run(
        [sys.executable, "-c", code, text], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert done.stdout == "refused\n"


def test_it_costs_no_import() -> None:
    code = "import sys; from sessionsync import fastjson as f; f.loads(f.dumps({'a': [1]})); print('re' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert done.stdout == "False\n"


def test_without_the_half_in_c_it_is_json() -> None:
    code = (
        "import sys; sys.modules['_json'] = None; from sessionsync import fastjson as f;"
        "print(f.dumps({'a': [1]}), f.loads(' [1] '), f.in_c)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert done.stdout == '{"a": [1]} [1] None\n'
