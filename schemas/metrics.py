"""Every metric: name, kind, help, labels, and where their values come from. Stable names, closed label sets.

Pure: values only. `reconciler.auditing` fills them and serves them; docs/metrics.md explains them, and a test holds it to
this file. A label's values come from the settings or from a closed type, never from data.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schemas.burn import label, windows
from schemas.settings import Settings
from schemas.verdict import GapClass, OrphanClass


class Kind(StrEnum):
    COUNTER = "counter"  #: a total kept in the ledger: a restart or a hand-over neither loses nor doubles
    GAUGE = "gauge"
    HISTOGRAM = "histogram"  #: its buckets are totals kept in the ledger
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric as it is exported."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  #: upper bounds in seconds, without +Inf
    everywhere: bool = False  #: exported by every instance, not by the lease holder alone


#: A healed drop is no gap: registered by another path, never announced.
HEALED_DROP = "healed_drop"
#: The values of the label `class`: the classes of docs/report.md, and the healed drop.
CLASSES: tuple[str, ...] = (*(str(c) for c in GapClass), HEALED_DROP, *(str(c) for c in OrphanClass))
#: What the drop rate counts: creations that the log covers and never announced.
DROPPED: tuple[str, ...] = (str(GapClass.DROPPED_CREATE), HEALED_DROP)


class Op(StrEnum):
    """The values of the label `op`."""

    CREATE = "create"
    DELETE = "delete"


class Blind(StrEnum):
    """The values of the label `reason`: why a data type could not be judged at the last look."""

    SOURCE = "source"  #: the source, or the registry beside it, could not be read
    LOG = "log"  #: the log has not said anything later than the rows that wait for it
    LEDGER = "ledger"  #: the ledger could not be written


class Side(StrEnum):
    """The values of the label `side`: whose clock."""

    SOURCE = "source"
    REGISTRY = "registry"


_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

EVENTS = Metric(
    name="fencepost_events_total",
    kind=Kind.COUNTER,
    help="Events read from the log into the ledger.",
    labels=("data_type", "op"),
)
BYTES = Metric(
    name="fencepost_bytes_total", kind=Kind.COUNTER, help="Bytes of the records read from the log.", labels=("topic",)
)
DECODE_ERRORS = Metric(
    name="fencepost_decode_errors_total",
    kind=Kind.COUNTER,
    help="Records that could not be decoded and were set aside.",
    labels=("topic",),
)
ROWS_AUDITED = Metric(
    name="fencepost_rows_audited_total",
    kind=Kind.COUNTER,
    help="Source rows judged, each once, at its first judgement.",
    labels=("data_type",),
)
DROPS = Metric(
    name="fencepost_drops_total",
    kind=Kind.COUNTER,
    help="Rows found dropped, by class, each counted once, at its first judgement.",
    labels=("data_type", "class"),
)
LATE = Metric(
    name="fencepost_late_total",
    kind=Kind.COUNTER,
    help="Rows judged dropped whose announcement came after all.",
    labels=("data_type",),
)
DROP_RATE_LOW = Metric(
    name="fencepost_drop_rate_low",
    kind=Kind.GAUGE,
    help="One-sided lower bound (95 %) of the share of creations the log never announced, in the window.",
    labels=("data_type", "window"),
)
GAPS_OPEN = Metric(
    name="fencepost_gaps_open", kind=Kind.GAUGE, help="Rows judged missing and not registered yet.", labels=("data_type",)
)
IN_FLIGHT = Metric(
    name="fencepost_in_flight",
    kind=Kind.GAUGE,
    help="Rows missing from registry or log that are not judged yet.",
    labels=("data_type",),
)
REGISTRY_LAG = Metric(
    name="fencepost_registry_lag_seconds",
    kind=Kind.GAUGE,
    help="How long the longest known unregistered row has been missing; 0 where none is.",
    labels=("data_type",),
)
LAST_AUDIT = Metric(
    name="fencepost_last_audit_timestamp_seconds",
    kind=Kind.GAUGE,
    help="Every row visible at this time (source's clock) is judged, strays below the mark excepted; stands still while blind.",
    labels=("data_type",),
)
BLIND = Metric(
    name="fencepost_audit_blind",
    kind=Kind.GAUGE,
    help="1 while the audit could not judge at its last look, by what it could not see.",
    labels=("data_type", "reason"),
)
LAG_RECORDS = Metric(
    name="fencepost_lag_records",
    kind=Kind.GAUGE,
    help="Records of the log that are not read yet.",
    labels=("topic", "partition"),
)
LAG_SECONDS = Metric(
    name="fencepost_lag_seconds",
    kind=Kind.GAUGE,
    help="How far the newest event read lies behind the clock while records wait; 0 where none waits.",
    labels=("topic", "partition"),
)
FLUSH_SECONDS = Metric(
    name="fencepost_flush_duration_seconds",
    kind=Kind.HISTOGRAM,
    help="How long storing a flush of the log in the ledger took.",
    buckets=_SECONDS,
)
COMPARE_SECONDS = Metric(
    name="fencepost_compare_duration_seconds",
    kind=Kind.HISTOGRAM,
    help="How long a look at source and registry took.",
    labels=("data_type",),
    buckets=_SECONDS,
)
SWEEP_PROGRESS = Metric(
    name="fencepost_sweep_progress_ratio",
    kind=Kind.GAUGE,
    help="Done part of the full pass at work; 1 where none is and one has finished.",
    labels=("data_type",),
)
SWEEP_FINISHED = Metric(
    name="fencepost_sweep_finished_timestamp_seconds",
    kind=Kind.GAUGE,
    help="When the last full pass finished; 0 before the first.",
    labels=("data_type",),
)
HOLES_OPEN = Metric(name="fencepost_holes_open", kind=Kind.GAUGE, help="Ranges of the log that nobody read.")
QUARANTINE_OPEN = Metric(name="fencepost_quarantine_open", kind=Kind.GAUGE, help="Records set aside that nobody has settled.")
CLOCK_SKEW = Metric(
    name="fencepost_clock_skew_seconds",
    kind=Kind.GAUGE,
    help="How far a server's clock is ahead of the ledger's; negative where it is behind.",
    labels=("side",),
)
ESTIMATED_MISSING = Metric(
    name="fencepost_estimated_missing_events",
    kind=Kind.GAUGE,
    help="Estimate from the log alone: creations fewer than usual since the last look. Never a verdict.",
    labels=("data_type",),
)
SEQUENCE_JUDGED = Metric(
    name="fencepost_sequence_judged_total",
    kind=Kind.COUNTER,
    help="Numbers of numbered events that were judged, read or missing.",
    labels=("numbering",),
)
SEQUENCE_MISSING = Metric(
    name="fencepost_sequence_missing_total",
    kind=Kind.COUNTER,
    help="Estimate from the log alone: numbers that no event read had, once settled. Never a verdict.",
    labels=("numbering",),
)
SEQUENCE_LATE = Metric(
    name="fencepost_sequence_late_total",
    kind=Kind.COUNTER,
    help="Numbers counted as missing that came after all.",
    labels=("numbering",),
)
SEQUENCE_OPEN = Metric(
    name="fencepost_sequence_open",
    kind=Kind.GAUGE,
    help="Numbers that no event read had so far, and that may come yet.",
    labels=("numbering",),
)
SEQUENCE_UNUSUAL = Metric(
    name="fencepost_sequence_missing_above_usual",
    kind=Kind.GAUGE,
    help="Estimate from the log alone: numbers missing beyond the usual share, this hour and the last. Never a verdict.",
    labels=("numbering",),
)
UNNUMBERED = Metric(
    name="fencepost_unnumbered_events_total",
    kind=Kind.COUNTER,
    help="Records that said something, or could not be read, without a number where events are numbered.",
    labels=("numbering",),
)
LEASE_HELD = Metric(
    name="fencepost_audit_lease_held",
    kind=Kind.GAUGE,
    help="1 where this instance audits the data type.",
    labels=("data_type",),
    everywhere=True,
)
BUILD = Metric(
    name="fencepost_build_info",
    kind=Kind.INFO,
    help="Always 1; the label tells the version.",
    labels=("version",),
    everywhere=True,
)

ALL: tuple[Metric, ...] = (
    EVENTS, BYTES, DECODE_ERRORS, ROWS_AUDITED, DROPS, LATE, DROP_RATE_LOW, GAPS_OPEN, IN_FLIGHT, REGISTRY_LAG, LAST_AUDIT,
    BLIND, LAG_RECORDS, LAG_SECONDS, FLUSH_SECONDS, COMPARE_SECONDS, SWEEP_PROGRESS, SWEEP_FINISHED, HOLES_OPEN,
    QUARANTINE_OPEN, CLOCK_SKEW, ESTIMATED_MISSING, SEQUENCE_JUDGED, SEQUENCE_MISSING, SEQUENCE_LATE, SEQUENCE_OPEN,
    SEQUENCE_UNUSUAL, UNNUMBERED, LEASE_HELD, BUILD,
)  # fmt: skip


def values(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Every value that a label can take; `partition` and `version` are not the settings' to say."""
    topics = dict.fromkeys(topic for t in settings.data_types.values() for topic in t.topics)
    return {
        "data_type": tuple(settings.data_types),
        "topic": tuple(topics),
        "op": tuple(Op),
        "class": CLASSES,
        "window": tuple(label(window) for window in windows(settings.audit.every)),
        "reason": tuple(Blind),
        "side": tuple(Side),
        "numbering": tuple(numbering.name for numbering in settings.numberings()),
    }


def buckets(metric: Metric) -> tuple[str, ...]:
    """The label `le` of each bucket of a histogram, +Inf last."""
    return (*(str(bound) for bound in metric.buckets), "+Inf")


def sum_of(metric: Metric) -> str:
    """Under which name a histogram's sum is kept in the ledger, in microseconds."""
    return f"{metric.name}_sum"
