"""What SECURITY.md and ARCHITECTURE.md name is there: tests, libraries, and locks that hold."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("SECURITY.md", "ARCHITECTURE.md")


def named(page: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", (ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_is_named_is_there(page: str) -> None:
    files = {name for name in named(page) if re.fullmatch(r"tests/\S+\.py", name)}
    assert len(files) >= 15
    assert [name for name in files if not (ROOT / name).is_file()] == []
    tests = {name for name in named(page) if name.startswith("test_")}
    written = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    written += (ROOT / "tests/process/under_systemd.py").read_text(encoding="utf-8")
    assert tests
    assert [name for name in tests if f"def {name}(" not in written] == []


def test_in_the_threat_model_every_test_stands_beside_its_file() -> None:
    for row in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines():
        for file, tests in re.findall(r"`(tests/\S+?\.py)`: ((?:`test_\w+`(?:, )?)+)", row):
            content = (ROOT / file).read_text(encoding="utf-8")
            for test in re.findall(r"`(\w+)`", tests):
                assert f"def {test}(" in content, f"{test} is not in {file}"


def test_every_row_of_the_threat_model_has_an_asset_a_defence_and_a_test() -> None:
    rows = [
        [cell.strip() for cell in row.strip("|").split(" | ")]
        for row in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines()
        if row.startswith("| ") and not row.startswith("| asset")
    ]
    assert len(rows) >= 20
    assert all(len(row) == 3 and all(row) for row in rows), rows


def wanted(extra: str = "") -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return [re.split(r"[<>=\[;~ ]", name)[0] for name in names]


def test_every_library_has_its_reason() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## Dependencies")[2]
    reasons = {row.split("|")[1].strip().split(" ")[0] for row in page.splitlines() if row.startswith("| ")}
    assert {*wanted(), *wanted("keyring")} <= reasons
    assert reasons - {"library"} <= {*wanted(), *wanted("keyring")}


def test_every_library_that_is_imported_is_named() -> None:
    pattern = re.compile(r"^ *(?:import|from) (\w+)", re.MULTILINE)
    files = [file for folder in ("src", "daemon") for file in (ROOT / folder).rglob("*.py")]
    imported = {name for file in files for name in pattern.findall(file.read_text(encoding="utf-8"))}
    known = packages_distributions()
    used = {plain(name) for each in imported - sys.stdlib_module_names for name in known.get(each, ())}
    assert "httpx" in used
    assert used - {"sessiond"} <= {plain(name) for name in (*wanted(), *wanted("keyring"))}


def plain(name: str) -> str:
    return name.lower().replace("_", "-")


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_version_in_a_lock_is_held_by_a_hash(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = re.findall(
        r"^([A-Za-z0-9._-]+)==(\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})*)", text, re.MULTILINE
    )
    assert len(entries) == len(re.findall(r"^[A-Za-z0-9]", text, re.MULTILINE))
    assert [name for name, _, hashes in entries if not hashes] == []
    locked = {name.lower() for name, *_ in entries}
    assert {name.lower() for name in wanted("dev" if "dev" in lock else "")} <= locked
