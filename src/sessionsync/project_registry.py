"""What `.projects.json` beside the plain copies says: the name of each project, and where sessions belong.

To read it is all that a hook does whose session is known; whoever adds a name goes through `project_names`.
"""

from __future__ import annotations

import os

from sessionsync import fastjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

NAME = ".projects.json"


def names(folder: str | Path) -> dict[str, str]:
    """Every project's name by its key; none where nothing is written down that can be understood."""
    said = parse(content(f"{os.fspath(folder)}/{NAME}"))
    return {} if said is None else said[0]


def content(path: str | Path) -> str:
    """The text of a regular file; '' for anything else, which is no registry."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123 - by descriptor
            return file.read()
    except OSError:
        return ""


def parse(text: str) -> tuple[dict[str, str], dict[str, Any]] | None:
    """Names by key, and what is said of sessions from elsewhere, by session or folder.

    None where it is no registry, or its names would lead out of its folder.
    """
    try:
        value = fastjson.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    found, homes = value.get("names"), value.get("homes")
    if not isinstance(found, dict) or not all(map(_is_name, found.values())):
        return None
    return found, homes if isinstance(homes, dict) else {}


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name[:1] not in {"", "."} and not {"/", "\0"} & {*name}
