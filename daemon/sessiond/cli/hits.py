"""What a search found, as a person reads it."""

from __future__ import annotations

import re
from itertools import zip_longest

from sessiond.cli.sessions import short_ids
from sessiond.cli.terminal import Terminal, ago, clean, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json

# What stands around a match in a snippet until it is shown, as `sessiond.searching` has it.
MARKS = ("\x02", "\x03")


def render(answer: Json, now: float, out: Terminal, *, limit: int = 0) -> list[str]:
    """`search`: where it was said, by whom and when, and the words around it."""
    found = answer["hits"]
    if not found:
        return ["Nothing was found.", *_unindexed(answer)]
    short = short_ids([each["session"] for each in found])
    lines: list[str] = []
    for each in found:
        said = (ago(each["at"], now),) if each["at"] else ()
        about = (clean(short[each["session"]]), clean(each["project"]), each["role"], *said)
        lines += [out.paint("  ".join(filter(None, about)), "dim"), f"  {_marked(each['snippet'], out)}"]
    if len(found) == limit:
        lines.append(f"There may be more: --limit {5 * limit} shows older ones.")
    return lines + _unindexed(answer)


def _unindexed(answer: Json) -> list[str]:
    if not (behind := answer["behind"]):
        return []
    what = f"{count(behind, 'session')} not wholly indexed yet."
    return [f"{what} The daemon is at it; without one: sessiond search --rebuild"]


def _marked(snippet: str, out: Terminal) -> str:
    """A snippet with its matches in bold or, where there is none, as Markdown has it."""
    shown = "".join(letter if letter.isprintable() or letter in MARKS else " " for letter in snippet)
    if not out.colours:
        return starred(shown)
    pieces = shown.replace(MARKS[1], MARKS[0]).split(MARKS[0])
    bold = (out.paint(piece, "bold") for piece in pieces[1::2])
    return "".join(piece for pair in zip_longest(pieces[::2], bold, fillvalue="") for piece in pair)


def starred(snippet: str) -> str:
    """A snippet with its matches, which stand between `MARKS`, in Markdown's bold; stars around them go."""
    plain = re.sub(r"\*\*([^*]*\x02[^*]*)\*\*", r"\1", snippet)
    return re.sub(r"\**\x02([^\x03]*)\x03\**", r"**\1**", plain)
