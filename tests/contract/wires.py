"""Servers for what the stand-in cannot do: bytes as they are, TLS, a proxy."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self


class Script:
    """Answers every connection with the same bytes, and with `trickle` again and again until nobody listens.

    `certificate` (PEM, with its key) makes it speak TLS.  `silent`: it reads and answers nothing.
    """

    def __init__(
        self,
        answer: bytes = b"",
        *,
        trickle: bytes = b"",
        silent: bool = False,
        certificate: Path | None = None,
    ) -> None:
        self.asked = threading.Event()
        self.requests: list[bytes] = []
        self._answer, self._trickle, self._silent = answer, trickle, silent
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(5)

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                line, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._answer_one, args=(line,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _answer_one(self, plain: socket.socket) -> None:
        plain.settimeout(5)
        with suppress(OSError):
            line = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            with line:
                self.requests.append(line.recv(65_536))
                self.asked.set()
                if self._silent:
                    line.recv(1)  # until the other side is gone
                line.sendall(self._answer)
                while self._trickle and not self._over.wait(0.02):
                    line.sendall(self._trickle)
        plain.close()


class Tunnel:
    """A proxy that knows CONNECT and one target, whatever it is asked for."""

    def __init__(self, port: int) -> None:
        self.asked: list[str] = []
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for end in [self._listening, *self._ends]:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join(5)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                asked = near.recv(65_536).decode()
                self.asked.append(asked)
                far = socket.create_connection(("127.0.0.1", self._port))
                self._ends += [near, far]
                near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                for source, sink in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._pour, args=(source, sink), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pour(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
