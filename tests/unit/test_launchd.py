"""The launchd agent: its file against the documented keys, its commands with a recording stand-in for launchctl."""

from __future__ import annotations

import os
import plistlib
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessiond import process
from sessiond.process import AGENT
from sessiond.server import Server
from sessiond.service import Wish
from sessiond.service.launchd import Launchd
from sessionsync.errors import NotAllowed, ServiceFailed, UsageError
from sessionsync.paths import Paths, paths

UID = os.getuid()

# Answers as launchctl(1) documents and as is known of it: 125 for a domain that is not there, 113 for a
# service that is not loaded, 5 for a bootstrap while the last one still ends, which takes two looks.
LAUNCHCTL = """#!{python}
import pathlib, sys
here = pathlib.Path({folder!r})
words = sys.argv[1:]
with (here / "calls").open("a") as calls:
    calls.write(" ".join(words) + "\\n")
loaded, ending = here / "loaded", here / "ending"
target = words[-1] if words[0] != "bootstrap" else words[1]
if target.startswith("gui/") and (here / "no-gui").exists():
    print("Could not find domain", file=sys.stderr); sys.exit(125)
if ending.exists() and words[0] == "print" and target.count("/") == 2:
    left = int(ending.read_text()) - 1
    ending.write_text(str(left)) if left else ending.unlink()
    print("state = running"); sys.exit(0)
if words[0] == "bootstrap" and (here / "busy").exists():
    (here / "busy").unlink()
    print("Bootstrap failed: 5: Input/output error", file=sys.stderr); sys.exit(5)
if words[0] == "bootstrap":
    loaded.write_text("")
elif words[0] == "bootout":
    loaded.unlink(missing_ok=True); ending.write_text("2")
elif words[0] == "print" and target.count("/") == 2:
    if not loaded.exists():
        print("Could not find service", file=sys.stderr); sys.exit(113)
    print("io.sessiond.daemon = {{\\n\\tstate = running\\n\\truns = 2\\n\\tpid = 4711\\n\\tlast exit code = (never exited)\\n}}")
"""


