"""The daemon's end of its socket, which takes connections of this user alone."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from contextlib import suppress

from sessiond.peer import is_trusted, uid_of


class Listener(socket.socket):
    """A listening unix socket that takes connections of this user alone; others find it closed."""

    refused: Callable[[int], None] = staticmethod(lambda _uid: None)
    """Is told the user id of each that was refused, in the thread that accepts."""

    def __init__(self) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)

    def accept(self) -> tuple[socket.socket, object]:
        """The next connection.

        Raises:
            ConnectionAbortedError: it was somebody else's, and is gone.
        """
        connection, address = super().accept()
        uid = -1
        with suppress(OSError):
            uid = uid_of(connection)
        if not is_trusted(uid):
            connection.close()
            self.refused(uid)
            raise ConnectionAbortedError(errno.ECONNABORTED, f"refused to the user with the id {uid}")
        return connection, address
