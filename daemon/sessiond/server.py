"""A WSGI application behind one listening socket, in threads that sleep while nobody asks."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.server import create_server

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

# waitress wakes once a second by default, for nothing: its own work comes with a wake-up of its own
IDLE_WAKE_S = 300
# Who has asked nothing for so long is let go of, when somebody else comes.
IDLE_S = 60
BODY_BYTES = 1024 * 1024
HEAD_BYTES = 16 * 1024


def unobserved(name: str, seconds: float) -> None:
    """For an application whose answers nobody measures."""


class Server:
    """Serves `app` on `listener`, which is bound but need not listen, from `start` to `close`."""

    def __init__(self, app: WSGIApplication, listener: socket.socket, *, threads: int, name: str) -> None:
        self._map: dict[int, Any] = {}
        settings: dict[str, Any] = {
            "sockets": [listener],
            "threads": threads,
            "asyncore_loop_timeout": IDLE_WAKE_S,
            "asyncore_use_poll": True,  # select() knows no descriptor above 1023
            "channel_timeout": IDLE_S,
            "connection_limit": 64,
            "max_request_body_size": BODY_BYTES,
            "max_request_header_size": HEAD_BYTES,
            "log_socket_errors": False,
            "ident": None,
        }
        self._server: Any = create_server(app, map=self._map, **settings)
        self._thread = threading.Thread(target=self._server.run, name=name, daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def alive(self) -> bool:
        """Whether the thread that takes connections lives."""
        return self._thread.is_alive()

    def close(self, timeout_s: float = 3.0) -> None:
        """Finish the answers that are being written, then close; a longer one is cut after `timeout_s`."""
        self._server.task_dispatcher.shutdown(timeout=timeout_s)
        if self._thread.is_alive():
            # closed by the thread that owns the sockets, at once and not at its next wake-up
            with suppress(OSError):
                self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._map))
            self._thread.join(timeout_s)
        else:
            wasyncore.close_all(self._map)