class Mac:
    """A home, and a launchctl that writes down what it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "Ann & <Bob>"
        self.home.mkdir()
        tool = folder / "bin" / "launchctl"
        tool.parent.mkdir()
        tool.write_text(LAUNCHCTL.format(python=sys.executable, folder=str(folder)))
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
        self.environ = {
            "HOME": str(self.home),
            "PATH": f"{tool.parent}:/usr/bin:/bin",
            "SESSIOND_HOME": str(folder / "s"),
        }
        self.where: Paths = paths(self.environ)

    @property
    def agent(self) -> Launchd:
        program = self.home / "bin" / "sessiond"
        return Launchd(self.environ, self.where, program, ready_s=0.2, look_s=0.001)

    def calls(self) -> list[str]:
        """What launchctl was told to do since the last look, without what was only asked."""
        file = self.folder / "calls"
        found = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [call for call in found if not call.startswith("print ")]

    def plist(self) -> dict[str, Any]:
        found: dict[str, Any] = plistlib.loads(self.agent.plist.read_bytes())
        return found


@pytest.fixture
def mac(tmp_path: Path) -> Mac:
    return Mac(tmp_path)


@pytest.fixture
def answering(mac: Mac) -> Iterator[None]:
    """Somebody answers on the control socket."""

    def application(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "3")])
        return [b"{}\n"]

    with process.bound(mac.where.socket) as listener:
        server = Server(application, listener, threads=1, name="stand-in")
        listener.listen()
        server.start()
        yield
        server.close()


@pytest.mark.usefixtures("answering")
def test_the_agent_has_documented_keys_of_the_right_types(mac: Mac) -> None:
    mac.agent.install(Wish())
    found = mac.plist()
    assert mac.agent.plist == mac.home / "Library" / "LaunchAgents" / f"{AGENT}.plist"
    environment = found.pop("EnvironmentVariables")
    assert found == {
        "Label": AGENT,
        "ProgramArguments": [str(mac.home / "bin" / "sessiond"), "run"],
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": 30,
        "ProcessType": "Background",
        "LowPriorityBackgroundIO": True,
        "Umask": 0o077,
        "StandardOutPath": str(mac.where.log_dir / "launchd.log"),
        "StandardErrorPath": str(mac.where.log_dir / "launchd.log"),
    }
    assert environment["SESSIOND_HOME"] == str(mac.folder / "s")
    assert environment["PATH"].split(":")[0] == str(mac.home / "bin")
    assert all(folder.startswith("/") for folder in environment["PATH"].split(":"))


@pytest.mark.usefixtures("answering")
def test_the_agent_passes_the_checks_of_launchd_plist_5(mac: Mac, shared: Path) -> None:
    checker = shared / "tools" / "check_plist.py"
    if not checker.exists():
        pytest.skip("the checker is not there")
    mac.agent.install(Wish())
    done = subprocess.run(
        [sys.executable, str(checker), str(mac.agent.plist)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "warn" in done.stdout) == (0, False), done.stdout


@pytest.mark.usefixtures("answering")
def test_install_loads_it_once(mac: Mac) -> None:
    found = mac.agent.install(Wish())
    assert (found["state"], found["pid"], found["restarts"], found["changed"]) == ("running", 4711, 1, True)
    assert mac.calls() == [f"enable gui/{UID}/{AGENT}", f"bootstrap gui/{UID} {mac.agent.plist}"]
    assert mac.agent.install(Wish())["changed"] is False
    assert mac.calls() == []


@pytest.mark.usefixtures("answering")
def test_another_agent_replaces_the_one_that_is_loaded_once_that_has_ended(mac: Mac) -> None:
    mac.agent.install(Wish())
    mac.calls()
    mac.environ["CLAUDE_CONFIG_DIR"] = "/elsewhere"
    mac.agent.install(Wish())
    calls = mac.calls()
    assert calls[0] == f"bootout gui/{UID}/{AGENT}"
    assert calls[-1] == f"bootstrap gui/{UID} {mac.agent.plist}"
    assert mac.plist()["EnvironmentVariables"]["CLAUDE_CONFIG_DIR"] == "/elsewhere"


@pytest.mark.usefixtures("answering")
def test_a_bootstrap_too_early_is_tried_again(mac: Mac) -> None:
    (mac.folder / "busy").touch()
    mac.agent.install(Wish())
    bootstrap = f"bootstrap gui/{UID} {mac.agent.plist}"
    assert mac.calls() == [f"enable gui/{UID}/{AGENT}", bootstrap, bootstrap]


@pytest.mark.usefixtures("answering")
def test_without_a_login_window_it_goes_into_the_users_domain(mac: Mac) -> None:
    (mac.folder / "no-gui").touch()
    mac.agent.install(Wish())
    assert mac.plist()["LimitLoadToSessionType"] == "Background"
    assert mac.calls()[-1] == f"bootstrap user/{UID} {mac.agent.plist}"


@pytest.mark.usefixtures("answering")
def test_uninstall_leaves_nothing(mac: Mac) -> None:
    before = {*mac.home.rglob("*")}
    mac.agent.install(Wish())
    mac.calls()
    assert mac.agent.uninstall()["changed"]
    assert mac.calls() == [f"bootout gui/{UID}/{AGENT}"]
    assert {*mac.home.rglob("*")} == before
    assert mac.agent.uninstall()["changed"] is False


def test_a_daemon_that_does_not_answer_is_a_failure_that_says_where_to_look(mac: Mac) -> None:
    with pytest.raises(ServiceFailed, match="does not start") as caught:
        mac.agent.install(Wish())
    assert "launchd.log" in caught.value.hint


def test_an_agent_of_somebody_else_stays(mac: Mac) -> None:
    mac.agent.plist.parent.mkdir(parents=True)
    mac.agent.plist.write_text("mine")
    with pytest.raises(NotAllowed):
        mac.agent.install(Wish())
    assert mac.agent.plist.read_text() == "mine"


def test_what_launchd_has_not_is_said(mac: Mac) -> None:
    with pytest.raises(UsageError):
        mac.agent.install(Wish(token_file=Path("/t")))
