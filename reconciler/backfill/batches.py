"""Cut a key set into batches in key order, and write a batch's keys as array parameters.

Pure. A batch's keys travel as one binary array per key column; in SQL they are the rows of `u(k0, k1, …, n)`, where n
counts from 1, so that an answer can be numbers instead of keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from psycopg import sql

from reconciler.probe.arrays import Array, int8s, texts, uuids
from schemas.keys import ESCAPE, SEPARATOR, Column, IntKeys, KeySet, KeyType, unescape

Mask = npt.NDArray[np.bool_]
_SQL_TYPES = {"int": sql.SQL("int8"), "uuid": sql.SQL("uuid"), "text": sql.SQL("text")}
#: Integer keys made into a column at once: 8 MB.
_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some keys of one data type, ascending."""

    number: int
    key_type: KeyType
    kinds: tuple[str, ...]
    column: Column

    def __len__(self) -> int:
        return len(self.column)

    @property
    def keys(self) -> KeySet:
        return self.key_type.keys(self.column)

    def chosen(self, mask: Mask) -> Batch:
        return self if mask.all() else replace(self, column=self.column[mask])

    def arrays(self) -> list[Array]:
        """One parameter per key column."""
        if len(self.kinds) > 1:
            return [texts(part) for part in _parts(self.column, len(self.kinds))]
        if self.kinds[0] == "int":
            return [int8s(self.column)]
        return [uuids(self.column)] if self.kinds[0] == "uuid" else [texts(self.column.tolist())]


def batches(keys: KeySet, key_type: KeyType, kinds: tuple[str, ...], *, size: int, first: int = 0) -> Iterator[Batch]:
    number = first
    for column in _columns(keys):
        for at in range(0, len(column), size):
            yield Batch(number=number, key_type=key_type, kinds=kinds, column=column[at : at + size])
            number += 1


def _columns(keys: KeySet) -> Iterator[Column]:
    if isinstance(keys, IntKeys) and len(keys) > _AT_ONCE:
        for at in range(0, len(keys), _AT_ONCE):
            yield IntKeys(keys.bits[at : at + _AT_ONCE]).column()
    else:
        yield keys.column()


def _parts(column: Column, count: int) -> list[list[bytes]]:
    rows = [key.split(SEPARATOR) for key in column.tolist()]
    parts = [[row[i] for row in rows] for i in range(count)]
    return [[unescape(item) if ESCAPE in item else item for item in part] for part in parts]


def unnested(kinds: tuple[str, ...], *more: str) -> sql.Composed:
    """`ROWS FROM (unnest(…), …) WITH ORDINALITY AS u(k0, …, n)`; `more` names text arrays that follow the key's."""
    kept = [sql.SQL("text") if len(kinds) > 1 else _SQL_TYPES[kind] for kind in kinds]
    calls = [sql.SQL("pg_catalog.unnest(%b::{}[])").format(kind) for kind in kept]
    calls += [sql.SQL("pg_catalog.unnest(%s::text[])").format() for _ in more]
    names = [*key_names(kinds), *more, "n"]
    return sql.SQL("ROWS FROM ({}) WITH ORDINALITY AS u({})").format(
        sql.SQL(", ").join(calls), sql.SQL(", ").join(map(sql.Identifier, names))
    )


def key_names(kinds: tuple[str, ...]) -> list[str]:
    return [f"k{i}" for i in range(len(kinds))]


def key_values(kinds: tuple[str, ...]) -> list[sql.Composed]:
    """The key columns' values over `u`, each of its kind's type."""
    names = [sql.Identifier("u", name) for name in key_names(kinds)]
    if len(kinds) == 1:
        return [sql.SQL("{}").format(names[0])]
    return [sql.SQL("{}::{}").format(name, _SQL_TYPES[kind]) for name, kind in zip(names, kinds, strict=True)]


def mask_of(ordinals: bytes | None, count: int) -> Mask:
    """From the packed ordinals that a statement answered."""
    mask = np.zeros(count, np.bool_)
    if ordinals:
        mask[np.frombuffer(ordinals, ">i4") - 1] = True
    return mask
