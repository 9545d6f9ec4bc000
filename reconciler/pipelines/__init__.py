"""Whoever announces rows, and what can be proved about how far it has come: one file per kind.

A kind has `passed(asked) -> Passing`. `fence.pipeline: outbox` is held to the silence of `application`, and says so.
"""

from __future__ import annotations

from reconciler.pipelines import application, debezium
from reconciler.pipelines.contract import Asked, Passing
from reconciler.proofs.shown import Shown
from schemas.settings import Settings

__all__ = ["Asked", "Passing", "exact", "note", "passed"]


def exact(settings: Settings) -> bool:
    """Whether this pipeline can tell how far it has come, instead of being bounded by silence."""
    fence = settings.fence
    return fence.pipeline == "debezium" and fence.connect is not None and fence.connector is not None


def passed(asked: Asked) -> Passing:
    """Wait until the pipeline has announced everything that was committed before the fence, at most `wait_s`."""
    if asked.settings.fence.pipeline == "debezium":
        return debezium.passed(asked) if exact(asked.settings) else debezium.bounded(asked)
    return application.passed(asked)


def note(shown: Shown, passing: Passing) -> None:
    """What the proof `log_drained` will tell."""
    shown.pipeline_seen, shown.pipeline_fault, shown.pipeline_remedy = passing.seen, passing.fault, passing.remedy
    for name, told in shown.types.items():
        told.unannounced = passing.unannounced.get(name)
