"""How much of a session goes into its comment: by size, and never less than before."""

from __future__ import annotations

from sessionsync.model import Tier


def tier_of(size: int, was: Tier | None, *, github_only_bytes: int, hybrid_bytes: int) -> Tier:
    """The tier of a session of `size` bytes that was in tier `was`; None for a session never seen.

    `github_only` ends below its limit, `hybrid` with its own: 46,080 bytes are `hybrid`, and so are
    204,800.  A session that shrinks stays where it was.
    """
    if size < github_only_bytes:
        tier = Tier.GITHUB_ONLY
    elif size <= hybrid_bytes:
        tier = Tier.HYBRID
    else:
        tier = Tier.LOCAL_PRIMARY
    return tier if was is None or was is tier else max(tier, was, key=lambda t: t.rank)
