"""An application publishes after its commit: silence for `settle` after the fence. Bounded, not exact, and said so."""

from __future__ import annotations

import math
import time
from datetime import timedelta

from reconciler.pipelines.contract import Asked, Passing


def passed(asked: Asked) -> Passing:
    settle = silence(asked)
    return Passing(seen=f"bounded: events may trail a commit by at most {settle.total_seconds():g} s (settle)")


def silence(asked: Asked) -> timedelta:
    """Wait for the longest `settle` of the data types asked for."""
    default = asked.settings.fence.settle
    settle = max((s.data_type.settle_or(default) for s in asked.scene.subjects), default=timedelta(0))
    left = settle.total_seconds()
    while left > 0:
        asked.say.waiting(f"for {math.ceil(left)} s, so that events of the last commits can arrive (settle)")
        step = min(left, 1.0)
        time.sleep(step)
        left -= step
    return settle
