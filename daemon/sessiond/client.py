"""Asking the daemon over its socket, by hand: an HTTP library costs more than the question.

HTTP/1.0, so that an answer ends where the connection ends and nothing comes in chunks.  Of `socket` only the
half that is written in C is imported, which has all that is needed here at a tenth of the price.
"""

from __future__ import annotations

import os
import time
from _socket import AF_UNIX, SOCK_STREAM, socket

from sessiond.peer import ROOT, is_trusted, uid_of
from sessionsync import __version__, fastjson
from sessionsync.errors import ConfigError, DaemonError, DaemonNotRunning, DaemonSilent, NotAllowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from os import PathLike
    from typing import Any

    Place = str | PathLike[str]

ANSWER_S = 30.0
# Where there is another way to know: a daemon that is busy or frozen keeps nobody from it.
ASK_S = 5.0
END_S, LOOK_S = 20.0, 0.1
BLOCK_BYTES = 64 * 1024
UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
VERSION = f"Sessiond-Version: {__version__}\r\n"
"""Which command asks: a daemon of another version looks whether it was upgraded."""


def request(
    path: Place,
    verb: str,
    params: Mapping[str, Any] | None = None,
    *,
    acts: bool = False,
    timeout_s: float = ANSWER_S,
) -> dict[str, Any]:
    """Ask the daemon for `verb` and return its answer.  `params` that are None are not sent.

    Raises:
        DaemonNotRunning: nobody listens on the socket.
        DaemonSilent: no whole answer came within `timeout_s`.
        DaemonError: the daemon answered with an error; code, hint and exit code are its own.
        NotAllowed: the socket belongs to another user, or another user listens there.
    """
    answers = list(stream(path, verb, params, acts=acts, timeout_s=timeout_s))
    if not answers:
        raise _ended(path)
    return answers[-1]


def watched(
    path: Place,
    verb: str,
    params: Mapping[str, Any],
    told: Callable[[int, int], None],
    *,
    timeout_s: float = ANSWER_S,
) -> dict[str, Any]:
    """As `request` of a verb that acts; `told` hears of how much is done of how much, before the answer."""
    for answer in stream(path, verb, {**params, "progress": True}, acts=True, timeout_s=timeout_s):
        if answer.keys() != {"done", "total"}:
            return answer
        told(answer["done"], answer["total"])
    raise _ended(path)


def end(path: Place, within_s: float = END_S) -> dict[str, Any]:
    """Have the daemon end, and come back when its socket is gone; its last answer.

    Raises:
        DaemonNotRunning: nobody listens on the socket.
        DaemonSilent: it has not ended within `within_s`.
    """
    answer = request(path, "stop", acts=True)
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            request(path, "status", timeout_s=max(1.0, until - time.monotonic()))
        except DaemonNotRunning:
            return answer
        time.sleep(LOOK_S)
    raise DaemonSilent(
        f"sessiond has not ended within {within_s:.0f} s.", hint="See what it does: sessiond ctl events"
    )


def stream(
    path: Place,
    verb: str,
    params: Mapping[str, Any] | None = None,
    *,
    acts: bool = False,
    timeout_s: float = ANSWER_S,
) -> Iterator[dict[str, Any]]:
    """As `request`, for verbs that answer with one object after the other; the time counts for each."""
    given = {key: value for key, value in (params or {}).items() if value is not None}
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        _connect(connection, path)
        connection.sendall(_head(verb, given, acts=acts))
        yield from _answer(connection, path)
    except TimeoutError as error:
        raise DaemonSilent(
            f"sessiond did not answer `{verb}` within {timeout_s:.0f} s.",
            hint="It is busy or frozen: try again, and look at its log.",
        ) from error
    except OSError as error:
        raise _ended(path) from error
    finally:
        connection.close()


