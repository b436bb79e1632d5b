"""What the service needs of files and words, and lingering, with recording stand-ins for systemd's programs."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from sessiond.service import Wish, checked_token, systemd
from sessiond.service.systemd import Systemd, fill, quoted
from sessionsync.errors import ConfigError, NotAllowed, ServiceFailed
from sessionsync.paths import paths

SYSTEMCTL = """#!{python}
import pathlib, sys
here = pathlib.Path({folder!r})
words = [word for word in sys.argv[1:] if not word.startswith("--")]
if words == ["show"]:
    print(here / "units" / "systemd" / "user")
elif words[:1] == ["show"]:
    print("LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\nMainPID=4711")
"""
LOGINCTL = """#!{python}
import pathlib, sys
here = pathlib.Path({folder!r})
with (here / "calls").open("a") as calls:
    calls.write(sys.argv[1] + "\\n")
if (here / "refuse").exists():
    print("Interactive authentication required.", file=sys.stderr); sys.exit(1)
lingering = here / "linger" / sys.argv[2]
lingering.touch() if sys.argv[1] == "enable-linger" else lingering.unlink()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """A service manager that says yes, and a logind that does not know this user yet."""
    for name, text in (("systemctl", SYSTEMCTL), ("loginctl", LOGINCTL)):
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(text.format(python=sys.executable, folder=str(tmp_path)))
        tool.chmod(stat.S_IRWXU)
    (tmp_path / "linger").mkdir()
    monkeypatch.setattr(systemd, "LINGERING", tmp_path / "linger")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    environ = {"HOME": str(tmp_path), "SESSIOND_HOME": str(tmp_path / "s"), "PATH": str(tmp_path / "bin")}
    return Systemd(environ, paths(environ), tmp_path / "sessiond")


def calls(folder: Path) -> list[str]:
    file = folder / "calls"
    return file.read_text().splitlines() if file.exists() else []


def test_lingering_is_asked_for_and_undone_where_it_was_ours(here: Systemd, tmp_path: Path) -> None:
    here.install(Wish())
    assert calls(tmp_path) == []
    assert here.install(Wish(lingering=True))["lingering"]
    here.install(Wish(lingering=True))
    here.uninstall()
    assert calls(tmp_path) == ["enable-linger", "disable-linger"]
    assert not here.lingers()


def test_lingering_that_was_there_before_stays(here: Systemd, tmp_path: Path) -> None:
    import getpass

    (tmp_path / "linger" / getpass.getuser()).touch()
    here.install(Wish(lingering=True))
    here.install(Wish(lingering=False))
    here.uninstall()
    assert calls(tmp_path) == []
    assert here.lingers()


def test_where_lingering_is_refused_the_command_for_root_is_named(here: Systemd, tmp_path: Path) -> None:
    (tmp_path / "refuse").touch()
    with pytest.raises(ServiceFailed, match="Interactive authentication required") as caught:
        here.install(Wish(lingering=True))
    assert caught.value.hint.startswith("Have it done for you: sudo loginctl enable-linger")
    here.uninstall()
    assert calls(tmp_path) == ["enable-linger"]


@pytest.mark.parametrize("url", ["git@git.example:ann/s.git", "ssh://git@git.example/s.git"])
def test_no_mounts_of_its_own_where_the_archive_goes_over_ssh(
    here: Systemd, tmp_path: Path, url: str
) -> None:
    config = tmp_path / "s" / "config.toml"
    config.parent.mkdir()
    config.write_text(f'[archive]\nurl = "{url}"\n')
    assert not here.install(Wish())["hardened"]
    assert here.install(Wish(hardening=True))["hardened"]


def test_a_token_file_is_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(ConfigError, match="cannot be read"):
        checked_token(file)
    file.write_text("\n")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="empty"):
        checked_token(file)
    file.write_text("T")
    assert checked_token(file) == file
    file.chmod(0o640)
    with pytest.raises(NotAllowed):
        checked_token(file)


def test_words_of_a_unit_mean_themselves() -> None:
    assert quoted('/a b/100%/"x"\\y$z', program=True) == '"/a b/100%%/\\"x\\"\\\\y$$z"'
    assert quoted("A=$b%") == '"A=$b%%"'


def test_a_line_that_stays_empty_goes() -> None:
    assert fill("a\n@gone@\n\nb @x@\n", {"gone": "", "x": "y"}) == "a\n\nb y\n"
