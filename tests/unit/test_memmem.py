"""The C library finds what Python finds, and where it may not be asked Python does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionsync import memmem


@pytest.fixture(params=["C", "Python"], scope="module")
def by(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "Python":
            patch.setattr(memmem, "_memmem", lambda: None)
        elif memmem._memmem() is None:
            pytest.skip("this C library does not find any")
        yield request.param


@given(
    data=st.text("ab\0é", max_size=60).map(str.encode),
    letters=st.text("ab\0é", max_size=4).map(str.encode),
    begin=st.integers(0, 70),
    end=st.integers(0, 70),
)
def test_letters_are_found_where_python_finds_them(
    by: str, data: bytes, letters: bytes, begin: int, end: int
) -> None:
    assert memmem.find(data, letters, begin, end) == data.find(letters, begin, end)


def test_what_lies_behind_the_data_is_not_looked_at(by: str) -> None:
    data = b"needle in hay"
    assert memmem.find(data[:-3], b"hay", 0, len(data)) == -1
    assert memmem.find(data, b"needle", 1, 2**40) == -1
    assert memmem.find(b"x" * 3_000_000 + b"needle", b"needle", 5, 3_000_006) == 3_000_000
