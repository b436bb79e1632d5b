import hashlib
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionsync.vault.root import Root


class Small(Root):
    LEAF_BYTES = 4


def naive(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive(leaves[:k]) + naive(leaves[k:])).digest()


def naive_root(data: bytes, leaf_bytes: int) -> str:
    return naive([data[n : n + leaf_bytes] for n in range(0, len(data), leaf_bytes)]).hex()


def root_of(data: bytes, kind: type[Root] = Root) -> Root:
    root = kind()
    root.update(data)
    return root


@pytest.mark.parametrize("leaves", [0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 21])
@pytest.mark.parametrize("extra", [0, 1, 65_535])
def test_it_is_the_tree_of_the_rfc(leaves: int, extra: int) -> None:
    data = random.Random(leaves).randbytes(leaves * 65_536 + extra)
    assert root_of(data).hexdigest() == naive_root(data, 65_536)


@pytest.mark.parametrize(
    ("data", "root"),
    [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "609f6e36d2405585188d5cfd761f407c7cc46a7d3f314c88270469dde315fcd1"),
        (bytes(65_536), "3266304f31be278d06c3bd3eb9aa3e00c59bedec0a890de466568b0b90b0e01f"),
        (bytes(65_537), "c5116a9f6cb3e91c32b11742d616e56678c1974a5255375a296a4ffc93ab9469"),
        (b"sessiond" * 100_000, "200261555fc8b2b4c0878c1d762a9d2f90ea3f1d498b7608c2ae9fac57288bb2"),
    ],
)
def test_roots_in_vaults_stay_what_they_are(data: bytes, root: str) -> None:
    assert root_of(data).hexdigest() == root


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_any_split_gives_the_same_root(data: bytes, cuts: list[int]) -> None:
    root = Small()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for begin, end in pairwise(edges):
        root.update(data[begin:end])
    assert root.size == len(data)
    assert root.hexdigest() == naive_root(data, 4)


@given(st.binary(max_size=200), st.integers(0, 200), st.data())
def test_it_goes_on_from_what_was_stored(data: bytes, cut: int, draw: st.DataObject) -> None:
    cut = min(cut, len(data))
    stored = root_of(data[:cut], Small)
    whole_leaves = cut - cut % 4
    resumed = Small.resume(stored.size, stored.peaks, data[whole_leaves:cut])
    assert resumed.hexdigest() == stored.hexdigest()
    second = draw.draw(st.integers(cut, len(data)))
    resumed.update(data[cut:second])
    resumed.update(data[second:])
    assert resumed.hexdigest() == naive_root(data, 4)
    assert resumed.peaks == root_of(data, Small).peaks


def test_the_state_grows_with_the_logarithm() -> None:
    assert len(root_of(bytes(4 * 1023), Small).peaks) == 10
    assert len(root_of(bytes(4 * 1024), Small).peaks) == 1


def test_a_copy_goes_its_own_way() -> None:
    first = root_of(b"12345", Small)
    second = first.copy()
    second.update(b"678")
    assert first.hexdigest() == naive_root(b"12345", 4)
    assert second.hexdigest() == naive_root(b"12345678", 4)


def test_one_byte_more_less_or_other_is_another_root() -> None:
    data = bytes(range(64))
    others = [data[:-1], data + b"\0", data[:31] + b"!" + data[32:], data[4:] + data[:4]]
    assert len({root_of(other, Small).hexdigest() for other in [data, *others]}) == 5


@pytest.mark.parametrize(
    ("size", "peaks", "partial"), [(4, 0, 0), (4, 1, 1), (5, 1, 0), (8, 2, 0), (0, 1, 0)]
)
def test_a_state_that_does_not_fit_is_refused(size: int, peaks: int, partial: int) -> None:
    with pytest.raises(ValueError, match="no state"):
        Small.resume(size, ["00" * 32] * peaks, bytes(partial))
