"""`--since` takes what people type."""

import time

import pytest

from sessiond.cli.since import since_of
from sessionsync.errors import UsageError

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0),
        ("30s", NOW - 30),
        ("90m", NOW - 5_400),
        ("12h", NOW - 43_200),
        ("7d", NOW - 604_800),
        (" 4w ", NOW - 2_419_200),
        ("999999999w", 0),
        ("2026-01-31T12:00:00Z", 1_769_860_800),
        ("2026-01-31T13:00:00+01:00", 1_769_860_800),
        ("2026-01-31T12:00:00.5Z", 1_769_860_800.5),
        ("1950-01-01T00:00:00Z", 0),
    ],
)
def test_an_age_or_a_time_is_a_moment(text: str, seconds: float) -> None:
    assert since_of(text, NOW) == seconds


def test_a_day_begins_where_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        monkeypatch.setenv("TZ", "UTC-02:00")
        time.tzset()
        assert since_of("2026-01-31", NOW) == 1_769_817_600 - 7_200
        assert since_of("2026-01-31T12:00", NOW) == 1_769_860_800 - 7_200
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["soon", "7", "7y", "-7d", "2026-13-01", "12:00", "\0"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        since_of(text, NOW)
