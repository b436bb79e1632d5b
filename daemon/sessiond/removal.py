"""`sessiond uninstall`: what was made on this machine goes, what was saved stays unless that is said twice.

Only what this program is known to make is named and removed; whatever else lies in its folders stays, and is
said to.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sessiond import client, hooks, jotter, process
from sessiond.keepsake import settings_of
from sessiond.service import Service
from sessionsync import tombstones
from sessionsync.config import Config, load
from sessionsync.errors import ConfigError, DaemonNotRunning, NotAllowed, ServiceFailed
from sessionsync.model import Ref
from sessionsync.paths import Paths, home, variable
from sessionsync.peek import is_session_id
from sessionsync.project_names import Names
from sessionsync.vault import Vault
from sessionsync.vault.folder import component
from sessionsync.vault.replaced import REPLACED
from sessionsync.vault.vault import OWN

# What a daemon that has let go of its socket may still take to commit.
ENDS_S = 20.0
# What lies in the state folder, in the log folder and beside the socket.
STATE = (
    *("state.db*", "index.db*", "numbers.db*", "returns.jsonl*", "lock", "spool", "hooks", "drill"),
    *("service.json", ".service.json.*", "git", "archive.git", "archive-cold.git"),
)
LOGS = ("sessiond.log*", "hook.log*", "launchd.log*")
SOCKET = ("ctl.sock", "pulse", *jotter.FILES)
# What `ctl reconstruct` has made is somebody's session.
MADE = "reconstructed"
# Where a shell may be told to complete our commands: by a file of its own, or in a line of somebody's file.
COMPLETIONS = (
    ".config/fish/completions/sessiond.fish",
    ".local/share/bash-completion/completions/sessiond",
    *(".zfunc/_sessiond", ".zsh/completions/_sessiond"),
)
SHELLS = (
    *(".bashrc", ".bash_profile", ".bash_completion", ".profile", ".zshrc", ".zprofile"),
    ".config/fish/config.fish",
)
COMPLETES, COMPLETED_BY = "sessiond completion", "_SESSIOND_COMPLETE"


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that goes or stays; `note` is why, or what else is to be known of it."""

    what: str
    path: Path
    size: int = 0
    note: str = ""


@dataclass(slots=True)
class Removal:
    """What goes and what stays.  `depth`: 0 the service and the hooks, 1 also settings and state, 2 all."""

    environ: Mapping[str, str]
    where: Paths
    depth: int
    going: list[Part] = field(default_factory=list)
    staying: list[Part] = field(default_factory=list)
    service: Service | None = None
    config: Config = field(default_factory=Config)

    def put(self, parts: Iterable[Part], depth: int) -> None:
        """Parts that go at `depth` and deeper."""
        (self.going if self.depth >= depth else self.staying).extend(parts)


def plan(environ: Mapping[str, str], where: Paths, depth: int, of_here: Callable[[], Service]) -> Removal:
    """See what is there.  Nothing is changed.

    Raises:
        ServiceFailed: there is a service, and its manager does not answer.
        ConfigError: settings cannot be read that say what is to go.
    """
    found = Removal(environ, where, depth)
    found.config = _config(environ, where, depth)
    found.service = _service(found, of_here)
    found.going += _hooked(environ, where)
    with suppress(DaemonNotRunning):
        client.request(where.socket, "status")
        if found.service is None:
            found.going.append(Part("daemon", where.socket, note="is ended"))
    _put_files(found)
    _put_completions(found)
    return found


def apply(found: Removal) -> None:
    """Remove what goes: first whoever writes, then what was written.

    Raises:
        ServiceFailed, DaemonSilent: the daemon does not end.
        AlreadyRunning: another daemon writes to the backup; nothing of it was removed.
        NotAllowed: something cannot be removed.
    """
    if found.service is not None:
        found.service.uninstall()
    with suppress(DaemonNotRunning):
        client.end(found.where.socket)
    with ExitStack() as held:
        if found.where.lock.exists():
            held.enter_context(process.hold(found.where.lock, wait_s=ENDS_S))
        vault_dir = found.config.backup.vault_dir
        if any(part.path == vault_dir / OWN for part in found.going):
            held.enter_context(Vault(vault_dir).lock())
        for part in found.going:
            if part.what == "hooks":
                hooks.uninstall(hooks.read("", part.path), found.where)
            elif part.what not in {"service", "daemon"}:
                _remove(part.path)
    for folder in _folders(found):
        with suppress(OSError):  # something else is in it
            folder.rmdir()


def program() -> str:
    """The command that removes the program itself, after how it was installed."""
    inside = Path(sys.prefix).parts
    if "pipx" in inside:
        return "pipx uninstall sessiond"
    if "uv" in inside and "tools" in inside:
        return "uv tool uninstall sessiond"
    return f"{sys.executable} -m pip uninstall sessiond"


# --- what is there


def _config(environ: Mapping[str, str], where: Paths, depth: int) -> Config:
    try:
        return load(environ, where.config_file)
    except ConfigError:
        if depth > 1:  # where the backups lie is not to be guessed
            raise
        return Config()


def _service(found: Removal, of_here: Callable[[], Service]) -> Service | None:
    try:
        service = of_here()
        status = service.status()
    except (ServiceFailed, ConfigError):
        if (found.where.state_dir / "service.json").exists():
            raise
        return None
    if not status["installed"]:
        return None
    found.going.append(Part("service", Path(status["file"]), note=str(status["manager"])))
    return service


