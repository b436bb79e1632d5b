"""The line itself: TLS, a proxy, and being cut, over real sockets."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from sessionsync.remote.answers import BOUNDS, Bounds, NoAnswer
from sessionsync.remote.wire import Wire
from tests.contract.wires import Script, Tunnel

BODY = json.dumps({"id": 1}).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nX-Seen: 1\r\nx-seen: 2\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, signed by itself, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate for a TLS server")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-keyout", str(file), "-out", f"{file}.crt", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    file.write_bytes(file.read_bytes() + Path(f"{file}.crt").read_bytes())
    return file


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The certificate, trusted by the machine, which has no proxy."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return certificate


@pytest.fixture
def wires() -> Iterator[list[Wire]]:
    opened: list[Wire] = []
    yield opened
    for wire in opened:
        wire.cut()


def wire_to(wires: list[Wire], url: str, bounds: Bounds = BOUNDS) -> Wire:
    wires.append(Wire(url, bounds, time.monotonic))
    return wires[-1]


def test_an_answer_is_read_over_tls(trusted: Path, wires: list[Wire]) -> None:
    with Script(ANSWER, certificate=trusted) as server:
        answer = wire_to(wires, server.url).ask("GET", f"{server.url}/a?b=c", {"x-test": "1"}, None)
        assert (answer.status, answer.body, answer.headers["x-seen"]) == (200, BODY, "1, 2")
        head = server.requests[0].lower()
        assert head.startswith(b"get /a?b=c http/1.1\r\n")
        assert b"x-test: 1" in head


def test_a_server_nobody_vouches_for_gets_nothing(certificate: Path, wires: list[Wire]) -> None:
    with Script(ANSWER, certificate=certificate) as server:
        with pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED") as caught:
            wire_to(wires, server.url).ask("GET", f"{server.url}/secret", {}, None)
        assert "SSL_CERT_FILE" in caught.value.hint
        assert server.requests == []


def test_certificates_that_cannot_be_read_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/certificates.pem")
    with pytest.raises(NoAnswer, match="certificates"):
        Wire("https://127.0.0.1:1", BOUNDS, time.monotonic)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_cut_ends_what_waits_for_an_answer(trusted: Path, wires: list[Wire], secure: bool) -> None:
    with Script(silent=True, certificate=trusted if secure else None) as server:
        wire = wire_to(wires, server.url)
        ended: list[NoAnswer] = []

        def ask() -> None:
            with pytest.raises(NoAnswer) as caught:
                wire.ask("GET", f"{server.url}/", {}, None)
            ended.append(caught.value)

        thread = threading.Thread(target=ask)
        thread.start()
        assert server.asked.wait(10)
        wire.cut()
        thread.join(BOUNDS.read_s - 1)
        assert len(ended) == 1
        with pytest.raises(NoAnswer, match="closed"):
            wire.ask("GET", f"{server.url}/", {}, None)
        assert len(server.requests) == 1


def test_a_handshake_that_never_ends_is_given_up(trusted: Path, wires: list[Wire]) -> None:
    with Script(silent=True) as server:  # takes the connection and speaks no TLS
        url = server.url.replace("http:", "https:")
        began = time.monotonic()
        with pytest.raises(NoAnswer) as caught:
            wire_to(wires, url, Bounds(connect_s=0.2)).ask("GET", f"{url}/", {}, None)
        assert caught.value.timed_out
        assert time.monotonic() - began < BOUNDS.connect_s


def test_the_environment_s_proxy_is_used(
    trusted: Path, wires: list[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Script(ANSWER, certificate=trusted) as server, Tunnel(server.port) as tunnel:
        monkeypatch.setenv("HTTPS_PROXY", f"me:p%40ss@127.0.0.1:{tunnel.port}")
        wire = wire_to(wires, server.url)
        assert wire.ask("GET", f"{server.url}/", {"authorization": "Bearer T"}, None).body == BODY
        assert tunnel.asked[0].startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n")
        assert b64encode(b"me:p@ss").decode() in tunnel.asked[0]
        assert "Bearer" not in tunnel.asked[0]
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert wire_to(wires, server.url).ask("GET", f"{server.url}/", {}, None).status == 200
        assert len(tunnel.asked) == 1


def test_a_proxy_of_another_kind_is_said(trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://me:secret@127.0.0.1:1")
    with pytest.raises(NoAnswer, match="socks5") as caught:
        Wire("https://api.github.com", BOUNDS, time.monotonic)
    assert "secret" not in str(caught.value)


def test_a_loopback_address_never_goes_through_a_proxy(
    wires: list[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Script(ANSWER) as server:
        assert wire_to(wires, server.url).ask("GET", f"{server.url}/", {}, None).status == 200
