"""Who is at the other end of a unix socket, as the kernel says: this keeps others out where modes do not."""

from __future__ import annotations

import _socket
import os
import sys

ROOT = 0
# From sys/ucred.h and sys/un.h of macOS: struct xucred begins with a version and the user's id.
_LOCAL_PEERCRED = 1
_XUCRED_BYTES = 76


def uid_of(connection: _socket.socket) -> int:
    """The user at the other end, as it was when that end connected or began to listen; OSError."""
    if sys.platform == "darwin":
        told = connection.getsockopt(0, _LOCAL_PEERCRED, _XUCRED_BYTES)
    else:  # from Linux's sys/socket.h: struct ucred begins with the process
        told = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(told[4:8], sys.byteorder)


def is_trusted(uid: int) -> bool:
    """Whether this user may command the daemon: its own, and root, who may do everything anyway."""
    return uid in {os.geteuid(), ROOT}
