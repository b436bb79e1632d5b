"""Removing a forgotten session from the archive: its refs, and its place in what was folded.

The commits are named by nothing then.  In a folder that this program made they are deleted at once; a host
keeps what nothing names for a time of its own, and shows it to who knows a commit's id.
"""

from __future__ import annotations

from collections.abc import Callable

from sessionsync.errors import ServerFailed
from sessionsync.remote.archive import refs
from sessionsync.remote.archive.cache import Cache
from sessionsync.remote.archive.fold import Cold
from sessionsync.remote.archive.git import AGAIN, refusal
from sessionsync.remote.archive.host import Host
from sessionsync.remote.archive.refs import Place


def erase(host: Host, cache: Cache, cold: Cold, is_meant: Callable[[Place], bool], now: float) -> int:
    """Remove every place that is meant; returns how many refs there were.  May be repeated.

    Raises:
        RemoteError: the archive does not answer, or refuses.
    """
    listed = host.refs(now)
    doomed = {
        ref: tip for ref, tip in listed.items() if (place := refs.parse(ref)) is not None and is_meant(place)
    }
    if doomed:
        leases = [f"--force-with-lease={ref}:{tip}" for ref, tip in doomed.items()]
        told = host.push([f":{ref}" for ref in doomed], cache.folder, now, options=leases)
        for ref in doomed:
            if ref not in told:
                raise ServerFailed(f"The archive said nothing of {ref}.", hint=AGAIN)
            if not told[ref].taken:
                error = refusal(told[ref].summary, f"The ref {ref}")
                raise error or ServerFailed(f"{ref} was changed meanwhile.", hint=AGAIN)
    cold.erase(host, listed, is_meant, now)
    cache.drop()  # it holds the commits as well, and is filled anew
    cold.drop()
    host.compact()
    return len(doomed)
