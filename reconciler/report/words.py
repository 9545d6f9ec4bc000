"""What each class, cause, proof and claim means, in words for somebody under pressure. Values only."""

from __future__ import annotations

from schemas.verdict import Cause, GapClass, OrphanClass, Report, Verdict

#: How a run's note begins, or what it holds, where the operator held the rows back: nothing else stood in their way.
DRY_RUN = "a dry run: "
CAPPED = "--max-backfill allows"
#: Class -> what happened to the row.
CLASSES: dict[str, str] = {
    GapClass.DROPPED_CREATE: "announced nowhere, registered nowhere",
    GapClass.UNAPPLIED_CREATE: "announced, but the applier made no registry row",
    GapClass.UNHEARD_CREATE: "no registry row; created where the log cannot say whether it was announced",
    GapClass.UNACCEPTED: "its registry row is in a state that does not count; never overwritten",
    GapClass.STALE_REGISTRATION: "its registry row is older than the row itself: an id used again; never overwritten",
}
ORPHANS: dict[str, str] = {
    OrphanClass.DROPPED_DELETE: "the source row is gone and no deletion was announced",
    OrphanClass.UNAPPLIED_DELETE: "the source row is gone, its deletion was announced, the registry row stayed",
}
#: Cause -> why we say so.
CAUSES: dict[str, str] = {
    Cause.NEVER_ANNOUNCED: "the log was read over that time and never spoke of them",
    Cause.UNAPPLIED: "the log announced them",
    Cause.UNREAD: "nobody read the log over that time: a hole, or an end that was not read",
    Cause.BELOW_RETENTION: "the broker had already deleted that part of the log",
    Cause.QUARANTINED: "records of that time could not be decoded: see `fencepost quarantine list`",
    Cause.ORDER_UNKNOWN: "partitions contradict each other on what happened last",
    Cause.OUTSIDE_COVERAGE: "created before the first event that was read, or without a time to place them by",
    Cause.UNACCEPTED_STATE: "the settings name the states that count: registry.accepted",
    Cause.STALE: "registry.created_at lies before source.created_at, by more than fence.skew",
    Cause.UNKNOWN: "nothing that was seen explains them",
}
#: Claim -> what it says.
CLAIMS: dict[str, str] = {
    "creates": "every source row of the window has an accepted registry row",
    "deletes": "no registry row outlives its source row",
    "drop_rate": "how many creations the event log never announced",
}
#: How we know where the window starts.
EVIDENCE: dict[str, str] = {
    "full": "nothing is assumed",
    "operator": "on your word: --since",
    "sweep": "from what the last sweep verified: what is new since, and whether that still stands",
}
#: Strategy -> how the rows of the window are found.
STRATEGIES: dict[str, str] = {
    "full": "all keys compared",
    "created_at_index": "read through the index on the creation time",
    "key_bisect": "read from the first key that can lie in it",
}
#: Proofs that say how far the log may be believed. They withhold the drop rate, and `deletes` where it was asked.
ABOUT_THE_LOG = frozenset({"log_identity", "log_drained", "decoded", "log_unbroken"})


def unasked(report: Report) -> bool:
    """Whether a claim is withheld for the event log that nobody was to ask."""
    log = [proof.held for proof in report.proofs if proof.name in ABOUT_THE_LOG]
    return report.claims.deletes == Verdict.CANNOT_TELL and bool(log) and all(held is None for held in log)
