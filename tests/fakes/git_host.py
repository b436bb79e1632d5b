"""A git host on loopback: the real `git http-backend` behind a small server, with a token and faults.

with GitHost(tmp_path / "repos", token="T") as host:
    host.make("o/r")
    host.url("o/r")            # http://127.0.0.1:PORT/o/r.git
    host.fault = cut(1000)     # the next answers are cut after 1000 bytes
"""

from __future__ import annotations

import base64
import gzip
import http.client
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self


@dataclass
class Fault:
    """What happens to requests whose path ends so, `count` times.

    `status` is answered instead of doing anything; `take` is how many bytes of the request reach git before
    the line breaks, `cut` how many of the answer come back; `hold` is called before git is.
    """

    path: str = "git-receive-pack"
    count: int = 1
    status: int = 0
    take: int | None = None
    cut: int | None = None
    hold: Callable[[], object] | None = None


class GitHost:
    """Serves bare repositories below a folder.  `received` counts bytes of requests, headers aside."""

    def __init__(self, folder: Path, *, token: str = "", api: str = "") -> None:
        self.api = api
        self.folder = folder
        self.token = token
        self.faults: list[Fault] = []
        self.received: list[tuple[str, int]] = []
        self.logins: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def base(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def url(self, name: str) -> str:
        """The address of a repository."""
        return f"{self.base}/{name}.git"

    def make(self, name: str, **settings: str) -> Path:
        """A new empty repository that takes pushes."""
        path = self.folder / f"{name}.git"
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)
        for key, value in {"http.receivepack": "true", **settings}.items():
            subprocess.run(["git", "-C", str(path), "config", key.replace("_", "."), value], check=True)
        return path

    def fault_for(self, path: str) -> Fault:
        """The fault that this request meets."""
        for fault in self.faults:
            if fault.count > 0 and path.endswith(fault.path):
                fault.count -= 1
                return fault
        return Fault(path="")


def _handler(host: GitHost) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_PATCH(self) -> None:
            self._answer(self._body())

        def do_DELETE(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            body = self._body()
            if ".git/" in self.path:
                host.received.append((self.path, len(body)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            self._answer(body)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _answer(self, body: bytes) -> None:
            path, _, query = self.path.partition("?")
            if host.api and not path.startswith("/git/"):
                self._pass_on(body)
                return
            path = path.removeprefix("/git")
            if host.token and self._token() != host.token:
                self._say(401, [("WWW-Authenticate", 'Basic realm="git"')])
                return
            fault = host.fault_for(path)
            if fault.hold is not None:
                fault.hold()
            if fault.status:
                self._say(fault.status, [])
                return
            if fault.take is not None:
                self._backend(path, query, body[: fault.take])
                self._break_off()
                return
            answer = self._backend(path, query, body)
            head, _, data = answer.partition(b"\r\n\r\n")
            headers = [tuple(line.split(": ", 1)) for line in head.decode().split("\r\n")]
            status = next((int(value.split()[0]) for name, value in headers if name == "Status"), 200)
            cut = data if fault.cut is None else data[: fault.cut]
            self._say(status, [(n, v) for n, v in headers if n != "Status"], cut, len(data))
            if fault.cut is not None:
                self._break_off()

        def _pass_on(self, body: bytes) -> None:
            """Let the API answer."""
            there = http.client.HTTPConnection(host.api.removeprefix("http://"), timeout=20)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            there.request(self.command, self.path, body or None, headers)
            answer = there.getresponse()
            data = answer.read()
            hop = {"content-length", "transfer-encoding", "connection", "date", "server"}
            self._say(answer.status, [h for h in answer.getheaders() if h[0].lower() not in hop], data)
            there.close()

        def _break_off(self) -> None:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        def _token(self) -> str:
            scheme, _, value = self.headers.get("Authorization", "").partition(" ")
            if scheme != "Basic":
                return ""
            login, _, password = base64.b64decode(value).decode().partition(":")
            host.logins.append(login)
            return password

        def _backend(self, path: str, query: str, body: bytes) -> bytes:
            environ = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(host.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_CONFIG_NOSYSTEM": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "REMOTE_USER": "x",
                "REMOTE_ADDR": "127.0.0.1",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            done = subprocess.run(
                ["git", "http-backend"], input=body, env=environ, capture_output=True, check=False
            )
            return done.stdout

        def _say(
            self, status: int, headers: list[tuple[str, str]], data: bytes = b"", length: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data) if length is None else length))
            with suppress(OSError):
                self.end_headers()
            with suppress(OSError):  # who asked may be gone
                self.wfile.write(data)
                self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    return Handler
