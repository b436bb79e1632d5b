"""From queued checkpoints to the archive: all that is due becomes commits, and goes in one push.

    Archiving ──▶ ends      that both repositories are there, and may hold sessions
        ├───────▶ basis     the commit that a session goes on from, also where it is lost here
        └───────▶ care      when nothing is due: what is lost there, folding, tidying

The commits are made and written down before the push leaves; pushing them again does no harm, as what is
there already is up to date.  An item is done only when the archive has confirmed its ref.  Nothing is ever
forced: where another history stands under this machine's name, as after its state was copied to a second
machine, this one takes a new name.

What is lost is made good: the local repository from the archive or from the vault, the archive's refs from
the local repository.  Idle refs are folded, and packs kept few, when nothing else is to be done.
"""

from sessionsync.archiving.archiving import CACHE, COLD, Archiving
from sessionsync.archiving.means import code_of

__all__ = ["CACHE", "COLD", "Archiving", "code_of"]
