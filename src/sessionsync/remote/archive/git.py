"""The one place where the git program is run: its environment, its time limits, its errors.

Nothing of the user's settings or of the machine's counts but what is said here, so that no hook, filter,
alias or rewriting of addresses runs; of another host than GitHub the user's own credential helpers do.
The token goes to git's askpass through a pipe that only its children have, and only for the archive's own
host: it is in no argument, no address, no file and no environment.
"""

from __future__ import annotations

import os
import re
import select
import selectors
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sessionsync.errors import (
    GitFailed,
    Limited,
    NotPermitted,
    Refused,
    RemoteError,
    RepositoryMissing,
    ServerFailed,
    TokenRefused,
    Unreachable,
)
from sessionsync.remote.archive.address import Address

# A git that says nothing for so long hangs; it is killed, and the other side counts as unreachable.
SILENT_S = 100.0
# The longest that anything may take, a first upload of everything included.
LONGEST_S = 3600.0
QUICK_S = 60.0
_LOOK_S = 1.0
_OUT_BYTES = 256 * 1024 * 1024
_SAID_BYTES = 64 * 1024
OLDEST = (2, 31)

_KEPT = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "SSH_AUTH_SOCK", "SSH_AGENT_PID"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "CURL_CA_BUNDLE"),
)
_SAFE = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=20 -oServerAliveInterval=15",
    "GIT_ASKPASS": "/bin/false",
    "SSH_ASKPASS": "/bin/false",
    "GIT_OPTIONAL_LOCKS": "0",
}
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    # segments are packed already: neither searched for likeness nor deflated hard
    "core.bigFileThreshold": "32k",
    "core.compression": "1",
    "pack.threads": "1",
    "pack.windowMemory": "32m",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "transfer.credentialsInUrl": "die",
    "fetch.fsckObjects": "true",
    "fetch.writeCommitGraph": "false",
    "fastimport.unpackLimit": "0",
    "fetch.unpackLimit": "1",
    "http.lowSpeedLimit": "10",
    "http.lowSpeedTime": "60",
    "advice.detachedHead": "false",
    "init.defaultBranch": "main",
}

