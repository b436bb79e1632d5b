"""A GitHub on loopback: a real HTTP server over a `World`, with faults on demand and a log of every request.

In a test:

    with FakeGitHub() as gh:
        gh.add_repo("o/r")
        gh.token("T", login="me")
        ...                       # talk to gh.url
        assert gh.effects() == ["created issue 1"]

As a process (`python -m tests.fakes.github --port 0 --state FILE`): it prints {"url": ..., "pid": ...} and
serves until SIGTERM; every method in `CONTROLS` is `POST /_fake/<name>` with its keyword arguments as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self, cast
from urllib.parse import urlsplit

import msgspec

from tests.fakes.answers import DOCS, Answer, Call
from tests.fakes.api import Api
from tests.fakes.faults import UNICORN, Fault, Plan
from tests.fakes.limits import Scope
from tests.fakes.world import Request, World

CONTROLS = (
    "add_comment", "add_issue", "add_repo", "advance", "all_comments", "archive_repo", "behave", "clear_faults",
    "close_issue", "comments", "delete_comment", "delete_issue", "delete_repo", "edit_comment", "edit_issue",
    "effects", "empty_repo", "enable_issues", "ever_readable", "expire_token", "fault", "fault_hits",
    "forget_author", "forget_requests", "forget_secondary_limit", "freeze", "lock_issue", "make_public",
    "min_write_spacing_s", "permit", "rate_limit", "refuse", "release_hangs", "release_lag", "rename_repo",
    "requests", "revoke_token", "secondary_limit", "seed_faults", "set_role", "show_as", "state", "token",
    "transfer_issue", "user",
)  # fmt: skip


class FakeGitHub(World):
    """The world with a door. `prefix` is the API's path on servers of one's own ("/api/v3")."""

    def __init__(
        self,
        state: Path | None = None,
        *,
        port: int = 0,
        seed: int = 0,
        frozen_at: float | None = None,
        prefix: str = "",
    ) -> None:
        super().__init__(state, frozen_at=frozen_at)
        self.prefix = prefix
        self.plan = Plan(seed)
        self.api = Api(self, lambda: self._shown)
        self._hangs = threading.Event()
        self._closing = False
        self._open: set[socket.socket] = set()
        self._requests = len(self.log)
        self._door: _Door | None = None
        self._reserved = _bound(port)
        self.port = int(self._reserved.getsockname()[1])
        self.url = self._shown = f"http://127.0.0.1:{self.port}{prefix}"
        self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def settings(self, token: str = "T", repo: str = "o/r") -> dict[str, str]:
        """The environment of a program that pushes to a repository here."""
        return {"GH_TOKEN": token, "SESSIOND_GITHUB_REPO": repo, "SESSIOND_GITHUB_API_URL": self.url}

    def close(self) -> None:
        """Cut every connection and stop."""
        with self.lock:
            if self._closing:
                return
            self._closing = True
        self._hangs.set()
        self._shut()
        self._reserved.close()
        with self.lock:
            self.store.close()

    # The door

    def _listen(self) -> None:
        self._door = _Door(self, self._reserved)
        threading.Thread(
            target=self._door.serve_forever, args=(0.02,), name=f"fake-github-{self.port}", daemon=True
        ).start()

    def _shut(self) -> None:
        """Stop listening and cut what is open; the port stays ours."""
        with self.lock:
            door, self._door = self._door, None
        if door is None:
            return
        door.shutdown()
        door.server_close()
        with self.lock:
            for connection in list(self._open):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        if not self._closing:
            self._reserved = _bound(self.port)

    def refuse(self, for_s: float | None = None) -> None:
        """Refuse every connection, for so many seconds or until `accept`."""
        with self.lock:
            if self._door is None or self._closing:
                return
        self._shut()
        if for_s is not None:
            timer = threading.Timer(for_s, self.accept)
            timer.daemon = True
            timer.start()

    def accept(self) -> None:
        """Listen again on the same port."""
        with self.lock:
            if self._door is None and not self._closing:
                self._listen()

    @contextlib.contextmanager
    def refused(self) -> Iterator[None]:
        """Refuse connections inside the block."""
        self.refuse()
        try:
            yield
        finally:
            self.accept()

    def show_as(self, url: str | None = None) -> None:
        """The base URL that answers and Link show, e.g. a proxy's; None: our own."""
        self._shown = url or self.url

    # Faults and limits

    def fault(self, *faults: Fault, add: Iterable[dict[str, object]] = ()) -> None:
        """Add rules; over the control endpoint as {"add": [{"kind": ...}]}."""
        self.plan.add(*faults, *msgspec.convert(list(add), list[Fault]))

    def clear_faults(self) -> None:
        """Back to an honest server; what hangs is let go."""
        self.plan.clear()
        self.release_hangs()

    def fault_hits(self) -> list[int]:
        """How often each rule struck."""
        return self.plan.hits()

    def seed_faults(self, seed: int) -> None:
        """Another seed for rules with a probability; counts start anew."""
        rules = self.plan.rules
        self.plan = Plan(seed)
        self.plan.add(*rules)

    def release_hangs(self) -> None:
        """Cut every connection that hangs."""
        released, self._hangs = self._hangs, threading.Event()
        released.set()

    def rate_limit(
        self, account: str, *, remaining: int, reset_in_s: int = 60, limit: int | None = None
    ) -> None:
        """Set what an account (a login, `anonymous`, `actions:owner/name`) has left this hour."""
        with self.lock:
            self.api.limits.set(account, remaining, reset_in_s, limit)

    def secondary_limit(
        self,
        for_s: float = 60.0,
        *,
        account: str = "*",
        scope: Scope = "content",
        retry_after: bool = True,
        wording: str = "secondary",
        status: int = 403,
    ) -> None:
        """Put an account (or all) under a secondary limit for a while of the world's clock.

        `scope`: creating content, all writes, or all. `retry_after`: whether the header says how long.
        `wording`: `secondary`, or `abuse` as older servers say.
        """
        with self.lock:
            self.api.limits.block(
                account, scope, for_s, retry_after=retry_after, wording=wording, status=status
            )

    def forget_secondary_limit(self) -> None:
        """Lift every secondary limit."""
        with self.lock:
            self.api.limits.blocks.clear()

    # One request

    def serve(self, call: Call, arrived_s: float) -> tuple[Answer | None, Fault | None]:
        """What a request gets: an answer, none (the line is cut), and the fault that shaped it."""
        fault = self.plan.pick(call.method, call.target)
        entry = Request(
            n=0,
            at=0,
            monotonic_s=arrived_s,
            method=call.method,
            path=call.target,
            headers=_without_token(call.headers),
            size_bytes=len(call.body),
            fault=fault.kind if fault else "",
            body=call.body.decode(errors="replace") if call.write else "",
        )
        with self.lock:
            if self._closing:
                return None, None
            self._requests += 1
            entry.n, entry.at = self._requests, self.now()
            answer: Answer | None = None
            if fault is None or fault.carries_out:
                answer = self.api.answer(call)
            if fault is not None:
                answer = self._spoil(call, fault, answer)
            known = self.tokens.get(call.headers.get("authorization", "").partition(" ")[2].strip())
            entry.account = known.login if known else None
            entry.effect = answer.effect if answer else ""
            cut = fault is not None and fault.kind in {"refuse", "hang", "drop"}
            entry.status = None if answer is None or cut else answer.status
            self.remember_request(entry)
            self.store.commit()
        return (None if cut else answer), fault

    def _spoil(self, call: Call, fault: Fault, answer: Answer | None) -> Answer | None:
        effect = answer.effect if answer else ""
        if fault.kind == "html":
            return Answer(fault.status, UNICORN.encode(), {"content-type": "text/html"}, effect)
        if fault.kind == "malformed" and answer is not None:
            answer.body = b'{"message": "OK", "id":'
            answer.headers.pop("content-encoding", None)
            return answer
        if fault.kind == "status":
            words = {"message": "Server Error", "documentation_url": DOCS, "status": str(fault.status)}
            known = self.tokens.get(call.headers.get("authorization", "").partition(" ")[2].strip())
            told = self.api.rate_headers(known.login, write=call.write) if known else {}
            body = json.dumps(words).encode() if fault.body is None else fault.body.encode()
            headers = {"content-type": "application/json; charset=utf-8", **told, **fault.headers}
            return Answer(fault.status, body, headers, effect)
        return answer

    def control(self, name: str, body: bytes) -> Answer:
        """One call of the control endpoint."""
        if name not in CONTROLS:
            return Answer(404, json.dumps({"error": f"no such control: {name}"}).encode())
        try:
            arguments = json.loads(body) if body else {}
            done = getattr(self, name)(**arguments)
            return Answer(200, msgspec.json.encode(done))
        except (KeyError, TypeError, ValueError) as error:
            return Answer(400, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())


