"""One kept-alive HTTP/1.1 connection to one server, bounded in time and size; any thread can cut it.

Importing this imports httpx (5.5 MB, 120 ms), so it is imported at the first request.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from sessionsync.remote.answers import Answer, Bounds, NoAnswer

IDLE_S = 30.0
"""How long an idle connection is kept; GitHub closes after about a minute."""
CERTIFICATES = "Check the machine's certificates and clock; SSL_CERT_FILE names others."


class Wire:
    """Exchanges with the server of `url`.  `ask` belongs to one thread at a time, `cut` to any.

    For https, proxy and certificates are as the environment says; NoAnswer where they cannot be used.
    Looking up a host's name has no bound of its own.
    """

    def __init__(self, url: str, bounds: Bounds, monotonic: Callable[[], float]) -> None:
        self._bounds = bounds
        self._monotonic = monotonic
        self._line = _Line(monotonic)
        self._asking = False
        secure = urlsplit(url).scheme == "https"
        try:
            certificates = httpx.create_ssl_context() if secure else None
        except OSError as error:
            raise NoAnswer(f"the certificates cannot be read: {error}", hint=CERTIFICATES) from error
        pool = httpcore.ConnectionPool(
            ssl_context=certificates,
            proxy=_proxy(url) if secure else None,
            max_connections=1,
            keepalive_expiry=IDLE_S,
            network_backend=self._line,
        )
        timeout = httpx.Timeout(bounds.read_s, connect=bounds.connect_s, pool=bounds.connect_s)
        self._client = httpx.Client(transport=_Transport(pool), timeout=timeout, trust_env=False)

    def ask(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> Answer:
        """Send one request and read the whole answer; NoAnswer where that fails.  Redirects are answers."""
        self._line.deadline = self._monotonic() + self._bounds.total_s
        self._asking = True
        body = bytearray()
        try:
            if self._line.was_cut:
                raise NoAnswer("closed")
            with self._exchange(method, url, headers, content) as answer:
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > self._bounds.answer_bytes:
                        raise NoAnswer(f"the answer is larger than {self._bounds.answer_bytes} bytes")
                return Answer(answer.status_code, dict(answer.headers.items()), bytes(body))
        except (httpx.TimeoutException, httpcore.TimeoutException) as error:
            raise NoAnswer(_words(error, "no answer in time"), timed_out=True) from error
        except (httpx.HTTPError, httpx.InvalidURL, *_BROKEN) as error:
            hint = CERTIFICATES if "CERTIFICATE" in str(error) else ""
            raise NoAnswer(_words(error, "the line broke"), hint=hint) from error
        except RuntimeError as error:  # httpx: the client was closed, between our look and its
            raise NoAnswer("closed") from error
        finally:
            self._asking = False
            if self._line.was_cut:
                self._client.close()

    @contextmanager
    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> Iterator[httpx.Response]:
        """An answer to be read, all of which is given back at the end.

        httpx ties each answer and its stream to each other: what they hold would stay until somebody looks
        for cycles, which is once a minute, and by then small pieces that last lie among it.
        """
        answer: httpx.Response | None = None
        try:
            with self._client.stream(method, url, headers=dict(headers), content=content) as answer:
                yield answer
        finally:
            if answer is not None:
                answer.stream = _NOTHING

    def cut(self) -> None:
        """End the request that is running, and every later one, at once.  A connect may last `connect_s`."""
        self._line.cut()
        if not self._asking:
            self._client.close()


_NOTHING = httpx.ByteStream(b"")
_BROKEN = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
    OSError,
)


def _words(error: Exception, otherwise: str) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else otherwise


def _proxy(url: str) -> httpcore.Proxy | None:
    """The proxy that the environment names for this URL."""
    host = urlsplit(url).hostname or ""
    named = getproxies()
    address = named.get("https") or named.get("all")
    if not address or proxy_bypass(host):
        return None
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme not in {"http", "https"}:
        raise NoAnswer(
            f"a proxy of kind {parts.scheme} is not supported", hint="HTTPS_PROXY takes http:// and https://."
        )
    where = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "/", "", ""))
    login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return httpcore.Proxy(where, auth=login)


class _Transport(httpx.BaseTransport):
    """httpx over a pool of ours: its own transport has no public place for a network backend."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions
        )

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


class _Line(httpcore.NetworkBackend):
    """Opens connections whose every step ends by `deadline` (monotonic seconds).

    httpcore's own timeouts bound each wait alone, so a server that trickles would hold the line for ever.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.deadline = 0.0
        self.was_cut = False  # set once, by any thread; every other attribute is the asking thread's
        self._monotonic = monotonic
        self._inner = httpcore.SyncBackend()
        self._socket: socket.socket | None = None

    def left_s(self, timeout: float | None, late: type[httpcore.TimeoutException]) -> float:
        """Seconds that a step may take; raises `late` when there are none."""
        left_s = self.deadline - self._monotonic()
        if left_s <= 0:
            raise late("the answer took too long")
        return left_s if timeout is None else min(timeout, left_s)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        if self.was_cut:
            raise httpcore.ConnectError("closed")
        left_s = self.left_s(timeout, httpcore.ConnectTimeout)
        stream = self._inner.connect_tcp(host, port, left_s, local_address, socket_options)
        return self.follow(stream)

    def follow(self, stream: httpcore.NetworkStream) -> httpcore.NetworkStream:
        """Take over a fresh connection."""
        self._socket = stream.get_extra_info("socket")
        if self.was_cut:  # looked at after the socket is known, so `cut` or we see it
            stream.close()
            raise httpcore.ConnectError("closed")
        return _Stream(self, stream)

    def cut(self) -> None:
        self.was_cut = True
        if (line := self._socket) is not None:
            # not SSLSocket's own shutdown: that one takes the session away under the reader
            with suppress(OSError):  # closed already
                socket.socket.shutdown(line, socket.SHUT_RDWR)


class _Stream(httpcore.NetworkStream):
    """A connection that minds its line's deadline."""

    def __init__(self, line: _Line, stream: httpcore.NetworkStream) -> None:
        self._line = line
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._line.left_s(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._line.left_s(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = self._line.left_s(timeout, httpcore.ConnectTimeout)
        return self._line.follow(self._stream.start_tls(ssl_context, server_hostname, left_s))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
