"""Findings: each told once, a cause before its consequences, and every code in the one table."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from sessionsync import errors
from sessionsync.archiving import code_of
from sessionsync.reliability.findings import (
    COMPONENTS,
    CRITICAL,
    FINDINGS,
    WARNING,
    Finding,
    Findings,
    shown,
)
from tests.conftest import ROOT

NOW = 1_800_000_000.0
TREES = (ROOT / "src", ROOT / "daemon")
# What is raised with the code of an error that was caught, by class: the table must know them all.
CAUGHT = (
    *(errors.CopyError, errors.DiskFull, errors.CopyMismatch, errors.ArchiveTooNew, errors.StoreFull),
    *(errors.ConfigError, errors.IndexBroken),
)
PAUSING = (
    *(errors.TokenRefused, errors.NotPermitted, errors.RepositoryPublic, errors.RepositoryMissing),
    *(errors.Limited, errors.Unreachable),
)


def codes_in(file: Path) -> Iterator[str]:
    """The codes that a module raises findings with: constants, and names of constants."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        first = node.args[0]
        if name not in {"raised", "Finding", "Indicator"}:
            continue
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value
        elif isinstance(first, ast.Name) and first.id in constants:
            yield str(constants[first.id])


def used() -> set[str]:
    """Every code that anything can raise."""
    literal = {code for tree in TREES for file in tree.rglob("*.py") for code in codes_in(file)}
    return {
        *literal,
        *(error.code for error in (*CAUGHT, *PAUSING)),
        *(code_of(error) for error in PAUSING),
    }


def test_every_code_that_is_used_is_in_the_table() -> None:
    assert used() - FINDINGS.keys() == set()


def test_every_code_in_the_table_is_used() -> None:
    assert FINDINGS.keys() - used() == set()


@pytest.mark.parametrize("code", sorted(FINDINGS))
def test_a_kind_says_what_it_is_and_what_to_do(code: str) -> None:
    kind = FINDINGS[code]
    assert kind.component in COMPONENTS
    assert kind.summary.endswith(".")
    assert kind.remedy.endswith(".")
    assert set(kind.depends_on) <= FINDINGS.keys()


def test_no_finding_explains_itself() -> None:
    def causes(code: str, path: tuple[str, ...] = ()) -> None:
        assert code not in path, path
        for cause in FINDINGS[code].depends_on:
            causes(cause, (*path, code))

    for code in FINDINGS:
        causes(code)


def test_a_finding_is_raised_once_and_renewed() -> None:
    findings = Findings()

    assert findings.raised("disk_low", WARNING, "10 % left", "make room", NOW)
    assert not findings.raised("disk_low", CRITICAL, "1 % left", "make room", NOW + 60)

    assert findings.open() == [Finding("disk_low", CRITICAL, "1 % left", "make room", NOW, seen_at=NOW + 60)]
    assert findings.status == "critical"
    assert findings.cleared("disk_low") is not None
    assert findings.cleared("disk_low") is None
    assert findings.status == "ok"


def test_what_has_ended_is_taken_once_as_it_was_last_seen_and_when() -> None:
    beat = [100.0]
    findings = Findings(lambda: beat[0])
    findings.raised("disk_low", WARNING, "m", "h", NOW)
    findings.raised("disk_low", WARNING, "m", "h", NOW + 60)
    beat[0] += 61
    findings.cleared("disk_low")
    findings.raised("disk_low", WARNING, "again", "h", NOW + 62)
    (still,), (gone,) = findings.take()

    assert (still.message, still.since) == ("again", NOW + 62)
    assert (gone.finding.since, gone.finding.seen_at, gone.at_s) == (NOW, NOW + 60, 161.0)
    assert findings.take() == ([still], [])


def test_the_worst_comes_first_and_then_the_oldest() -> None:
    findings = Findings()
    findings.raised("watches_low", WARNING, "m", "h", NOW)
    findings.raised("disk_low", WARNING, "m", "h", NOW - 5)
    findings.raised("copy_damaged", CRITICAL, "m", "h", NOW, "claude:s")

    assert [found.code for found in findings.open()] == ["copy_damaged", "disk_low", "watches_low"]


def test_a_cause_hides_its_consequence_until_it_is_gone() -> None:
    findings = Findings()
    findings.raised("sync_late", WARNING, "m", "h", NOW)
    findings.raised("github_unreachable", WARNING, "m", "h", NOW)

    assert [found.code for found in findings.shown(NOW)] == ["github_unreachable"]
    assert len(findings.open()) == 2
    findings.cleared("github_unreachable")
    assert [found.code for found in findings.shown(NOW)] == ["sync_late"]


def test_a_cause_in_one_session_hides_nothing_of_another() -> None:
    findings = Findings()
    findings.raised("copy_damaged", CRITICAL, "m", "h", NOW, "claude:one")
    findings.raised("drill_failed", CRITICAL, "m", "h", NOW, "claude:one")
    findings.raised("drill_failed", CRITICAL, "m", "h", NOW, "claude:two")

    assert [(found.code, found.session) for found in findings.shown(NOW)] == [
        ("copy_damaged", "claude:one"),
        ("drill_failed", "claude:two"),
    ]


def test_what_may_pass_is_told_when_it_has_lasted() -> None:
    lasts = FINDINGS["loop_stuck"].visible_after_s
    findings = Findings()
    findings.raised("loop_stuck", CRITICAL, "m", "h", NOW)

    assert findings.shown(NOW + lasts - 1) == []
    assert len(findings.shown(NOW + lasts)) == 1


def test_a_code_that_nobody_knows_is_told_all_the_same() -> None:
    strange = Finding("of_tomorrow", WARNING, "m", "h", NOW)
    assert shown([strange], NOW) == [strange]


def test_the_runbook_has_each_finding_as_it_is() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("\n## Runbook\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| `")]

    assert [row[0].strip(" `") for row in rows] == list(FINDINGS)
    for code, summary, does, remedy in rows:
        kind = FINDINGS[code.strip(" `")]
        assert (summary, remedy.strip()) == (kind.summary, kind.remedy)
        assert does.endswith(".")
