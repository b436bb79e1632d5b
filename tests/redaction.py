"""Compare the rules of the privacy gate with two public scanners: `make redaction-report`.

Writes a table of kinds, each planted once: found by ours, by detect-secrets, by trufflehog3.  On real transcripts
each place where a rule of a scanner finds what ours leave must have a verdict in `redaction-verdicts.tsv`
(scanner, rule, file and line, verdict).  Rules that go by entropy alone are left out there: they find ids and hashes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from sessionsync.privacy.gate import Gate
from tests.unit.test_gate import SECRETS

VERDICTS = Path(__file__).with_name("redaction-verdicts.tsv")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "transcripts"
ENTROPY = {"Base64 High Entropy String", "Hex High Entropy String", "high-entropy"}
NAMES = ("detect-secrets", "trufflehog3")
MOST = 100_000
"""So many characters of a line are given to them: some of their expressions never end on longer ones."""
Scanner = Callable[[str], Iterable[tuple[str, str]]]


def detect_secrets(line: str) -> list[tuple[str, str]]:
    """What its plugins find in a line: rule and text; but for those that go by entropy."""
    from detect_secrets.core.plugins import util  # type: ignore[import-not-found, unused-ignore]

    found: list[tuple[str, str]] = []
    for name, plugin in util.get_mapping_from_secret_type_to_class().items():
        if name not in ENTROPY:
            made = _PLUGINS.setdefault(name, plugin())
            found += ((name, secret.secret_value or "") for secret in made.analyze_line("a.jsonl", line))
    return found


def trufflehog(line: str) -> list[tuple[str, str]]:
    """What its expressions find in a line: rule and text."""
    import yaml

    if not _EXPRESSIONS:
        rules = yaml.safe_load(files("trufflehog3").joinpath("static/rules.yml").read_text())
        _EXPRESSIONS.extend((rule["id"], re.compile(rule["pattern"])) for rule in rules if "pattern" in rule)
    return [(name, match[0]) for name, pattern in _EXPRESSIONS for match in pattern.finditer(line)]


_PLUGINS: dict[str, Any] = {}
_EXPRESSIONS: list[tuple[str, re.Pattern[str]]] = []


def planted(gate: Gate, scanners: Iterable[Scanner]) -> list[tuple[str, int, list[int]]]:
    """Each kind: how many were planted, and how many ours and each scanner found."""
    table: dict[str, list[int]] = {}
    for kind, secret, around in SECRETS:
        row = table.setdefault(kind, [0, 0, *(0 for _ in NAMES)])
        text = around % secret
        row[0] += 1
        row[1] += secret not in gate.text(text)[0]
        for at, scanner in enumerate(scanners, 2):
            row[at] += bool(list(scanner(text)))
    return [(kind, row[0], row[1:]) for kind, row in table.items()]


def differences(gate: Gate, name: str, scanner: Scanner) -> list[str]:
    """Where each rule of a scanner finds in real lines what ours leave: scanner, rule, file and line."""
    found: dict[str, None] = {}
    for file in sorted(DATA.rglob("*.jsonl")):
        for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
            left = gate.data("a.jsonl", line)[0].decode("utf-8", "replace")
            for rule, text in scanner(left[:MOST]):
                if "[REDACTED" not in text:
                    found[f"{name}\t{rule}\t{file.relative_to(DATA).as_posix()}:{number}"] = None
    return list(found)


def judged() -> set[str]:
    """The differences that have a verdict."""
    return {line.rpartition("\t")[0] for line in VERDICTS.read_text().splitlines()}


def main() -> int:
    """Print the table; 1 where a scanner found more, or a difference has no verdict."""
    gate, scanners = Gate(), (detect_secrets, trufflehog)
    print("kind", "planted", "ours", *NAMES, sep="\t")
    bad = 0
    for kind, count, found in planted(gate, scanners):
        print(kind, count, *found, sep="\t")
        bad += found[0] < max(count, *found[1:])
    known = judged()
    for name, scanner in zip(NAMES, scanners, strict=True):
        places = differences(gate, name, scanner)
        unjudged = [place for place in places if place not in known]
        print(f"{name}: {len(places)} differences on real transcripts, {len(unjudged)} without a verdict")
        for place in unjudged:
            print("unjudged", place, sep="\t")
        bad += len(unjudged)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
