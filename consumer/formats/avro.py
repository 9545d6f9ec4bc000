"""Avro records in Confluent's wire format: a zero byte, the schema's id in four bytes, the record by its writer's schema.

No reader's schema: its defaults would turn a renamed field into id 0. Wanted fields are found by name in the writer's, and
every byte must be used up. Chunks go through `avro_columns`, odd records and schemas through `avro_records`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from consumer.formats import debezium
from consumer.formats.avro_bytes import astray
from consumer.formats.avro_columns import Program
from consumer.formats.avro_leaves import AvroLeaves
from consumer.formats.avro_records import Careful
from consumer.formats.avro_schema import parse
from consumer.formats.columns import MAX_LITERALS, Mask, Rows
from consumer.formats.contract import MAX_RECORD_BYTES, SchemaSource, UnknownSchema
from consumer.formats.gathering import Chunk, Gathering, chunks, picked
from consumer.formats.json_projection import Projection
from consumer.formats.paths import Path, Shape, find
from consumer.formats.plan import Plan
from consumer.formats.records import Find
from consumer.formats.remembered import Remembered
from schemas.errors import BadRecord
from schemas.events import Decoded, Int64s, RawBatch

#: Magic byte and schema id.
FRAME = 5
_FRAME_MASK = np.uint64((1 << 40) - 1)
_GUID_MAGIC = 1
#: Schemas kept ready, and the characters of their texts: a schema of so many types is some thirty times its text.
KEPT_SCHEMAS, KEPT_TEXT = 500, 4 << 20

#: So few records are read one by one in less time than they are walked.
FEW = 32


@dataclass(frozen=True, slots=True)
class Bound:
    """A writer's schema, made ready for this topic's plans."""

    careful: Careful
    program: Program | None
    inside: dict[Path, Projection]  #: text fields that hold JSON
    ignored: bool  #: bookkeeping of the connector's own


class AvroDecoder:
    """Decodes one topic of Avro records."""

    def __init__(self, plans: Sequence[Plan], schemas: SchemaSource, *, debezium_rules: bool) -> None:
        self.plans = tuple(plans)
        self.needs_timestamps = any(plan.broker_time for plan in plans)
        self._schemas, self._debezium_rules = schemas, debezium_rules
        self._paths = tuple(dict.fromkeys(path for plan in plans for path in plan.paths))
        #: clocks that stand in for others
        self._lazy = frozenset(c.path for plan in plans for c in plan.clocks[1:]) - {p.op for p in plans if p.op}
        self._lazy -= {path for plan in plans for path in (*plan.created, *(match.path for match in plan.matches))}
        self._lazy -= {plan.sequence for plan in plans if plan.sequence}
        self._bound = Remembered[Bound | str](count=KEPT_SCHEMAS, weight=KEPT_TEXT)
        self._columnar = all(
            len(plan.says) < MAX_LITERALS and all(len(m.literals) < MAX_LITERALS for m in plan.matches) for plan in plans
        )

    def decode(self, *batches: RawBatch) -> Decoded:
        gathering = Gathering(batches, self.plans, strict=True)
        aside: list[tuple[Bound, Rows]] = []
        for chunk in chunks(gathering.values):
            for number, group in _by_schema(chunk):
                self._group(gathering, number, group, aside)
        if aside:
            self._aside(gathering, aside)
        return gathering.finish()

    def _aside(self, gathering: Gathering, aside: Sequence[tuple[Bound, Rows]]) -> None:
        """Records of all chunks that are unlike the others: walked at once, for that costs nearly as much of few as of many."""
        rows = np.concatenate([rows for _, rows in aside])
        if len(rows) > FEW:
            for chunk in picked(gathering.values, rows):
                for number, group in _by_schema(chunk):
                    self._group(gathering, number, group, None)
            return
        for bound, some in aside:
            _singly(gathering, bound, some)

    def _group(self, gathering: Gathering, number: int | None, group: Group, aside: list[tuple[Bound, Rows]] | None) -> None:
        """Records of one schema; `number` None: records without a readable frame. `aside`: where those go that are to be
        walked apart; None: none may."""
        if number is None:
            for row in group.rows.tolist():
                gathering.refuse(row, _misframed(gathering.values[row] or b""))
            return
        bound = self._bind(number, len(group.rows))
        if isinstance(bound, str):
            for row in group.rows.tolist():
                gathering.refuse(row, bound)
            return
        if bound.ignored:
            return
        rows = group.rows if bound.program is None else self._columns(gathering, bound, bound.program, group, aside)
        _singly(gathering, bound, rows)

    def _columns(
        self, gathering: Gathering, bound: Bound, program: Program, group: Group, aside: list[tuple[Bound, Rows]] | None
    ) -> Rows:
        """Judge what fits columns; gives the rows to be read one by one."""
        cursors = program.run(group.joined, group.start + FRAME, group.end, sift=aside is not None)
        large = group.end - group.start > MAX_RECORD_BYTES
        if large.any():
            cursors.blame(large, None)
        leaves = AvroLeaves(cursors, program.kinds, bound.inside)
        elsewhere = cursors.aside
        if aside is not None and elsewhere is not None:
            aside.append((bound, group.rows[elsewhere]))
        if cursors.left is not None and program.flat and not large.any():
            refused = _refused(gathering, group, cursors.left)
            elsewhere = refused if elsewhere is None else elsewhere | refused
        return gathering.columns(leaves, group.rows, cursors.bad, elsewhere)

    def _bind(self, number: int, records: int) -> Bound | str:
        """The schema of this id, which so many records name; text: why it cannot be used. UnavailableError passes through."""
        found = self._bound.get(number)
        if found is None:
            weight = 1
            try:
                texts = self._schemas.schema(number, records)
                weight += sum(map(len, texts))
                found = self._compiled(texts)
            except UnknownSchema as error:
                return str(error)
            except BadRecord as error:
                found, weight = f"schema id {number} cannot be used: {error}", 1
            self._bound.put(number, found, weight)
        return found

    def _compiled(self, texts: Sequence[str]) -> Bound:
        node = parse(texts)
        names = {name for name, _ in node.fields}
        ignored = False
        if self._debezium_rules and node.kind == "record" and "op" not in names:
            if not debezium.bookkeeping(names):
                raise BadRecord(debezium.FLATTENED)
            ignored = True
        shape = Shape.of(self._paths)
        program = Program.of(node, shape, self._lazy) if self._columnar else None
        if program is not None and not self._found(program):
            program = None
        inside = {} if program is None else self._inside(program)
        if any(not projection.fits for projection in inside.values()):
            program = None
        return Bound(Careful(node, shape), program, inside, ignored)

    def _found(self, program: Program) -> bool:
        """Whether every needed path leads to a plain value; else `avro_records` says what is missing."""
        optional = frozenset.intersection(*(plan.optional for plan in self.plans))
        return all(
            path in program.kinds or path in optional or any(path[:size] in program.kinds for size in range(len(path)))
            for path in self._paths
        )

    def _inside(self, program: Program) -> dict[Path, Projection]:
        found: dict[Path, list[Path]] = {}
        for path in self._paths:
            for size in range(1, len(path)):
                node = program.kinds.get(path[:size])
                if node is not None:
                    found.setdefault(path[:size], []).append(path[size:])
        return {outer: Projection(paths) for outer, paths in found.items()}


def _singly(gathering: Gathering, bound: Bound, rows: Rows) -> None:
    for row in rows.tolist():
        gathering.record(row, lambda value: _opened(bound, value))


def _opened(bound: Bound, value: bytes) -> Find:
    record = bound.careful.read(value, FRAME)
    return lambda path: find(record, path)


@dataclass(frozen=True, slots=True)
class Group:
    """Some records of a chunk: their rows in the batch, and where each begins and ends in the chunk's bytes."""

    joined: bytes
    rows: Rows
    start: Int64s
    end: Int64s

    def some(self, which: Rows) -> Group:
        return Group(self.joined, self.rows[which], self.start[which], self.end[which])


