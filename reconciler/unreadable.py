"""Gaps that a quarantined record may have announced: its bytes name the key.

A record that could not be decoded announces nothing, so its row looks dropped. Where the kept bytes hold the key as text,
nobody can say whether the creation was announced: such a gap is told with that record as its evidence, and is in no rate.
Binary records (Avro) name no key that could be recognised; the claim `drop_rate` is incomplete while any record is open.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

import sqlalchemy as sa

from databases.ledger import Ledger
from schemas import ledger as tables
from schemas.data_types import DataType
from schemas.errors import BadKey
from schemas.keys import Key, KeySet, KeyType
from schemas.ledger import Settled
from schemas.names import column_itself

#: At most so many kept records are searched; each keeps at most a kilobyte.
SEARCHED_MOST = 10_000
#: In 64 bits.
_DIGITS = 19
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?(?![0-9.eE])"
_UUID = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an unreadable record stands."""

    topic: str
    partition: int
    offset: int


def named_in_quarantine(ledger: Ledger, data_type: DataType, key_type: KeyType, keys: KeySet) -> dict[Key, Place]:
    """Those of the keys that the bytes of an unreadable record name, with the first such record."""
    if not len(keys) or data_type.composite:
        return {}
    q = tables.quarantine.c
    newest = sa.select(sa.func.max(tables.incarnation.c.id)).scalar_subquery()
    query = (
        sa.select(q.topic, q.partition, q.offset, q.value)
        .where(q.incarnation == newest, q.topic.in_(data_type.topics), q.state != Settled.RESOLVED, q.value.is_not(None))
        .order_by(q.id)
        .limit(SEARCHED_MOST)
    )
    with ledger.begin("read the quarantined records") as connection:
        records = connection.execute(query).all()
    found: dict[Key, Place] = {}
    for record in records:
        for token in spoken_of(bytes(record.value).decode("utf-8", "replace"), data_type, key_type):
            key = _read(key_type, token)
            if key is not None and key in keys:
                found.setdefault(key, Place(record.topic, record.partition, record.offset))
    return found


def spoken_of(text: str, data_type: DataType, key_type: KeyType) -> set[str]:
    """What may be the key in the text of a record: a uuid anywhere, anything else only in the field that holds the key.

    A number elsewhere is no key: 201 may be a project. 201.0 and 2.01e2 in its field, for which the record may be unreadable,
    are the id 201 to whoever wrote them; 201.5 is nobody's. Nothing, where the record belongs to another data type of a shared
    topic.
    """
    for path, value in data_type.match.items():
        wanted = str(value).lower() if isinstance(value, bool) else str(value)
        if (found := _in_field(text, path)) and wanted not in found:
            return set()
    if key_type.kind == "uuid":
        return set(_UUID.findall(text))
    return _in_field(text, data_type.event.key[0] if data_type.event else column_itself(data_type.source.key[0]))


def _in_field(text: str, path: str) -> set[str]:
    """The values of a JSON field, also of one within JSON text."""
    name = re.escape(path.rpartition(".")[2])
    pattern = rf'"{name}\\*"\s*:\s*(?:\\*"([^"\\]*)\\*"|({_NUMBER}|true|false))'
    return {quoted or _whole(bare) for quoted, bare in re.findall(pattern, text)}


def _whole(bare: str) -> str:
    """A number as an id is written, where it is whole."""
    if not any(sign in bare for sign in ".eE") or bare in ("true", "false"):
        return bare
    number = Decimal(bare)
    # Not larger than any id: the digits of 1e99 need not be written out.
    return str(int(number)) if number.adjusted() < _DIGITS and number == number.to_integral_value() else bare


def _read(key_type: KeyType, token: str) -> Key | None:
    try:
        return key_type.from_text(token)
    except BadKey:
        return None
