"""What a receiver is sent: the JSON of Alertmanager's webhooks, one alarm a message, the ids at hand. Pure.

The words are those of the rule file, whose templates are filled in here as Prometheus would. docs/alerts.md has the shape.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from reconciler.alerts.promql import Alert
from reconciler.paging.alarm import Alarm, Place, Status
from schemas.verdict import utc

#: So many keys are in a message; `report RUN --csv` has them all.
KEYS_MOST = 20
#: As Alertmanager writes a time that is not there.
_NEVER = "0001-01-01T00:00:00Z"
_TEMPLATE = re.compile(r"\{\{ \$(?:labels\.(?P<label>\w+)|value(?: \| (?P<form>\w+))?) \}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AtHand:
    """Rows that an alarm is about, where it is about rows."""

    keys: tuple[str, ...] = ()
    run: str | None = None  #: the newest run of the audit that found some


def words(place: Place, alert: Alert, value: float, runbooks: str, at_hand: AtHand) -> str:
    """Labels, annotations and keys as JSON: kept with the alarm, so that its end is told in the same words."""
    labels = {**place.labels, "severity": str(alert.severity)}
    annotations = {
        "summary": filled(alert.summary, labels, value),
        "description": filled(alert.description, labels, value),
        "runbook_url": alert.runbook(runbooks),
    }
    told: dict[str, Any] = {"labels": labels, "annotations": annotations}
    if at_hand.keys:
        told |= {"keys": list(at_hand.keys), "run": at_hand.run}
    return json.dumps(told)


def body(alarm: Alarm, status: Status) -> bytes:
    """One message. `fingerprint` and `startsAt` name the alarm, so that a receiver can tell one it had already."""
    assert alarm.words is not None
    assert alarm.started_at is not None
    told = json.loads(alarm.words)
    ended = alarm.ended_at if status is Status.RESOLVED and alarm.ended_at is not None else None
    alert = {
        "status": str(status),
        **told,
        "startsAt": utc(alarm.started_at),
        "endsAt": _NEVER if ended is None else utc(ended),
        "generatorURL": "",
        "fingerprint": fingerprint(told["labels"]),
    }
    message = {
        "version": "4",
        "receiver": "fencepost",
        "status": str(status),
        "groupKey": "/".join(part for part in (alarm.place.name, alarm.place.data_type, alarm.place.more) if part),
        "groupLabels": alarm.place.labels,
        "commonLabels": told["labels"],
        "commonAnnotations": told["annotations"],
        "externalURL": "",
        "truncatedAlerts": 0,
        "alerts": [alert],
    }
    return json.dumps(message).encode()


def fingerprint(labels: Mapping[str, str]) -> str:
    """The same for the same labels, whoever sends it."""
    return hashlib.sha256(json.dumps(labels, sort_keys=True).encode()).hexdigest()[:16]


def filled(template: str, labels: Mapping[str, str], value: float) -> str:
    """The few forms that our own alerts use."""

    def one(match: re.Match[str]) -> str:
        if match["label"]:
            return labels.get(match["label"], "")
        return _FORMS[match["form"] or ""](value)

    return _TEMPLATE.sub(one, template)


def _duration(seconds: float) -> str:
    """`1h 2m 3s`, as Prometheus' humanizeDuration."""
    if abs(seconds) < 1:
        return f"{seconds * 1000:.4g}ms"
    left = round(abs(timedelta(seconds=seconds).total_seconds()))
    days, left = divmod(left, 86400)
    hours, left = divmod(left, 3600)
    minutes, left = divmod(left, 60)
    sizes = ((days, "d"), (hours, "h"), (minutes, "m"), (left, "s"))
    shown = [f"{size}{unit}" for place, (size, unit) in enumerate(sizes) if any(s for s, _ in sizes[: place + 1])]
    return ("-" if seconds < 0 else "") + " ".join(shown)


_FORMS = {
    "": lambda value: f"{value:.6g}",
    "humanize": lambda value: f"{value:.4g}",
    "humanizePercentage": lambda value: f"{value * 100:.4g}%",
    "humanizeDuration": _duration,
}