def _hooked(environ: Mapping[str, str], where: Paths) -> list[Part]:
    """The agent's settings that have entries of ours: the user's, and whichever else were given some."""
    files = dict.fromkeys([hooks.settings_file("user", environ, Path.cwd()), *settings_of(where)])
    return [
        Part("hooks", file, note="our entries; the rest stays")
        for file in files
        if next(hooks.entries(hooks.read("", file).json), None) is not None
    ]


def _put_files(found: Removal) -> None:
    where, backup = found.where, found.config.backup
    beside = where.socket.parent == where.state_dir
    if not beside:
        found.put(_known("socket", where.socket.parent, SOCKET), 0)
    if where.config_file.exists():
        found.put([_part("settings", where.config_file)], 1)
    found.put(_known("state", where.state_dir, (*STATE, *(SOCKET if beside else ()))), 1)
    found.put(_known("log", where.log_dir, LOGS), 1)
    if (made := where.state_dir / MADE).is_dir():
        found.put([_part("sessions", made, "reconstructed")], 2)
    vault = Vault(backup.vault_dir)
    found.put(_mirror(backup.mirror_dir, set(vault.sessions())), 2)
    found.put(_vault(backup.vault_dir, vault), 2)
    if (identity := found.config.archive.identity_file) is not None and identity.exists():
        found.staying.append(_part("identity", identity, "without it nobody reads the archive"))
    if found.depth:
        found.staying += _others(found)


def _put_completions(found: Removal) -> None:
    for name in COMPLETIONS:
        if COMPLETED_BY in _text(file := home(found.environ) / name):
            found.put([_part("completion", file)], 0)
    for name in SHELLS:
        for number, line in enumerate(_text(file := home(found.environ) / name).splitlines(), 1):
            if COMPLETES in line:
                found.staying.append(Part("completion", file, note=f"line {number} is yours to take out"))


def _known(what: str, folder: Path, patterns: Iterable[str]) -> list[Part]:
    """What lies in a folder under the names that we give."""
    found = {path for pattern in patterns for path in folder.glob(pattern)}
    return [_part(what, path) for path in sorted(found)]


def _mirror(folder: Path, sessions: Collection[tuple[str, Ref]]) -> list[Part]:
    """The plain copies, by their names: of sessions of the vault, and what a hook may have made alone.

    They lie under the projects that the vault knows as well as those that have a name there: the file with
    the names may be lost.
    """
    names = {component(ref.session_id) for _, ref in sessions}
    transcripts = {ref.session_id for _, ref in sessions if ref.source == "claude"}
    known = {*Names(folder).known().values(), *(project for project, _ in sessions)}

    def is_copy(name: str) -> bool:
        own = name.partition(".")[0]
        return name in names or own in transcripts or is_session_id(own)

    projects = sorted({folder / component(name) for name in known})
    copies = [
        Path(entry.path)
        for project in projects
        if not project.is_symlink()
        for entry in _entries(project)
        if is_copy(entry.name.removeprefix("."))  # with the dot it is one that was being made
    ]
    ours = [folder / name for name in (REPLACED, ".projects.json", ".projects.lock", tombstones.NAME)]
    return [_part("backup", path) for path in (*sorted(copies), *ours) if os.path.lexists(path)]


def _vault(folder: Path, vault: Vault) -> list[Part]:
    ours = [_part("backup", session) for session in vault.folders()]
    return ours + ([_part("backup", folder / OWN)] if (folder / OWN).is_dir() else [])


def _others(found: Removal) -> Iterator[Part]:
    """What lies in our folders and is not known to be ours."""
    backup = found.config.backup
    folders = [found.where.state_dir, found.where.log_dir]
    folders += [backup.mirror_dir, backup.vault_dir] if found.depth > 1 else []
    named = {part.path for part in (*found.going, *found.staying)}
    around = {above for path in named for above in path.parents}

    def strangers(folder: Path) -> Iterator[Part]:
        for path in sorted(Path(entry.path) for entry in _entries(folder)):
            if path in around:
                yield from strangers(path)
            elif path not in named and path not in folders:
                yield _part("other", path, "not known to be sessiond's")

    seen = {part.path: part for folder in folders for part in strangers(folder)}
    yield from seen.values()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _part(what: str, path: Path, note: str = "") -> Part:
    return Part(what, path, _size(path), note)


def _size(path: Path) -> int:
    """How many bytes lie there, as far as they can be counted."""
    if path.is_dir() and not path.is_symlink():
        return sum(_size(Path(entry.path)) for entry in _entries(path))
    with suppress(OSError):
        return path.lstat().st_size
    return 0


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:
        return list(entries)
    return []


# --- how it goes


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise NotAllowed(
            f"{path} cannot be removed: {error.strerror}.",
            hint="See whose it is, and run it again: the rest stays.",
        ) from error


def _folders(found: Removal) -> list[Path]:
    """The folders that were made for what has gone, the inner ones first."""
    where, backup = found.where, found.config.backup
    folders = {
        part.path.parent for part in found.going if part.what not in {"service", "hooks", "completion"}
    }
    if found.depth:
        folders |= {where.state_dir, where.log_dir, where.config_file.parent}
    if found.depth > 1:
        folders |= {backup.mirror_dir, backup.vault_dir}
    if (root := variable(found.environ, "SESSIOND_HOME")) is not None:
        folders.add(root)
    return sorted(folders, key=lambda folder: -len(folder.parts))
