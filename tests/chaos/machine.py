"""A machine with a daemon: its clock can be set, its disk filled or made read-only, its copies rot."""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from tests.chaos.book import Account, Watch

DISK_MB = 48
UP_S = 60.0
LAUNCH = Path(__file__).with_name("launch.py")
FAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
)


def faketime() -> str:
    """Where the library lies that fakes the clock; '' where it is not installed."""
    return next((name for name in FAKETIME if Path(name).exists()), "")


class _Line(http.client.HTTPConnection):
    """HTTP over a socket in a folder."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


def _mount(disk: Path) -> bool:
    """Make a small disk of a folder; False where nobody may."""
    disk.mkdir(mode=0o700, parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0700", "chaos", str(disk)]
    return os.geteuid() == 0 and not subprocess.run(command, capture_output=True, check=False).returncode


class Machine:
    """A machine.  Where nobody may mount, its disk cannot be filled, and where libfaketime is missing its clock
    cannot be set; `lacks` says so.
    """

    def __init__(self, folder: Path, name: str, **settings: str) -> None:
        self.home = folder / "home"
        self.agent = self.home / ".claude"
        self.socket = folder / "s" / "run" / "ctl.sock"
        (self.agent / "projects").mkdir(parents=True)
        self.environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "CLAUDE_CONFIG_DIR": str(self.agent),
            "SESSIOND_HOME": str(folder / "s"),
            "SESSIOND_HTTP_LISTEN": '""',
            "GIT_CONFIG_NOSYSTEM": "1",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.name = name
        self.account = Account()
        self.lacks: list[str] = []
        self.mirror, self.vault, self.state = folder / "mirror", folder / "vault", folder / "s" / "state"
        self._mounted = [disk for disk in (self.mirror, self.vault, self.state) if _mount(disk)]
        if not self._mounted:
            self.lacks.append("may not mount: no full and no read-only disk")
        self.environ |= {
            "SESSIOND_BACKUP_MIRROR_DIR": f'"{self.mirror}"',
            "SESSIOND_BACKUP_VAULT_DIR": f'"{self.vault}"',
        }
        self._clock = folder / "clock"
        if library := faketime():
            self.set_clock(0)
            self.environ |= {
                "LD_PRELOAD": library,
                "FAKETIME_TIMESTAMP_FILE": str(self._clock),
                "FAKETIME_CACHE_DURATION": "1",  # s; each look at the file is four calls, at each look at the clock
                "DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_DONT_RESET": "1",
            }
        else:
            self.lacks.append("no libfaketime: no clock that jumps")
        self._ballast: list[Path] = []
        self._watch: Watch | None = None
        self._is_down = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._watch is not None:
            self._watch.__exit__()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for disk in self._mounted:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)

    # --- up and down, with an account of it

    @property
    def pid(self) -> int:
        """The process's id; an error when it does not run."""
        assert self._process is not None, f"{self.name} is down"
        return self._process.pid

    def _launch(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, LAUNCH, "run"],
            env=self.environ,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def up(self) -> None:
        """Start it, and account for the time since it went down: until its socket answers."""
        self.socket.unlink(missing_ok=True)
        self._launch()
        self._is_down = False
        end = time.monotonic() + UP_S
        while not self._answers():
            assert self._process is not None
            assert self._process.poll() is None, f"{self.name} ended with {self._process.poll()}"
            assert time.monotonic() < end, f"{self.name} is not up after {UP_S} s"
            time.sleep(0.002)
        now = time.monotonic()
        if not self.account.began:
            self.account.began = now
            self._watch = Watch(self.account, lambda: self.ask("health"))
            self._watch.__enter__()
        else:
            self.account.down[-1] = self.account.down[-1][0], now

    def down(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        now = time.monotonic()
        self._is_down = True
        self._process.kill()
        self._process.wait()
        self.account.down.append((now, now))

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as there, suppress(OSError):
            there.connect(str(self.socket))
            return True
        return False

    def freeze(self) -> None:
        """SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    @property
    def wrong(self) -> set[str]:
        """The codes of what was wrong when it was last asked."""
        return self._watch.open if self._watch is not None else set()

    def ask(self, verb: str, **params: str) -> dict[str, Any]:
        """What the socket answers to a question; an error where it refuses, or nobody is there."""
        return self._request("GET", f"/v1/{verb}?{urlencode(params)}" if params else f"/v1/{verb}", None)

    def tell(self, verb: str, **params: Any) -> dict[str, Any]:
        """What it answers to an order."""
        return self._request("POST", f"/v1/{verb}", json.dumps(params))

    def _request(self, method: str, target: str, body: str | None) -> dict[str, Any]:
        line = _Line(self.socket)
        try:
            if self._process is not None and (code := self._process.poll()) is not None and not self._is_down:
                raise OSError(f"{self.name} has ended by itself, with {code}")
            line.request(method, target, body, {"Content-Type": "application/json"} if body else {})
            answer = line.getresponse()
            said = answer.read()
            if answer.status != 200:
                raise OSError(f"{self.name} to {target}: {said.decode()}")
            found: dict[str, Any] = json.loads(said.splitlines()[-1])
            return found
        finally:
            line.close()

    def said(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What a command of its user says."""
        command = [sys.executable, str(LAUNCH), *words]
        return subprocess.run(
            command, env=self.environ, cwd=self.home, capture_output=True, text=True, check=False, timeout=120
        )

    # --- what may happen to a machine

    def set_clock(self, ahead_s: int) -> None:
        """Let its clock be so far ahead."""
        self._clock.write_text(f"{ahead_s:+d}s\n")

    @property
    def has_disk(self) -> bool:
        """Whether its disks can be tampered with."""
        return bool(self._mounted)

    @property
    def has_clock(self) -> bool:
        """Whether its clock can be set."""
        return "LD_PRELOAD" in self.environ

    def fill(self, disk: Path) -> Path:
        """Leave not a byte on a disk; what to delete to have room again."""
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            for size in (65536, 1):
                with suppress(OSError):
                    while True:
                        file.write(bytes(size))
        return ballast

    def read_only(self, *, on: bool) -> None:
        """Mount the disk of the plain copies so, in a moment in which nothing is being written."""
        command = ["mount", "-o", f"remount,{'ro' if on else 'rw'}", str(self.mirror)]
        end = time.monotonic() + UP_S
        while (said := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
            assert time.monotonic() < end, said.stderr
            time.sleep(0.01)

    def rot(self, chance: random.Random) -> str:
        """Flip a bit of one copy of some session; returns the session's id.

        Of a pack all bits of a byte: a few of a frame's say nothing to zstd, and then nothing is damaged.
        """
        plain = chance.random() < 0.5
        pattern = "*/*.jsonl" if plain else "*/*/pack"
        folder = self.mirror if plain else self.vault
        files = sorted(file for file in folder.glob(pattern) if file.stat().st_size > 2000)
        file = chance.choice(files)
        # not in what the next capture compares, which would see it and take it for a rewrite
        at = chance.randrange(4200, file.stat().st_size) if plain and file.stat().st_size > 80_000 else None
        if at is None:
            at = chance.randrange(file.stat().st_size)
        with file.open("r+b") as there:
            there.seek(at)
            byte = there.read(1)[0] ^ (1 << chance.randrange(8) if plain else 0xFF)
            there.seek(at)
            there.write(bytes([byte]))
        self.account.flips += 1
        # beside a plain copy lies what was cut from it, with the time in its name
        return file.stem.partition(".")[0] if plain else file.parent.name.rpartition(".")[2]

    def lose(self, session: str) -> None:
        """While it is down, let both copies of a session go, and every other place out of its reach."""
        self.environ |= {"SESSIOND_GITHUB_REPO": "", "SESSIOND_ARCHIVE_URL": ""}
        for copy in self.mirror.glob(f"*/{session}*"):
            copy.unlink()
        for pack in self.vault.glob(f"*/*{session}/pack*"):  # after a merge it has a number
            os.truncate(pack, 0)

    def figures(self) -> dict[str, Any]:
        """What it says of itself over the last day, up to now."""
        found: dict[str, Any] = self.ask("health")["reliability"]["24h"]
        return found

    def keep_logs(self, folder: Path) -> None:
        """Leave its logs where they outlive it, for who wants to know what went wrong."""
        for log in (self.socket.parents[1] / "log").glob("*.log*"):
            shutil.copy2(log, folder / f"{self.name}-{log.name}")

    def cleared(self) -> list[tuple[str, float]]:
        """Of each incident that has ended, by its log, what it was and how many seconds mending it took."""
        logs = (self.socket.parents[1] / "log").glob("sessiond.log*")
        lines = [line for log in logs for line in log.read_text().splitlines(keepends=True)]
        ended = [json.loads(line) for line in lines if '"finding_cleared"' in line and line.endswith("\n")]
        return [(each["code"], float(each["seconds"])) for each in ended]
