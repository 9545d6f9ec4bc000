"""Alerts that say: nobody is looking, or not at everything. A quiet drop rate means nothing while one of them stands.

Gauges lie when what feeds them has died, so these ask how old the last good look is, and whether it is there at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from reconciler.alerts.limits import MANY_ROWS, Limits
from reconciler.alerts.promql import BUDGET, Alert, by_type, seconds
from schemas.burn import Severity
from schemas.durations import show
from schemas.metrics import (
    BLIND,
    CLOCK_SKEW,
    EVENTS,
    GAPS_OPEN,
    HOLES_OPEN,
    LAG_RECORDS,
    LAG_SECONDS,
    LAST_AUDIT,
    QUARANTINE_OPEN,
    ROWS_AUDITED,
    SWEEP_FINISHED,
    Metric,
)
from schemas.settings import Settings

#: The job under which Prometheus scrapes `fencepost audit`.
JOB = "fencepost"


def alerts(settings: Settings, *, patience: float = 1.0) -> Iterator[Alert]:
    """`patience` scales the waits that are not counted in looks; tests in fast motion have less of it."""
    limits = Limits.of(settings, patience=patience)
    yield from _audit(limits)
    yield from _sight(limits)
    yield from _log(limits)
    yield from _coverage(limits.minute)
    if limits.sweep_every is not None:
        yield _old_sweep(limits.sweep_every)
    yield Alert(
        name="FencepostGapsOpen",
        severity=Severity.TICKET,
        expression=by_type(GAPS_OPEN.name) + " > 0",
        lasts=3 * limits.every,
        summary="{{ $labels.data_type }}: source rows stand without a registry row",
        description=(
            "{{ $value }} rows of {{ $labels.data_type }} have no accepted registry row, and stayed so for several looks."
            " `fencepost gaps --type {{ $labels.data_type }}` names them; a cutover or a sweep that backfills inserts them."
        ),
    )


def _audit(limits: Limits) -> Iterator[Alert]:
    old, minute = limits.look_old, limits.minute
    yield Alert(
        name="FencepostDown",
        severity=Severity.TICKET,
        expression=f'up{{job="{JOB}"}} == 0',
        lasts=max(3 * minute, limits.every),
        every_type=True,
        summary="Prometheus cannot reach fencepost audit at {{ $labels.instance }}",
        description="Nothing is measured through this instance: drops since then are not seen.",
    )
    # The budget is there for every declared type. What is missing, old, or was never there at all, falls out alike.
    yield Alert(
        name="FencepostNoAudit",
        severity=Severity.TICKET,
        expression=_not_since(LAST_AUDIT, old),
        lasts=2 * minute,
        summary="{{ $labels.data_type }}: no audit for a long time",
        description=(
            f"The last successful look at {{{{ $labels.data_type }}}} is more than {show(old)} old, or is not told at all."
            " Its drop rate and its gaps are not known."
        ),
    )


def _sight(limits: Limits) -> Iterator[Alert]:
    minute, skew = limits.minute, limits.skew
    yield Alert(
        name="FencepostBlind",
        severity=Severity.TICKET,
        expression=f"max by (data_type, reason) ({BLIND.name}) > 0",
        lasts=max(5 * minute, 3 * limits.every),
        summary="{{ $labels.data_type }}: the audit cannot judge, for want of {{ $labels.reason }}",
        description=(
            "Look after look ends without a judgement of {{ $labels.data_type }}: what it needs of {{ $labels.reason }} is not"
            " to be had. Rows created meanwhile wait; they are judged when it can be seen again."
        ),
    )
    yield Alert(
        name="FencepostClockSkew",
        severity=Severity.TICKET,
        expression=f"max by (side) (abs({CLOCK_SKEW.name})) > {seconds(skew)}",
        lasts=2 * minute,
        every_type=True,
        summary="The clocks of {{ $labels.side }} and ledger disagree",
        description=(
            f"By {{{{ $value | humanizeDuration }}}}, where {show(skew)} is allowed (fence.skew). Whether an event was late,"
            " and which rows a window holds, is judged by these clocks."
        ),
    )


def _log(limits: Limits) -> Iterator[Alert]:
    looks = limits.lag_watched
    lag = f"{LAG_RECORDS.name}[{show(looks)}]"
    # A partition that is read falls back now and then, however busy it is. One that nobody reads only grows, or stands.
    yield Alert(
        name="FencepostLogStalled",
        severity=Severity.TICKET,
        expression=f"max by (topic, partition) (min_over_time({lag}) > 0 and resets({lag}) == 0)",
        lasts=looks / 2,
        every_type=True,
        summary="The event log is not being read: topic {{ $labels.topic }}, partition {{ $labels.partition }}",
        description=(
            f"At least {{{{ $value }}}} records wait there, and none was read for {show(looks)}."
            " What they announce is not known yet, and is lost to us when the broker deletes it."
        ),
    )
    yield Alert(
        name="FencepostLogBehind",
        severity=Severity.TICKET,
        expression=f"max by (topic, partition) ({LAG_SECONDS.name}) > {seconds(limits.read_late)}",
        lasts=looks / 2,
        every_type=True,
        summary="The event log is read late: topic {{ $labels.topic }}, partition {{ $labels.partition }}",
        description=(
            "Reading is {{ $value | humanizeDuration }} behind while records wait. Rows are judged as much later, and an alarm"
            " comes as much later."
        ),
    )
    window, back = limits.silent_rows, limits.silent_events
    rows = by_type(f"increase({ROWS_AUDITED.name}[{show(window)}])", of="sum")
    events = by_type(f"increase({EVENTS.name}[{show(back)}])", of="sum")
    yield Alert(
        name="FencepostLogSilent",
        severity=Severity.TICKET,
        expression=f"{rows} > {MANY_ROWS}\nunless on (data_type)\n{events} > 0",
        lasts=limits.every,
        summary="{{ $labels.data_type }}: rows are created, and the event log says nothing",
        description=(
            f"{{{{ $value | humanize }}}} rows were audited within {show(window)} and not one event of"
            " {{ $labels.data_type }} was read: most often a publisher or connector that stopped, or a wrong topic."
        ),
    )


def _coverage(minute: timedelta) -> Iterator[Alert]:
    yield Alert(
        name="FencepostHoleOpen",
        severity=Severity.TICKET,
        expression=f"max({HOLES_OPEN.name}) > 0",
        every_type=True,
        summary="A stretch of the event log was never read",
        description=(
            "{{ $value }} holes are open: the log was deleted, cut or made anew before it was read. Rows of that time can"
            " be compared, but why they are missing cannot be told. `fencepost status` lists the holes."
        ),
    )
    yield Alert(
        name="FencepostQuarantineOpen",
        severity=Severity.TICKET,
        expression=f"max({QUARANTINE_OPEN.name}) > 0",
        lasts=10 * minute,
        every_type=True,
        summary="Records of the event log could not be read",
        description="{{ $value }} records wait in quarantine. `fencepost quarantine list` names them, with the reason.",
    )


def _old_sweep(sweep_every: timedelta) -> Alert:
    # Old for as long again before it is told: a first pass has as much time as a late one.
    return Alert(
        name="FencepostSweepOld",
        severity=Severity.TICKET,
        expression=_not_since(SWEEP_FINISHED, sweep_every),
        lasts=sweep_every,
        summary="{{ $labels.data_type }}: no full pass for too long",
        description=(
            f"No sweep of {{{{ $labels.data_type }}}} finished for twice {show(sweep_every)} (sweep.every), or none ever did."
            " `--since auto` reaches back to the last one."
        ),
    )


def _not_since(metric: Metric, age: timedelta) -> str:
    """The declared data types for which this time is not there or older than that."""
    return f"{BUDGET}\nunless on (data_type)\n{by_type(metric.name)} > time() - {seconds(age)}"
