"""Date candidates: creation times of a few keys, or the newer part of a table, inside a source snapshot."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

import numpy as np
from psycopg import sql

from reconciler import probe
from reconciler.judge import NO_DATES, Dates
from reconciler.probe import Reader, Side, Span
from reconciler.probe.rows import INFINITY, MINUS_INFINITY, NO_DATE, instant
from reconciler.probe.tables import literal
from reconciler.scene import Subject
from reconciler.snapshot import Snapshot
from schemas.events import NO_TIME
from schemas.keys import KeySet


def date(subject: Subject, source: Snapshot, keys: KeySet) -> Dates:
    """Creation times of these keys; none where the table has no such column.

    Where several rows in scope have one key, the newest dates it, and one that no clock can place is newer than all: the key
    is in every window that one of its rows is in.
    """
    if not len(keys) or subject.source.table.created_at is None:
        return NO_DATES
    batches = list(probe.dates(Reader(source.first, subject.source.table, subject.scope), keys))
    if not batches:
        return NO_DATES
    found = np.concatenate([column for column, _ in batches])
    times = np.concatenate([stamps for _, stamps in batches])
    times[(times == INFINITY) | (times == MINUS_INFINITY) | (times == NO_DATE)] = NO_TIME
    # As unsigned numbers, one less, NO_TIME is the greatest.
    placed = (times.view(np.uint64) ^ np.uint64(1 << 63)) - np.uint64(1)
    order = np.lexsort((placed, found))
    found, times = found[order], times[order]
    last = np.append(found[1:] != found[:-1], True)
    return Dates(found[last], times[last])


def dated_since(subject: Subject, source: Snapshot, since_us: int, keys: KeySet, announced: Callable[[Span], KeySet]) -> KeySet:
    """Those of the keys whose rows are dated at or after `since_us`, or undatable: for more keys than can be looked up.

    The server's scan of the dates costs about as much as a plain scan of the table; `announced` is the guess.
    """
    reader = Reader(source.first, subject.source.table)
    since = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=since_us)
    dated = sql.SQL("coalesce({at} >= {since}::timestamptz OR {at} = '-infinity', true)").format(
        at=instant(reader), since=literal(since)
    )
    where = dated if subject.scope is None else sql.SQL("({}) AND {}").format(subject.scope, dated)
    side = Side(table=subject.source.table, connections=source.connections, where=where)
    found = subject.key_type.empty()
    with closing(probe.learn([side], subject.key_type, announced)) as parts:  # type: ignore[type-var]
        for part in parts:
            (rows,) = part.sets
            found = found | (rows & part.span.select(keys))
    return found
