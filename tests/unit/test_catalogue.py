"""The catalogue is what people's rules and dashboards rely on: names, types and labels stay as `metrics.tsv` has them."""

import csv
import re
from pathlib import Path

from sessiond.metrics import Entry, catalogue
from sessiond.metrics.counting import COUNTS
from sessiond.metrics.labels import REQUEST_BUCKETS, WAIT_BUCKETS
from sessiond.verbs import Verbs
from sessionsync.events import EVENTS
from sessionsync.privacy.rules import KINDS
from sessionsync.reliability.indicators import BY_CODE

ENTRIES = catalogue(loops=("capture",), jobs=("rescan",), commands=Verbs.NAMES, kinds=KINDS)
BY_NAME = {entry.name: entry for entry in ENTRIES}
# A user's Prometheus keeps each of them for ever.
MOST_SERIES = 1500


def series(entry: Entry) -> int:
    """How many time series an entry makes."""
    sets = 1
    for values in entry.labels.values():
        sets *= len(values)
    return sets * (len(entry.buckets) + 3 if entry.kind == "histogram" else 1)


def test_names_types_and_labels_are_the_promised_ones() -> None:
    with (Path(__file__).parents[1] / "metrics.tsv").open(encoding="utf-8", newline="") as table:
        promised = {
            row["name"]: (row["type"], row["labels"]) for row in csv.DictReader(table, delimiter="\t")
        }
    assert {entry.series: (entry.kind, ",".join(entry.labels)) for entry in ENTRIES} == promised


def test_names_and_labels_follow_the_conventions() -> None:
    assert len(BY_NAME) == len(ENTRIES)
    for entry in ENTRIES:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", entry.name)
        assert not re.search(r"_(ms|millis|percent|kb|mb|total|count|sum|bucket)$", entry.name)
        assert entry.help.endswith(".")
        assert not entry.labels.keys() & {
            "session",
            "path",
            "repo",
            "repository",
            "message",
            "id",
            "instance",
        }
        assert (entry.kind == "histogram") == bool(entry.buckets)
        for values in entry.labels.values():
            assert len(set(values)) == len(values) > 0
            assert all(values)


def test_the_number_of_series_is_bounded() -> None:
    assert sum(map(series, ENTRIES)) < MOST_SERIES


def test_each_threshold_of_a_duration_is_a_bound_of_its_histogram() -> None:
    latency, late = BY_CODE["github_latency_high"], BY_CODE["sync_late"]
    assert {latency.warning, latency.critical} <= set(REQUEST_BUCKETS)
    assert {late.warning, late.critical} <= set(WAIT_BUCKETS)


def test_events_count_what_there_is() -> None:
    for event, counts in COUNTS.items():
        assert event in EVENTS
        for count in counts:
            entry = BY_NAME[count.name]
            assert not entry.read
            assert entry.kind != "gauge"
            assert (entry.kind == "histogram") <= bool(count.by)
            for label, allowed in zip(count.labels, entry.labels.values(), strict=True):
                assert not isinstance(label, str) or label in allowed
