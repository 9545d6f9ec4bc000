"""Every record was decoded, or quarantined and resolved."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.proofs.shown import LOG, Claim, Shown
from schemas.verdict import Proof

NAME = "decoded"


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
        open_ = sum(shown.log.quarantined.get(topic, 0) for topic in told.topics)
        accepted = sum(shown.log.accepted.get(topic, 0) for topic in told.topics)
        told_accepted = f"; {accepted} were accepted as lost" if accepted else ""
        yield Proof(
            name=NAME,
            data_type=name,
            held=not open_,
            seen=(f"{open_} {_records(open_)} in quarantine" if open_ else "no record is in quarantine") + told_accepted,
            try_=None if not open_ else "fencepost quarantine list; then resolve ID --again, or --accept REASON",
        )


def _records(count: int) -> str:
    return "record" if count == 1 else "records"
