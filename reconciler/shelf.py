"""What the log announced of one data type, read from the ledger once and kept at hand by key range.

The compare asks for one span after another, and where keys are not given in order every segment speaks of every span: read
from the ledger each time, that is the whole ledger for each span. So it is read once, in one statement; what is compact
stays as it is, sparse keys become sorted columns of which a part can be read alone. Beyond a few megabytes all of it goes
to a temporary file without a name, so memory does not follow the ledger.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from databases.ledger import Ledger
from schemas import ledger as tables
from schemas.errors import UnavailableError
from schemas.keys import ByteKeys, IntKeys, Key, KeySet, KeyType
from schemas.ledger import Said

#: Bytes kept in memory before the temporary file is begun.
HELD_BYTES = 4 << 20
#: Integers up to this size as a bitmap are kept so: a bitmap has to be read whole.
COMPACT_BYTES = 256 << 10
#: One key in so many is remembered, so that the place of a range is known without reading.
STEP = 256

Offsets = Mapping[str, Mapping[str, list[int]]]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One segment without its keys."""

    number: int
    first_us: int | None
    last_us: int | None
    offsets: Offsets


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Some keys of a segment, all with the same last word, in one or more pieces."""

    segment: Segment
    said: Said
    number: int
    low: bytes
    high: bytes
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Where keys lie: a whole bitmap, or a sorted column of one width with every so many of its keys."""

    at: int
    size: int
    dtype: str | None = None
    marks: npt.NDArray[Any] | None = None


