"""Take orphans out of the registry, where the settings say so, in a way that can be undone.

`plan` says what would be removed and hashes it; `remove` works beside live writers, and puts back what turns out to have a
source row after all; `finish_unfinished` completes what a crash left; `undo` puts back what a run removed.
"""

from reconciler.removal.back import finish_unfinished, undo, unfinished
from reconciler.removal.job import Job, Plan, forbidden, plan
from reconciler.removal.take import Removed, remove

__all__ = ["Job", "Plan", "Removed", "finish_unfinished", "forbidden", "plan", "remove", "undo", "unfinished"]
