"""What every decoder of records must do, and the bounds that hold for all of them.

A decoder turns the `RawBatch`es of a read into `Decoded`: columns of announced keys, unreadable records, the ignored counted.
It reads no broker and writes nothing; only the schema registry may be asked (`schema_source`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from schemas.data_types import DataType
from schemas.errors import BadRecord
from schemas.events import Decoded, RawBatch
from schemas.keys import KeyType

#: A larger record is set aside unread. Brokers take 1 MiB by default.
MAX_RECORD_BYTES = 16 << 20
#: Arrays, maps, records and objects inside one another.
MAX_DEPTH = 64
#: Values of one record read one by one, items of lists and entries of maps among them: a fraction of a second of work, and
#: some 20 MiB. Sixteen MiB of empty JSON lists would be half a gibibyte.
MAX_VALUES = 200_000
#: Records looked at in one step: their columns then stay in the processor's second-level cache.
CHUNK_RECORDS = 4096
#: A chunk ends earlier when its records are large, so that joining them stays cheap.
CHUNK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One data type that reads this topic."""

    name: str
    data_type: DataType
    key_type: KeyType


class Decoder(Protocol):
    """Decodes the records of one topic for all its routes."""

    #: Whether `RawBatch.timestamps` must be filled: some route has no time of its own.
    needs_timestamps: bool

    def decode(self, *batches: RawBatch) -> Decoded:
        """One batch or several, those of a partition in offset order. Never raises for a bad record.

        UnavailableError: the schema registry is away, nothing was decoded.
        """
        ...


class UnknownSchema(BadRecord):
    """No schema of that id is known: not now, perhaps later."""


class SchemaSource(Protocol):
    """Where Avro schemas are found by their id."""

    def schema(self, number: int, records: int = 1) -> tuple[str, ...]:
        """The schema's text, last; before it the schemas it refers to. `records`: how many ask for it.

        Raises UnknownSchema, BadRecord where it can never be used, UnavailableError where the source is away.
        """
        ...

    def close(self) -> None: ...
