"""The daemon as a user's unit of systemd: the unit, a drop-in that hardens it, and one for the token."""

from __future__ import annotations

import getpass
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from sessiond.service.manager import (
    READY_S,
    Files,
    Json,
    Wish,
    ask,
    checked_token,
    is_ours,
    kept_environment,
    said,
    template,
)
from sessionsync.config import load
from sessionsync.errors import ConfigError, ServiceFailed, SessiondError
from sessionsync.paths import Paths

UNIT = "sessiond.service"
LOOK_S = 0.05
# Of `systemctl show`: what is asked for.
SHOWN = (
    "LoadState",
    "UnitFileState",
    "ActiveState",
    "SubState",
    "MainPID",
    "StatusText",
    "NRestarts",
    "Result",
    "ExecMainStatus",
    "ExecStart",
)
STATES = {
    "active": "running",
    "reloading": "running",
    "activating": "starting",
    "deactivating": "stopped",
    "failed": "failed",
}
JOURNAL = "See why: journalctl --user -u sessiond -n 20"
LINGERING = Path("/var/lib/systemd/linger")


class Systemd:
    """The user's service manager."""

    def __init__(self, environ: Mapping[str, str], where: Paths, program: Path) -> None:
        self._environ = dict(environ)
        # cron, ssh and su may know of no session, though there is a manager
        if not environ.get("XDG_RUNTIME_DIR"):
            self._environ["XDG_RUNTIME_DIR"] = f"/run/user/{os.getuid()}"
        self._where = where
        self._program = program
        self._made = Files(where)
        folder = self._unit_folder()
        self.unit = folder / UNIT
        self.hardening = folder / f"{UNIT}.d" / "hardening.conf"
        self.credential = folder / f"{UNIT}.d" / "credential.conf"

    # --- the verbs

    def install(self, wish: Wish) -> Json:
        """Write what differs, verify it first, start it, and wait until it is ready."""
        files = self._files(wish)
        self._made.check_ours(files)
        self._verify(files)
        changed = self._made.write(files)
        if wish.hardening is False:
            changed = self._made.remove([self.hardening]) or changed
        changed = self._linger(wish) or changed
        now = self.status()
        if not now["enabled"]:
            self._systemctl("enable", UNIT)
            changed = True
        if changed:
            self._systemctl("daemon-reload")
        if changed or now["state"] != "running":
            self._restart(wish)
            changed = True
        return self.status() | {"changed": changed}

    def uninstall(self) -> Json:
        """Stop it, and take away what `install` made: nothing else, and all of that."""
        changed = is_ours(self.unit)
        if changed:
            self._systemctl("disable", "--now", UNIT)
        changed = self._made.remove([self.unit, self.hardening, self.credential]) or changed
        if changed:
            self._systemctl("daemon-reload")
            ask(["systemctl", "--user", "reset-failed", UNIT], self._environ)  # it may not have failed
            wants = self.unit.parent / "default.target.wants"
            for folder in (self.hardening.parent, wants):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
        ours = self._made["lingering"]
        self._made.forget()
        if ours:  # last: without it, and without a session, the manager itself ends
            ask(["loginctl", "disable-linger", getpass.getuser()], self._environ)
        return {"manager": "systemd", "installed": False, "changed": changed, "file": str(self.unit)}

    def start(self) -> Json:
        """Start it and wait until it is ready."""
        now = self._installed()
        if now["state"] != "running":
            self._begin()
        return self.status() | {"changed": now["state"] != "running"}

    def stop(self) -> Json:
        """Stop it and wait until it has ended."""
        now = self._installed()
        self._systemctl("stop", UNIT)
        return self.status() | {"changed": now["state"] != "stopped"}

    def status(self) -> Json:
        """How it is."""
        asked = [f"--property={name}" for name in SHOWN]
        lines = self._systemctl("show", UNIT, *asked).splitlines()
        shown = dict(line.split("=", 1) for line in lines if "=" in line)
        state = STATES.get(shown.get("ActiveState", ""), "stopped")
        if shown.get("SubState") == "auto-restart":
            state = "failed"
        return {
            "manager": "systemd",
            "installed": shown.get("LoadState") == "loaded",
            "enabled": shown.get("UnitFileState") == "enabled",
            "state": state,
            "pid": int(shown.get("MainPID") or 0) or None,
            "status": shown.get("StatusText", ""),
            "restarts": int(shown.get("NRestarts") or 0),
            "exit_code": int(shown.get("ExecMainStatus") or 0),
            "result": shown.get("Result", ""),
            "hardened": self.hardening.exists(),
            "hardening_refused": self._made["hardening_refused"] or "",
            "credential": self.credential.exists(),
            "lingering": self.lingers(),
            "user": getpass.getuser(),
            "file": str(self.unit),
            "program": shown.get("ExecStart", "").partition("path=")[2].partition(" ; argv[]=")[0],
        }

    @staticmethod
    def lingers() -> bool:
        """Whether this user's services run without a login."""
        return (LINGERING / getpass.getuser()).exists()

    # --- the files

    def _files(self, wish: Wish) -> dict[Path, str]:
        environment = kept_environment(self._environ)
        lines = [f"Environment={quoted(f'{name}={value}')}" for name, value in environment.items()]
        # `gh`, and the token that it knows, may lie where the manager does not look
        filled = {"program": quoted(str(self._program), program=True), "environment": "\n".join(lines)}
        files = {self.unit: fill(template(f"systemd/{UNIT}"), filled)}
        if wish.token_file is not None:
            path = str(checked_token(wish.token_file)).replace("%", "%%")
            text = template(f"systemd/{UNIT}.d/credential.conf")
            files[self.credential] = fill(text, {"token_file": path})
        if self._is_to_harden(wish):
            files[self.hardening] = template(f"systemd/{UNIT}.d/hardening.conf")
        return files

    def _is_to_harden(self, wish: Wish) -> bool:
        if wish.hardening is not None:
            return wish.hardening
        if self._made["hardening_refused"]:
            return False
        return self.hardening.exists() or not (self.unit.exists() or self._needs_ssh())

    def _needs_ssh(self) -> bool:
        """In a user namespace root's files are nobody's, and ssh refuses its own settings."""
        try:
            url = load(self._environ, self._where.config_file).archive.url
        except ConfigError:
            return False
        return url.startswith("ssh://") or ("://" not in url and ":" in url)

    def _verify(self, files: Mapping[Path, str]) -> None:
        """Have systemd read the files before they are put where it starts them from.

        Raises:
            ServiceFailed: it does not like them.
        """
        if not shutil.which("systemd-analyze", path=self._environ.get("PATH")):
            return
        with tempfile.TemporaryDirectory(prefix="sessiond-") as scratch:
            for file, text in files.items():
                copy = Path(scratch) / file.relative_to(self.unit.parent)
                copy.parent.mkdir(exist_ok=True)
                copy.write_text(text, encoding="utf-8")
            command = ["systemd-analyze", "--user", "--man=no", "verify", f"{scratch}/{UNIT}"]
            done = ask(command, self._environ)
        wrong = [line for line in done.stderr.splitlines() if UNIT in line]
        if wrong and done.returncode:  # what is wrong with others' units is not ours to say
            raise ServiceFailed(f"systemd refuses the unit: {wrong[0]}.", hint="Please report this.")

    # --- the manager

    def _restart(self, wish: Wish) -> None:
        """Start it anew; where it does not start hardened, remember that, and start it without."""
        hardened = self.hardening.exists()
        try:
            self._begin()
        except ServiceFailed as error:
            if not hardened or wish.hardening:
                raise
            self._made.remove([self.hardening])
            self._systemctl("daemon-reload")
            self._begin()
            self._made.remember(hardening_refused=str(error))
        else:
            if hardened:
                self._made.remember(hardening_refused=None)

    def _begin(self) -> None:
        """Start it anew, and wait until it is ready.

        Raises:
            ServiceFailed: it ended, or is not ready yet.
        """
        ask(["systemctl", "--user", "reset-failed", UNIT], self._environ)  # it may not have failed
        self._systemctl("restart", "--no-block", UNIT)
        until = time.monotonic() + READY_S
        now = self._settled(until)
        if now["state"] == "running":
            return
        if now["state"] == "starting":
            raise ServiceFailed(
                f"The service is not ready after {READY_S:.0f} s: {now['status'] or 'it says nothing'}",
                hint="It goes on; look again with `sessiond service status`.",
            )
        why = now["status"] or f"it ended with {now['exit_code']} ({now['result']})."
        raise ServiceFailed(f"The service does not start: {why}", hint=JOURNAL)

    def _settled(self, until: float) -> Json:
        """The status once no job of the manager's is left and the daemon is ready or has ended."""
        while True:
            jobs = self._systemctl("list-jobs", "--no-legend", "--plain", UNIT)
            now = self.status()
            if (UNIT not in jobs and now["state"] != "starting") or now["state"] == "failed":
                return now
            if time.monotonic() > until:
                return now
            time.sleep(LOOK_S)

    def _installed(self) -> Json:
        now = self.status()
        if not now["installed"]:
            raise ServiceFailed("The service is not installed.", hint="sessiond service install")
        return now

    def _linger(self, wish: Wish) -> bool:
        if wish.lingering is None or wish.lingering == self.lingers():
            return False
        user = getpass.getuser()
        if not wish.lingering:
            if self._made["lingering"]:
                ask(["loginctl", "disable-linger", user], self._environ)
                self._made.remember(lingering=None)
            return False
        done = ask(["loginctl", "enable-linger", user], self._environ)
        if done.returncode:
            hint = f"Have it done for you: sudo loginctl enable-linger {user}"
            raise ServiceFailed(f"Lingering was refused: {said(done)}.", hint=hint)
        self._made.remember(lingering=True)
        return True

    def _unit_folder(self) -> Path:
        """Where this user's own units lie, as the manager sees it."""
        try:
            folders = self._systemctl("show", "--property=UnitPath", "--value").split()
        except SessiondError as error:
            raise ServiceFailed(
                f"No systemd of this user's answers: {error}",
                hint="Log in once, or have a lasting one: sudo loginctl enable-linger $USER",
            ) from error
        own = [folder for folder in folders if folder.endswith("/systemd/user")]
        if not own:
            raise ServiceFailed("systemd names no folder for this user's units.", hint="Please report this.")
        return Path(own[0])

    def _systemctl(self, *arguments: str) -> str:
        done = ask(["systemctl", "--user", "--no-pager", *arguments], self._environ)
        if done.returncode:
            raise ServiceFailed(f"systemctl {arguments[0]} failed: {said(done)}.", hint=JOURNAL)
        return done.stdout


def quoted(text: str, *, program: bool = False) -> str:
    """A word as a unit has it: `%` and quotes doubled or escaped, and `$` in a command."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text.replace("$", "$$") if program else text}"'


def fill(text: str, filled: Mapping[str, str]) -> str:
    """A template with each `@name@` replaced; a line that is left empty goes."""
    lines = []
    for line in text.splitlines():
        made = line
        for name, value in filled.items():
            made = made.replace(f"@{name}@", value)
        if made or not line:
            lines.append(made)
    return "\n".join(lines) + "\n"
