"""Where the window starts, on what evidence, and which rows such a window cannot see."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.proofs.shown import ALL, Claim, Shown, TypeShown
from schemas.verdict import Proof, utc

NAME = "window"


def needed_by(_shown: Shown) -> frozenset[Claim]:
    return ALL


def look(shown: Shown) -> Iterable[Proof]:
    for name, told in shown.types.items():
        if told.plan is None:
            yield Proof(name=NAME, data_type=name, held=False, seen="no window could be placed", try_="compare without --since")
            continue
        if told.window_fault:
            remedy = "run `fencepost sweep` first, or compare without --since"
            yield Proof(name=NAME, data_type=name, held=False, seen=told.window_fault, try_=remedy)
            continue
        window = told.plan.window
        start = _start(told)
        blind = f"; cannot see {', '.join(window.cannot_see)}" if window.cannot_see else ""
        seen = f"{start}; strategy {window.strategy}, evidence {window.evidence}{blind}"
        yield Proof(name=NAME, data_type=name, held=True, seen=seen)


def _start(told: TypeShown) -> str:
    assert told.plan is not None
    since, sweep = told.plan.window.since, told.rests_on
    if sweep is None:
        return "everything" if since is None else f"rows dated since {utc(since)}, or undatable"
    dated = f"; rows dated before {utc(since)} were all in it, but those dated back" if since is not None else ""
    return (
        f"every key that the full sweep from {utc(sweep.started_at)} to {utc(sweep.finished_at)} did not verify, whatever its"
        f" date, and whether its {sweep.count} verified keys still stand{dated}"
    )
