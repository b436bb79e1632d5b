"""What two public scanners find beyond our rules is judged; only where they are installed."""

import pytest

from sessionsync.privacy.gate import Gate
from tests import redaction


def test_every_verdict_says_where_and_what() -> None:
    for line in redaction.VERDICTS.read_text().splitlines():
        scanner, rule, place, verdict = line.split("\t")
        assert scanner in redaction.NAMES
        assert rule
        assert place.rpartition(":")[2].isdigit()
        assert verdict == "no secret" or verdict.startswith("no secret: ")


def test_ours_find_every_planted_secret_and_nothing_is_left_unjudged() -> None:
    pytest.importorskip("detect_secrets", reason="`make redaction-report` installs it")
    pytest.importorskip("trufflehog3", reason="`make redaction-report` installs it")
    scanners = (redaction.detect_secrets, redaction.trufflehog)
    table = redaction.planted(Gate(), scanners)
    assert all(found[0] == count for _, count, found in table)
    known = redaction.judged()
    for name, scanner in zip(redaction.NAMES, scanners, strict=True):
        assert set(redaction.differences(Gate(), name, scanner)) <= known
