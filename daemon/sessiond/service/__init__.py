"""The daemon as a service of its user: one face, and behind it systemd or launchd."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from sessiond.service.manager import Service, Wish, ask, checked_token, is_startable
from sessionsync.paths import Paths

__all__ = ["Service", "Wish", "ask", "checked_token", "is_startable", "of_this_system"]


def of_this_system(environ: Mapping[str, str], where: Paths, program: Path) -> Service:
    """The service manager of this system, which starts `program`.

    Raises:
        ServiceFailed: there is none that sessiond knows.
    """
    if sys.platform == "darwin":
        from sessiond.service.launchd import Launchd  # noqa: PLC0415 - the other one is never wanted

        return Launchd(environ, where, program)
    from sessiond.service.systemd import Systemd  # noqa: PLC0415 - as above

    return Systemd(environ, where, program)
