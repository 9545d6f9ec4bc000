"""Read one Avro record by its writer's schema, keeping only the wanted values, within bounds.

The slow, careful twin of `avro_columns`: it takes every schema (recursive ones too), gives the reason where a record is
malformed, and trusts nothing on the wire. Each length and count is held against the bytes that remain before anything is
done with it, so a five-byte bomb costs five bytes of work; depth is bounded, so no stack overflows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from consumer.formats.avro_schema import Node, zero_width
from consumer.formats.contract import MAX_DEPTH, MAX_VALUES
from consumer.formats.paths import Path
from consumer.formats.times import Stamp, Unfit
from schemas.errors import BadRecord

#: Items of an array that take no bytes cannot be bounded by the bytes that remain.
MAX_EMPTY_ITEMS = 1000
_FLOATS = {"float": struct.Struct("<f"), "double": struct.Struct("<d")}


class Shape(dict[str, "Shape"]):
    """The wanted paths below a point, as a tree. A leaf is an empty Shape; a name may be leaf and node at once."""

    wanted: bool = False

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Shape:
        root = cls()
        for path in paths:
            at = root
            for name in path:
                at = at.setdefault(name, cls())
            at.wanted = True
        return root


def read(data: bytes, start: int, node: Node, shape: Shape) -> Any:
    """The wanted part of the record: nested dicts, other fields left out. Raises BadRecord."""
    reader = _Reader(data, start)
    value = reader.value(node, shape, 0)
    if reader.at != len(data):
        raise BadRecord(astray(len(data) - reader.at))
    return value


def astray(left: int) -> str:
    """Why a record is refused whose fields end so many bytes before its end; negative: behind it."""
    if left < 0:
        return "the record ends before its fields do: it was cut short, or another schema wrote it"
    return f"{left} bytes are left over after the record: another schema wrote it"


class _Reader:
    __slots__ = ("at", "budget", "data", "end")

    def __init__(self, data: bytes, start: int) -> None:
        self.data, self.at, self.end = data, start, len(data)
        self.budget = MAX_VALUES

    def varint(self) -> int:
        """A zigzag number, exactly as Avro writes 64 bits: at most ten bytes."""
        data, at, value, shift = self.data, self.at, 0, 0
        while True:
            if at >= self.end:
                raise BadRecord(astray(-1))
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise BadRecord("a number is longer than 64 bits")
        if value >> 64:
            raise BadRecord("a number is longer than 64 bits")
        self.at = at
        return (value >> 1) ^ -(value & 1)

    def skip(self, size: int) -> int:
        start = self.at
        if size < 0:
            raise BadRecord("a length is negative")
        if size > self.end - start:
            raise BadRecord(astray(-1))
        self.at = start + size
        return start

    def value(self, node: Node, shape: Shape | None, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise BadRecord(f"the record nests deeper than {MAX_DEPTH}")
        self.budget -= 1
        if self.budget < 0:
            raise BadRecord(f"the record holds more than {MAX_VALUES} values")
        kind = node.kind
        if kind == "record":
            found = {}
            for name, child in node.fields:
                below = shape.get(name) if shape else None
                value = self.value(child, below, depth + 1)
                if below is not None:
                    found[name] = value
            return found
        if kind == "union":
            branch = self.varint()
            if not 0 <= branch < len(node.inner):
                raise BadRecord("a union's branch is out of range")
            return self.value(node.inner[branch], shape, depth + 1)
        if kind in ("array", "map"):
            return self.items(node, shape, depth)
        return self.scalar(node, shape is not None)

    def scalar(self, node: Node, wanted: bool) -> Any:
        kind = node.kind
        if kind in ("int", "long"):
            value = self.varint()
            if kind == "int" and not -(1 << 31) <= value < 1 << 31:
                raise BadRecord("an int is out of the range of 32 bits")
            return number(node, value) if wanted else None
        if kind in ("string", "bytes"):
            size = self.varint()
            start = self.skip(size)
            return content(node, self.data[start : start + size]) if wanted else None
        if kind == "enum":
            index = self.varint()
            if not 0 <= index < len(node.symbols):
                raise BadRecord("an enum's symbol is out of range")
            return node.symbols[index]
        if kind == "null":
            return None
        start = self.skip({"boolean": 1, "float": 4, "double": 8, "fixed": node.size}[kind])
        if kind == "boolean":
            if self.data[start] > 1:
                raise BadRecord("a boolean is neither 0 nor 1")
            return self.data[start] == 1
        if kind == "fixed":
            return content(node, self.data[start : start + node.size]) if wanted else None
        return float(_FLOATS[kind].unpack_from(self.data, start)[0]) if wanted else None

    def items(self, node: Node, shape: Shape | None, depth: int) -> Any:
        """Walk an array's or a map's blocks; only the wanted entries of a map are kept."""
        (item,) = node.inner
        is_map = node.kind == "map"
        empty = not is_map and zero_width(item)
        found: dict[str, Any] = {}
        seen = 0
        while count := self.varint():
            if count < 0:
                count = -count
                if not 0 <= self.varint() <= self.end - self.at:
                    raise BadRecord("a length points outside of the record")
            seen += count
            if (count > self.end - self.at and not empty) or (empty and seen > MAX_EMPTY_ITEMS):
                raise BadRecord("an array or map claims more items than the record can hold")
            for _ in range(count):
                name = self.name(shape) if is_map else None
                below = shape.get(name) if shape and name is not None else None
                value = self.value(item, below, depth + 1)
                if below is not None and name is not None:
                    if name in found:
                        raise BadRecord("a map holds one wanted name twice")
                    found[name] = value
        return found if is_map else Unfit("a list")

    def name(self, shape: Shape | None) -> str | None:
        size = self.varint()
        start = self.skip(size)
        if not shape:
            return None
        name = text(self.data[start : start + size])
        return name if isinstance(name, str) else None


def number(node: Node, value: int) -> object:
    if node.stamp is not None:
        return Stamp(value, *node.stamp)
    return value if node.is_plain_int else Unfit(f"a {node.logical}")


def content(node: Node, data: bytes) -> object:
    """Wanted bytes as what their schema says they are."""
    if node.kind == "string":
        return text(data)
    if node.logical == "decimal":
        if node.scale != 0 or not data:
            return Unfit("a decimal with places after its point" if data else "an empty decimal")
        return int.from_bytes(data, "big", signed=True)
    if node.logical == "uuid" and len(data) == 16:
        return UUID(bytes=data)
    return data


def text(data: bytes) -> str | Unfit:
    try:
        return data.decode()
    except UnicodeDecodeError:  # no matter, unless somebody needs it
        return Unfit("text that is not valid UTF-8")
