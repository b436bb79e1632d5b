"""What the loopback port shows: `/metrics`, `/healthz` and `/readyz`.  It only looks, and anybody may look.

Other users of this machine can read it, and a web page can try to (through a host name of its own that
points here): so it holds no names of people, paths or repositories, takes requests for loopback names
only, and sends no CORS header.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from sessiond.server import Server, unobserved
from sessionsync.events import Emit

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# What is asked, and what is wrong with it: '' where nothing is.
Checks = Mapping[str, str]


class Faces:
    """The WSGI application; `observe(handler, seconds)` measures each answer.

    `healthy` says whether the process lives and its loops turn, `ready` whether it does its work.
    """

    def __init__(
        self,
        metrics: WSGIApplication,
        *,
        healthy: Callable[[], Checks],
        ready: Callable[[], Checks],
        observe: Callable[[str, float], None] = unobserved,
    ) -> None:
        self._metrics = metrics
        self._checks = {"/healthz": healthy, "/readyz": ready}
        self._observe = observe

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        started = time.monotonic()
        path = environ["PATH_INFO"]
        known = path == "/metrics" or path in self._checks
        try:
            if not _is_loopback(environ.get("HTTP_HOST", "")):
                return _say(
                    start_response, HTTPStatus.MISDIRECTED_REQUEST, "This answers to loopback names only."
                )
            if not known:
                return _say(start_response, HTTPStatus.NOT_FOUND, "Try /metrics, /healthz or /readyz?verbose")
            if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
                return _say(start_response, HTTPStatus.METHOD_NOT_ALLOWED, "GET, HEAD")
            if path == "/metrics":
                return self._metrics({**environ, "REQUEST_METHOD": "GET"}, start_response)
            return _judge(start_response, self._checks[path](), verbose="verbose" in environ["QUERY_STRING"])
        finally:
            self._observe(path.strip("/") if known else "other", time.monotonic() - started)


def open_faces(app: WSGIApplication, address: tuple[str, int], emit: Emit) -> tuple[Server, int] | None:
    """Serve `app` on a loopback address; the server, started, and its port.

    Where the port is taken the daemon goes on without: None, and the event `http_failed`.
    """
    host, port = address
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # a restart must not wait for the last scrape's TIME_WAIT; a listener that lives still refuses us
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(16)
    except OSError as error:
        listener.close()
        emit(
            "http_failed",
            address=f"{host}:{port}",
            reason=error.strerror or str(error),
            hint="Set http.listen to a free port, or to '' to do without metrics.",
        )
        return None
    server = Server(app, listener, threads=2, name="http")
    server.start()
    return server, int(listener.getsockname()[1])


def _is_loopback(host: str) -> bool:
    """Whether a Host header names this machine to itself, with any port."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _judge(start_response: StartResponse, checks: Checks, *, verbose: bool) -> list[bytes]:
    wrong = {name: reason for name, reason in checks.items() if reason}
    status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
    lines = [
        f"[-] {name}: {checks[name]}" if checks[name] else f"[+] {name}"
        for name in checks
        if verbose or checks[name]
    ]
    return _say(start_response, status, "\n".join([*lines, "failed" if wrong else "ok"]))


def _say(start_response: StartResponse, status: HTTPStatus, text: str) -> list[bytes]:
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", text))
    start_response(f"{status.value} {status.phrase}", headers)
    return [f"{text}\n".encode()]
