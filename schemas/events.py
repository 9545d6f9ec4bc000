"""EventBatch: the columns that every event format decodes to.

Shapes only. Who reads records is `consumer.streams`, who decodes them `consumer.formats`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

#: An event without a time of its own, in microseconds since the epoch.
NO_TIME: int = np.iinfo(np.int64).min
#: The first bytes that are kept of a record that cannot be read.
MAX_KEPT = 1024
#: A record without a number of its own; numbers are not negative.
NO_NUMBER = -1

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Bytes8 = npt.NDArray[np.uint8]


class Op(IntEnum):
    """What an event says about its key."""

    CREATE = 1
    DELETE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBatch:
    """Records of ONE partition, in offset order, as the broker holds them.

    `values[i]` is None for a tombstone. `timestamps` are the broker's, in ms since the epoch (-1 where it has none);
    they are filled only where a reader asks for them, for they cost a tenth of the read.
    """

    topic: str
    partition: int
    offsets: Int64s
    values: Sequence[bytes | None]
    timestamps: Int64s | None = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBatch:
    """Decoded creations and deletions of ONE data type from ONE partition, in offset order.

    All columns have one length. `keys` is int64 for int keys, else a numpy `S` array of canonical key bytes
    (`schemas.keys`). `ops` holds `Op` values. `times` is microseconds since the epoch, UTC, NO_TIME where unknown.
    A record that creates and deletes at once (a key change) is two entries with one offset, the delete first.
    """

    data_type: str
    topic: str
    partition: int
    keys: npt.NDArray[Any]
    ops: Bytes8
    times: Int64s
    offsets: Int64s

    def __len__(self) -> int:
        return len(self.ops)


class Unreadable(NamedTuple):
    """One record that could not be decoded: where it is, why, and at most `MAX_KEPT` of its bytes."""

    topic: str
    partition: int
    offset: int
    reason: str
    value: bytes | None
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What some RawBatches of one topic became. Records that concern no data type, or are ignored by rule, are only counted.

    `numbers`: those of all its records that tell one, whichever data type they concern, if any; None where the settings
    name no `event.sequence`. `unnumbered`: records that said something, or could not be read, and told none.
    """

    batches: Sequence[EventBatch]
    unreadable: Sequence[Unreadable]
    ignored: int = 0
    numbers: Int64s | None = None
    unnumbered: int = 0
