"""Rows that one statement takes as arrays, a column each: an UPDATE or an upsert of many rows in one round trip.

As many statements as rows would go in the driver's pipeline, or be a round trip each. Within a pipeline a server waits for
ever for who says nothing, whatever its `idle_in_transaction_session_timeout` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY


def columns(name: str, types: Mapping[str, type[sa.types.TypeEngine[Any]]]) -> sa.TableValuedAlias:
    """A table of this name and these columns, to select from; `filled` gives its rows."""
    arrays = [sa.bindparam(f"{name}_{column}", type_=ARRAY(kind)) for column, kind in types.items()]
    table = sa.func.unnest(*arrays).table_valued(*(sa.column(column, kind) for column, kind in types.items()))
    return table.render_derived(name=name)


def filled(table: sa.TableValuedAlias, rows: Iterable[Sequence[object]]) -> dict[str, list[object]]:
    """The parameters of a statement that reads these rows, of which there is at least one."""
    by_column = zip(*rows, strict=True)
    return {f"{table.name}_{column.name}": list(values) for column, values in zip(table.c, by_column, strict=True)}
