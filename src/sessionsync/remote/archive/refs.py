"""The names under which sessions lie in the archive.

    refs/sessiond/<source>/<session_id>/<machine>     one session as one machine saw it
    refs/sessiond/cold/<yyyy-mm>                      what was folded in that month, see `fold`

A session id is percent-encoded outside `A-Za-z0-9._-`, and where git takes no such name: a dot at its
beginning or end, two dots in a row, `.lock` at its end.  An id too long for a file's name is cut and gets
a hash; the manifest says it in full.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote, unquote

PREFIX = "refs/sessiond/"
COLD = f"{PREFIX}cold/"
# A loose ref is a file, and `.lock` is added to its name: file systems take 255 bytes.
LONGEST = 200
_CUT = 128

MACHINE = re.compile(r"[0-9a-f]{8}")
_SOURCE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_ID = re.compile(r"[A-Za-z0-9._%-]{1,200}")
OBJECT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


class Place(NamedTuple):
    """What a ref's name says: whose commits it leads to.  `session` is the encoded id."""

    source: str
    session: str
    machine: str

    @property
    def ref(self) -> str:
        """The ref's full name."""
        return f"{PREFIX}{self.path}"

    @property
    def path(self) -> str:
        """What follows the common prefix; in a cold commit, the file that stands for the ref."""
        return f"{self.source}/{self.session}/{self.machine}"

    @property
    def session_id(self) -> str:
        """The session's id; of one that was cut, only its beginning."""
        return unquote(self.session, errors="surrogateescape")


def encode(session_id: str) -> str:
    """A session's id as one step of a ref's name.

    >>> encode("note.app.a~b..lock")
    'note.app.a%7Eb.%2Elock'
    """
    data = _bytes(session_id)
    name = quote(data, safe="").replace("~", "%7E")
    name = re.sub(r"^\.|\.$|(?<=\.)\.|\.(?=lock$)", "%2E", name)
    if len(name) <= LONGEST:
        return name
    sha = hashlib.sha256(data).hexdigest()
    return f"{re.sub(r'%.?$', '', name[:_CUT])}%2E{sha[:32]}"


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character that no file name has
        return text.encode("utf-8", "surrogatepass")


def place(source: str, session_id: str, machine: str) -> Place:
    """Where a machine keeps a session."""
    return Place(source, encode(session_id), machine)


def parse(path: str) -> Place | None:
    """The place that `<source>/<session>/<machine>` names; None where it is none of ours."""
    steps = path.removeprefix(PREFIX).split("/")
    if len(steps) != 3:
        return None
    source, session, machine = steps
    fits = _SOURCE.fullmatch(source) and _ID.fullmatch(session) and MACHINE.fullmatch(machine)
    return Place(source, session, machine) if fits and source != "cold" else None


def cold(month: str) -> str:
    """The ref of what was folded in a month, `yyyy-mm`."""
    return f"{COLD}{month}"


def is_cold(ref: str) -> bool:
    """Whether a ref is one of those."""
    return ref.startswith(COLD) and _MONTH.fullmatch(ref.removeprefix(COLD)) is not None


def of_session(names: Iterable[str], source: str, session_id: str) -> list[Place]:
    """The places of one session among the names of refs or of files in a cold commit; '' for any source."""
    sought = encode(session_id)
    found = (parse(name) for name in names)
    return sorted(p for p in found if p is not None and p.session == sought and source in {"", p.source})
