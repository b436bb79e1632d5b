"""The two local copies of every session: the plain one (layer 1) and the vault (layer 3).

    live file ──bytes──▶ Mirror: <PROJECT>/<SESSION_ID>.jsonl     plain, at once
        │                   └─ set aside: what a shrink took
        └───segments──▶ Vault:  <PROJECT>/<source>.<session_id>/  compressed, every checkpoint
                            ├─ pack      zstd frames, one a segment, only ever appended
                            └─ journal   lines that say what the frames are, only ever appended

A vault reads without this program.  `pack` is plain zstd: `zstd -dc -D ../../.sessiond/dictionary-* pack`
shows every byte that is stored, up to where a crash may have left half a frame.  Each line of `journal`
is `<CRC-32, 8 hex digits> <JSON>`:

    {"do":"pack","number":1}
    {"do":"session","source":…,"session_id":…,"project":…,"project_key":…,"first_seen":…,"meta":{}}
    {"do":"segment","file":…,"generation":0,"offset":0,"length":10,"at":0,"packed":9,"root":…}
    {"do":"snapshot","id":…,"at":…,"trigger":…,"alias":…,"meta":{},
                     "files":[{"name":…,"generation":0,"length":10,"root":…,"deleted_at":…}]}
    {"do":"fork","file":…,"generation":1,"parent":0,"shared":4}
    {"do":"remove","file":…,"at":…}
    {"do":"forget","ids":[…],"at":…}

Times are Unix seconds; `at` of a segment is where its frame begins in the pack, which is `pack-1` where the
first line says so.  A forgotten snapshot cannot be asked for, but what it said of files still holds for
later ones.  A file's bytes at a snapshot are those of its generation before `length`:

    generation 0   ████████████████████   segments, in order
    generation 1   ▒▒▒▒▒▒▒▒▒▒████████      what it shares with 0 is not stored again
                             └─ shared

Rules of reading: a snapshot's bytes are what the lines before it say, and where segments cover the same
bytes the later line counts; lines behind it only fill gaps.  A fork of a generation that exists begins
it anew.  A segment whose frame is not wholly in the pack is not stored, and neither is one whose place a
later line gives to another.  So a process may die anywhere and go on from an older state by writing the
same again, or something else; and damage is mended by writing the same bytes again.

Order of writes: frames into the pack · (flush:) pack durable · lines into the journal · journal durable
· only then may anybody rely on it.  A line never names bytes that a power cut could take.

Upkeep: `retention` says which checkpoints stay; `merge` writes pack and journal anew without what nobody can
ask for, as `plan` decides, and puts both in place with one rename; `verify` looks whether all of it, and the
plain copies, are what was stored; `repair` heals one from the other, and `mend` a journal from itself.
What was damaged is kept in files named `damaged-…`, or `….damaged` beside a plain copy; only a journal that
was mended altogether goes after a day.

What protects what: CRC-32 each line, the root each segment (of the unpacked bytes; in the format 1 their
SHA-256) and each file in a snapshot.  A damaged line or frame costs what it said, nothing else.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessionsync.vault.copy import Copy
    from sessionsync.vault.journal import Snapshot, StoredFile
    from sessionsync.vault.mirror import Mirror
    from sessionsync.vault.root import Root
    from sessionsync.vault.session import SessionVault
    from sessionsync.vault.vault import Vault

__all__ = ["Copy", "Mirror", "Root", "SessionVault", "Snapshot", "StoredFile", "Vault"]

_HOMES = {
    "Copy": "copy",
    "Mirror": "mirror",
    "Root": "root",
    "SessionVault": "session",
    "Snapshot": "journal",
    "StoredFile": "journal",
    "Vault": "vault",
}


def __getattr__(name: str) -> object:
    # the hook wants the mirror alone, and not to wait for zstandard
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as above

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
