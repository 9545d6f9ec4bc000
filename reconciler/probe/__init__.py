"""Ask databases which keys they hold, exactly and in bounded memory, without shipping what is already known.

`compare` yields announced, registered and existing keys span by span; `learn` does so for any number of tables. `lookup`,
`dates` and `present` look at candidates again. Every read is complete or raises. All connections must already be inside
REPEATABLE READ snapshots with `search_path` at pg_catalog and UTF-8 as client encoding; nothing here opens a transaction.
"""

from reconciler.probe.blobs import extremes
from reconciler.probe.conditions import condition
from reconciler.probe.reader import Reader
from reconciler.probe.rows import (
    INFINITY,
    MINUS_INFINITY,
    NO_DATE,
    Estimate,
    count_keyless,
    count_rows,
    dates,
    estimate,
    lookup,
    present,
)
from reconciler.probe.spans import Announced, Bucket, Range, Slice, Span
from reconciler.probe.spill import Spill
from reconciler.probe.tables import Table
from reconciler.probe.walk import Compared, Side, buckets, compare, learn
from reconciler.probe.windows import key_bisect, keys_since
from reconciler.probe.witness import Witness

__all__ = [
    "INFINITY", "MINUS_INFINITY", "NO_DATE",
    "Announced", "Bucket", "Compared", "Estimate", "Range", "Reader", "Side", "Slice", "Span", "Spill", "Table",
    "Witness",
    "buckets", "compare", "condition", "count_keyless", "count_rows", "dates", "estimate", "extremes", "key_bisect",
    "keys_since", "learn", "lookup", "present",
]  # fmt: skip
