"""The daemon as a launchd agent: the property list, and the calls of launchctl.  Not run on a Mac yet."""

from __future__ import annotations

import getpass
import os
import plistlib
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape

from sessiond import client
from sessiond.process import AGENT
from sessiond.service.manager import (
    READY_S,
    Files,
    Json,
    Wish,
    ask,
    kept_environment,
    said,
    template,
    user_home,
)
from sessionsync.errors import DaemonError, ServiceFailed, UsageError
from sessionsync.paths import Paths

# An agent gets /usr/bin:/bin:/usr/sbin:/sbin, where neither Homebrew's git nor gh is.
FOLDERS = ("/opt/homebrew/bin", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")
# launchctl's word for a domain that takes no agents, as gui/UID over ssh.
NO_SUCH_DOMAIN = 125
# Its word for an agent that is still going.
STILL_GOING = 5
ENDS_S = 40.0
LOOK_S = 0.1


class Launchd:
    """launchd's agents of this user: in the domain of the login window, else in that of the user."""

    def __init__(
        self,
        environ: Mapping[str, str],
        where: Paths,
        program: Path,
        *,
        ready_s: float = READY_S,
        look_s: float = LOOK_S,
    ) -> None:
        self._environ = dict(environ)
        self._where = where
        self._program = program
        self._ready_s = ready_s
        self._look_s = look_s
        self._made = Files(where)
        self.plist = user_home(environ) / "Library" / "LaunchAgents" / f"{AGENT}.plist"

    def install(self, wish: Wish) -> Json:
        """Write the agent where it differs, load it, and wait until the daemon answers."""
        if wish.token_file is not None or wish.lingering:
            raise UsageError(
                "launchd has neither credentials nor lingering.",
                hint="Keep the token in `gh auth login` or the keyring.",
            )
        domain = self._domain()
        files = {self.plist: self._text(domain)}
        self._made.check_ours(files)
        self._where.log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        changed = self._made.write(files)
        now = self.status()
        if changed or now["state"] != "running":
            if changed:
                self._bootout(domain)
            self._load(domain)
            self._await()
            changed = True
        return self.status() | {"changed": changed}

    def uninstall(self) -> Json:
        """Unload the agent and remove its file."""
        domain = self._domain()
        self._bootout(domain)
        changed = self._made.remove([self.plist])
        self._made.forget()
        return {"manager": "launchd", "installed": False, "changed": changed, "file": str(self.plist)}

    def start(self) -> Json:
        """Load it, or start it where it is loaded, and wait until the daemon answers."""
        now = self._installed()
        if now["state"] != "running":
            self._load(self._domain())
            self._await()
        return self.status() | {"changed": now["state"] != "running"}

    def stop(self) -> Json:
        """Unload it, as launchd would start it again; the next login loads it."""
        now = self._installed()
        self._bootout(self._domain())
        return self.status() | {"changed": now["state"] != "stopped"}

    def status(self) -> Json:
        """How it is, from what launchctl prints, whose format Apple does not promise."""
        domain = self._domain()
        printed = self._launchctl("print", f"{domain}/{AGENT}")
        state = _field(printed.stdout, "state") if not printed.returncode else ""
        ended = _field(printed.stdout, "last exit code").split(":")[0]
        exit_code = int(ended) if ended.isdecimal() else 0
        pid = _field(printed.stdout, "pid")
        stopped = "failed" if exit_code else "stopped"
        return {
            "manager": "launchd",
            "installed": self.plist.exists(),
            "enabled": self.plist.exists(),
            "state": "running" if state == "running" else stopped,
            "pid": int(pid) if pid.isdecimal() else None,
            "status": "",
            "restarts": max(0, int(runs) - 1) if (runs := _field(printed.stdout, "runs")).isdecimal() else 0,
            "exit_code": exit_code,
            "result": "",
            "hardened": False,
            "hardening_refused": "",
            "credential": False,
            "lingering": None,
            "user": getpass.getuser(),
            "file": str(self.plist),
            "program": self._starts(),
        }

    # --- the file

    def _starts(self) -> str:
        """What the agent's file starts; '' where there is none, or not of ours."""
        try:
            with self.plist.open("rb") as file:
                return str(plistlib.load(file)["ProgramArguments"][0])
        except (OSError, ValueError, LookupError, TypeError, ExpatError):
            return ""

    def _text(self, domain: str) -> str:
        folders = dict.fromkeys([str(self._program.parent), *FOLDERS])
        environment = {"PATH": ":".join(folders), **kept_environment(self._environ)}
        pairs = [
            f"\t\t<key>{escape(name)}</key>\n\t\t<string>{escape(value)}</string>"
            for name, value in environment.items()
        ]
        # without a login window an agent is only loaded where it says that it needs none
        session = "" if domain.startswith("gui/") else _SESSION
        filled = {
            "label": AGENT,
            "program": escape(str(self._program)),
            "environment": "\n".join(pairs),
            "log_file": escape(str(self._where.log_dir / "launchd.log")),
            "session": session,
        }
        text = template(f"launchd/{AGENT}.plist")
        return re.sub(r"@(\w+)@", lambda found: filled.get(found[1], found[0]), text)

    # --- launchctl

    def _domain(self) -> str:
        gui = f"gui/{os.getuid()}"
        return f"user/{os.getuid()}" if self._launchctl("print", gui).returncode == NO_SUCH_DOMAIN else gui

    def _is_loaded(self, domain: str) -> bool:
        return self._launchctl("print", f"{domain}/{AGENT}").returncode == 0

    def _load(self, domain: str) -> None:
        """Load it; it may be going still from before, which launchd calls an input/output error."""
        if self._is_loaded(domain):
            self._must("kickstart", "-k", f"{domain}/{AGENT}")
            return
        self._must("enable", f"{domain}/{AGENT}")
        until = time.monotonic() + ENDS_S
        while True:
            done = self._launchctl("bootstrap", domain, str(self.plist))
            if not done.returncode:
                return
            if done.returncode != STILL_GOING or time.monotonic() > until:
                raise ServiceFailed(f"launchctl bootstrap failed: {said(done)}.", hint=self._log())
            time.sleep(self._look_s)

    def _bootout(self, domain: str) -> None:
        """Unload it where it is loaded, and wait until it is gone: `bootout` does not wait."""
        if not self._is_loaded(domain):
            return
        self._launchctl("bootout", f"{domain}/{AGENT}")
        until = time.monotonic() + ENDS_S
        while self._is_loaded(domain):
            if time.monotonic() > until:
                raise ServiceFailed(f"The service did not end in {ENDS_S:.0f} s.", hint=self._log())
            time.sleep(self._look_s)

    def _await(self) -> None:
        until = time.monotonic() + self._ready_s
        while True:
            try:
                client.request(self._where.socket, "health")
            except DaemonError as error:
                if time.monotonic() > until:
                    raise ServiceFailed(f"The service does not start: {error}", hint=self._log()) from error
            else:
                return
            time.sleep(self._look_s)

    def _installed(self) -> Json:
        now = self.status()
        if not now["installed"]:
            raise ServiceFailed("The service is not installed.", hint="sessiond service install")
        return now

    def _must(self, *arguments: str) -> None:
        done = self._launchctl(*arguments)
        if done.returncode:
            raise ServiceFailed(f"launchctl {arguments[0]} failed: {said(done)}.", hint=self._log())

    def _launchctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return ask(["launchctl", *arguments], self._environ)

    def _log(self) -> str:
        return f"See why: {self._where.log_dir / 'launchd.log'}"


_SESSION = "\t<key>LimitLoadToSessionType</key>\n\t<string>Background</string>\n"


def _field(printed: str, name: str) -> str:
    """The first `name = value` of what `launchctl print` says."""
    found = re.search(rf"^\s*{name} = (.*)$", printed, re.MULTILINE)
    return found[1].strip() if found else ""
