"""No offset went unread: no hole by retention, recreation, truncation or compaction."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.ports import names
from reconciler.proofs.shown import LOG, Claim, Shown
from schemas.log_state import Hole
from schemas.verdict import Proof

NAME = "log_unbroken"


def needed_by(_shown: Shown) -> frozenset[Claim]:
    return LOG


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
        accepted = [f"{_words(hole)} accepted: {hole.reason}" for hole in holes if hole.state == "accepted"]
        seen = names([_words(hole) for hole in open_]) if open_ else "no offset went unread"
        yield Proof(
            name=NAME,
            data_type=name,
            held=not open_,
            seen="; ".join([seen, *accepted]),
            try_=None if not open_ else "the rows decide; drop rates over such a time stay incomplete",
        )


def _words(hole: Hole) -> str:
    end = "?" if hole.to_offset is None else str(hole.to_offset)
    return f"{hole.topic}[{hole.partition}] offsets {hole.from_offset} to {end} ({hole.kind})"
