import pytest

from sessionsync.model import Tier
from sessionsync.remote.tiers import tier_of

GITHUB_ONLY, HYBRID, LOCAL_PRIMARY = Tier


def tier(size: int, was: Tier | None = None) -> Tier:
    return tier_of(size, was, github_only_bytes=46_080, hybrid_bytes=204_800)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, GITHUB_ONLY),
        (46_079, GITHUB_ONLY),
        (46_080, HYBRID),
        (204_800, HYBRID),
        (204_801, LOCAL_PRIMARY),
        (3_800_000_000, LOCAL_PRIMARY),
    ],
)
def test_the_tier_goes_by_size(size: int, expected: Tier) -> None:
    assert tier(size) is expected


@pytest.mark.parametrize("was", list(Tier))
@pytest.mark.parametrize("size", [0, 46_080, 204_801])
def test_a_tier_rises_and_never_falls(size: int, was: Tier) -> None:
    assert tier(size, was).rank == max(tier(size).rank, was.rank)


def test_the_limits_may_be_one() -> None:
    assert [tier_of(n, None, github_only_bytes=10, hybrid_bytes=10) for n in (9, 10, 11)] == list(Tier)
