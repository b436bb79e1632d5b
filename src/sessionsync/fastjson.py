"""JSON by that half of the standard library's `json` which is written in C.

The other half begins with `re`, and takes the shortest commands and a hook as long to import as half of
Python's own start.  What this one refuses is given to `json`, so values and errors are those of `json`
without options.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

in_c: Any
try:
    import _json as in_c
except ImportError:  # an interpreter without it
    in_c = None

# What is not done here: it is no such JSON or value, or this interpreter has that half not, or another.  A
# SystemError is that half's missing the other, which has the exception that it would raise.
_REFUSED = (ValueError, TypeError, StopIteration, RecursionError, AttributeError, SystemError)
BLANKS = " \t\n\r"


class _Usual:
    """What `json.loads` sets by itself."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"-Infinity": -float("inf"), "Infinity": float("inf"), "NaN": float("nan")}.__getitem__


def loads(data: str | bytes | bytearray) -> Any:
    """The value that a JSON text is.

    Raises:
        ValueError: it is none.
        RecursionError: it is nested without end.
    """
    try:
        text = data if isinstance(data, str) else data.decode()
        value, end = in_c.make_scanner(_Usual)(text, len(text) - len(text.lstrip(BLANKS)))
        if not text[end:].strip(BLANKS):
            return value
    except _REFUSED:
        pass
    import json  # noqa: PLC0415 - it knows what is wrong

    return json.loads(data)


def dumps(value: object) -> str:
    """A value as one line of JSON, all of it ASCII.

    Raises:
        TypeError: it holds what JSON has not.
        ValueError: it holds itself.
    """
    try:
        text = in_c.encode_basestring_ascii
        encode = in_c.make_encoder({}, _refused, text, None, ": ", ", ", False, False, True)
        return "".join(encode(value, 0))
    except _REFUSED:
        import json  # noqa: PLC0415 - as above

        return json.dumps(value)


def _refused(value: object) -> object:
    raise TypeError(value)
