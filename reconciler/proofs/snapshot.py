"""One REPEATABLE READ snapshot a side, taken after its tables were locked, and after the fence."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.proofs.shown import ALL, Claim, Shown
from schemas.verdict import Proof

NAME = "snapshot"


def needed_by(_shown: Shown) -> frozenset[Claim]:
    return ALL


def look(shown: Shown) -> Iterable[Proof]:
    if shown.snapshot_faults or not shown.snapshots:
        seen = "; ".join(shown.snapshot_faults) or "no snapshot was taken"
        yield Proof(name=NAME, held=False, seen=seen, try_="mend that and run the command again")
        return
    yield Proof(name=NAME, held=True, seen="; ".join(shown.snapshots))
