"""The keys that any look has seen, read from the ledger once and kept at hand by key range.

It may be as large as the table. So the bulk lies on a shelf (see `reconciler.shelf`: compact, or in a temporary file), and
only what later looks add is held beside it. In the ledger the keys of small looks are merged, so that days of looks
do not become days of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from databases.ledger import Ledger
from reconciler.auditing.book import APART
from reconciler.history import chunked
from reconciler.probe import Range, Span
from reconciler.shelf import Shelf
from schemas.audit_ledger import audit_seen
from schemas.keys import Key, KeySet, KeyType
from schemas.ledger import Said

#: Keys held beside the shelf before it is read anew.
BESIDE = 1 << 20


class _Shelf(Shelf):
    """As the log's, of other rows."""

    def _asked(self) -> sa.Select[Any]:
        t = audit_seen
        nothing = (sa.literal(None), sa.literal(None), sa.literal("{}"))
        columns = (t.c.look, sa.literal(str(Said.CREATED)), t.c.chunk, t.c.low, t.c.high, t.c["keys"], *nothing)
        return sa.select(*columns).where(t.c.data_type == self._name).order_by(t.c.look, t.c.chunk)


class Seen:
    """Of one data type, as of one look."""

    def __init__(self, ledger: Ledger, name: str, key_type: KeyType, look: int) -> None:
        self.ledger, self.name, self.key_type, self.look = ledger, name, key_type, look
        self._shelf = _Shelf(ledger, name, key_type)
        self._beside = key_type.empty()

    def span(self, span: Span) -> KeySet:
        low, high = span.low, span.high
        total = self._beside if isinstance(span, Range) else span.select(self._beside)
        total = total.cut(low, high)
        for _, keys in self._shelf.range(low, high):
            part = keys if isinstance(span, Range) else span.select(keys)
            total = total | part
        return total

    def without(self, keys: KeySet) -> KeySet:
        """Of these keys, those that no look saw. A chunk of the shelf at a time: they may lie anywhere."""
        left = keys - self._beside
        if len(left):
            for _, part in self._shelf.range(left.min(), self.key_type.after(left.max())):
                left = left - part
        return left

    def parts(self, low: Key, high: Key | None) -> Iterator[KeySet]:
        """What of [low, high) any look saw, a chunk of the shelf at a time: where keys are random it may be the whole table."""
        yield self._beside.cut(low, high)
        for _, keys in self._shelf.range(low, high):
            yield keys

    def add(self, look: int, keys: KeySet) -> Seen:
        """As of the next look, once the ledger holds it."""
        self.look, self._beside = look, self._beside | keys
        if len(self._beside) <= BESIDE:
            return self
        return Seen(self.ledger, self.name, self.key_type, look)


def tidy(ledger: Ledger, name: str, key_type: KeyType) -> None:
    """Merge the smaller looks where there are many. It changes no key, so it needs no lease but the row locks."""
    t = audit_seen
    with ledger.begin("merge what the audit has seen") as db:
        places = db.execute(
            sa.select(t.c.look, t.c.chunk, t.c["count"], t.c["keys"])
            .where(t.c.data_type == name)
            .order_by(t.c["count"])
            .limit(APART)
            .with_for_update()
        ).all()
        if len(places) < APART or db.execute(_many(name)).first() is None:
            return
        keys = key_type.empty()
        for place in places:
            keys = keys | key_type.parse(bytes(place._mapping["keys"]))
            db.execute(sa.delete(t).where(t.c.data_type == name, t.c.look == place.look, t.c.chunk == place.chunk))
        look = max(place.look for place in places)
        # Under a look of its own: chunks that stayed keep their numbers.
        taken = db.execute(sa.select(sa.func.max(t.c.chunk)).where(t.c.data_type == name, t.c.look == look)).scalar_one()
        first = 0 if taken is None else taken + 1
        db.execute(
            sa.insert(t),
            [
                {
                    "data_type": name, "look": look, "chunk": first + number, "low": key_type.bound(part.min()),
                    "high": key_type.bound(part.max()), "count": len(part), "keys": part.serialize(),
                }
                for number, part in enumerate(chunked(keys))
            ],
        )  # fmt: skip


def _many(name: str) -> sa.Select[Any]:
    t = audit_seen
    return sa.select(t.c.look).where(t.c.data_type == name).offset(2 * APART).limit(1)