class Shelf:
    """Read on first use; what the ledger gets later is not seen."""

    def __init__(self, ledger: Ledger, name: str, key_type: KeyType, *only: sa.ColumnElement[bool]) -> None:
        """`only`: further conditions on `segment` and `segment_keys`, where not all of it is wanted."""
        self.ledger, self._name, self._key_type, self._only = ledger, name, key_type, only
        self._held = bytearray()
        self._size = 0
        self._file: int | None = None  # a descriptor, given back when the shelf goes
        self._read: list[Chunk] | None = None

    @property
    def chunks(self) -> list[Chunk]:
        """In the order of segments."""
        if self._read is None:
            with self.ledger.begin("read what the log announced") as connection:
                rows = self.ledger.stream(connection, self._asked(), 4)
                self._read = list(self._chunks(rows))
        return self._read

    def _asked(self) -> sa.Select[Any]:
        return _query(self._name).where(*self._only)

    def bounds(self) -> tuple[bytes, bytes] | None:
        if not self.chunks:
            return None
        return min(c.low for c in self.chunks), max(c.high for c in self.chunks)

    def range(self, low: Key | None, high: Key | None) -> Iterator[tuple[Chunk, KeySet]]:
        """The keys in [low, high) of every chunk that may hold some."""
        bound = self._key_type.bound
        least, past = (None if key is None else bound(key) for key in (low, high))
        for chunk in self.chunks:
            if (least is None or chunk.high >= least) and (past is None or chunk.low < past):
                yield chunk, self._keys(chunk, low, high)

    def whole(self, chunk: Chunk) -> KeySet:
        return self._keys(chunk, None, None)

    # -- reading ------------------------------------------------------------------------------------------------------

    def _keys(self, chunk: Chunk, low: Key | None, high: Key | None) -> KeySet:
        parts: dict[int, npt.NDArray[Any]] = {}
        for piece in chunk.pieces:
            if piece.dtype is None:
                return self._key_type.parse(self._take(piece.at, piece.size)).cut(low, high)
            column = self._column(piece, low, high)
            if column.dtype.kind == "i":
                return IntKeys.of(column).cut(low, high)
            parts[column.dtype.itemsize] = column
        return ByteKeys(parts).cut(low, high)

    def _column(self, piece: Piece, low: Key | None, high: Key | None) -> npt.NDArray[Any]:
        """A part of a sorted column that holds all of [low, high), and little more."""
        dtype = np.dtype(piece.dtype)
        count = piece.size // dtype.itemsize
        assert piece.marks is not None
        first = 0 if low is None else max(_place(piece.marks, low) - 1, 0) * STEP
        last = count if high is None else min((_place(piece.marks, high) + 1) * STEP, count)
        first = min(first, last)
        return np.frombuffer(self._take(piece.at + first * dtype.itemsize, (last - first) * dtype.itemsize), dtype)

    def _take(self, at: int, size: int) -> bytes:
        if self._file is None:
            return bytes(self._held[at : at + size])
        data = os.pread(self._file, size, at)
        if len(data) != size:
            raise UnavailableError(f"the temporary file of a compare ended at {at + len(data)}, not {at + size}")
        return data

    # -- filling ------------------------------------------------------------------------------------------------------

    def _chunks(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[Chunk]:
        segment: Segment | None = None
        for number, said, chunk, low, high, data, first_us, last_us, offsets in rows:
            if segment is None or segment.number != number:
                segment = Segment(number, first_us, last_us, offsets)
            yield Chunk(segment, Said(said), chunk, bytes(low), bytes(high), tuple(self._pieces(bytes(data))))

    def _pieces(self, data: bytes) -> Iterator[Piece]:
        if self._key_type.kind == "int":
            if len(data) <= COMPACT_BYTES:
                yield Piece(self._put(data), len(data))
            else:
                yield self._sorted(IntKeys.parse(data).column())
            return
        for column in ByteKeys.parse(data).classes.values():
            yield self._sorted(column)

    def _sorted(self, column: npt.NDArray[Any]) -> Piece:
        return Piece(self._put(column.tobytes()), column.nbytes, column.dtype.str, column[::STEP].copy())

    def _put(self, data: bytes) -> int:
        at = self._size
        try:
            if self._file is None and at + len(data) > HELD_BYTES:
                self._file = _unnamed(self)
                _write(self._file, bytes(self._held), 0)
                self._held = bytearray()
            if self._file is None:
                self._held += data
            else:
                _write(self._file, data, at)
        except OSError as error:
            raise UnavailableError(
                f"cannot write the temporary file of a compare: {error.strerror}",
                hint="set TMPDIR to a folder with room for what the log announced",
            ) from error
        self._size += len(data)
        return at


def _unnamed(owner: object) -> int:
    """The descriptor of a file without a name, closed when its owner is gone."""
    with tempfile.TemporaryFile(prefix="fencepost-") as file:
        descriptor = os.dup(file.fileno())
    weakref.finalize(owner, os.close, descriptor)
    return descriptor


def _write(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, at)
        view, at = view[done:], at + done


def _place(marks: npt.NDArray[Any], key: Key) -> int:
    """How many marks lie below a key. A bound between two keys is told a little too low, never too high."""
    if isinstance(key, int):
        return int(marks.searchsorted(np.array([min(key, (1 << 63) - 1)], np.int64))[0])
    return int(marks.searchsorted(np.array([key[: marks.dtype.itemsize]], marks.dtype))[0])


def _query(name: str) -> sa.Select[Any]:
    k, s = tables.segment_keys, tables.segment
    newest = sa.select(sa.func.max(tables.incarnation.c.id)).scalar_subquery()
    join = k.join(
        s,
        sa.and_(s.c.incarnation == k.c.incarnation, s.c.data_type == k.c.data_type, s.c.first_number == k.c.first_number),
    )
    columns = (k.c.first_number, k.c.said, k.c.chunk, k.c.low, k.c.high, k.c["keys"], s.c.first_us, s.c.last_us, s.c.offsets)
    return (
        sa.select(*columns)
        .select_from(join)
        .where(k.c.incarnation == newest, k.c.data_type == name)
        .order_by(k.c.first_number, k.c.said, k.c.chunk)
    )


def filling(ledger: Ledger, name: str) -> tuple[object, ...]:
    """What of the ledger a shelf holds: equal before and after, and nothing has come or gone in between."""
    s = tables.segment
    newest = sa.select(sa.func.max(tables.incarnation.c.id)).scalar_subquery()
    told = (sa.func.max(s.c.incarnation), sa.func.min(s.c.first_number), sa.func.max(s.c.last_number))
    with ledger.begin("look for what the log announced since") as connection:
        return tuple(connection.execute(sa.select(*told).where(s.c.incarnation == newest, s.c.data_type == name)).one())