ASKPASS = """#!/bin/sh
# Answers git, and only about the archive's own host.
case "$1" in
*"'$SESSIOND_ORIGIN'"*) echo x-access-token ;;
*"'$SESSIOND_LOGIN'"*) IFS= read -r token < "/dev/fd/$SESSIOND_TOKEN_FD" && printf '%s\\n' "$token" ;;
*) exit 1 ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Done:
    """What a run left: `said` is the end of what it wrote to its standard error."""

    code: int
    out: bytes
    said: str


class Git:
    """Runs git for one archive.  `beat` is called while it runs, at least every second, and with each object.

    `private` is a folder of this user alone, made when it is needed.  `token` gives the token for the
    archive's host, '' where there is none.  All but `abort` belongs to one thread.
    """

    def __init__(
        self,
        address: Address,
        environ: Mapping[str, str],
        private: Path,
        *,
        token: Callable[[], str] = lambda: "",
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.address = address
        self._private = private
        self.token = token
        self.beat = beat
        self._environ = {name: environ[name] for name in _KEPT if name in environ} | _SAFE
        self._own = environ
        self._helpers: dict[str, str] | None = None
        self._running: subprocess.Popen[bytes] | None = None
        self._aborted = False

    def check(self) -> None:
        """See that there is a git that knows what is asked of it.

        Raises:
            GitFailed: there is none, or one that is too old.
        """
        said = self.run(["version"], limit_s=QUICK_S).out.decode(errors="replace")
        match = re.search(r"(\d+)\.(\d+)", said)
        if match is None or (int(match[1]), int(match[2])) < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            raise GitFailed(
                f"The archive needs git {wanted} or newer; here is {said.strip() or 'none'}.",
                hint=f"Install git {wanted} or newer on this machine.",
            )

    def abort(self) -> None:
        """End what runs now, from another thread; what was half done is done again another time."""
        self._aborted = True
        running = self._running
        if running is not None:
            end_group(running)  # whoever listens to it notices, and clears up

    def _tick(self) -> None:
        self.beat()  # whoever listens may have changed

    # --- running

    def run(
        self,
        arguments: Sequence[str],
        *,
        folder: Path | None = None,
        stdin: bytes = b"",
        far: bool = False,
        anonymous: bool = False,
        settings: Mapping[str, str] | None = None,
        limit_s: float = LONGEST_S,
        silent_s: float = SILENT_S,
    ) -> Done:
        """Run one command to its end; `far` ones talk to the archive and may show the token there.

        Raises:
            Unreachable: it said nothing for `silent_s`, or took longer than `limit_s`.
            GitFailed: there is no git, or this machine does not run it.
        """
        with ExitStack() as held, tempfile.TemporaryFile() as given:
            given.write(stdin)
            given.seek(0)
            environ, descriptors = self._surroundings(
                held, folder, far=far, anonymous=anonymous, settings=settings
            )
            process = self._start(arguments, environ, descriptors, stdin=given, stderr=subprocess.PIPE)
            self._running = process
            if self._aborted:
                end_group(process)  # its streams stay open for who listens now
            try:
                out, said, why = self._listen(process, limit_s, silent_s)
            finally:
                kill(process)
                self._running = None
        if self._aborted:
            raise Unreachable("The archive was left in the middle: sessiond ends.", hint=AGAIN)
        if why:
            raise Unreachable(f"git {arguments[0]} {why} and was ended.", hint=AGAIN)
        return Done(process.returncode, out, said)

    def hold(self, arguments: Sequence[str], folder: Path) -> Held:
        """Start a command that is kept open; it never talks to the archive."""
        with ExitStack() as held:
            errors = held.enter_context(tempfile.TemporaryFile())
            environ, _ = self._surroundings(held, folder)
            process = self._start(arguments, environ, (), stdin=subprocess.PIPE, stderr=errors)
            held.callback(kill, process)
            return Held(process, held.pop_all(), errors, self._tick)

    def _start(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        descriptors: Sequence[int],
        *,
        stdin: int | IO[bytes],
        stderr: int | IO[bytes],
    ) -> subprocess.Popen[bytes]:
        try:
            # a group of its own: what git starts ends with it
            return subprocess.Popen(
                ["git", *arguments],
                env=dict(environ),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=stderr,
                pass_fds=descriptors,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as problem:
            raise GitFailed(
                f"git cannot be started: {problem.strerror}.",
                hint="Install git, and see that it is on the PATH of the service.",
            ) from problem

    def _listen(
        self, process: subprocess.Popen[bytes], limit_s: float, silent_s: float
    ) -> tuple[bytes, str, str]:
        """What it writes until it ends; why it was not waited for, '' where it was."""
        out, said = bytearray(), bytearray()
        waited = silent = 0.0
        with selectors.DefaultSelector() as selector:
            for stream, into in ((process.stdout, out), (process.stderr, said)):
                if stream is not None:
                    selector.register(stream, selectors.EVENT_READ, into)
            while selector.get_map():
                ready = selector.select(_LOOK_S)
                self.beat()
                if not ready:  # the engine has no clock: what is counted is the waiting
                    waited, silent = waited + _LOOK_S, silent + _LOOK_S
                    if silent >= silent_s or waited >= limit_s:
                        return b"", "", f"said nothing for {silent:.0f} s"
                    continue
                silent = 0.0
                for key, _ in ready:
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fileobj)
                    collected: bytearray = key.data
                    collected.extend(data)
                del said[:-_SAID_BYTES]
                if len(out) > _OUT_BYTES:
                    return b"", "", "said far more than it should"
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_S * 10)
        return bytes(out), said.decode(errors="replace"), ""

    # --- surroundings

    def _surroundings(
        self,
        held: ExitStack,
        folder: Path | None,
        *,
        far: bool = False,
        anonymous: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> tuple[dict[str, str], tuple[int, ...]]:
        environ = self._environ | {"GIT_ALLOW_PROTOCOL": "file:https:ssh"}
        if self.address.is_loopback:
            environ["GIT_ALLOW_PROTOCOL"] += ":http"
        if folder is not None:
            environ["GIT_DIR"] = str(folder)
        if anonymous:
            environ["HOME"] = str(self._private)  # curl finds a login in ~/.netrc
        said = _SETTINGS | dict(settings or {})
        descriptors: tuple[int, ...] = ()
        if far and not anonymous and self.address.origin:
            if token := self.token() if self.address.repo or self.address.is_loopback else "":
                said["credential.helper"] = ""
                environ |= self._asked()
                descriptors = (held.enter_context(_whispered(token)),)
                environ["SESSIOND_TOKEN_FD"] = str(descriptors[0])
            else:
                said |= self._credential_helpers()
        environ["GIT_CONFIG_COUNT"] = str(len(said))
        for number, (name, value) in enumerate(said.items()):
            environ[f"GIT_CONFIG_KEY_{number}"], environ[f"GIT_CONFIG_VALUE_{number}"] = name, value
        return environ, descriptors

    def _asked(self) -> dict[str, str]:
        """The program that git asks for a login, in a folder that only this user can write to."""
        script = self._private / "askpass"
        try:
            self._private.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not script.is_file() or script.read_text() != ASKPASS:
                script.write_text(ASKPASS)
            script.chmod(0o700)
        except OSError as problem:
            raise GitFailed(
                f"{script} cannot be written: {problem.strerror}.", hint="See that its disk is writable."
            ) from problem
        origin = self.address.origin
        scheme, _, host = origin.partition("://")
        return {
            "GIT_ASKPASS": str(script),
            "SESSIOND_ORIGIN": origin,
            "SESSIOND_LOGIN": f"{scheme}://x-access-token@{host}",
        }

    def _credential_helpers(self) -> dict[str, str]:
        """The user's own ways to a login, where the token is not for this host."""
        if self._helpers is None:
            self._helpers = {}
            environ = {
                name: self._own[name] for name in ("PATH", "HOME", "XDG_CONFIG_HOME") if name in self._own
            }
            environ |= {n: self._own[n] for n in ("GIT_CONFIG_GLOBAL",) if n in self._own}
            with suppress(OSError, subprocess.SubprocessError):
                done = subprocess.run(
                    ["git", "config", "--global", "--null", "--get-regexp", r"^credential\."],
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=QUICK_S,
                    check=False,
                )
                for entry in done.stdout.decode(errors="surrogateescape").split("\0"):
                    name, _, value = entry.partition("\n")
                    if name:
                        self._helpers[name] = value
        return self._helpers


