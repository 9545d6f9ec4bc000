"""Source and registry are the servers that were recorded, and their history has not gone back."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.proofs.shown import ALL, Claim, Shown
from schemas.verdict import Proof

NAME = "identity"
SIDES = {"source", "registry"}


def needed_by(_shown: Shown) -> frozenset[Claim]:
    return ALL


def look(shown: Shown) -> Iterable[Proof]:
    faults = [met.contradiction for met in shown.met if met.contradiction]
    unasked = SIDES - {met.now.side for met in shown.met}
    if unasked and not faults:
        seen = f"not asked who it is: {', '.join(sorted(unasked))}"
        yield Proof(name=NAME, held=False, seen=seen, try_="run the command again")
        return
    told = "; ".join(
        f"{met.now.side}: {met.now.described}, WAL at {met.now.lsn_text}, "
        + ("as recorded" if met.before else "recorded now for the first time")
        for met in shown.met
        if not met.contradiction
    )
    yield Proof(
        name=NAME,
        held=not faults,
        seen="; ".join(faults) if faults else told,
        try_=None
        if not faults
        else "check the DSN; where the change is meant (failover, restore), begin a new ledger under another ledger.schema",
    )
