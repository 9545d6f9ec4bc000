"""Wait until what was seen for the first time may be judged: `settle` later, by the source's clock."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta
from threading import Event

from reconciler.examine import Run


def wait(r: Run, first_seen: datetime | None, stop: Event | None = None) -> bool:
    """Wait until the first sighting is old enough; None: there is none. False where --wait does not reach so far, or we
    were told to stop."""
    if first_seen is None:
        return True
    settle = max(s.data_type.settle_or(r.settings.fence.settle) for s in r.scene.subjects)
    left = settle - (r.scene.now() - first_seen)
    if r.wait is not None and left > r.wait:
        return False
    while left > timedelta(0):
        r.say.waiting(f"for {math.ceil(left.total_seconds())} s, so that events on their way can arrive (settle)")
        step = min(left.total_seconds(), 1.0)
        if stop is None:
            time.sleep(step)
        elif stop.wait(step):
            return False
        left = settle - (r.scene.now() - first_seen)
    return True
