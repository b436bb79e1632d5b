"""The Grafana dashboard, made from the catalogue: `python -m sessiond.metrics.dashboard > FILE`.

Every metric has a panel, which its type and unit decide; above them stands what a tired person wants to know
first.  The file that is made lies in `share/`, and a test holds it to what this makes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

from sessiond.metrics.catalogue import Entry, parts
from sessionsync.reliability.indicators import BY_CODE
from sessionsync.reliability.score import SCORE_TARGET

Json = dict[str, Any]

UID = "sessiond"
SCHEMA_VERSION = 42  # of @grafana/schema 13; older Grafanas take what they know of it
HERE = '{instance=~"$instance"}'
WIDTH, PANEL_WIDTH, PANEL_HEIGHT, STAT_WIDTH, STAT_HEIGHT = 24, 8, 8, 4, 4
SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
QUANTILES = (0.5, 0.95, 0.99)


class Query(NamedTuple):
    """What a panel asks, and how its lines are called."""

    expression: str
    legend: str


class Glance(NamedTuple):
    """A number at the top.  Steps are values from which on it has another colour."""

    title: str
    about: str
    query: Query
    unit: str
    steps: Sequence[tuple[str, float | None]]


_LATE = BY_CODE["sync_late"]
GLANCES = (
    Glance(
        "Ready",
        "1 while the daemon does its work; /readyz?verbose names what fails.",
        Query(f"min(sessiond_ready{HERE})", "ready"),
        "short",
        (("red", None), ("green", 1)),
    ),
    Glance(
        "Score, 24 h",
        "Uptime ratio x integrity ratio x sync success ratio; the target is 99.5 %.",
        Query('min(sessiond_reliability_score_ratio{instance=~"$instance", window="24h"})', "score"),
        "percentunit",
        (("red", None), ("green", SCORE_TARGET)),
    ),
    Glance(
        "Oldest checkpoint that waits",
        "How long it has waited for GitHub; `sessiond ctl queue` says why.",
        Query(f"max(sessiond_sync_lag_seconds{HERE})", "lag"),
        "s",
        (("green", None), ("orange", _LATE.warning), ("red", _LATE.critical)),
    ),
    Glance(
        "Buried",
        "What was refused for good; `sessiond ctl queue --buried` lists it.",
        Query(f"sum(sessiond_queue_buried_items{HERE})", "buried"),
        "short",
        (("green", None), ("orange", 1)),
    ),
    Glance(
        "Damaged or missing, 24 h",
        "Comparisons of stored content that found something else than was stored.",
        Query(
            'sum(increase(sessiond_integrity_checks_total{instance=~"$instance", result!="ok"}[1d]))', "bad"
        ),
        "short",
        (("green", None), ("red", 1)),
    ),
    Glance(
        "Alerts",
        "How many alerts of sessiond fire now, without the one that always does.",
        Query(
            'count(ALERTS{alertname=~"Sessiond.+", alertname!="SessiondWatchdog", alertstate="firing"})'
            " or vector(0)",
            "firing",
        ),
        "short",
        (("green", None), ("red", 1)),
    ),
)


def dashboard() -> Json:
    """The dashboard, as Grafana imports it."""
    return {
        "uid": UID,
        "title": "sessiond",
        "description": "AI coding sessions: backed up, pushed, restorable. Made from the table of metrics.",
        "tags": ["sessiond"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [_datasource(), _instance()]},
        "panels": list(_panels()),
    }


def _panels() -> Iterator[Json]:
    ids, top = count(1), 0
    for column, glance in enumerate(GLANCES):
        yield _stat(glance) | {
            "id": next(ids),
            "gridPos": _place(column * STAT_WIDTH, top, STAT_WIDTH, STAT_HEIGHT),
        }
    top += STAT_HEIGHT
    for title, entries in parts().items():
        yield {
            "id": next(ids),
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": _place(0, top, WIDTH, 1),
            "panels": [],
        }
        top += 1
        for number, entry in enumerate(entries):
            row, column = divmod(number, WIDTH // PANEL_WIDTH)
            yield _panel(entry) | {
                "id": next(ids),
                "gridPos": _place(column * PANEL_WIDTH, top + row * PANEL_HEIGHT, PANEL_WIDTH, PANEL_HEIGHT),
            }
        top += -(-len(entries) // (WIDTH // PANEL_WIDTH)) * PANEL_HEIGHT


def _place(x: int, y: int, width: int, height: int) -> Json:
    return {"x": x, "y": y, "w": width, "h": height}


# --- panels


def _panel(entry: Entry) -> Json:
    queries, unit = _asked(entry)
    return {
        "type": "timeseries",
        "title": entry.name.removesuffix("_timestamp_seconds").removesuffix("_seconds").replace("_", " "),
        "description": entry.help,
        "datasource": SOURCE,
        "fieldConfig": {
            "defaults": {"unit": unit, "min": 0, "custom": {"fillOpacity": 10, "showPoints": "never"}},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": _targets(queries),
    }


def _stat(glance: Glance) -> Json:
    return {
        "type": "stat",
        "title": glance.title,
        "description": glance.about,
        "datasource": SOURCE,
        "fieldConfig": {
            "defaults": {
                "unit": glance.unit,
                "thresholds": {
                    "mode": "absolute",
                    "steps": [{"color": color, "value": value} for color, value in glance.steps],
                },
            },
            "overrides": [],
        },
        "options": {
            "colorMode": "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "auto",
        },
        "targets": _targets([glance.query]),
    }


def _targets(queries: Sequence[Query]) -> list[Json]:
    return [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": query.expression,
            "legendFormat": query.legend,
            "editorMode": "code",
            "range": True,
        }
        for number, query in enumerate(queries)
    ]


def _asked(entry: Entry) -> tuple[list[Query], str]:
    """What is asked of a metric, and the unit of the answer."""
    legend = " ".join(f"{{{{{label}}}}}" for label in entry.labels) or "{{instance}}"
    by = f"by ({', '.join(entry.labels)})" if entry.labels else "by (instance)"
    match entry.kind:
        case "histogram":
            # one line a quantile: by label there would be dozens
            return [
                Query(
                    f"histogram_quantile({part}, sum by (le)"
                    f" (rate({entry.series}_bucket{HERE}[$__rate_interval])))",
                    f"p{part * 100:.0f}",
                )
                for part in QUANTILES
            ], "s"
        case "counter":
            unit = {"seconds": "percentunit", "bytes": "Bps"}.get(entry.name.rpartition("_")[2], "cps")
            return [Query(f"sum {by} (rate({entry.series}{HERE}[$__rate_interval]))", legend)], unit
    if entry.name.endswith("_token_expiry_timestamp_seconds"):
        return [Query(f"min {by} ({entry.series}{HERE}) - time()", legend)], "s"
    if entry.name.endswith("_reset_timestamp_seconds"):
        return [Query(f"max {by} ({entry.series}{HERE} > time()) - time()", legend)], "s"
    if entry.name.endswith(("_timestamp_seconds", "start_time_seconds")):
        return [Query(f"time() - max {by} ({entry.series}{HERE} > 0)", legend)], "s"
    unit = {"seconds": "s", "bytes": "bytes", "ratio": "percentunit"}.get(
        entry.name.rpartition("_")[2], "short"
    )
    # of several machines the worst one, and of what can be added up the sum
    worst = unit == "percentunit" or entry.name.endswith(
        ("ready", "status", "successful", "remaining", "avail_bytes")
    )
    together = "min" if worst else "max" if unit == "s" or entry.name == "build_info" else "sum"
    return [Query(f"{together} {by} ({entry.series}{HERE})", legend)], unit


# --- what is chosen above the panels


def _datasource() -> Json:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "options": [],
    }


def _instance() -> Json:
    return {
        "name": "instance",
        "label": "Machine",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": "label_values(sessiond_build_info, instance)", "refId": "instance"},
        "refresh": 2,
        "hide": 0,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "options": [],
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
