"""The bytes of one Avro record, read one value after the other within bounds.

Each length is held against the bytes that remain before anything is done with it, so a five-byte bomb costs five bytes of
work; depth is bounded, so no stack overflows.
"""

from __future__ import annotations

from consumer.formats.contract import MAX_DEPTH, MAX_VALUES
from schemas.errors import BadRecord


def astray(left: int) -> str:
    """Why a record is refused whose fields end so many bytes before its end; negative: behind it."""
    if left < 0:
        return "the record ends before its fields do: it was cut short, or another schema wrote it"
    return f"{left} bytes are left over after the record: another schema wrote it"


class Reader:
    """A place in one record's bytes, and how much more may be read."""

    __slots__ = ("at", "budget", "data", "depth", "end")

    def __init__(self, data: bytes, start: int) -> None:
        self.data, self.at, self.end = data, start, len(data)
        self.budget, self.depth = MAX_VALUES, 0

    def varint(self) -> int:
        """A zigzag number."""
        at = self.at
        if at < self.end and (byte := self.data[at]) < 0x80:
            self.at = at + 1
            return (byte >> 1) ^ -(byte & 1)
        return self._long()

    def _long(self) -> int:
        """Exactly as Avro writes 64 bits: at most ten bytes."""
        data, at, end, value, shift = self.data, self.at, self.end, 0, 0
        while at < end:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise BadRecord("a number is longer than 64 bits")
        else:
            raise BadRecord(astray(-1))
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

    def enter(self, values: int) -> None:
        """Go into a value that is made of so many."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BadRecord(f"the record nests deeper than {MAX_DEPTH}")
        self.spend(values)

    def spend(self, values: int) -> None:
        self.budget -= values
        if self.budget < 0:
            raise BadRecord(f"the record holds more than {MAX_VALUES} values")
