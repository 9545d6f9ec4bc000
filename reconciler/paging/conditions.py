"""What the Prometheus rules ask, asked of the ledger: same names, same limits, same waits. Pure.

An instance judges what it would export: the data types it holds, the topics it speaks for, and, with the first data type,
what concerns all of them. What it cannot know yet is left out, and stands as it stood. `FencepostDown` has no counterpart:
an audit that is dead sends nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from reconciler.alerts import blindness, burning
from reconciler.alerts.limits import MANY_ROWS, Limits
from reconciler.alerts.promql import ALL, Alert
from reconciler.auditing.standing import Standing
from reconciler.paging.alarm import Condition, Place
from schemas.burn import Severity, burns, label
from schemas.metrics import Blind, Side
from schemas.settings import Settings

Found = Iterator[tuple[Place, Condition]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """Of one data type: rows judged of late, and events read in that time and some more."""

    rows: int
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one instance knows at one moment; times are seconds since the epoch."""

    now: float
    standing: Standing
    heard: Mapping[str, Heard]
    blind: Mapping[str, Collection[str]]  #: what only the process knows
    ends: Mapping[tuple[str, int], int]
    skew_s: Mapping[str, float]


def alerts(settings: Settings, *, patience: float = 1.0) -> dict[str, Alert]:
    """Those of the rule file, by name."""
    return {a.name: a for a in (*burning.alerts(settings), *blindness.alerts(settings, patience=patience))}


def judged(settings: Settings, held: Collection[str], sight: Sight, *, patience: float = 1.0) -> Found:
    """Every place that this instance can judge now."""
    limits, told = Limits.of(settings, patience=patience), alerts(settings, patience=patience)
    mine = [name for name in settings.data_types if name in held]
    for name in mine:
        yield from _of_type(settings, limits, told, sight, name)
    topics = {topic for topic, owner in speakers(settings).items() if owner in mine}
    yield from _of_topics(limits, told, sight, topics)
    if first(settings) in mine:
        yield from _of_all(limits, told, sight)


def first(settings: Settings) -> str:
    """Whose holder speaks for what has no data type."""
    return next(iter(settings.data_types))


def speakers(settings: Settings) -> dict[str, str]:
    """Whose holder speaks for each topic."""
    out: dict[str, str] = {}
    for name, data_type in settings.data_types.items():
        for topic in data_type.topics:
            out.setdefault(topic, name)
    return out


# -- by data type -----------------------------------------------------------------------------------------------------


def _of_type(settings: Settings, limits: Limits, told: Mapping[str, Alert], sight: Sight, name: str) -> Found:
    s = sight.standing

    def place(alert: str, more: str = "") -> Place:
        return Place(name=alert, data_type=name, more=more)

    budget = settings.data_types[name].budget_or(settings.alerts.budget)
    for alert, severity in (("FencepostDropRateFast", Severity.PAGE), ("FencepostDropRateSlow", Severity.TICKET)):
        yield place(alert), Condition(value=_burnt(settings, s, name, budget, severity))
    age = _older(sight.now, s.judged_until.get(name), limits.look_old)
    yield place("FencepostNoAudit"), Condition(value=age, lasts=told["FencepostNoAudit"].lasts)
    reasons = {*s.blind.get(name, ()), *sight.blind.get(name, ())}
    for reason in Blind:
        seen = 1.0 if reason in reasons else None
        yield place("FencepostBlind", f"reason={reason}"), Condition(value=seen, lasts=told["FencepostBlind"].lasts)
    yield place("FencepostLogSilent"), Condition(value=_silent(sight, name), lasts=told["FencepostLogSilent"].lasts)
    yield place("FencepostGapsOpen"), Condition(value=_some(s.gaps_open.get(name, 0)), lasts=told["FencepostGapsOpen"].lasts)
    if limits.sweep_every is not None:
        age = _older(sight.now, s.sweep_finished.get(name), limits.sweep_every)
        yield place("FencepostSweepOld"), Condition(value=age, lasts=told["FencepostSweepOld"].lasts)


def _burnt(settings: Settings, s: Standing, name: str, budget: float, severity: Severity) -> float | None:
    """The lower bound of the longer window, at the first pace that is exceeded in both."""
    for burn in burns(settings.audit.every):
        long, short = (s.rate_low.get((name, label(window)), 0.0) for window in (burn.long, burn.short))
        if burn.severity is severity and min(long, short) > burn.limit(budget):
            return long
    return None


def _silent(sight: Sight, name: str) -> float | None:
    heard = sight.heard.get(name)
    return float(heard.rows) if heard is not None and heard.rows > MANY_ROWS and not heard.events else None


def _older(now: float, then: float | None, most: timedelta) -> float | None:
    age = now - (then or 0.0)
    return None if age < most.total_seconds() else age


def _some(count: int) -> float | None:
    return float(count) if count > 0 else None


# -- by topic, and for all --------------------------------------------------------------------------------------------


def _of_topics(limits: Limits, told: Mapping[str, Alert], sight: Sight, topics: Collection[str]) -> Found:
    stalled, behind = told["FencepostLogStalled"].lasts + limits.lag_watched, told["FencepostLogBehind"].lasts
    for (topic, partition), (reached, event_us) in sight.standing.positions.items():
        end = sight.ends.get((topic, partition))
        if topic not in topics or end is None:
            continue
        more, lag = f"partition={partition},topic={topic}", max(0, end - reached)
        late = sight.now - event_us / 1e6 if lag and event_us is not None else 0.0
        # A partition that is read falls back now and then, however busy it is.
        growing = Condition(value=_some(lag), lasts=stalled, growing=True)
        yield Place(name="FencepostLogStalled", data_type=ALL, more=more), growing
        old = late if late > limits.read_late.total_seconds() else None
        yield Place(name="FencepostLogBehind", data_type=ALL, more=more), Condition(value=old, lasts=behind)


def _of_all(limits: Limits, told: Mapping[str, Alert], sight: Sight) -> Found:
    s = sight.standing
    yield Place(name="FencepostHoleOpen", data_type=ALL), Condition(value=_some(s.holes))
    lasts = told["FencepostQuarantineOpen"].lasts
    yield Place(name="FencepostQuarantineOpen", data_type=ALL), Condition(value=_some(s.quarantine), lasts=lasts)
    for side in Side:
        if (skew := sight.skew_s.get(side)) is not None:
            far = abs(skew) if abs(skew) > limits.skew.total_seconds() else None
            lasts = told["FencepostClockSkew"].lasts
            yield Place(name="FencepostClockSkew", data_type=ALL, more=f"side={side}"), Condition(value=far, lasts=lasts)


def known(settings: Settings, place: Place) -> bool:
    """Whether the settings still have what an alarm is about."""
    if place.data_type not in (ALL, *settings.data_types):
        return False
    topic = place.labels.get("topic")
    return topic is None or topic in speakers(settings)
