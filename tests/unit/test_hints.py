"""Many fixed texts are found together as one after the other."""

import random

from hypothesis import given
from hypothesis import strategies as st

from sessionsync.privacy.hints import Hints

# Few letters, with signs that hints go by and some that they do not: texts lie in and over one another.
letters = st.sampled_from([b"a", b"x", b"k", b"_", b"-", b"]", b"^", b"\\", b"\n"])
texts = st.lists(letters, min_size=1, max_size=4).map(b"".join)
wholes = st.lists(letters, max_size=60).map(b"".join)


def one_by_one(hint: bytes, text: bytes, then: bytes = b"") -> list[int]:
    ends = tuple(hint + bytes([sign]) for sign in then) or hint
    return [at for at in range(len(text)) if text.startswith(ends, at)]


@given(st.sets(texts, min_size=1, max_size=12), wholes)
def test_each_is_found_wherever_it_stands(hints: set[bytes], text: bytes) -> None:
    found = Hints(dict.fromkeys(hints, b"")).places(text)
    assert found == {hint: at for hint in hints if (at := one_by_one(hint, text))}


@given(st.dictionaries(texts, st.sampled_from([b"", b"a_", b"]^", b"\\-"]), min_size=1, max_size=8), wholes)
def test_none_is_lost_that_is_followed_as_it_must_be(hints: dict[bytes, bytes], text: bytes) -> None:
    found = Hints(hints).places(text)
    for hint, then in hints.items():
        assert {*one_by_one(hint, text, then)} <= {*found.get(hint, ())} <= {*one_by_one(hint, text)}


def test_what_is_not_followed_as_it_must_be_is_not_even_shown() -> None:
    hints = Hints({b"token": b"=:", b"key": b"=:"})
    assert hints.places(b"tokens, a token, keys " * 100) == {}
    assert hints.places(b"tokens, a token=1, keys") == {b"token": [10]}


def test_those_with_the_same_sign_are_one_pass() -> None:
    chance = random.Random(1)
    many = {b"%b_%d" % (chance.randbytes(3).hex().encode(), n): b"" for n in range(100)}
    assert Hints(many).passes == 1
