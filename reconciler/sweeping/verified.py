"""The keys that a finished pass verified, read back from the ledger by range as a compare asks for them.

Only where they lie is held; a few ranges' keys are kept at hand, for neighbouring spans ask for the same ones.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

import sqlalchemy as sa

from databases.ledger import Ledger
from reconciler.probe import Range, Span
from schemas import ledger as tables
from schemas.keys import Key, KeySet, KeyType

#: Two workers, each with a range of its own, at a border.
_AT_HAND = 4


@dataclass(slots=True)
class Verified:
    """Of one sweep and data type; of none, nothing."""

    ledger: Ledger
    key_type: KeyType
    sweep: str | None
    name: str
    _places: list[tuple[int, Key | None, Key | None]] | None = None
    _at_hand: OrderedDict[int, KeySet] = field(default_factory=OrderedDict)

    def span(self, span: Span) -> KeySet:
        """Those of a range. Nothing of a bucket: where keys have no order they are read, not guessed."""
        if not isinstance(span, Range):
            return self.key_type.empty()
        total = self.key_type.empty()
        for number, low, high in self.places():
            if _meet(low, high, span.low, span.high):
                keys = self._keys(number).cut(span.low, span.high)
                total = total | keys if len(total) else keys
        return total

    def among(self, keys: KeySet) -> KeySet:
        """Those of the keys that were verified."""
        total = self.key_type.empty()
        if len(keys):
            least, most = keys.min(), keys.max()
            for number, low, high in self.places():
                if (high is None or least < high) and (low is None or low <= most):  # type: ignore[operator]
                    total = total | (self._keys(number) & keys)
        return total

    def parts(self) -> Iterator[KeySet]:
        for number, _, _ in self.places():
            yield self._keys(number)

    def places(self) -> list[tuple[int, Key | None, Key | None]]:
        if self._places is None:
            self._places = [] if self.sweep is None else self._read_places()
        return self._places

    def _read_places(self) -> list[tuple[int, Key | None, Key | None]]:
        v = tables.verified_range.c
        query = sa.select(v.number, v.low, v.high).where(v.sweep == self.sweep, v.data_type == self.name)
        bound = self.key_type.from_bound
        with self.ledger.begin("read what the last sweep verified") as connection:
            rows = connection.execute(query.order_by(v.number)).all()
        return [(n, *(None if b is None else bound(bytes(b)) for b in (low, high))) for n, low, high in rows]

    def _keys(self, number: int) -> KeySet:
        found = self._at_hand.pop(number, None)
        if found is None:
            v = tables.verified_range.c
            query = sa.select(v["keys"]).where(v.sweep == self.sweep, v.data_type == self.name, v.number == number)
            with self.ledger.begin("read what the last sweep verified") as connection:
                rows = list(self.ledger.stream(connection, query, 1))
            # A pass that ends meanwhile forgets those before it. Then this is a poorer guess, and nothing else.
            found = self.key_type.parse(bytes(rows[0][0])) if rows else self.key_type.empty()
        self._at_hand[number] = found
        if len(self._at_hand) > _AT_HAND:
            self._at_hand.popitem(last=False)
        return found


def _meet(low: Key | None, high: Key | None, first: Key | None, end: Key | None) -> bool:
    """Whether two half-open ranges have a key in common."""
    return (high is None or first is None or first < high) and (end is None or low is None or low < end)  # type: ignore[operator]
