"""Which project a folder belongs to.

Of the standard library alone: a hook starts here.  The repository is not trusted: git is only asked
for settings, which runs nothing the repository brings along, with an environment of our own.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from urllib.parse import unquote

from sessionsync.project_names import ProjectIdentity, is_folder

TIMEOUT_S = 2.0

# The environment git gets.  Its own configuration stays, as the user's `insteadOf` and credentials of
# `includeIf` are meant; GIT_DIR and the like, which a git hook leaves behind, do not.
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "XDG_CONFIG_HOME", "TMPDIR")
_KEPT_OF_GIT = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_CEILING_DIRECTORIES")
_SAFE = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_PAGER": "cat"}
_OPTIONS = (
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "safe.bareRepository=explicit",
)

# Hosts under which a service takes ssh on port 443.
_ALIASES = {
    "ssh.github.com": "github.com",
    "www.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
}
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[^/?#]*)(?P<path>[^?#]*)", re.IGNORECASE)
_FULL = re.compile(r"(?:https?|ssh|git|git\+ssh|ssh\+git|file)://", re.IGNORECASE)
_PORT = re.compile(r"(.*):\d*")
_ACCOUNT = re.compile(r"(github\.com|gitlab\.com|bitbucket\.org)-[\w.-]+")  # an ssh alias for a second login
_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>\[[^\]]+\]|[^/:\[\]]{2,}):(?!:)(?P<path>.*)", re.DOTALL)
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]*::")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def identify(cwd: str, *, timeout_s: float = TIMEOUT_S) -> ProjectIdentity:
    """Return the project of a folder that a session was started in; nothing about it need exist.

    In a work tree with a remote `origin` the key is that remote's address, and all work trees of the
    repository are one project.  Without one it is the real path of the main work tree, else of the
    folder.  A home folder that is itself a work tree is not the project of everything below it.

    `insteadOf` is followed only where the address as written names no full host (`gh:owner/name`):
    elsewhere a rewriting for this machine alone, to a mirror or to ssh, would give two people with the
    same repository two projects.
    """
    # Of another system, or nonsense: never taken relative to where we run.
    if not cwd.startswith("/") or "\0" in cwd:
        return ProjectIdentity(cwd, cwd, _last(cwd))
    real = os.path.realpath(cwd)
    if not is_folder(real):
        return ProjectIdentity(real, real, _last(real))
    asked = ["rev-parse", "--show-toplevel", "--git-dir", "--git-common-dir"]
    found = _git(real, asked, timeout_s).split("\n")
    top = found[0]
    in_tree = len(found) == 3 and top.startswith("/")
    if not in_tree or (top != real and top == os.path.realpath(os.environ.get("HOME") or "/")):
        return ProjectIdentity(real, real, _last(real))
    own, common = (Path(os.path.realpath(Path(real, path))) for path in found[1:])
    main = top
    if own != common:  # a linked work tree
        main = str(common.parent if common.name in {".git", ".bare"} else common)
    remote = _origin(top, timeout_s)
    key = normalise(remote, main) if remote else os.path.realpath(main)
    return ProjectIdentity(key, top, _last(main).removesuffix(".git"))


def normalise(remote: str, tree: str) -> str:
    """Return a remote's address without what differs from person to person: scheme, login, port, `.git`.

    A path, also as `file://`, becomes a real path; a relative one is taken from the work tree `tree`.

    >>> normalise("git@github.com:Owner/Name.git", "/")
    'github.com/owner/name'
    >>> normalise("https://user:secret@Git.Example:8443/Group/Name/", "/")
    'git.example/Group/Name'
    """
    remote = remote.strip()
    if _HELPER.match(remote):  # a remote helper: `codecommit::region://name`, `ext::command`
        return re.sub(r"//[^/@]*@", "//", remote)
    if url := _URL.match(remote):
        if url["scheme"].lower() == "file":
            return _real(unquote(url["path"]), remote)
        return _address(url["host"].rpartition("@")[2], url["path"])
    if scp := _SCP.fullmatch(remote):
        return _address(scp["host"], scp["path"])
    return _real(str(Path(tree, remote)), remote)


def _real(path: str, remote: str) -> str:
    """The real path, or the remote as it is written where that is no path."""
    return remote if "\0" in path else os.path.realpath(path)


def _address(host: str, path: str) -> str:
    if port := _PORT.fullmatch(host):
        host = port[1]
    host = host.lower().rstrip(".")
    host = _ALIASES.get(host, host)
    if alias := _ACCOUNT.fullmatch(host):
        host = alias[1]
    path = "/".join(part for part in unquote(path).split("/") if part).removesuffix(".git").rstrip("/")
    return f"{host}/{path.lower() if host == 'github.com' else path}"


def _origin(tree: str, timeout_s: float) -> str:
    """The address of `origin`, '' without one."""
    written = _git(tree, ["config", "--null", "--get-all", "remote.origin.url"], timeout_s).split("\0")[0]
    scp = _SCP.fullmatch(written)
    is_short = scp is not None and "." not in scp["host"]
    if is_short and not _FULL.match(written):
        return _git(tree, ["ls-remote", "--get-url", "origin"], timeout_s) or written
    return written


def _git(folder: str, arguments: list[str], timeout_s: float) -> str:
    """What git says about a folder; '' where it refuses, is missing or takes too long."""
    import subprocess  # noqa: PLC0415 - 5 ms that a hook in a known project does without

    environ = {name: os.environ[name] for name in (*_KEPT, *_KEPT_OF_GIT) if name in os.environ}
    try:
        done = subprocess.run(
            ["git", *_OPTIONS, "-C", folder, *arguments],
            env=environ | _SAFE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    return os.fsdecode(done.stdout).removesuffix("\n") if done.returncode == 0 else ""


def _last(path: str) -> str:
    separators = r"[\\/]" if _WINDOWS.match(path) else "/"
    return next((part for part in reversed(re.split(separators, path)) if part), "")


def watchable(folder: Path) -> bool:
    """Whether a project seen in a transcript may be watched: it exists, is the user's, not world-writable."""
    try:
        status = folder.stat()
    except (OSError, ValueError):
        return False
    return (
        stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & stat.S_IWOTH
    )
