"""One REPEATABLE READ snapshot a side, taken after its tables were locked, and after the fence; a copy held to its origin."""

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
    for name, told in shown.types.items():
        if told.emptied:
            seen = f"{'; '.join(told.emptied)} while the pass was at work: what was seen of it before may be gone"
            yield Proof(name=NAME, data_type=name, held=False, seen=seen, try_="run `fencepost sweep` again")
    if shown.copied:
        yield from _copies(shown)


def _copies(shown: Shown) -> Iterable[Proof]:
    """Of each data type, whether the copy holds every row of its origin."""
    for name, told in shown.types.items():
        held = told.copy_fault is None and told.copy_seen is not None
        yield Proof(
            name=NAME,
            data_type=name,
            held=held,
            seen=told.copy_fault or told.copy_seen or "the copy was not held against its origin",
            try_=None
            if held
            else "wait until replication has caught up, or copy the table anew; or name the origin in source.dsn, as a primary",
        )
