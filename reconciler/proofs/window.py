"""Where the window starts, on what evidence, and which rows such a window cannot see."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.proofs.shown import ALL, Claim, Shown
from schemas.verdict import Proof, utc

NAME = "window"


def needed_by(_shown: Shown) -> frozenset[Claim]:
    return ALL


def look(shown: Shown) -> Iterable[Proof]:
    for name, told in shown.types.items():
        if told.plan is None:
            yield Proof(name=NAME, data_type=name, held=False, seen="no window could be placed", try_="compare without --since")
            continue
        if shown.window_fault:
            yield Proof(name=NAME, data_type=name, held=False, seen=shown.window_fault, try_="compare without --since")
            continue
        window = told.plan.window
        start = "everything" if window.since is None else f"rows dated since {utc(window.since)}, or undatable"
        blind = f"; cannot see {', '.join(window.cannot_see)}" if window.cannot_see else ""
        seen = f"{start}; strategy {window.strategy}, evidence {window.evidence}{blind}"
        yield Proof(name=NAME, data_type=name, held=True, seen=seen)
