"""What `/metrics` shows: totals and standings read from the ledger at each scrape, as the lease holder has them.

Everything comes from the ledger, so a restarted audit goes on with the numbers of the one before. Where the ledger is away
the last numbers are shown again: a counter that stands still is true, one that is gone looks like a restart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

from databases.ledger import Ledger
from reconciler.auditing import standing
from reconciler.auditing.standing import Standing
from reconciler.numbers import Numbers
from schemas import metrics as m
from schemas.errors import FencepostError
from schemas.settings import Settings
from schemas.verdict import VERSION

Labels = tuple[str, ...]


@dataclass(slots=True)
class Local:
    """What only the process knows: which types it holds, what it could not see, how far the log's ends were away."""

    held: Callable[[], Collection[str]]
    blind: dict[str, set[str]] = field(default_factory=dict)
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    skew_s: dict[str, float] = field(default_factory=dict)


class Exposition(Collector):
    """The collector of one audit."""

    def __init__(self, settings: Settings, ledger: Ledger, local: Local) -> None:
        self.settings, self.ledger, self.local = settings, ledger, local
        self.values = m.values(settings)
        self._last: Standing | None = None
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Family]:
        held = set(self.local.held())
        with self._lock:
            found = self._standing()
            blind = {name: set(reasons) for name, reasons in self.local.blind.items()}
        samples = self._samples(found, held, blind)
        for metric in m.ALL:
            yield _family(metric, samples.get(metric.name, {}))

    def describe(self) -> Iterable[Family]:
        """Asked at registration: nothing is to be read for it."""
        return [_family(metric, {}) for metric in m.ALL]

    def _standing(self) -> Standing | None:
        """None where nothing was read yet: zeros would be counters that go back."""
        try:
            self._last = standing.read(self.ledger, self.settings)
        except FencepostError:
            for name in self.settings.data_types:
                self.local.blind.setdefault(name, set()).add(m.Blind.LEDGER)
        else:
            for reasons in self.local.blind.values():
                reasons.discard(m.Blind.LEDGER)
        return self._last

    # -- who tells what -----------------------------------------------------------------------------------------------

    def _samples(self, s: Standing | None, held: set[str], blind: Mapping[str, set[str]]) -> dict[str, dict[Labels, Any]]:
        types = [name for name in self.settings.data_types if name in held]
        topics = [topic for topic in self.values["topic"] if self._speaker(topic) in held]
        out: dict[str, dict[Labels, Any]] = {
            m.LEASE_HELD.name: {(name,): float(name in held) for name in self.settings.data_types},
            m.BUILD.name: {(VERSION,): 1.0},
        }
        if s is None:
            return out
        self._of_types(out, s, types, blind)
        self._of_topics(out, s, topics)
        self._of_numberings(out, s, held)
        if next(iter(self.settings.data_types)) in held:
            out[m.HOLES_OPEN.name] = {(): s.holes}
            out[m.QUARANTINE_OPEN.name] = {(): s.quarantine}
            out[m.FLUSH_SECONDS.name] = {(): s.histogram(m.FLUSH_SECONDS, "")}
            out[m.CLOCK_SKEW.name] = {(side,): self.local.skew_s[side] for side in m.Side if side in self.local.skew_s}
        return out

    def _speaker(self, topic: str) -> str:
        return next(name for name, t in self.settings.data_types.items() if topic in t.topics)

    def _of_types(
        self, out: dict[str, dict[Labels, Any]], s: Standing, types: list[str], blind: Mapping[str, set[str]]
    ) -> None:
        def each(metric: m.Metric, values: Callable[[str], Any]) -> None:
            out[metric.name] = {(name,): values(name) for name in types}

        def by(metric: m.Metric, label: str, value: Callable[[str, str], float]) -> None:
            out[metric.name] = {(name, of): value(name, of) for name in types for of in self.values[label]}

        by(m.EVENTS, "op", lambda name, op: s.total(m.EVENTS.name, name, op))
        by(m.DROPS, "class", lambda name, class_: s.total(m.DROPS.name, name, class_))
        by(m.DROP_RATE_LOW, "window", lambda name, window: s.rate_low.get((name, window), 0.0))
        by(m.BLIND, "reason", lambda name, reason: float(reason in blind.get(name, set()) | s.blind.get(name, set())))
        each(m.ROWS_AUDITED, lambda name: s.total(m.ROWS_AUDITED.name, name))
        each(m.LATE, lambda name: s.total(m.LATE.name, name))
        each(m.GAPS_OPEN, lambda name: s.gaps_open.get(name, 0))
        each(m.IN_FLIGHT, lambda name: s.in_flight.get(name, 0))
        each(m.REGISTRY_LAG, lambda name: s.registry_lag_s.get(name, 0.0))
        each(m.LAST_AUDIT, lambda name: s.judged_until.get(name, 0.0))
        each(m.SWEEP_FINISHED, lambda name: s.sweep_finished.get(name, 0.0))
        each(m.SWEEP_PROGRESS, lambda name: s.sweep_progress.get(name, 0.0))
        each(m.ESTIMATED_MISSING, lambda name: s.estimated_missing.get(name, 0.0))
        each(m.COMPARE_SECONDS, lambda name: s.histogram(m.COMPARE_SECONDS, name))

    def _of_topics(self, out: dict[str, dict[Labels, Any]], s: Standing, topics: list[str]) -> None:
        out[m.BYTES.name] = {(topic,): s.total(m.BYTES.name, topic) for topic in topics}
        out[m.DECODE_ERRORS.name] = {(topic,): s.total(m.DECODE_ERRORS.name, topic) for topic in topics}
        records, seconds = dict[Labels, float](), dict[Labels, float]()
        now = datetime.now(UTC).timestamp()
        for (topic, partition), (reached, event_us) in s.positions.items():
            if topic not in topics:
                continue
            behind = max(0, self.local.ends.get((topic, partition), reached) - reached)
            place = (topic, str(partition))
            records[place] = float(behind)
            seconds[place] = max(0.0, now - event_us / 1e6) if behind and event_us is not None else 0.0
        out[m.LAG_RECORDS.name], out[m.LAG_SECONDS.name] = records, seconds

    def _of_numberings(self, out: dict[str, dict[Labels, Any]], s: Standing, held: set[str]) -> None:
        names = [numbering.name for numbering in self.settings.numberings() if numbering.data_types[0] in held]
        for metric in (m.SEQUENCE_JUDGED, m.SEQUENCE_MISSING, m.SEQUENCE_LATE, m.UNNUMBERED):
            out[metric.name] = {(name,): s.total(metric.name, name) for name in names}
        out[m.SEQUENCE_OPEN.name] = {(name,): _open(s.numbers.get(name)) for name in names}
        out[m.SEQUENCE_UNUSUAL.name] = {(name,): _above_usual(s.numbers.get(name)) for name in names}


def _open(found: Numbers | None) -> float:
    """0 where nothing is judged yet; not a number where they are too many to be counted."""
    if found is None or found.since is None:
        return 0.0
    return float("nan") if found.open is None else float(found.open)


def _above_usual(found: Numbers | None) -> float:
    return 0.0 if found is None else found.above_usual or 0.0


def _family(metric: m.Metric, samples: Mapping[Labels, Any]) -> Family:
    if metric.kind is m.Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, (counts, total) in samples.items():
            histogram.add_metric(labels, buckets=counts, sum_value=total)
        return histogram
    family: CounterMetricFamily | GaugeMetricFamily
    if metric.kind is m.Kind.COUNTER:
        family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    else:
        family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples.items():
        family.add_metric(labels, float(value))
    return family
