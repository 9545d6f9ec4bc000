"""Backfill that cannot do harm: planned, capped, idempotent, journalled, under a lease; and its undo.

`plan` says what would be written and hashes it; `backfill` inserts beside live writers and takes its own ghosts back;
`finish_unfinished` completes what a crash left; `undo` removes what a run inserted and nobody touched since.
"""

from reconciler.backfill.aftermath import Finished, Undone, finish_unfinished, undo, unfinished
from reconciler.backfill.plan import Job, Plan, Refusal, approve, capped, plan
from reconciler.backfill.run import Done, Pace, backfill, guarded

__all__ = [
    "Done",
    "Finished",
    "Job",
    "Pace",
    "Plan",
    "Refusal",
    "Undone",
    "approve",
    "backfill",
    "capped",
    "finish_unfinished",
    "guarded",
    "plan",
    "undo",
    "unfinished",
]
