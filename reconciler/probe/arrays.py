"""PostgreSQL's binary array format, written from numpy buffers without one Python object per element."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from psycopg.abc import DumperKey
from psycopg.adapt import Buffer, Dumper, PyFormat
from psycopg.pq import Format

_INT8, _TEXT, _UUID = 20, 25, 2950
_ARRAY_OF = {_INT8: 1016, _TEXT: 1009, _UUID: 2951}
_HEAD = struct.Struct(">iiIii")  # dimensions, has nulls, element type, length, lower bound
_INT8_ITEM = np.dtype([("size", ">i4"), ("value", ">i8")])
_UUID_ITEM = np.dtype([("size", ">i4"), ("value", "S16")])


class Array:
    """A one-dimensional array parameter, already in wire format."""

    __slots__ = ("data", "oid")

    def __init__(self, element: int, count: int, items: bytes) -> None:
        self.oid = _ARRAY_OF[element]
        self.data = _HEAD.pack(1 if count else 0, 0, element, count, 1)[: None if count else 12] + items


class ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> Buffer:
        return obj.data

    def get_key(self, obj: Array, format: PyFormat) -> DumperKey:
        return (Array, obj.oid)  # type: ignore[return-value]  # any hashable does

    def upgrade(self, obj: Array, format: PyFormat) -> Dumper:
        dumper = ArrayDumper(Array)
        dumper.oid = obj.oid
        return dumper


def int8s(column: npt.NDArray[np.int64]) -> Array:
    items = np.empty(len(column), _INT8_ITEM)
    items["size"], items["value"] = 8, column
    return Array(_INT8, len(column), items.tobytes())


def uuids(column: npt.NDArray[np.bytes_]) -> Array:
    items = np.empty(len(column), _UUID_ITEM)
    items["size"], items["value"] = 16, column
    return Array(_UUID, len(column), items.tobytes())


def texts(keys: Sequence[bytes]) -> Array:
    return Array(_TEXT, len(keys), b"".join(len(key).to_bytes(4, "big") + key for key in keys))
