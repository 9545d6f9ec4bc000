"""Read one Avro record by its writer's schema, keeping only the wanted values, within bounds.

The slow, careful twin of `avro_columns`: it takes every schema (recursive ones too), gives the reason where a record is
malformed, and trusts nothing on the wire (`avro_bytes`).

Types become functions, each made when a record first gets to it: a schema may be large, or hold itself.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeAlias
from uuid import UUID

from consumer.formats.avro_bytes import Reader, astray
from consumer.formats.avro_schema import Node, zero_width
from consumer.formats.paths import Shape
from consumer.formats.times import Stamp, Unfit
from schemas.errors import BadRecord

#: Items of an array that take no bytes cannot be bounded by the bytes that remain.
MAX_EMPTY_ITEMS = 1000
_FLOATS = {"float": struct.Struct("<f"), "double": struct.Struct("<d")}


class Careful:
    """Reads records of one writer's schema, one at a time."""

    def __init__(self, node: Node, shape: Shape) -> None:
        self._types = _Types()
        self._read = self._types.step(node, shape)
        self._kept = node, shape  # steps are known by their identity

    def read(self, data: bytes, start: int) -> Any:
        """The wanted part of the record: nested dicts, other fields left out. Raises BadRecord."""
        reader = Reader(data, start)
        value = self._read(reader)
        if reader.at != reader.end:
            raise BadRecord(astray(reader.end - reader.at))
        return value


#: Read one value and go behind it; None where nobody wants it.
Step: TypeAlias = Callable[[Reader], Any]


class _Types:
    """The steps made so far, by type and by what is wanted of it."""

    def __init__(self) -> None:
        self._steps: dict[tuple[int, int | None], Step] = {}

    def step(self, node: Node, shape: Shape | None) -> Step:
        key = id(node), None if shape is None else id(shape)
        if key not in self._steps:
            self._steps[key] = self._made(node, shape)
        return self._steps[key]

    def _made(self, node: Node, shape: Shape | None) -> Step:
        match node.kind:
            case "record":
                return self._record(node, shape)
            case "union":
                return self._union(node, shape)
            case "array" | "map":
                return self._items(node, shape)
            case _:
                return _scalar(node, wanted=shape is not None)

    def _record(self, node: Node, shape: Shape | None) -> Step:
        steps: list[tuple[Step, str | None]] = []
        count = len(node.fields)

        def record(reader: Reader) -> dict[str, Any]:
            reader.enter(count)
            if len(steps) < count:
                steps[:] = [self._field(name, child, shape) for name, child in node.fields]
            found = {}
            for step, name in steps:
                value = step(reader)
                if name is not None:
                    found[name] = value
            reader.depth -= 1
            return found

        return record

    def _field(self, name: str, node: Node, shape: Shape | None) -> tuple[Step, str | None]:
        below = shape.get(name) if shape else None
        return self.step(node, below), None if below is None else name

    def _union(self, node: Node, shape: Shape | None) -> Step:
        steps: dict[int, Step] = {}
        inner = node.inner

        def union(reader: Reader) -> Any:
            branch = reader.varint()
            step = steps.get(branch)
            if step is None:
                if not 0 <= branch < len(inner):
                    raise BadRecord("a union's branch is out of range")
                step = steps[branch] = self.step(inner[branch], shape)
            return step(reader)

        return union

    def _items(self, node: Node, shape: Shape | None) -> Step:
        """Walk an array's or a map's blocks; only the wanted entries of a map are kept."""
        (item,) = node.inner
        is_map = node.kind == "map"
        empty = not is_map and zero_width(item)

        def items(reader: Reader) -> Any:
            reader.enter(0)
            unwanted = self.step(item, None)
            found: dict[str, Any] = {}
            seen = 0
            while count := _count(reader):
                seen += count
                if (count > reader.end - reader.at and not empty) or (empty and seen > MAX_EMPTY_ITEMS):
                    raise BadRecord("an array or map claims more items than the record can hold")
                reader.spend(count)
                for _ in range(count):
                    name = _name(reader, shape) if is_map else None
                    below = shape.get(name) if shape and name is not None else None
                    if below is None or name is None:
                        unwanted(reader)
                        continue
                    if name in found:
                        raise BadRecord("a map holds one wanted name twice")
                    found[name] = self.step(item, below)(reader)
            reader.depth -= 1
            return found if is_map else Unfit("a list")

        return items


def _count(reader: Reader) -> int:
    """Of the items of the block that begins here; 0: none does."""
    count = reader.varint()
    if count < 0:
        if not 0 <= reader.varint() <= reader.end - reader.at:
            raise BadRecord("a length points outside of the record")
        return -count
    return count


def _name(reader: Reader, shape: Shape | None) -> str | None:
    size = reader.varint()
    start = reader.skip(size)
    if not shape:
        return None
    name = text(reader.data[start : start + size])
    return name if isinstance(name, str) else None


def _scalar(node: Node, *, wanted: bool) -> Step:
    match node.kind:
        case "int" | "long":
            return _number(node, wanted=wanted)
        case "string" | "bytes":
            return _text(node) if wanted else _skip_text
        case "enum":
            return _enum(node.symbols)
        case "null":
            return _null
        case "boolean":
            return _boolean
        case "fixed":
            return _fixed(node, wanted=wanted)
        case kind:
            return _float(_FLOATS[kind])


def _number(node: Node, *, wanted: bool) -> Step:
    def long(reader: Reader) -> object:
        return number(node, reader.varint())

    def int_(reader: Reader) -> object:
        value = reader.varint()
        if not -(1 << 31) <= value < 1 << 31:
            raise BadRecord("an int is out of the range of 32 bits")
        return number(node, value) if wanted else None

    if node.kind == "int":
        return int_
    return long if wanted else Reader.varint


def _skip_text(reader: Reader) -> None:
    reader.skip(reader.varint())


def _text(node: Node) -> Step:
    def text_(reader: Reader) -> object:
        size = reader.varint()
        start = reader.skip(size)
        return content(node, reader.data[start : start + size])

    return text_


def _enum(symbols: tuple[str, ...]) -> Step:
    def enum(reader: Reader) -> str:
        index = reader.varint()
        if not 0 <= index < len(symbols):
            raise BadRecord("an enum's symbol is out of range")
        return symbols[index]

    return enum


def _null(_reader: Reader) -> None:
    return None


def _boolean(reader: Reader) -> bool:
    byte = reader.data[reader.skip(1)]
    if byte > 1:
        raise BadRecord("a boolean is neither 0 nor 1")
    return byte == 1


def _fixed(node: Node, *, wanted: bool) -> Step:
    def fixed(reader: Reader) -> object:
        start = reader.skip(node.size)
        return content(node, reader.data[start : start + node.size]) if wanted else None

    return fixed


def _float(form: struct.Struct) -> Step:
    def float_(reader: Reader) -> float:
        return float(form.unpack_from(reader.data, reader.skip(form.size))[0])

    return float_


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
