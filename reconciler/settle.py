"""Wait until what was seen for the first time may be judged: `settle` later by the source's clock, and announced so far."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta
from threading import Event

from databases.connect import renamed
from reconciler import pipelines
from reconciler.examine import WAIT, Run
from reconciler.identity import position
from schemas.errors import UnavailableError


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


def pipeline(r: Run, stop: Event | None = None) -> None:
    """What was seen first was committed before now: a pipeline that can tell how far it has come has to come so far.

    One that cannot is bounded by the silence of `wait`. What it said is for the proof `log_drained`.
    """
    if r.shown.without_log or not pipelines.exact(r.settings):
        return
    r.say.phase("waiting for the pipeline to pass what was seen")
    try:
        with renamed("ask the source how far its WAL has come"):
            lsn = position(r.scene.fence_at)
    except UnavailableError as error:  # a standby that the settings call a primary: the proof `snapshot` says so
        r.shown.pipeline_fault = str(error)
        return
    wait_s = (WAIT if r.wait is None else r.wait).total_seconds()
    asked = pipelines.Asked(
        settings=r.settings, scene=r.scene, lsn=lsn, wait_s=wait_s, say=r.say, stop=Event() if stop is None else stop
    )
    pipelines.note(r.shown, pipelines.passed(asked))


def announced(r: Run, name: str) -> bool:
    """Whether everything that was committed before the first look is in the ledger."""
    return r.shown.pipeline_fault is None and r.logbook.drained(name)
