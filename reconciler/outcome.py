"""From what a run showed and judged to its report: claims, verdicts, numbers. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from reconciler.judge import Judged
from reconciler.look import Sight
from reconciler.orphans import OrphansFound
from reconciler.proofs import Claim, Shown, withheld
from reconciler.scene import Subject
from schemas.keys import KeySet
from schemas.ledger import Settled
from schemas.verdict import (
    LISTED,
    SWEEP_TELLS_NONE,
    Claims,
    DropRate,
    Fence,
    Found,
    GapClass,
    Orphans,
    Proof,
    Report,
    TypeReport,
    Verdict,
    interval,
    worst,
)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """A report, and its gaps by data type as lines to be streamed."""

    report: Report
    lines: Mapping[str, Callable[[], Iterator[dict[str, Any]]]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class TypeOutcome:
    """All about one data type, before it becomes part of a report."""

    subject: Subject
    sight: Sight
    judged: Judged
    orphans: OrphansFound | None = None
    backfilled: int = 0
    remaining: int = 0
    notes: list[str] = field(default_factory=list)
    inserted: KeySet | None = None  #: by this run's backfill


def report(
    shown: Shown,
    proofs: Sequence[Proof],
    types: Sequence[TypeOutcome],
    *,
    run: str,
    started_at: datetime,
    finished_at: datetime,
    plan: str | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """Put it together; the verdict is the worst of the claims asked for."""
    reports = [_type(shown, proofs, t) for t in types]
    creates = worst(_creates(shown, proofs, t) for t in types)
    deletes = worst(_deletes(shown, proofs, t) for t in types) if shown.deletes else None
    complete = all(not t.drop_rate.incomplete for t in reports)
    return Report(
        run=run,
        kind=shown.kind,
        verdict=worst([creates] if deletes is None else [creates, deletes]),
        started_at=started_at,
        finished_at=finished_at,
        plan=plan,
        claims=Claims(
            creates=creates.value,
            deletes="not asked" if deletes is None else deletes.value,
            drop_rate="complete" if complete else "incomplete",
        ),
        fence=_fence(shown),
        proofs=list(proofs),
        data_types=reports,
        notes=list(notes),
    )


def _fence(shown: Shown) -> Fence:
    source = next((met.now for met in shown.met if met.now.side == "source"), None)
    return Fence(
        pipeline=shown.pipeline,
        at=shown.fence.at if shown.fence else shown.looked_at,
        lsn=shown.fence.lsn if shown.fence else (source.lsn_text if source else None),
        offsets=shown.log.offsets if shown.log else {},
    )


def _creates(shown: Shown, proofs: Sequence[Proof], t: TypeOutcome) -> Verdict:
    if withheld(shown, proofs, Claim.CREATES, t.subject.name) or len(t.judged.in_flight):
        return Verdict.CANNOT_TELL
    left = t.remaining if shown.kind == "cutover" and shown.reread_at is not None else t.judged.gaps
    return Verdict.GAPS if left else Verdict.CLEAR


def _deletes(shown: Shown, proofs: Sequence[Proof], t: TypeOutcome) -> Verdict:
    if withheld(shown, proofs, Claim.DELETES, t.subject.name) or t.orphans is None or len(t.orphans.in_flight):
        return Verdict.CANNOT_TELL
    return Verdict.GAPS if t.orphans.count else Verdict.CLEAR


def _type(shown: Shown, proofs: Sequence[Proof], t: TypeOutcome) -> TypeReport:
    verdicts = [_creates(shown, proofs, t)]
    if shown.deletes:
        verdicts.append(_deletes(shown, proofs, t))
    differences = t.sight.differences
    return TypeReport(
        name=t.subject.name,
        verdict=worst(verdicts),
        window=t.sight.plan.window,
        rows=differences.rows,
        announced=differences.announced,
        registered=differences.registered,
        states=t.sight.states,
        gaps=_found(t),
        in_flight=len(t.judged.in_flight),
        healed_drops=len(t.judged.classes.healed),
        orphans=_orphans(t),
        drop_rate=_drop_rate(shown, proofs, t),
        backfilled=t.backfilled,
        remaining=t.remaining,
        compared_s=None if t.sight.took_s is None else round(t.sight.took_s, 3),
        notes=t.notes,
    )


def _found(t: TypeOutcome) -> Found:
    by_class: dict[str, int] = {}
    by_cause: dict[str, int] = {}
    keys: list[str] = []
    for (gap_class, cause), found in t.judged.classes.gaps.items():
        by_class[gap_class] = by_class.get(gap_class, 0) + len(found)
        by_cause[cause] = by_cause.get(cause, 0) + len(found)
        if len(keys) < LISTED:
            keys += t.subject.key_type.texts(found, LISTED - len(keys))
    return Found(count=t.judged.gaps, by_class=by_class, by_cause=by_cause, keys=keys)


def _orphans(t: TypeOutcome) -> Orphans:
    if t.orphans is None:
        return Orphans()
    keys: list[str] = []
    for found in t.orphans.by_class.values():
        keys += t.subject.key_type.texts(found, LISTED - len(keys)) if len(keys) < LISTED else []
    by_class = {name.value: len(found) for name, found in t.orphans.by_class.items()}
    return Orphans(count=t.orphans.count, removed=t.orphans.removed, by_class=by_class, keys=keys)


def _drop_rate(shown: Shown, proofs: Sequence[Proof], t: TypeOutcome) -> DropRate:
    dropped_keys = t.judged.classes.of(GapClass.DROPPED_CREATE)
    dropped = (0 if dropped_keys is None else len(dropped_keys)) + len(t.judged.classes.healed)
    of = t.sight.differences.recent + dropped
    low, high = interval(dropped, of)
    reasons = [f"{proof.name}: {proof.seen}" for proof in withheld(shown, proofs, Claim.DROP_RATE, t.subject.name)]
    if shown.kind == "sweep":
        return DropRate(incomplete=[SWEEP_TELLS_NONE])
    if shown.without_log:
        reasons = ["the event log was not asked (--without-log)"]
    elif t.sight.coverage.start_us is None and not reasons:
        reasons.append("no event of this data type was ever read")
    if len(t.judged.in_flight):
        reasons.append(f"{len(t.judged.in_flight)} rows are still in flight")
    return DropRate(dropped=dropped, of=of, low=low, high=high, incomplete=reasons, left_out=_left_out(shown, t.subject.name))


def _left_out(shown: Shown, name: str) -> list[str]:
    """What accepted losses keep from the figures, in words."""
    if shown.log is None or shown.without_log:
        return []
    topics = shown.types[name].topics
    holes = [h for h in shown.log.holes if h.topic in topics and h.state == Settled.ACCEPTED]
    records = [lost for lost in shown.log.accepted if lost.topic in topics]
    return [
        *(f"{h.name}, accepted: rows created while nobody read {h.topic}[{h.partition}] are in neither figure" for h in holes),
        *(f"{lost.count} accepted records of {lost.topic}: a creation that they alone announced, and whose key their bytes do"
          " not name, counts as dropped" for lost in records),
    ]  # fmt: skip
