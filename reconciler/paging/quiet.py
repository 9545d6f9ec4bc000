"""What another alarm says already is not said again: one burst wakes one person, once. Pure.

The same pairs stand in `docker/alertmanager.yml`, for those with Prometheus.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from reconciler.paging.alarm import Alarm, Status

#: An alert, the one that says it too and more, and the labels in which both must agree.
SAID_BY = {
    "FencepostDropRateSlow": ("FencepostDropRateFast", ("data_type",)),  # a budget that burns fast burns slowly too
    "FencepostNoAudit": ("FencepostBlind", ("data_type",)),  # no look succeeds, and the reason is known
    "FencepostLogBehind": ("FencepostLogStalled", ("topic", "partition")),
}


def said_already(alarm: Alarm, alarms: Iterable[Alarm]) -> bool:
    """Whether another one says it while this one stands; of one that has ended, whether it did at that end."""
    if alarm.place.name not in SAID_BY:
        return False
    name, equal = SAID_BY[alarm.place.name]
    labels = alarm.place.labels
    for other in alarms:
        theirs = other.place.labels
        same = other.place.name == name and all(theirs.get(label) == labels.get(label) for label in equal)
        if same and _stood(other, alarm.ended_at):
            return True
    return False


def _stood(alarm: Alarm, at: datetime | None) -> bool:
    """At that time, or now."""
    if at is None or alarm.started_at is None:
        return alarm.status is Status.FIRING
    return alarm.started_at <= at and (alarm.ended_at is None or alarm.ended_at >= at)
