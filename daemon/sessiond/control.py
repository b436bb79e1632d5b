"""The daemon's side of `sessiond ctl`: each verb is the path `/v1/<verb>` on the private socket.

GET looks, with parameters in the query; POST acts, with parameters in a JSON object.  An answer is a
JSON object, or one a line where a verb goes on answering; an error is `{"error": {"code", "message",
"hint", "exit_code"}}`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

from sessiond.server import unobserved
from sessionsync import __version__
from sessionsync.errors import RemoteError, SessiondError, UsageError
from sessionsync.events import Emit

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Params = dict[str, Any]
Answer = dict[str, Any]


class Verb(NamedTuple):
    """What `/v1/<name>` does.  `acts` verbs take POST, the others GET.

    The handler runs in a thread of the control server; it may wait, but never without a bound.
    """

    name: str
    handler: Callable[[Params], Answer | Iterator[Answer]]
    acts: bool = False


class Control:
    """The WSGI application; `observe(verb, seconds)` measures each answer.

    `other_version` is told when a command of another version asks: there may have been an upgrade.
    """

    def __init__(
        self,
        verbs: Mapping[str, Verb],
        emit: Emit,
        observe: Callable[[str, float], None] = unobserved,
        *,
        other_version: Callable[[], None] = lambda: None,
    ) -> None:
        self._other_version = other_version
        self._verbs = verbs
        self._emit = emit
        self._observe = observe

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        started = time.monotonic()
        verb: Verb | None = None
        if environ.get("HTTP_SESSIOND_VERSION", __version__) != __version__:
            self._other_version()
        try:
            verb = self._verb(environ)
            answer = self._answer(verb, environ)
            # an error before the first of many answers still has a status
            first = [answer] if isinstance(answer, dict) else list(islice(answer, 1))
        except SessiondError as error:
            return _refuse(start_response, _status(error), error)
        except Exception as error:  # noqa: BLE001 - a broken verb must not cost the daemon its socket
            self._emit("command_failed", command=verb.name if verb else "", error=repr(error), exc_info=error)
            return _refuse(start_response, HTTPStatus.INTERNAL_SERVER_ERROR, _broken(error))
        finally:
            if verb is not None:
                self._observe(verb.name, time.monotonic() - started)
        if isinstance(answer, dict):
            return _say(start_response, HTTPStatus.OK, answer)
        start_response("200 OK", HEADERS)
        return self._lines(verb.name, chain(first, answer))

    def _verb(self, environ: WSGIEnvironment) -> Verb:
        version, _, name = environ["PATH_INFO"].strip("/").partition("/")
        verb = self._verbs.get(name)
        if version != "v1" or verb is None:
            known = ", ".join(sorted(self._verbs))
            raise _NoSuchVerb(f"sessiond knows no {name or version!r}.", hint=f"It knows {known}.")
        wanted = ("POST",) if verb.acts else ("GET", "HEAD")
        if environ["REQUEST_METHOD"] not in wanted:
            raise _WrongMethod(f"{name!r} takes {wanted[0]}.", hint="GET looks, POST acts.")
        return verb

    def _answer(self, verb: Verb, environ: WSGIEnvironment) -> Answer | Iterator[Answer]:
        params = (
            _body(environ) if verb.acts else dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        )
        if verb.acts:
            self._emit("command_received", command=verb.name)
        return verb.handler(params)

    def _lines(self, name: str, answers: Iterator[Answer]) -> Iterator[bytes]:
        try:
            for answer in answers:
                yield _line(answer)
        except SessiondError as error:
            yield _line(_problem(error))
        except Exception as error:  # noqa: BLE001 - as above; the status is already sent
            self._emit("command_failed", command=name, error=repr(error), exc_info=error)
            yield _line(_problem(_broken(error)))


def text(params: Params, name: str, default: str | None = None) -> str:
    """A parameter that is a text; UsageError where it is missing, or empty, and has no default."""
    value = params.get(name, default)
    if not isinstance(value, str) or (not value and default is None):
        raise UsageError(f"The parameter {name!r} is missing, is empty, or is no text.")
    return value


def number(params: Params, name: str, default: float) -> float:
    """A parameter that is a finite number, also where it came as text."""
    value = params.get(name, default)
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = float("nan")
    if isinstance(value, bool) or not abs(found) < float("inf"):
        raise UsageError(f"The parameter {name!r} is no number: {str(value)[:40]!r}.")
    return found


def flag(params: Params, name: str) -> bool:
    """A parameter that is yes or no; no where it is missing."""
    value = params.get(name, False)
    known = {True: True, False: False, "1": True, "0": False, "true": True, "false": False, "": True}
    if not isinstance(value, bool | str) or value not in known:
        raise UsageError(f"The parameter {name!r} is neither true nor false: {str(value)[:40]!r}.")
    return known[value]


def _body(environ: WSGIEnvironment) -> Params:
    try:
        found = json.loads(environ["wsgi.input"].read() or b"{}")
    except (ValueError, RecursionError) as error:
        raise UsageError("The request's body is not JSON.") from error
    if not isinstance(found, dict):
        raise UsageError("The request's body is no JSON object.")
    return found


class _NoSuchVerb(UsageError):
    """Another version's command, or nobody's."""


class _WrongMethod(UsageError):
    """Acting by GET, or looking by POST."""


# What a web client would understand; sessiond's own reads the error itself.
_STATUS = {
    2: HTTPStatus.BAD_REQUEST,
    4: HTTPStatus.NOT_FOUND,
    5: HTTPStatus.CONFLICT,
    75: HTTPStatus.CONFLICT,
    77: HTTPStatus.FORBIDDEN,
    78: HTTPStatus.UNPROCESSABLE_ENTITY,
}


def _status(error: SessiondError) -> HTTPStatus:
    match error:
        case RemoteError():
            return HTTPStatus.BAD_GATEWAY
        case _NoSuchVerb():
            return HTTPStatus.NOT_FOUND
        case _WrongMethod():
            return HTTPStatus.METHOD_NOT_ALLOWED
    return _STATUS.get(error.exit_code, HTTPStatus.SERVICE_UNAVAILABLE)


def _broken(error: Exception) -> SessiondError:
    broken = SessiondError(
        f"sessiond failed at this: {type(error).__name__}: {error}.",
        hint="Its log has the details; please report it.",
    )
    broken.exit_code = 70
    return broken


def _problem(error: SessiondError) -> Answer:
    return {
        "error": {
            "code": error.code,
            "message": str(error),
            "hint": error.hint,
            "exit_code": error.exit_code,
        }
    }


def _line(answer: Answer) -> bytes:
    # ASCII: a path may hold bytes that are no UTF-8
    return json.dumps(answer, default=str).encode() + b"\n"


HEADERS = [
    ("Content-Type", "application/json"),
    ("Cache-Control", "no-store"),
    ("Sessiond-Version", __version__),
]


def _say(start_response: StartResponse, status: HTTPStatus, answer: Answer) -> Iterable[bytes]:
    body = _line(answer)
    start_response(f"{status.value} {status.phrase}", [*HEADERS, ("Content-Length", str(len(body)))])
    return [body]


def _refuse(start_response: StartResponse, status: HTTPStatus, error: SessiondError) -> Iterable[bytes]:
    return _say(start_response, status, _problem(error))
