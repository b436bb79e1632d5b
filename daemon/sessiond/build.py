"""What runs here: version, commit and libraries.  The one place that knows, for `--version` and metrics."""

from __future__ import annotations

import functools
import os
import platform
import re
import sqlite3
import subprocess
from importlib import metadata
from pathlib import Path

from sessiond.token import run
from sessionsync import __version__

ASK_S = 5.0


@functools.cache
def commit() -> str:
    """The commit that this was built from, with `-dirty` where files had been changed; '' if unknown."""
    package = Path(__file__).parent
    try:
        return (package / "commit").read_text(encoding="ascii").strip()
    except OSError:
        pass
    root = package.parents[1]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = run(command, os.environ, timeout_s=ASK_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def libraries() -> dict[str, str]:
    """The version of each library that sessiond needs, as it is installed here."""
    found = {}
    for line in metadata.requires("sessiond") or []:
        needed, _, condition = line.partition(";")
        if "extra" in condition:
            continue
        name = re.split(r"[^\w.-]", needed.strip(), maxsplit=1)[0]
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def missing() -> list[str]:
    """The libraries that sessiond needs and that are not installed here, as far as that can be told."""
    try:
        return [name for name, version in libraries().items() if version == "missing"]
    except metadata.PackageNotFoundError:
        return []


def described() -> str:
    """What `sessiond --version` prints."""
    built = commit()
    versions = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    under = ", ".join([*map(" ".join, versions.items()), platform.platform(terse=True)])
    try:
        others = ", ".join(f"{name} {version}" for name, version in libraries().items())
    except metadata.PackageNotFoundError:
        others = "not installed as a package"
    return "\n".join([f"sessiond {__version__}" + (f" (commit {built})" if built else ""), under, others])