class Held:
    """A git that is kept open: asked on its standard input, answering on its standard output."""

    def __init__(
        self, process: subprocess.Popen[bytes], ends: ExitStack, errors: IO[bytes], beat: Callable[[], None]
    ) -> None:
        self._process = process
        self._ends = ends
        self._errors = errors
        self._beat = beat
        self._pending = bytearray()

    def close(self, *, in_peace: bool = False) -> None:
        """End it: at once, or when it has done what was asked."""
        if in_peace and self._process.stdin is not None:
            with suppress(OSError, subprocess.TimeoutExpired):
                self._process.stdin.close()
                self._process.wait(10)
        self._ends.close()

    def ask(self, *parts: bytes) -> None:
        """Write to it; OSError where it has ended."""
        for part in parts:
            view = memoryview(part)
            while view and self._process.stdin is not None:
                view = view[self._process.stdin.write(view) or 0 :]

    def line(self) -> bytes:
        """A line of its answer, without its end; OSError where none comes."""
        self._beat()
        while (end := self._pending.find(b"\n")) < 0:
            self._more()
        return self.take(end + 1)[:-1]

    def take(self, size: int) -> bytes:
        """So many bytes of its answer; OSError where they do not come."""
        while len(self._pending) < size:
            self._more()
        data = bytes(self._pending[:size])
        del self._pending[:size]
        return data

    def said(self) -> str:
        """Why it has ended, by its own words."""
        try:
            self._errors.seek(0)
            said = self._errors.read(4096).decode(errors="replace")
        except (OSError, ValueError):
            return ""
        fatal = re.search(r"^fatal: (.*)$", said, re.MULTILINE)
        return fatal[1] if fatal else said.strip()[:200]

    def _more(self) -> None:
        out = self._process.stdout
        if out is None or out.closed:
            raise BrokenPipeError
        waited = 0.0
        while not select.select([out], [], [], _LOOK_S)[0]:
            self._beat()
            waited += _LOOK_S
            if waited >= SILENT_S:
                raise TimeoutError
        data = os.read(out.fileno(), 1 << 20)
        if not data:
            raise BrokenPipeError
        self._pending += data


