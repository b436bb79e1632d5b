"""Wheels of other versions, made from this tree, and an environment of their own that real pip puts them into."""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

from sessionsync import __version__
from tests.conftest import ROOT

# What a wheel is made from.
SOURCES = ("src", "daemon", "systemd", "launchd", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE")
VERSION = Path("src", "sessionsync", "__init__.py")


def built(folder: Path, version: str, **changed: str) -> Path:
    """A wheel of this tree with another version, which asks for no library.

    `changed` are lines put behind modules of `sessiond`.
    """
    tree = folder / f"tree-{version}"
    tree.mkdir(parents=True)
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    project = (tree / "pyproject.toml").read_text()
    alone = re.sub(r"^dependencies = \[.*?^\]", "dependencies = []", project, flags=re.DOTALL | re.MULTILINE)
    (tree / "pyproject.toml").write_text(alone)
    said = (tree / VERSION).read_text()
    (tree / VERSION).write_text(said.replace(f'"{__version__}"', f'"{version}"'))
    for module, lines in changed.items():
        with (tree / "daemon" / "sessiond" / f"{module}.py").open("a") as file:
            file.write(f"\n{lines}\n")
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / version)], cwd=tree)
    (wheel,) = (folder / version).glob("*.whl")
    return wheel


class Environment:
    """A virtual environment that real pip puts whichever sessiond into."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        self.sessiond = folder / "bin" / "sessiond"
        lend(folder)

    def install(self, wheel: Path) -> None:
        """`pip install`, as a person would."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check"]
        _run([*pip, "install", "-q", "--no-index", "--no-deps", "--force-reinstall", str(wheel)])


class Tool:
    """What people install programs with in a home, each in an environment of its own: `pipx` or `uv`."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self.sessiond = home / ".local" / "bin" / "sessiond"
        below = {"pipx": "pipx/venvs", "uv": "uv/tools"}[name]
        self.folder = home / ".local" / "share" / below / "sessiond"
        self._environ = {
            "HOME": str(home),
            "PATH": f"{self.sessiond.parent}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "UV_OFFLINE": "1",
            "UV_NO_INDEX": "1",
            "UV_NO_CONFIG": "1",
            "UV_PYTHON": sys.executable,
            "PIPX_DEFAULT_PYTHON": sys.executable,
        }

    def install(self, wheel: Path) -> None:
        """Install it, or upgrade to it."""
        command = {"pipx": ["pipx", "install", "--force"], "uv": ["uv", "tool", "install", "--quiet"]}[
            self.name
        ]
        _run([*command, str(wheel)], environ=self._environ)
        lend(self.folder)

    def uninstall(self) -> None:
        command = {"pipx": ["pipx"], "uv": ["uv", "tool"]}[self.name]
        _run([*command, "uninstall", "sessiond"], environ=self._environ)


def lend(environment: Path) -> None:
    """Let a virtual environment have the libraries of this one, and not its sessiond."""
    (packages,) = environment.glob("lib/python*/site-packages")
    # a folder that a .pth file names is searched, but not for .pth files: this tree stays out
    (packages / "libraries.pth").write_text("\n".join(site.getsitepackages()) + "\n")


def _run(command: list[str], *, cwd: Path | None = None, environ: dict[str, str] | None = None) -> None:
    environ = environ or {**os.environ, "PYTHONPATH": "", "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
