"""No offset went unread: no hole by retention, recreation, truncation or compaction."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.ports import names
from reconciler.proofs.shown import Claim, Shown
from schemas.log_state import Hole
from schemas.verdict import Proof

NAME = "log_unbroken"


def needed_by(shown: Shown) -> frozenset[Claim]:
    return shown.log_claims


def look(shown: Shown) -> Iterable[Proof]:
    if shown.without_log:
        yield Proof(name=NAME, held=None, seen="not asked: --without-log")
        return
    if shown.log is None:
        yield Proof(name=NAME, held=False, seen="the event log was not read", try_="see log_drained")
        return
    for name, told in shown.types.items():
        holes = [hole for hole in shown.log.holes if hole.topic in told.topics]
        open_ = [hole for hole in holes if hole.state == "open"]
        accepted = [_accepted(hole) for hole in holes if hole.state == "accepted"]
        if open_:
            seen = names([f"{hole.name}: {hole.described}" for hole in open_])
        else:
            seen = "nothing else went unread" if accepted else "no offset went unread"
        yield Proof(
            name=NAME,
            data_type=name,
            held=not open_,
            seen="; ".join([*accepted, seen]),
            try_=f"fencepost quarantine show {open_[0].name}; then resolve it --accept REASON" if open_ else None,
        )


def _accepted(hole: Hole) -> str:
    return f"{hole.name}, {hole.described}, was accepted by {hole.by}: {hole.reason}"