@contextmanager
def _whispered(token: str) -> Iterator[int]:
    """A pipe with the token in it, once for each time that git may ask."""
    line = token.encode() + b"\n"
    out, into = os.pipe()
    try:
        os.write(into, line * max(2, min(16, 8192 // len(line))))
    finally:
        os.close(into)
    try:
        yield out
    finally:
        os.close(out)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started; from any thread."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, 9)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started, and let go of it; harmless where it has ended."""
    end_group(process)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.close()


# --- errors

AGAIN = "Nothing to do: it is tried again."
_LOGIN = (
    *("authentication failed", "could not read username", "could not read password"),
    *("error: 401", "invalid credentials"),
)
_FORBIDDEN = (
    *("error: 403", "permission denied", "write access to repository not granted", "access denied"),
    *("host key verification failed", "dubious ownership", "not authorized", "unsafe repository"),
)
_MISSING = (
    *("repository not found", "error: 404", "error: 410", "does not appear to be a git repository"),
    *("not a git repository", "does not exist", "no such file or directory", "' not found"),
)
_FULL = (
    *("no space left on device", "read-only file system", "out of memory", "unable to write file"),
    *("unable to create", "disk quota exceeded"),
)
_DAMAGED = (
    *("loose object", "is corrupt", "bad object", "missing blob", "missing tree", "bad tree", "packfile"),
    *("unable to read tree", "unable to read sha1", "object file", "failed to read object"),
    *("revision walk setup failed", "src refspec", "not a valid object", "could not parse", "unable to read"),
)
_SERVER = re.compile(
    r"error: 5\d\d|remote: internal server error|unpack failed|unpacker error", re.IGNORECASE
)


def failure(done: Done, what: str, now: float, address: Address) -> RemoteError:
    """What went wrong, by what git said of it in English; the class decides what happens next."""
    text = done.said.lower()
    last = _last(done.said)
    said = f"{what}: {last}" if last else f"{what}: git ended with {done.code}."
    here = any(word in text for word in _DAMAGED)
    if "error: 429" in text or "rate limit" in text:
        found: RemoteError = Limited(said, retry_at=now + 60.0, kind="secondary", hint=AGAIN, status=429)
    elif any(word in text for word in _LOGIN):
        hint = "Log in to it once with git itself, so that its credential helper knows the login."
        if address.repo:
            hint = "Give a token that may write to the archive's repository."
        found = TokenRefused(said, hint=hint, status=401)
    elif any(word in text for word in _FORBIDDEN):
        hint = "Give this user, or the token, write access to the archive."
        found = NotPermitted(said, hint=hint, status=403)
    elif any(word in text for word in _MISSING) and not here:
        hint = "Check archive.url, and that the repository is there."
        found = RepositoryMissing(said, hint=hint, status=404)
    elif _SERVER.search(text):
        found = ServerFailed(said, hint=AGAIN, status=500)
    elif here or any(word in text for word in _FULL):
        found = GitFailed(said, hint="Free space on this disk; the local copy of the archive is made anew.")
    else:
        found = Unreachable(said, hint=AGAIN)
    return found


def refusal(summary: str, what: str) -> RemoteError | None:
    """What it means that one ref was not taken; None where another history stands there already."""
    text = summary.lower()
    if "non-fast-forward" in text or "fetch first" in text or "stale info" in text:
        return None
    if any(word in text for word in ("failed to report", "failed to update", "failed to lock", "atomic")):
        return ServerFailed(f"{what}: {summary}", hint=AGAIN)
    if "unpacker error" in text or "missing necessary objects" in text:
        return ServerFailed(f"{what}: {summary}", hint=AGAIN)
    return Refused(
        f"{what} was refused: {summary}",
        hint="See the repository's rules and hooks; then `sessiond ctl retry`.",
    )


def _last(said: str) -> str:
    """The line that says why: the last fatal one, else the last."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", said) if line.strip()]
    lines = [line for line in lines if not re.match(r"(remote: )?\w[\w ]*:\s+\d+%|To |Done", line)]
    fatal = [line for line in lines if line.startswith(("fatal:", "remote: error", "error:"))]
    line = (fatal or lines or [""])[0 if fatal else -1]
    line = re.sub(r"//[^/@\s']*@", "//", line.removeprefix("fatal: ").removeprefix("error: "))
    return line[:300] + ("" if not line or line[-1] in ".!…" else ".")
