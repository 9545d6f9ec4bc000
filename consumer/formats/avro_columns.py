"""Read many Avro records of one schema at once: one cursor per record, one numpy step per field.

A record that is cut short, reaches into its neighbour, or was written by another schema is found and only marked here
(`cursors` says why that is sound); `avro_records` reads such records again, one by one.

A schema is compiled once into a tree of steps. Recursive schemas do not fit and are refused (`Program.of` gives None).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TypeAlias

import numpy as np

from consumer.formats.avro_schema import Node, recursive
from consumer.formats.columns import Rows
from consumer.formats.cursors import BOOL, ENUM, INT, NULL, TEXT, UNFIT, Cursors
from consumer.formats.paths import Path, Shape
from schemas.events import Int64s

#: An array with more items is left to the record-by-record reader: here each item is a step of its own.
MAX_STEPS = 64
#: A schema that unfolds to more fields goes record by record.
MAX_FIELDS = 5000
_NOTHING = Node("null")

Step: TypeAlias = Callable[[Cursors, Int64s, Rows | None], Int64s]


class Program:
    """A compiled schema and wish list."""

    def __init__(self, node: Node, shape: Shape, lazy: AbstractSet[Path]) -> None:
        #: the plain type found where a wanted path ends, or goes on inside text
        self.kinds: dict[Path, Node] = {}
        self.fits = True
        self.flat = True  #: no arrays and no maps, so that a cursor that went astray says all there is to say
        self._budget = MAX_FIELDS
        self._lazy = lazy
        self._step = self._compile(node, shape, ())

    @classmethod
    def of(cls, node: Node, shape: Shape, lazy: AbstractSet[Path] = frozenset()) -> Program | None:
        """None where the schema or the wishes do not fit columns. `lazy`: numbers that will seldom be asked for."""
        if recursive(node):
            return None
        program = cls(node, shape, lazy)
        both = any(path[:size] in program.kinds for path in program.kinds for size in range(len(path)))
        return program if program.fits and not both else None

    def run(self, data: bytes, start: Int64s, end: Int64s, *, sift: bool = False) -> Cursors:
        """Walk the records that lie between these places. `sift`: few that are unlike the others may be put aside."""
        cursors = Cursors(data, end, sift=sift)
        cursors.finish(self._step(cursors, cursors.of_common_length(start), None))
        return cursors

    def _compile(self, node: Node, shape: Shape | None, path: Path) -> Step:
        self._budget -= 1
        if self._budget < 0:  # types that refer to types can unfold without end
            self.fits = False
        if not self.fits:
            return _skipper(_NOTHING)
        if node.kind == "record":
            if shape is not None and shape.wanted:
                self.fits = False
            return _record([self._compile(child, shape.get(name) if shape else None, (*path, name))
                            for name, child in node.fields])  # fmt: skip
        if node.kind == "union":
            return self._union(node, shape, path)
        if node.kind in ("array", "map"):
            self.fits &= shape is None
            self.flat = False
            (item,) = node.inner
            return _items(self._compile(item, None, path), is_map=node.kind == "map")
        if shape is None or (node.kind == "null" and not shape.wanted):
            return _skipper(node)
        known = self.kinds.setdefault(path, node) if node.kind != "null" else node
        if (known.kind, known.logical, known.scale, known.symbols) != (node.kind, node.logical, node.scale, node.symbols):
            self.fits = False  # one path of two types: rare, and told apart record by record
        return _lazy_keeper(path) if node.kind == "long" and path in self._lazy else _keeper(node, path)

    def _union(self, node: Node, shape: Shape | None, path: Path) -> Step:
        steps = [self._compile(branch, shape, path) for branch in node.inner]
        if shape is None and [branch.kind for branch in node.inner] in (["null", "string"], ["null", "bytes"]):
            return _skip_optional_text
        if shape is None and [branch.kind for branch in node.inner] == ["null", "long"]:
            return _skip_optional_number(self._union_of(steps, []))

        return self._union_of(steps, _paths(shape, path) if shape is not None else [])

    @staticmethod
    def _union_of(steps: list[Step], below: list[Path]) -> Step:
        same = min(2 * len(steps), 128)

        def union(cursors: Cursors, pos: Int64s, rows: Rows | None) -> Int64s:
            byte = cursors.byte(pos)
            first = int(byte[0])
            if first < same and not first & 1 and (byte == first).all():
                return steps[first >> 1](cursors, pos + 1, rows)
            first = int(np.bincount(byte).argmax())
            if first < same and not first & 1:
                alike = cursors.put_aside(byte != first, pos, rows)
                if alike is not None:
                    return steps[first >> 1](cursors, alike + 1, rows)
            branch, pos = cursors.unsigned(pos, rows)
            wrong = ((branch & branch.dtype.type(1)) != 0) | (branch >= 2 * len(steps))
            if wrong.any():
                cursors.blame(wrong, rows, pos)
            for path in below:
                cursors.expect(path)
            for number, step in enumerate(steps):
                chosen = np.flatnonzero(branch == 2 * number)
                if len(chosen):
                    pos[chosen] = step(cursors, pos[chosen], chosen if rows is None else rows[chosen])
            return pos

        return union


def _paths(shape: Shape, path: Path) -> list[Path]:
    found = [path] if shape.wanted else []
    for name, below in shape.items():
        found += _paths(below, (*path, name))
    return found


def _record(steps: list[Step]) -> Step:
    def record(cursors: Cursors, pos: Int64s, rows: Rows | None) -> Int64s:
        for step in steps:
            pos = step(cursors, pos, rows)
        return pos

    return record


def _skipper(node: Node) -> Step:
    kind = node.kind
    if kind == "long":
        return Cursors.skip_number
    if kind in ("string", "bytes"):
        return _skip_text
    if kind in ("int", "enum", "boolean"):
        return _checked(node)
    size = {"null": 0, "float": 4, "double": 8, "fixed": node.size}[kind]
    return lambda _cursors, pos, _rows: pos + size


def _skip_text(cursors: Cursors, pos: Int64s, rows: Rows | None) -> Int64s:
    size, pos = cursors.length(pos, rows)
    return pos + size


_LENGTH = np.arange(256) >> 1


def _skip_optional_text(cursors: Cursors, pos: Int64s, rows: Rows | None) -> Int64s:
    """A nullable text: the commonest union, and short enough to go without cutting the records into branches."""
    branch = cursors.byte(pos)
    after = pos + 1
    size = cursors.byte(after)
    size *= branch >> 1  # of a null it is no length, but the next field
    if not np.bitwise_or.reduce(branch) & 253 and not np.bitwise_or.reduce(size) & 129:
        after += _LENGTH.take(size)
        after += branch >> 1
        return after
    alike = cursors.put_aside(((branch & 253) | (size & 129)) != 0, pos, rows)
    return _general_optional_text(cursors, pos, rows) if alike is None else _skip_optional_text(cursors, alike, rows)


def _skip_optional_number(general: Step) -> Step:
    def skip(cursors: Cursors, pos: Int64s, rows: Rows | None) -> Int64s:
        after = cursors.skip_optional_number(pos, rows)
        return general(cursors, pos, rows) if after is None else after

    return skip


def _general_optional_text(cursors: Cursors, pos: Int64s, rows: Rows | None) -> Int64s:
    branch, pos = cursors.unsigned(pos, rows)
    wrong = (branch != 0) & (branch != 2)
    if wrong.any():
        cursors.blame(wrong, rows, pos)
    chosen = np.flatnonzero(branch == 2)
    if len(chosen):
        pos[chosen] = _skip_text(cursors, pos[chosen], chosen if rows is None else rows[chosen])
    return pos


def _checked(node: Node, path: Path | None = None) -> Step:
    """An int, enum or boolean: its range is checked whether it is wanted or not."""
    if node.kind == "boolean":
        low, high, tag = 0, 2, BOOL
    elif node.kind == "enum":
        low, high, tag = 0, len(node.symbols), ENUM
    else:
        low, high, tag = -(1 << 31), 1 << 31, INT

    def step(cursors: Cursors, pos: Int64s, rows: Rows | None) -> Int64s:
        if tag == BOOL:
            value, pos = cursors.bytes.take(pos, mode="clip").astype(np.int64), pos + 1
        else:
            value, pos = cursors.number(pos, rows)
        if len(value) and not (low <= value.min() and value.max() < high):
            cursors.blame((value < low) | (value >= high), rows, pos)
        if path is not None:
            cursors.keep(path, tag, value, rows)
        return pos

    return step


def _lazy_keeper(path: Path) -> Step:
    def keep_place(cursors: Cursors, pos: Int64s, rows: Rows | None) -> Int64s:
        cursors.keep(path, INT, pos, rows)
        cursors.leaves[path].lazy = True
        return cursors.skip_number(pos, rows)

    return keep_place


def _keeper(node: Node, path: Path) -> Step:
    kind = node.kind
    if kind in ("int", "enum", "boolean"):
        return _checked(node, path)
    if kind == "long":

        def keep_long(cursors: Cursors, pos: Int64s, rows: Rows | None) -> Int64s:
            value, pos = cursors.number(pos, rows)
            cursors.keep(path, INT, value, rows)
            return pos

        return keep_long
    if kind == "string":

        def keep_text(cursors: Cursors, pos: Int64s, rows: Rows | None) -> Int64s:
            size, pos = cursors.length(pos, rows)
            cursors.keep(path, TEXT, pos, rows, size)
            return pos + size

        return keep_text
    skip, tag = _skipper(node), NULL if kind == "null" else UNFIT

    def keep_tag(cursors: Cursors, pos: Int64s, rows: Rows | None) -> Int64s:
        cursors.keep(path, tag, pos, rows)
        return skip(cursors, pos, rows)

    return keep_tag


def _items(item: Step, *, is_map: bool) -> Step:
    """An array or a map, nothing of which is wanted: walk all records' first items, then the second ones, and so on."""

    def items(cursors: Cursors, pos: Int64s, rows: Rows | None) -> Int64s:
        pos = pos.copy()
        active = np.arange(len(pos))
        left = np.zeros(len(pos), np.int64)
        for _ in range(MAX_STEPS + 1):
            fresh = active[left[active] == 0]
            if len(fresh):
                active = _next_block(cursors, pos, rows, active, fresh, left)
            if not len(active):
                return pos
            mine = active if rows is None else rows[active]
            at = pos[active]
            if is_map:
                at = _skip_text(cursors, at, mine)
            pos[active] = item(cursors, at, mine)
            left[active] -= 1
        too_long = np.zeros(len(pos), np.bool_)
        too_long[active] = True
        cursors.blame(too_long, rows)
        return pos

    return items


def _next_block(cursors: Cursors, pos: Int64s, rows: Rows | None, active: Rows, fresh: Rows, left: Int64s) -> Rows:
    """Read the count of the next block where one begins; gives the records that still have items."""
    mine = fresh if rows is None else rows[fresh]
    count, at = cursors.number(pos[fresh], mine)
    sized = np.flatnonzero(count < 0)
    if len(sized):
        size, at[sized] = cursors.length(at[sized], mine[sized])
        outside = size > cursors.end[mine[sized]] - at[sized]  # of no use to us, but no sound record has it
        if outside.any():
            cursors.blame(outside, mine[sized])
    pos[fresh], left[fresh] = at, np.abs(count)
    too_many = left[fresh] > MAX_STEPS  # a bomb, or a long list: both are the careful reader's
    too_many |= count == np.iinfo(np.int64).min
    if too_many.any():
        cursors.blame(too_many, mine)
        left[fresh[too_many]] = 0
    return active[left[active] > 0]
