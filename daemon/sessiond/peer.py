"""Who is at the other end of a unix socket, as the kernel says: this keeps others out where modes do not."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress

ROOT = 0
# From sys/ucred.h and sys/un.h of macOS: struct xucred begins with a version and the user's id.
_LOCAL_PEERCRED = 1
_XUCRED_BYTES = 76


def uid_of(connection: socket.socket) -> int:
    """The user at the other end, as it was when that end connected or began to listen; OSError."""
    if sys.platform == "darwin":
        told = connection.getsockopt(0, _LOCAL_PEERCRED, _XUCRED_BYTES)
        return int(struct.unpack_from("II", told)[1])
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", told)[1])


def is_trusted(uid: int) -> bool:
    """Whether this user may command the daemon: its own, and root, who may do everything anyway."""
    return uid in {os.geteuid(), ROOT}


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