def _connect(connection: socket, path: Place) -> None:
    try:
        connection.connect(str(path))
    except PermissionError as error:
        raise NotAllowed(
            f"The socket {path} belongs to another user.",
            hint="Run this command as the user sessiond runs as.",
        ) from error
    except BlockingIOError as error:  # its queue of connections is full
        raise DaemonSilent(
            f"sessiond takes no connection on {path}.",
            hint="It is busy or frozen: try again, and look at its log.",
        ) from error
    except OSError as error:
        raise DaemonNotRunning(
            f"sessiond is not running: nobody listens on {path}.", hint="Start it: sessiond run"
        ) from error
    if os.geteuid() != ROOT and not is_trusted(uid := uid_of(connection)):
        raise NotAllowed(
            f"On {path} listens the user with the id {uid}, not this one: nothing was said to it.",
            hint="See who made that folder, or set SESSIOND_HOME to a folder of your own.",
        )


def _head(verb: str, params: Mapping[str, Any], *, acts: bool) -> bytes:
    target = f"/v1/{verb}"
    if acts:
        body = fastjson.dumps(params).encode()
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return f"POST {target} HTTP/1.0\r\n{VERSION}{kind}\r\n".encode() + body
    if params:
        target += "?" + "&".join(f"{key}={_quoted(_text(value))}" for key, value in params.items())
    return f"GET {target} HTTP/1.0\r\n{VERSION}\r\n".encode()


def _text(value: object) -> str:
    return ("1" if value else "0") if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    """As a query has it (RFC 3986); `urllib.parse` does it too, and costs a tenth of a command to import."""
    return "".join(
        chr(byte) if chr(byte) in UNRESERVED else f"%{byte:02X}" for byte in text.encode("utf-8", "replace")
    )


def _answer(connection: socket, path: Place) -> Iterator[dict[str, Any]]:
    """Read one answer: a JSON object a line."""
    head, rest = b"", b""
    while b"\r\n\r\n" not in head:
        if not (block := connection.recv(BLOCK_BYTES)):
            raise _ended(path)
        head += block
    head, _, rest = head.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    if not first.startswith(b"HTTP/1."):
        raise ConfigError(f"Not sessiond, but something else listens on {path}.", hint="Set SESSIOND_HOME.")
    failed = first.split(b" ", 2)[1][:1] != b"2"
    headers = dict(line.lower().split(b": ", 1) for line in lines if b": " in line)
    missing = int(headers.get(b"content-length", 0)) - len(rest)
    theirs = headers.get(b"sessiond-version", b"").decode("ascii", "replace")
    while True:
        *lines, rest = rest.split(b"\n")
        yield from (_object(line, path, theirs, failed=failed) for line in lines)
        if not (block := connection.recv(BLOCK_BYTES)):
            break
        missing -= len(block)
        rest += block
    if rest:
        yield _object(rest, path, theirs, failed=failed)
    if missing > 0:
        raise _ended(path)


def _object(line: bytes, path: Place, version: str, *, failed: bool) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = fastjson.loads(line)
    except ValueError as error:
        raise _ended(path) from error
    problem = answer.get("error")
    if failed or (isinstance(problem, dict) and len(answer) == 1):
        problem = problem or {}
        raise DaemonError(
            str(problem.get("message", "The daemon failed.")),
            hint=" ".join(filter(None, [other_version(version), str(problem.get("hint", ""))])),
            code=str(problem.get("code", "")),
            exit_code=int(problem.get("exit_code", 0)),
        )
    return answer


def other_version(theirs: str) -> str:
    """What to say where the daemon is not of this command's version; '' where it is, or does not tell."""
    if theirs in {"", __version__}:
        return ""
    return (
        f"The daemon is version {theirs}, this command {__version__}: after an upgrade it follows by itself, "
        "else start it again."
    )


def _ended(path: Place) -> DaemonNotRunning:
    return DaemonNotRunning(
        f"sessiond on {path} ended while it answered.", hint="See why in its log; start it: sessiond run"
    )
