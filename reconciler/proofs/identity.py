"""Source and registry are the servers that were recorded, and their history has not gone back."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.proofs.shown import ALL, Claim, Shown, TypeShown
from schemas.verdict import Proof

NAME = "identity"
SIDES = {"source", "registry"}


def needed_by(_shown: Shown) -> frozenset[Claim]:
    return ALL


def look(shown: Shown) -> Iterable[Proof]:
    faults = [*(met.contradiction for met in shown.met if met.contradiction), *_gone_back(shown)]
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
        try_=_try(shown) if faults else None,
    )


def _try(shown: Shown) -> str:
    another = "check the DSN; where the change is meant (failover, restore), begin a new ledger under another ledger.schema"
    if any(met.contradiction for met in shown.met):
        return another
    return (
        f"{another}; where creations were announced and rolled back, or their rows deleted and that was not announced, run"
        " again after the next real one, or judge by the rows alone with --without-log"
    )


def _gone_back(shown: Shown) -> Iterable[str]:
    """A restored copy that was used since is behind neither in WAL nor in transaction ids; but its newest rows are absent."""
    for name, told in shown.types.items():
        n = told.needles
        if n.latest and not n.latest_found and n.newest_found and _one_log(shown, told):
            yield (
                f"not one of the {n.latest} creations of {name} that were announced last is a row of the source, and older"
                " ones are: its history went back, as a restored copy's did"
            )


def _one_log(shown: Shown, told: TypeShown) -> bool:
    """A topic that was made anew may speak of another source; then its words are held against nobody."""
    if shown.log is None or not shown.log.identity_held:
        return False
    return not any(hole.kind == "recreated" and hole.topic in told.topics for hole in shown.log.holes)
