"""The text of metrics, in the formats that the library knows.

The library writes each metric once.  After that only the values change, so they are put behind what stood
before them: to write a thousand series anew takes 8 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_END = b"# EOF\n"
_number: Callable[[float], str] = floatToGoString


class Text:
    """One format.  `encode` is how the library writes it."""

    def __init__(self, encode: Callable[[Collector], bytes]) -> None:
        self._encode = encode
        self._beginnings: dict[str, list[str]] = {}
        self._kept: dict[str, tuple[int, str]] = {}

    def kept(self, name: str, change: int, collect: Callable[[], Iterable[Metric]]) -> str:
        """A metric as it was at this `change`; collected only where that is another than the last time."""
        known = self._kept.get(name)
        if known is None or known[0] != change:
            known = self._kept[name] = change, "".join(map(self.of, collect()))
        return known[1]

    def of(self, metric: Metric) -> str:
        """A metric, whose label sets are the same each time."""
        values = [_number(sample.value) for sample in metric.samples]
        beginnings = self._beginnings.get(metric.name)
        if beginnings is None or len(beginnings) != len(values):
            text = self._encode(_Only(metric)).removesuffix(_END).decode()
            beginnings = _before(values, text)
            if beginnings is None:  # it has more to tell than values
                return text
            self._beginnings[metric.name] = beginnings
        return "".join(f"{begun}{value}\n" for begun, value in zip(beginnings, values, strict=True))

    def end(self) -> str:
        """What stands behind everything."""
        return self._encode(_Only()).decode()


class _Only(Collector):
    """These metrics, as what writes them wants to be given them."""

    def __init__(self, *metrics: Metric) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _before(values: list[str], text: str) -> list[str] | None:
    """What stands before each value, with the comments above it; None where the text is made otherwise."""
    beginnings, found, above = [], [], ""
    for line in text.splitlines(keepends=True):
        if line.startswith("#"):
            above += line
            continue
        begun, _, value = line.rstrip("\n").rpartition(" ")
        beginnings.append(f"{above}{begun} ")
        found.append(value)
        above = ""
    return beginnings if found == values and not above else None
