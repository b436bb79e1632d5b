"""Which forgotten session a person means: no more than a hash of its id is left of it."""

from __future__ import annotations

from collections.abc import Iterable

from sessionsync.errors import AmbiguousSession, NoSuchSession
from sessionsync.model import Ref
from sessionsync.tombstones import Tombstones


def meant(tombstones: Tombstones, text: str, there: Iterable[Ref] = ()) -> Ref | None:
    """The one meant by `text`: its whole id, or the beginning of one whose file is still `there`.

    Raises:
        AmbiguousSession: several are meant.
    """
    source, _, rest = text.partition(":")
    begins = rest or text
    if not begins:
        return None
    whole = Ref(source, rest) if rest else Ref("claude", text)
    near = [ref for ref in there if ref.session_id.startswith(begins) and (not rest or ref.source == source)]
    exact = [ref for ref in (whole, *near) if ref.session_id == begins]
    for refs in (exact, near):
        found = [
            ref for ref in dict.fromkeys(refs) if tombstones.holds(ref.source, ref.session_id, ref.scope)
        ]
        if len(found) > 1:
            raise AmbiguousSession(
                f"{text!r} is more than one forgotten session: {', '.join(map(str, found))}.",
                hint="Give more of its id, or name it as source:id.",
            )
        if found:
            return found[0]
    return None


def was_forgotten(ref: Ref) -> NoSuchSession:
    """The error for a session that is not known because somebody had it forgotten."""
    return NoSuchSession(
        f"Session {ref} was forgotten.", hint=f"`sessiond forget --undo {ref}` takes it in again."
    )
