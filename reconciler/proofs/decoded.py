"""Every record was decoded, or quarantined and resolved."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.proofs.shown import Claim, Shown
from schemas.log_state import AcceptedRecords
from schemas.verdict import Proof

NAME = "decoded"


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
        open_ = sum(shown.log.quarantined.get(topic, 0) for topic in told.topics)
        accepted = [_accepted(lost) for lost in shown.log.accepted if lost.topic in told.topics]
        none = "no other record is in quarantine" if accepted else "no record is in quarantine"
        seen = f"{open_} {_records(open_)} in quarantine" if open_ else none
        yield Proof(
            name=NAME,
            data_type=name,
            held=not open_,
            seen="; ".join([*accepted, seen]),
            try_=None if not open_ else "fencepost quarantine list; then resolve ID --again, or --accept REASON",
        )


def _accepted(lost: AcceptedRecords) -> str:
    verb = "was" if lost.count == 1 else "were"
    return f"{lost.count} {_records(lost.count)} of {lost.topic} {verb} accepted as lost by {lost.by}: {lost.reason}"


def _records(count: int) -> str:
    return "record" if count == 1 else "records"