def _refused(gathering: Gathering, group: Group, left: Int64s) -> Mask:
    """Refuse the records whose fields end elsewhere than they do; which those are."""
    mask = np.asarray(left != 0)
    which = np.flatnonzero(mask)
    for row, size in zip(group.rows[which].tolist(), left[which].tolist(), strict=True):
        gathering.refuse(row, astray(size))
    return mask


def _by_schema(chunk: Chunk) -> Iterator[tuple[int | None, Group]]:
    """Cut a chunk into groups of one schema id each."""
    end = np.cumsum(chunk.lengths)
    every = Group(chunk.joined, chunk.rows, end - chunk.lengths, end)
    words = np.ndarray((len(chunk.joined) - 7,), "<u8", chunk.joined, 0, (1,))
    frames = words[every.start]
    frames &= _FRAME_MASK
    if chunk.lengths.min() < FRAME:
        frames[chunk.lengths < FRAME] = 1  # no schema: its magic byte would not be 0
    frames[frames & np.uint64(0xFF) != 0] = 1
    first = int(frames[0])
    other = np.flatnonzero(frames != first)
    if not len(other):
        yield _number(first), every
        return
    yield _number(first), every.some(np.flatnonzero(frames == first))
    order = other[np.argsort(frames[other], kind="stable")]
    sorted_ = frames[order]
    cuts = [0, *(np.flatnonzero(sorted_[1:] != sorted_[:-1]) + 1).tolist(), len(order)]
    for low, high in itertools.pairwise(cuts):
        yield _number(int(sorted_[low])), every.some(order[low:high])


def _number(frame: int) -> int | None:
    """The schema's id; None where there is no frame."""
    return None if frame & 0xFF else int.from_bytes(frame.to_bytes(5, "little")[1:], "big")


def _misframed(value: bytes) -> str:
    if value[:1] == bytes([_GUID_MAGIC]):
        return "the schema is named by a GUID (magic byte 1), which is not supported; use schema ids"
    if len(value) < FRAME:
        return f"the record is {len(value)} bytes long, too short for the frame of Confluent's wire format"
    return "the record does not begin with the zero byte of Confluent's wire format"
