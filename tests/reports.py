"""Sample reports, one of each kind that an operator may meet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.verdict import (
    SWEEP_TELLS_NONE,
    Claims,
    DropRate,
    Fence,
    Found,
    Orphans,
    Proof,
    Report,
    TypeReport,
    Verdict,
    Window,
    interval,
)

AT = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
RUN = "01JDQ0000000000000000000ZZ"


def window(since: datetime | None = AT - timedelta(hours=72)) -> Window:
    evidence = "operator" if since else "full"
    blind = ["rows dated before the window's start"] if since else []
    return Window(strategy="full", since=since, until=AT, evidence=evidence, cannot_see=blind)


def data_type(name: str = "job_artifact", **told: Any) -> TypeReport:
    low, high = interval(100, 1_000_000)
    usual: dict[str, Any] = {
        "verdict": Verdict.GAPS,
        "window": window(),
        "rows": 1_000_000,
        "announced": 999_900,
        "registered": 999_890,
        "states": {"0": 110, "2": 999_780},
        "gaps": Found(
            count=110,
            by_class={"dropped_create": 100, "unapplied_create": 10},
            by_cause={"never_announced": 100, "unapplied": 10},
            keys=[str(key) for key in range(1000, 1100)],
        ),
        "drop_rate": DropRate(dropped=100, of=1_000_000, low=low, high=high),
        "remaining": 110,
    }
    return TypeReport(name=name, **(usual | told))


def report(**told: Any) -> Report:
    usual: dict[str, Any] = {
        "run": RUN,
        "kind": "gaps",
        "verdict": Verdict.GAPS,
        "started_at": AT,
        "finished_at": AT + timedelta(seconds=4),
        "claims": Claims(creates="GAPS", deletes="not asked", drop_rate="complete"),
        "fence": Fence(pipeline="application", at=AT, lsn="0/16B3748", offsets={"jobs": {"0": 42}}),
        "proofs": [
            Proof(name="identity", held=True, seen="the servers are those of the last run"),
            Proof(name="reread", held=None, seen="asked at a cutover only"),
        ],
        "data_types": [data_type()],
    }
    return Report(**(usual | told))


def reports() -> dict[str, Report]:
    """By name, every report worth looking at."""
    nothing, clear = Found(), Claims(creates="CLEAR", deletes="not asked", drop_rate="complete")
    unsure = Claims(creates="CANNOT TELL", deletes="not asked", drop_rate="incomplete")
    held_up = Proof(
        name="earlier_writers_ended",
        held=False,
        seen="still open after 30 s: pid 4711 (user app, 'psql', open for 5400 s)",
        **{"try": "end or commit these transactions (pg_terminate_backend), or wait longer with --wait"},
    )
    whole = data_type(verdict=Verdict.CLEAR, gaps=nothing, remaining=0, window=window(None), rows=5)
    filled = data_type(verdict=Verdict.CLEAR, backfilled=110, remaining=0, healed_drops=3)
    orphaned = data_type("upload", orphans=Orphans(count=2, by_class={"dropped_delete": 2}, keys=["5", "6"]))
    return {
        "gaps": report(),
        "clear": report(verdict=Verdict.CLEAR, claims=clear, data_types=[whole]),
        "cutover": report(kind="cutover", verdict=Verdict.CLEAR, claims=clear, data_types=[filled], plan="sha256:" + "ab" * 32),
        "dry run": report(kind="cutover", plan="sha256:" + "ab" * 32, notes=["a dry run: 110 rows would be inserted"]),
        "refused": report(
            kind="cutover", plan="sha256:" + "ab" * 32, notes=["no registry row was inserted: see each data type"]
        ),
        "cannot tell": report(
            kind="cutover", verdict=Verdict.CANNOT_TELL, claims=unsure, proofs=[held_up], data_types=[data_type()]
        ),
        "in flight": report(
            verdict=Verdict.CANNOT_TELL, claims=unsure, data_types=[data_type(gaps=nothing, in_flight=7, remaining=0)]
        ),
        "deletes": report(claims=Claims(creates="CLEAR", deletes="GAPS", drop_rate="complete"), data_types=[whole, orphaned]),
        "sweep": report(kind="sweep", verdict=Verdict.CLEAR, claims=clear, data_types=[whole]),
        "sweep that found": report(kind="sweep"),
        "sweep that healed": report(
            kind="sweep",
            data_types=[data_type(backfilled=110, remaining=0, drop_rate=DropRate(incomplete=[SWEEP_TELLS_NONE]))],
        ),
        "recheck": report(kind="recheck", verdict=Verdict.CLEAR, claims=clear, data_types=[whole]),
    }
