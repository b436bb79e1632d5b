"""The loopback port, asked over real HTTP."""

import http.client
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sessiond.faces import Faces, open_faces
from sessiond.metrics import Metrics, catalogue
from tests.conftest import PATIENCE_S

Ask = Callable[..., tuple[int, dict[str, str], str]]


class World:
    """What the daemon would say of itself."""

    def __init__(self) -> None:
        self.healthy = {"capture": "", "push": ""}
        self.ready = {"capture": "", "first_scan": "has not finished"}
        self.measured: list[str] = []
        self.emitted: list[tuple[str, dict[str, Any]]] = []

    def emit(self, event: str, **fields: Any) -> None:
        self.emitted.append((event, fields))

    def app(self) -> Faces:
        return Faces(
            Metrics(catalogue(), lambda: 1.0).application(),
            healthy=lambda: self.healthy,
            ready=lambda: self.ready,
            observe=lambda handler, seconds: self.measured.append(handler),
        )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ask(world: World) -> Iterator[Ask]:
    opened = open_faces(world.app(), ("127.0.0.1", 0), world.emit)
    assert opened is not None
    server, port = opened

    def ask(path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body

    yield ask
    server.close()


def test_metrics_in_the_format_that_is_asked_for(ask: Ask, world: World) -> None:
    status, headers, body = ask("/metrics")
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert "# TYPE sessiond_start_time_seconds gauge\nsessiond_start_time_seconds 1.0\n" in body
    status, headers, body = ask("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")
    assert ask("/metrics", "HEAD")[0] == 200
    assert world.measured == ["metrics"] * 3


def test_health_is_the_status_code(ask: Ask, world: World) -> None:
    assert ask("/healthz")[::2] == (200, "ok\n")
    assert ask("/healthz?verbose")[2] == "[+] capture\n[+] push\nok\n"
    world.healthy["push"] = "no progress for 130 s"
    assert ask("/healthz")[::2] == (503, "[-] push: no progress for 130 s\nfailed\n")
    status, headers, body = ask("/readyz?verbose")
    assert (status, body) == (503, "[+] capture\n[-] first_scan: has not finished\nfailed\n")
    assert headers["cache-control"] == "no-store"
    world.ready["first_scan"] = ""
    assert ask("/readyz")[0] == 200
    assert world.measured == ["healthz", "healthz", "healthz", "readyz", "readyz"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:17865", "localhost:1", "LOCALHOST", "[::1]:9", "[::1]"]
)
def test_loopback_names_are_answered(ask: Ask, host: str) -> None:
    assert ask("/healthz", Host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:17865",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "localhost.evil.example",
        "",
        "[",
        "::1",
    ],
)
def test_a_name_that_was_made_to_point_here_is_not(ask: Ask, host: str) -> None:
    status, _, body = ask("/metrics", Host=host)
    assert status == 421
    assert "sessiond_" not in body


def test_it_only_looks(ask: Ask, world: World) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        status, headers, _ = ask("/metrics", method, Origin="https://evil.example")
        assert (status, headers["allow"]) == (405, "GET, HEAD")
        assert not [name for name in headers if name.startswith("access-control")]
    assert ask("/")[0] == 404
    assert ask("/v1/stop", "POST")[0] == 404
    assert world.measured[-1] == "other"


def test_a_taken_port_is_said_and_no_more(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert open_faces(world.app(), ("127.0.0.1", port), world.emit) is None
    ((event, fields),) = world.emitted
    assert event == "http_failed"
    assert fields["address"] == f"127.0.0.1:{port}"
    assert "http.listen" in fields["hint"]


def test_the_newer_loopback(world: World) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    opened = open_faces(world.app(), ("::1", 0), world.emit)
    if opened is None:
        pytest.skip("no ::1 here")
    server, port = opened
    connection = http.client.HTTPConnection("::1", port, timeout=PATIENCE_S)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    server.close()
