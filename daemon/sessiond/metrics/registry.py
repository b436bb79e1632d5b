"""The numbers of this process: counted as things happen, read when asked, written for who scrapes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from sessiond.bookkeeping import SYNC_GOAL_S
from sessiond.metrics.catalogue import PREFIX, Entry
from sessiond.metrics.counting import COUNTS, Fields
from sessiond.metrics.exposition import Text
from sessiond.metrics.labels import OTHER
from sessionsync.errors import OutputFailed
from sessionsync.reliability.recovery import recovered
from sessionsync.stats import Waits

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# A reading without labels is a number, one with labels a number by label values.
Value = float | Mapping[str, float] | Mapping[tuple[str, ...], float] | Mapping[str, Waits]
Readings = Mapping[str, Value]
# What a scrape may choose among is known; what it makes up must not fill the memory.
FORMATS = 4


class Metrics(Collector):
    """The metrics of this process.  Any thread may call any method."""

    def __init__(self, entries: Iterable[Entry], now: Callable[[], float]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second time series a counter, which nobody asks for
        self._now = now
        self.in_time: Callable[[float], bool] = lambda age_s: age_s <= SYNC_GOAL_S
        """Whether a checkpoint that has reached GitHub at this age has done so in time."""
        self.entries = {entry.name: entry for entry in entries}
        self._kept = {entry.name: _made(entry) for entry in self.entries.values() if not entry.read}
        self._changes = dict.fromkeys(self._kept, 0)
        self._texts: dict[str, Text] = {}
        self._sources: list[Callable[[], Readings]] = []
        (build,) = product(*self.entries["build_info"].labels.values())
        self._set("build_info", 1, *build)
        self._set("start_time_seconds", now())
        self._loaded()

    def read(self, source: Callable[[], Readings]) -> None:
        """Ask `source` at each scrape; what it gives stays out of a scrape in which it fails."""
        self._sources.append(source)

    def add(self, name: str, *labels: str, by: float = 1.0) -> None:
        """Count; a label value that is not in the catalogue counts as `other`, or not at all."""
        if (series := self._series(name, labels)) is not None and by >= 0:
            series.inc(by)
            self._changes[name] += 1

    def observe(self, name: str, *labels: str, seconds: float) -> None:
        """Put a duration into a histogram."""
        if (series := self._series(name, labels)) is not None:
            series.observe(seconds)
            self._changes[name] += 1

    def job(self, name: str, seconds: float, *, success: bool) -> None:
        """Count a run of a scheduled job."""
        self.add("job_runs", name, "success" if success else "failure")
        self.observe("job_duration_seconds", name, seconds=seconds)

    def on_event(self, event: str, fields: Fields) -> None:
        """Count what an event of the engine or the process tells."""
        for count in COUNTS.get(event, ()):
            labels, amount = count.values(fields), count.amount(fields)
            if amount is None or not count.when(fields):
                continue
            if self.entries[count.name].kind == "histogram":
                self.observe(count.name, *labels, seconds=amount)
            else:
                self.add(count.name, *labels, by=amount)
        if (mended := recovered(event, fields)) is not None:
            component, success = mended
            self.add("recovery_attempts", component, "success" if success else "failure")
        match event:
            case "push_completed" | "push_unchanged" if isinstance(
                age_s := fields.get("seconds"), int | float
            ):
                self.add("sync_operations", "push", "success" if self.in_time(age_s) else "failure")
            case "health_checked":
                self._set("health_check_status", fields.get("result") == "ok", str(fields.get("check", "")))
                self._set(
                    "health_check_last_run_timestamp_seconds", self._now(), str(fields.get("check", ""))
                )
            case "config_reloaded":
                self._loaded()
            case "config_refused":
                self._set("config_last_reload_successful", 0)

    # --- who scrapes

    def collect(self) -> Iterator[Metric]:
        """Every metric as it is now."""
        for metric in self._kept.values():
            yield from metric.collect()
        yield from self._read()

    def application(self) -> WSGIApplication:
        """`/metrics` itself: Prometheus text, or OpenMetrics for who asks for it."""

        def metrics(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            text, content_type = self.text(environ.get("HTTP_ACCEPT", ""))
            start_response("200 OK", [("Content-Type", content_type)])
            return [text]

        return metrics

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Everything, in the format that an `Accept` header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        if content_type not in self._texts and len(self._texts) >= FORMATS:
            self._texts.clear()
        text = self._texts.setdefault(content_type, Text(encode))
        # a change is looked at before what it changed: what comes meanwhile is written the next time
        kept = [text.kept(name, self._changes[name], self._kept[name].collect) for name in self._kept]
        return "".join([*kept, *map(text.of, self._read()), text.end()]).encode(), content_type

    def write(self, file: Path) -> None:
        """Write everything to a file, atomically, for the textfile collector of node_exporter: another user.

        Raises:
            OutputFailed: it cannot be written; what was there before still is.
        """
        draft = file.with_name(f"{file.name}.draft.{os.getpid()}.{threading.get_ident()}")
        try:
            write_to_textfile(str(draft), self)
            draft.chmod(0o644)
            draft.replace(file)
        except OSError as problem:
            with suppress(OSError):
                draft.unlink()
            raise OutputFailed(
                f"Everything is backed up, but the metrics cannot be written to {file}: {problem.strerror}.",
                hint="Name a file in a folder that this user can write to: --textfile FILE.",
            ) from problem

    def _read(self) -> Iterator[Metric]:
        found: dict[str, Value] = {}
        for source in self._sources:
            try:
                found |= source()
            except Exception:  # noqa: BLE001, S112 - one that cannot be read must not hide the others
                continue
        for entry in self.entries.values():
            if entry.read and entry.name in found:
                yield _family(entry, found[entry.name])

    # --- single series

    def _set(self, name: str, value: float, *labels: str) -> None:
        if (series := self._series(name, labels)) is not None:
            series.set(value)
            self._changes[name] += 1

    def _loaded(self) -> None:
        self._set("config_last_reload_successful", 1)
        self._set("config_last_reload_success_timestamp_seconds", self._now())

    def _series(self, name: str, labels: tuple[str, ...]) -> Any:
        known = self.entries[name].labels.values()
        if not known:
            return self._kept[name]
        bounded = []
        for value, allowed in zip(labels, known, strict=True):
            if value not in allowed and OTHER not in allowed:
                return None
            bounded.append(value if value in allowed else OTHER)
        return self._kept[name].labels(*bounded)


def _family(entry: Entry, value: Value) -> Metric:
    """What was read, with 0 for every label set of which nothing was said; what has no place is left out."""
    found: dict[tuple[str, ...], float | Waits] = {}
    if isinstance(value, Mapping):
        found |= {key if isinstance(key, tuple) else (key,): said for key, said in value.items()}
    else:
        found[()] = value
    nothing = Waits((0,) * len(entry.buckets), 0, 0.0) if entry.kind == "histogram" else 0.0
    family = _FAMILIES[entry.kind](PREFIX + entry.name, entry.help, labels=list(entry.labels))
    for labels in product(*entry.labels.values()):
        said = found.get(labels, nothing)
        if isinstance(said, Waits):
            bounds = [*map(floatToGoString, entry.buckets), "+Inf"]
            buckets = list(zip(bounds, [*said.within, said.number], strict=True))
            family.add_metric(list(labels), buckets, said.seconds)
        else:
            family.add_metric(list(labels), said)
    made: Metric = family
    return made


_FAMILIES: Mapping[str, type[Any]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def _made(entry: Entry) -> Counter | Gauge | Histogram:
    """The metric, with every label set it can have."""
    name, labels = PREFIX + entry.name, list(entry.labels)
    made: Counter | Gauge | Histogram
    match entry.kind:
        case "counter":
            made = Counter(name, entry.help, labels, registry=None)
        case "gauge":
            made = Gauge(name, entry.help, labels, registry=None)
        case _:
            made = Histogram(name, entry.help, labels, buckets=entry.buckets, registry=None)
    for values in product(*entry.labels.values()) if labels else ():
        made.labels(*values)
    return made
