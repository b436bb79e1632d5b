"""Where the token is looked for."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sessiond import token as looked_for
from sessiond.token import find_token, host_of
from sessionsync.errors import ConfigError

API = "https://api.github.com"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment with no token in it; its PATH has a `bin` of the test's own first."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "credentials").mkdir()
    return {"HOME": str(tmp_path), "PATH": str(tmp_path / "bin")}


def program(environ: dict[str, str], name: str, script: str) -> None:
    file = Path(environ["PATH"]) / name
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)


def credential(environ: dict[str, str], content: str) -> Path:
    folder = Path(environ["HOME"]) / "credentials"
    environ["CREDENTIALS_DIRECTORY"] = str(folder)
    file = folder / "github_token"
    file.write_text(content, encoding="utf-8")
    return file


def keyring(tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A program `keyring` as pip would install it, for this process and its children."""
    package = tmp_path / "site" / "keyring"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "__main__.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(package.parent)
    environ["PYTHONPATH"] = str(package.parent)


def found(environ: dict[str, str], api_url: str = API) -> tuple[str, str] | None:
    token = find_token(environ, api_url)
    return None if token is None else (token.value, token.source)


def test_the_order_is_credential_variables_gh_keyring(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring(tmp_path, environ, monkeypatch, "import sys; print('-'.join(['key', *sys.argv[1:]]))")
    program(environ, "gh", "echo from-gh-$4")
    environ |= {"GITHUB_TOKEN": "from-github", "GH_TOKEN": "from-gh-variable"}
    file = credential(environ, "from-credential\n")
    assert found(environ) == ("from-credential", "credential")
    file.write_text(" \n", encoding="utf-8")
    assert found(environ) == ("from-gh-variable", "GH_TOKEN")
    environ["GH_TOKEN"] = ""
    assert found(environ) == ("from-github", "GITHUB_TOKEN")
    del environ["GITHUB_TOKEN"]
    assert found(environ) == ("from-gh-github.com", "gh")
    program(environ, "gh", "echo no account >&2; echo nonsense; exit 1")
    assert found(environ) == ("key-get-sessiond-github.com", "keyring")


def test_none_is_none(environ: dict[str, str]) -> None:
    environ["CREDENTIALS_DIRECTORY"] = str(Path(environ["HOME"]) / "credentials")
    assert find_token(environ, API) is None


def test_a_value_is_never_shown(environ: dict[str, str]) -> None:
    environ["GH_TOKEN"] = "ghp_secret"
    token = find_token(environ, API)
    assert repr(token) == str(token) == "Token(source='GH_TOKEN')"


@pytest.mark.parametrize(
    ("api_url", "host"),
    [
        (API, "github.com"),
        ("https://ghe.example.org/api/v3", "ghe.example.org"),
        ("https://api.acme.ghe.com", "acme.ghe.com"),
        ("https://api.example.org:8443/api/v3/", "api.example.org"),
        ("http://127.0.0.1:8080", "127.0.0.1"),
    ],
)
def test_gh_is_asked_for_the_host_of_the_api(environ: dict[str, str], api_url: str, host: str) -> None:
    assert host_of(api_url) == host
    program(environ, "gh", 'echo "$*" | /usr/bin/tr " " "_"')
    assert found(environ, api_url) == (f"auth_token_--hostname_{host}", "gh")


def test_gh_gets_no_terminal_and_the_given_environment(environ: dict[str, str]) -> None:
    program(environ, "gh", 'read -r line; echo "$MARK$line$SESSIOND_HOME"')
    code = f"from sessiond.token import find_token; print(find_token({environ | {'MARK': 'seen'}}, {API!r}).value)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input="typed\n", capture_output=True, text=True, check=True)
    assert done.stdout == "seen\n"


def test_a_gh_that_hangs_is_given_up(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looked_for, "ASK_S", 0.2)
    program(environ, "gh", "exec /bin/sleep 30")
    assert find_token(environ, API) is None


def test_a_gh_that_cannot_run_is_none(environ: dict[str, str]) -> None:
    program(environ, "gh", "")
    (Path(environ["PATH"]) / "gh").write_bytes(b"\x7fELF nothing")
    assert find_token(environ, API) is None


@pytest.mark.parametrize("value", ["two words", "a\nb", "a\x00b", "a\x1b[0m", "tökén", "x" * 5000])
def test_what_cannot_be_a_token_is_an_error_that_names_the_place_alone(
    environ: dict[str, str], value: str
) -> None:
    credential(environ, value)
    with pytest.raises(ConfigError, match="token from credential") as caught:
        find_token(environ, API)
    assert value not in str(caught.value) + caught.value.hint
    assert str(caught.value).isprintable()


def test_a_credential_that_cannot_be_read_is_an_error(environ: dict[str, str]) -> None:
    file = credential(environ, "x")
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        find_token(environ, API)


def test_the_keyring_is_optional_and_its_failure_is_none(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring(tmp_path, environ, monkeypatch, "raise SystemExit('locked')")
    assert find_token(environ, API) is None
    assert sys.executable
    assert "keyring" not in sys.modules
    assert os.environ.get("PYTHONPATH") != environ["PYTHONPATH"]


def test_no_program_that_is_started_gets_the_token(environ: dict[str, str], tmp_path: Path) -> None:
    program(environ, "gh", f"/usr/bin/env > {tmp_path}/seen; echo found")
    assert found(environ | {"GH_TOKEN": " ", "GITHUB_TOKEN": "", "GH_CONFIG_DIR": "/x"}) == ("found", "gh")
    seen = (tmp_path / "seen").read_text(encoding="utf-8")
    assert "GH_CONFIG_DIR=/x" in seen
    assert "_TOKEN" not in seen


def test_every_program_is_started_with_an_environment_that_was_thought_about() -> None:
    """`subprocess` hands on all there is where it is given none, and that may hold the token."""
    root = Path(__file__).parents[2]
    calls = [
        (f"{file.relative_to(root)}:{node.lineno}", {keyword.arg for keyword in node.keywords})
        for folder in ("src", "daemon")
        for file in (root / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"run", "Popen", "check_output", "check_call", "call"}
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "subprocess"
    ]
    assert len(calls) >= 8
    assert [place for place, given in calls if "env" not in given] == []