class _Door(ThreadingHTTPServer):
    """Listens on a socket that is already bound."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, fake: FakeGitHub, bound: socket.socket) -> None:
        super().__init__(("127.0.0.1", 0), _Line, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.server_name, self.server_port = "127.0.0.1", fake.port
        self.fake = fake
        self.server_activate()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error; anything else is ours."""
        if not isinstance(sys.exception(), ConnectionError | ValueError | OSError):
            super().handle_error(cast("socket.socket", request), client_address)


class _Line(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "github.com"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Door

    def setup(self) -> None:
        super().setup()
        with self.server.fake.lock:
            self.server.fake._open.add(self.connection)

    def finish(self) -> None:
        with self.server.fake.lock:
            self.server.fake._open.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def handle_any(self) -> None:
        arrived_s = time.monotonic()
        fake = self.server.fake
        body = self._body()
        if fake._door is not self.server:  # let in just before the door was shut
            self._cut()
            return
        path = urlsplit(self.path).path
        if path.startswith("/_fake/"):
            self._send(fake.control(path.removeprefix("/_fake/"), body))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        target = self.path.removeprefix(fake.prefix) if self.path.startswith(fake.prefix) else "/nowhere"
        hangs = fake._hangs  # who sees that this one hangs lets it go, even before it waits
        answer, fault = fake.serve(Call(self.command, target, headers, body), arrived_s)
        kind = fault.kind if fault else ""
        if fault is not None and kind == "refuse":
            fake.refuse(fault.delay_s)
        if fault is not None and kind in {"hang", "slow"}:
            hangs.wait(fault.delay_s)
        if answer is None:
            self._cut(reset=fault is not None and fault.reset)
            return
        self._send(answer, keep_bytes=fault.keep_bytes if fault and kind == "truncate" else None)

    def __getattr__(self, name: str) -> object:
        # http.server asks for do_GET and the like; every method goes the same way.
        if name.startswith("do_"):
            return self.handle_any
        raise AttributeError(name)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, answer: Answer, keep_bytes: int | None = None) -> None:
        payload = answer.body if isinstance(answer.body, bytes) else b""
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in {204, 304}:
            self.send_header("content-length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD" and answer.status not in {204, 304}:
            self.wfile.write(payload[:keep_bytes])
        self.wfile.flush()
        if keep_bytes is not None:
            self._cut()

    def _cut(self, *, reset: bool = False) -> None:
        """Close without another byte; whoever waits sees the line end, or break off (`reset`)."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            if reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())
            else:
                self.connection.shutdown(socket.SHUT_RDWR)


def _bound(port: int) -> socket.socket:
    """A port that is ours but refuses connections until somebody listens."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    end = time.monotonic() + 5
    while True:
        try:
            sock.bind(("127.0.0.1", port))
            return sock
        except OSError:
            # The predecessor's last connections may still be closing.
            if port == 0 or time.monotonic() > end:
                raise
            time.sleep(0.02)


def _without_token(headers: dict[str, str]) -> dict[str, str]:
    shown = dict(headers)
    if "authorization" in shown:
        shown["authorization"] = f"{shown['authorization'].partition(' ')[0]} …"
    return shown


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; prints one line of JSON when ready."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.github", description="A GitHub on loopback.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--state", type=Path, help="SQLite file; survives a kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repo", action="append", default=[], help="owner/name, made private if missing")
    parser.add_argument("--token", action="append", default=[], help="VALUE=LOGIN")
    options = parser.parse_args(arguments)
    # Blocked before any thread starts, so that only sigwait sees them.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with FakeGitHub(options.state, port=options.port, seed=options.seed) as fake:
        known = {repo.full_name for repo in fake.repos.values()}
        for name in options.repo:
            if name not in known:
                fake.add_repo(name)
        for pair in options.token:
            value, _, login = pair.partition("=")
            if value not in fake.tokens:
                fake.token(value, login=login or "me")
        print(json.dumps({"url": fake.url, "pid": os.getpid()}), flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
