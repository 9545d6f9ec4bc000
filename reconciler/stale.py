"""Registry rows older than their source row: an id that was used again, registered for its predecessor.

Asked only where the settings name `registry.created_at`. Key sets cannot show it, so both tables' dates are read whole,
range by range; that costs about as much as copying both lists out, and is said so in the docs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from reconciler import probe
from reconciler.probe import Range, Reader
from reconciler.probe.blobs import between
from reconciler.probe.heap import all_keys
from reconciler.probe.rows import INFINITY, MINUS_INFINITY, NO_DATE, instant, microseconds
from reconciler.probe.tables import literal
from reconciler.scene import Subject
from reconciler.snapshot import Snapshot
from reconciler.window import microseconds as since_1970
from schemas.keys import KeySet

Dated = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]
#: PostgreSQL's -infinity is the least int64; the one above it cannot be a time and stands for NULL.
_NULL = -(1 << 63) + 1


def find(
    subject: Subject, source: Snapshot, registry: Snapshot, spans: Sequence[Range], *, skew: timedelta, since_us: int | None
) -> KeySet:
    """Keys of the window whose registry row is older than the source row by more than `skew`.

    Of several rows of one key, the newest registration and the oldest source row are held against each other. A source
    row dated ahead of the source's clock is placed by no clock, and no registration could be younger.
    """
    total = subject.key_type.empty()
    if subject.registry.table.created_at is None or subject.source.table.created_at is None:
        return total
    theirs = Reader(source.first, subject.source.table, subject.scope)
    ours = Reader(registry.first, subject.registry.table, subject.accepted)
    if theirs.table.kind == "int" and spans:
        pairs: Iterator[tuple[Dated, Dated]] = ((_dated(theirs, span), _dated(ours, span)) for span in spans)
    else:
        pairs = ((_looked_up(theirs, keys), _looked_up(ours, keys)) for keys in all_keys(ours))
    older = _Older(subject, source.at, skew, since_us)
    for rows, registered in pairs:
        total = total | subject.key_type.keys(older.of(rows, registered))
    return total


def still(subject: Subject, source: Snapshot, registry: Snapshot, keys: KeySet, skew: timedelta) -> KeySet:
    """Those of the keys that are stale in later snapshots too."""
    if not len(keys):
        return keys
    rows = _looked_up(Reader(source.first, subject.source.table, subject.scope), keys)
    registered = _looked_up(Reader(registry.first, subject.registry.table, subject.accepted), keys)
    return subject.key_type.keys(_Older(subject, source.at, skew, None).of(rows, registered))


class _Older:
    """Which registrations are older than their row."""

    def __init__(self, subject: Subject, now: datetime, skew: timedelta, since_us: int | None) -> None:
        s, r = subject.source.table, subject.registry.table
        if r.created_kind == "date":  # it may have been made at any time of that day
            skew += timedelta(hours=25)
        if s.created_kind == "timestamp" and s.zone not in (None, "UTC"):  # the hour that a clock change gives twice
            skew += timedelta(hours=1)
        self.slack, self.since_us, self.now_us = int(skew / timedelta(microseconds=1)), since_us, since_1970(now)
        self.rows_unique, self.registered_unique = s.unique, r.unique

    def of(self, rows: Dated, registered: Dated) -> npt.NDArray[Any]:
        s_keys, s_times = rows if self.rows_unique else _one_each(rows, last=False)
        r_keys, r_times = registered if self.registered_unique else _one_each(registered, last=True)
        both, s_at, r_at = np.intersect1d(s_keys, r_keys, return_indices=True)
        s, r = s_times[s_at], r_times[r_at]
        placed = s <= self.now_us + self.slack
        for times in (s, r):
            placed &= (times != INFINITY) & (times != MINUS_INFINITY) & (times != NO_DATE)
        late = placed & (r < s - self.slack)
        if self.since_us is not None:
            late &= s >= self.since_us
        return np.asarray(both[late])


def _one_each(dated: Dated, *, last: bool) -> Dated:
    """The oldest or the newest time of each key."""
    keys, times = dated
    order = np.lexsort((times, keys))
    keys, times = keys[order], times[order]
    turns = keys[1:] != keys[:-1]
    chosen = np.concatenate([turns, [True]] if last else [[True], turns])[: len(keys)].astype(np.bool_)
    return keys[chosen], times[chosen]


def _dated(reader: Reader, span: Range) -> Dated:
    """Keys and times of all rows of an int range, packed by the server."""
    bounds, params = between(reader, span.low, span.high)
    query = reader.sql(
        "SELECT pg_catalog.count(*), pg_catalog.string_agg(pg_catalog.int8send({key}::int8), ''::bytea),"
        " pg_catalog.string_agg(coalesce(pg_catalog.timestamptz_send({stamp}), pg_catalog.int8send({null})), ''::bytea)"
        " FROM {table} WHERE {key} IS NOT NULL{bounds}{where}",
        stamp=instant(reader),
        null=literal(_NULL),
        bounds=bounds,
    )
    count, keys, times = reader.row(query, params)
    if not count:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    column = np.frombuffer(keys, ">i8").astype(np.int64)
    raw = np.frombuffer(times, ">i8").astype(np.int64)
    if not len(column) == len(raw) == count:
        raise reader.incomplete(f"{len(column)} keys and {len(raw)} dates of {count} rows")
    return column, microseconds(raw)


def _looked_up(reader: Reader, keys: KeySet) -> Dated:
    batches = list(probe.dates(reader, keys))
    if not batches:
        column = keys.column()[:0]
        return column, np.empty(0, np.int64)
    return np.concatenate([c for c, _ in batches]), np.concatenate([t for _, t in batches])
