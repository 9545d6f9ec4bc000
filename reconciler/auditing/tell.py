"""The findings of one look as the JSON that `fencepost report` prints. Pure.

An audit gives no verdict: it judges what is new, and proves nothing of what was there before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from reconciler.judge import Judged, time_text
from reconciler.scene import Subject
from schemas.keys import KeySet
from schemas.verdict import LISTED, VERSION, utc


def findings(
    subject: Subject,
    found: Mapping[tuple[str, str], KeySet],
    judged: Judged,
    at: datetime,
    delay: timedelta | None,
) -> Callable[[str], str]:
    """By class and cause, with at most `LISTED` keys each; all keys are in the ledger (`report RUN --csv`)."""

    def text(run: str) -> str:
        told: dict[str, Any] = {
            "fencepost": VERSION,
            "run": run,
            "kind": "audit",
            "data_type": subject.name,
            "at": utc(at),
            "findings": [_finding(subject, judged, place, keys) for place, keys in found.items()],
        }
        if delay is not None:
            told["late_by_s"] = round(delay.total_seconds(), 3)
        return json.dumps(told)

    return text


def _finding(subject: Subject, judged: Judged, place: tuple[str, str], keys: KeySet) -> dict[str, Any]:
    listed: list[dict[str, str | None]] = []
    for key in keys:
        if len(listed) == LISTED:
            break
        listed.append({"key": subject.key_type.text(key), "created_at": time_text(judged.dates.of(key))})
    return {"class": place[0], "cause": place[1], "count": len(keys), "keys": listed}
