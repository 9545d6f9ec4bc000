"""The event log is the one that was recorded: cluster id, topic ids, or the record before each position."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.proofs.shown import Claim, Shown
from schemas.verdict import Proof

NAME = "log_identity"


def needed_by(shown: Shown) -> frozenset[Claim]:
    return shown.log_claims


def look(shown: Shown) -> Iterable[Proof]:
    if shown.without_log:
        yield Proof(name=NAME, held=None, seen="not asked: --without-log")
    elif shown.log is None:
        yield Proof(name=NAME, held=False, seen=shown.log_fault or "the event log was not read", try_="see log_drained")
    else:
        yield Proof(
            name=NAME,
            held=shown.log.identity_held,
            seen=shown.log.identity_seen or "nothing was told",
            try_=None
            if shown.log.identity_held
            else "the change is recorded as a hole; what was announced before it explains nothing any more",
        )
