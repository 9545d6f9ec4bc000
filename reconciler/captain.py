"""Two captains: a second `cutover` of the same settings follows the first and ends with its report.

Whoever holds the lease on registry writes is the captain. A follower waits for that run's end; where its captain died,
the lease runs out and the follower becomes captain itself. Another command that writes is no captain to follow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from databases.ledger import Ledger
from reconciler import history, killed, lease, recall
from reconciler.outcome import Outcome
from reconciler.ports import Say
from schemas.errors import FencepostError, RefusedWrite
from schemas.verdict import Report

KIND = "cutover"
POLL_S = 0.2


def follow(ledger: Ledger, settings: str, say: Say) -> Outcome | None:
    """Wait for a captain of the same settings (their hash) that is at work; its outcome. None where there is none, or it
    died, or one of other settings has ended. Raises RefusedWrite where somebody writes under other settings,
    FencepostError where the captain failed."""
    if not ledger.exists():
        return None
    killed.settle(ledger)  # a captain that is known to be dead is not waited for
    if (taken := lease.holder_of(ledger)) is None or taken.run is None:
        return None
    if taken.rank < lease.Rank.CUTOVER:  # a sweep or an audit: it gives way between two of its batches
        return None
    run = taken.run
    # Its own settings are asked for: other followers of the same settings have runs open too, and a captain that was
    # asked for less may have ended with a CLEAR before its lease is free.
    alike = recall.asked_alike(ledger, run, KIND, settings)
    if not alike and (past := recall.load(ledger, run)).state == history.State.RUNNING:
        raise RefusedWrite(
            f"registry rows are being written by {taken.described}, a {past.kind} under other settings or options",
            hint="wait until that run has ended: fencepost runs",
        )
    say.waiting(f"for the cutover at work, {taken.described}{': its report will be ours' if alike else ', to end'}")
    while True:
        holder = lease.holder_of(ledger)
        past = recall.load(ledger, run)  # after the lease: it may have ended between the two looks
        if alike and past.report is not None:
            return _outcome(ledger, past.report)
        if alike and past.state not in (history.State.RUNNING, history.State.KILLED):
            raise FencepostError(f"the cutover that was followed, run {run}, did not finish: {past.note or past.state}")
        if holder is None or holder.run != run:
            return None
        time.sleep(POLL_S)


def _outcome(ledger: Ledger, report: Report) -> Outcome:
    lines: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        t.name: partial(_lines, ledger, report.run, t.name) for t in report.data_types
    }
    return Outcome(report=report, lines=lines)


def _lines(ledger: Ledger, run: str, name: str) -> Iterator[dict[str, Any]]:
    """The stored keys; their evidence is in the captain's own report folder."""
    for found in recall.found_keys(ledger, run):
        if found.data_type == name:
            for key in found.keys:
                yield {
                    "data_type": name,
                    "key": found.key_type.text(key),
                    "class": found.gap_class,
                    "cause": found.cause,
                    "created_at": None,
                    "evidence": {"run": run},
                }
