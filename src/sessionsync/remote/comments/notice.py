"""The comment that tells of two versions of one session: written once, as that notifies, then edited.

<!-- sessiond v1 conflict=<fork> session=<id> state=<state> -->     what machines look for
what a person reads: whose versions they are, which one is the record, how to choose otherwise
<!-- /sessiond sha256=<hex> -->
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sessionsync.model import Tier
from sessionsync.privacy.gate import ClearedText, Gate
from sessionsync.remote.comments.inert import code, fenced, one_line, plain, shell_word
from sessionsync.remote.comments.marker import decode_id, encode_id, end_line, split_lines, text_hash

OPEN = "open"
STATES = (OPEN, "local", "remote", "both", "merge")
"""What was chosen; `local` is the version that became the record at first."""

_MARKER = re.compile(
    r"<!-- sessiond v1 conflict=(?P<fork>[0-9a-f]{16}) session=(?P<id>[A-Za-z0-9._~%-]+)"
    r" machine=(?P<machine>[0-9a-z]{1,8}) state=(?P<state>[a-z]{1,8}) -->"
)
_WHAT = (
    "was changed in two places, and neither version goes on from the other."
    " The first became the record; the other is kept and can be restored."
)
_WAYS = (
    "`local` keeps the record as it is, `remote` takes the other version, `both` gives each a record of its"
    " own, `merge` makes one of both."
)
_SETTLED = {
    "local": "Settled: the record stays as it is.",
    "remote": "Settled: the other version became the record.",
    "both": "Settled: both stay, and the other version has a record of its own.",
    "merge": "Settled: both were merged into the record.",
}


class Notice(NamedTuple):
    """What the marker line says.  `machine` is the one whose version became the record at first."""

    fork: str
    session_id: str
    machine: str
    state: str

    def __str__(self) -> str:
        return (
            f"<!-- sessiond v1 conflict={self.fork} session={encode_id(self.session_id)}"
            f" machine={self.machine} state={self.state} -->"
        )


class Side(NamedTuple):
    """One of the two versions; `updated_at` is RFC 3339."""

    host: str
    revision: int
    updated_at: str
    tier: Tier | str
    size: int


def render_notice(gate: Gate, notice: Notice, *, title: str, record: Side, other: Side) -> ClearedText:
    """The comment's text; `record` is the version that became the record, `other` the one beside it."""

    def shown(text: str) -> str:
        return plain(gate.text(text)[0], 80)

    def row(name: str, side: Side) -> str:
        return (
            f"| {name} | {shown(side.host).replace('|', '')} | {side.revision or ''} |"
            f" {plain(side.updated_at, 40)} | {side.size:,} bytes |"
        )

    session = shell_word(notice.session_id)
    settled = _SETTLED.get(notice.state, "")
    lines: Sequence[str] = (
        f"### Two versions of a session: {shown(title) or 'untitled'}",
        "",
        f"{code(one_line(encode_id(notice.session_id), 200))} {_WHAT}",
        "",
        "| version | host | revision | updated | size |",
        "|---|---|---|---|---|",
        row("the record", record),
        row("the other", other),
        "",
        *(
            [f"**{settled}**"]
            if settled
            else [
                f"Nothing has to be done. To choose otherwise, on {shown(record.host)}:",
                "",
                fenced("sh", f"sessiond ctl resolve {session} --keep remote --dry-run"),
                "",
                _WAYS,
            ]
        ),
    )
    own = "\n".join(lines)
    return ClearedText(f"{notice}\n{own}\n{end_line(text_hash(own))}")


def parse_notice(body: str) -> Notice | None:
    """What a comment says of two versions; None where it says nothing of that kind."""
    for line in split_lines(body)[:1]:
        match = _MARKER.fullmatch(line.rstrip())
        if match is not None and match["state"] in STATES:
            return Notice(match["fork"], decode_id(match["id"]), match["machine"], match["state"])
    return None
