"""JSON records: plain, and Debezium's, each with or without the `{schema, payload}` envelope of Connect's JsonConverter.

A record is enveloped if it has `schema` (an object or null) and `payload` (an object or null) and none of the wanted names
at its top. Three readers, each handing on what it is not sure of: `json_forms` for records of a known form, column by
column; `json_projection` for any other; `paths.parse_json`, whole and under limits of size and depth, for the odd ones.
Integers are exact; a number with a point or an exponent is no integer, whatever its value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from consumer.formats import debezium
from consumer.formats.columns import MAX_LITERALS, Mask, Rows
from consumer.formats.gathering import Chunk, Gathering, chunks, picked
from consumer.formats.json_damage import why_unreadable
from consumer.formats.json_forms import Forms, Take, Worth
from consumer.formats.json_projection import Projected, Projection, joined_doubts
from consumer.formats.listed import UNSET
from consumer.formats.paths import LARGE, Path, find, parse_json
from consumer.formats.plan import Plan
from consumer.formats.records import Find
from schemas.errors import BadRecord
from schemas.events import Decoded, RawBatch

_ENVELOPE = ("schema", "payload")
#: So few records of a read are read one by one in less time than they are walked.
FEW = 24
#: Records of no known length and form that are more than one in this of their chunk are looked at with it.
MANY = 8
#: Those that are one in this of a read are most often damaged.
SELDOM = 64


class JsonDecoder:
    """Decodes one topic of JSON records."""

    def __init__(self, plans: Sequence[Plan], *, debezium_rules: bool) -> None:
        self.plans = tuple(plans)
        self.needs_timestamps = any(plan.broker_time for plan in plans)
        self.debezium_rules = debezium_rules
        paths = [path for plan in plans for path in plan.paths]
        self.projection = Projection(paths)
        self.names = self.projection.names | {"payload"}
        #: wanted names at the top that tell a bare record from an enveloped one
        self.roots = tuple(dict.fromkeys(path[0] for path in paths if path[0] not in _ENVELOPE))
        self.fits = self.projection.fits and all(
            len(plan.says) < MAX_LITERALS and all(len(m.literals) < MAX_LITERALS for m in plan.matches) for plan in plans
        )
        self._envelopes = _Envelopes(self.projection, self.roots) if self.roots and self.projection.fits else None
        self._enveloped_before = False
        self._forms = Forms(plans, self._example)
        self._parsing = Worth()

    def decode(self, *batches: RawBatch) -> Decoded:
        gathering = Gathering(batches, self.plans, strict=False)
        odd = [self._chunk(gathering, chunk) for chunk in chunks(gathering.values)]
        rows = np.concatenate(odd) if odd else np.zeros(0, np.int64)
        if len(rows) <= FEW:
            self._carefully(gathering, rows)
        else:
            few = len(rows) * SELDOM <= len(gathering.values)
            for chunk in picked(gathering.values, rows):
                self._others(gathering, chunk, np.arange(len(chunk.values)), few=few)
        return gathering.finish()

    def _chunk(self, gathering: Gathering, chunk: Chunk) -> Rows:
        """Judge what is of a known form. Gives the rows of the others where they are a small part: those of all chunks are
        looked at together, for most of what it costs is the same for few as for many."""
        if not self.fits:
            return self._carefully(gathering, chunk.rows)
        large = chunk.lengths > LARGE
        if large.any():  # only the careful reader bounds what they may unfold to
            none = self._carefully(gathering, chunk.rows[large])
            sound = picked(gathering.values, chunk.rows[~large])
            return np.concatenate([none, *(self._chunk(gathering, part) for part in sound)])
        doubtful: list[Rows] = []
        left = self._forms.alike(chunk, self._taking(gathering, chunk, doubtful))
        if len(left) * MANY > len(chunk.values):
            self._others(gathering, chunk, left, few=False)
            left = left[:0]
        if doubtful:
            self._carefully(gathering, np.sort(np.concatenate(doubtful)))
        return chunk.rows[left]

    def _others(self, gathering: Gathering, chunk: Chunk, left: Rows, *, few: bool) -> None:
        """Records of this chunk that are unlike the others: of another length, of another form, of none."""
        doubtful: list[Rows] = []
        parse = self._parsing.now(len(left))
        left = self._forms.others(chunk, left, self._taking(gathering, chunk, doubtful), learn=parse, few=few)
        if parse and len(left):
            unsure = self._parsed(gathering, chunk if len(left) == len(chunk.values) else _picked(chunk, left))
            self._parsing.took(len(left) - len(unsure), len(left))
            doubtful.append(unsure)
        else:
            doubtful.append(chunk.rows[left])
        self._carefully(gathering, np.sort(np.concatenate(doubtful)))

    def _taking(self, gathering: Gathering, chunk: Chunk, doubtful: list[Rows]) -> Take:
        return lambda leaves, which: doubtful.append(gathering.columns(leaves, chunk.rows[which], None))

    def _carefully(self, gathering: Gathering, rows: Rows) -> Rows:
        """Read records one by one, but for those of which it is plain that they cannot be read; gives no rows."""
        before, outlines = gathering.refused, self._forms.outlines()
        for row in rows.tolist():
            why = why_unreadable(gathering.values[row] or b"", outlines) if self.fits else None
            if why is None:
                gathering.record(row, self._open)
            else:
                gathering.refuse(row, why)
        if (gathering.refused - before) * 2 < len(rows):  # sound after all
            self._parsing.again()
            self._forms.walking.again()
        return rows[:0]

    def _parsed(self, gathering: Gathering, chunk: Chunk) -> Rows:
        """Records of no known form."""
        if self._enveloped_before and self._envelopes is not None:
            structs, outside = self._envelopes.decode(chunk.values)
            if outside is None:
                return self._judge(gathering, chunk, structs, None)
        structs, bad = self.projection.decode(chunk.values)
        outside = self._rootless(structs)
        if outside is None or self._envelopes is None:
            return self._judge(gathering, chunk, structs, bad)
        return self._mixed(gathering, chunk, structs, bad, outside)

    def _judge(self, gathering: Gathering, chunk: Chunk, structs: list[Any], bad: Mask | None) -> Rows:
        projected = Projected(self.projection, structs)
        bad = joined_doubts(projected, chunk.values, chunk.joined, bad)
        if projected.bad is not None:
            bad = projected.bad if bad is None else bad | projected.bad
        if self.debezium_rules and msgspec.UnsetType in projected.kinds(debezium.OP):
            without = np.array([op is UNSET for op in projected.column(debezium.OP)])  # bookkeeping, or flattened
            bad = without if bad is None else bad | without
        return gathering.columns(projected, chunk.rows, bad)

    def _rootless(self, structs: list[Any]) -> Mask | None:
        """Which records have no wanted name at their top; None: all have one."""
        without: Mask | None = None
        for root in self.roots:
            field = self.projection.fields[(root,)]
            absent = [getattr(struct, field) is UNSET for struct in structs]
            if not any(absent):
                return None
            without = np.array(absent) if without is None else without & np.array(absent)
            if not without.any():
                return None
        return without

    def _mixed(self, gathering: Gathering, chunk: Chunk, structs: list[Any], bad: Mask | None, outside: Mask) -> Rows:
        """Some records may be enveloped: decode those again, and judge each kind by itself."""
        assert self._envelopes is not None
        again = np.flatnonzero(outside)
        inner, misfit = self._envelopes.decode([chunk.values[row] for row in again.tolist()])
        enveloped = again if misfit is None else again[~misfit]
        self._enveloped_before = len(enveloped) * 2 > len(structs)
        kept = [struct for struct, lost in zip(inner, _flags(misfit, len(inner)), strict=True) if not lost]
        bare = np.ones(len(structs), np.bool_)
        bare[enveloped] = False
        rest = np.flatnonzero(bare)
        left = []
        if len(enveloped):
            left.append(self._judge(gathering, _picked(chunk, enveloped), kept, None))
        if len(rest):
            some = [structs[row] for row in rest.tolist()]
            left.append(self._judge(gathering, _picked(chunk, rest), some, None if bad is None else bad[rest]))
        return np.sort(np.concatenate(left))

    # -- one record ---------------------------------------------------------------------------------------------------

    def _open(self, value: bytes) -> Find | None:
        record, base = self._parse(value)
        inside = find(record, base)
        if not isinstance(inside, Mapping):
            return None  # a tombstone in an envelope
        if self.debezium_rules and "op" not in inside:
            if debezium.bookkeeping(set(inside)):
                return None
            raise BadRecord(debezium.FLATTENED)
        return lambda path: find(inside, path)

    def _parse(self, value: bytes) -> tuple[Mapping[str, Any], Path]:
        """The record, and where its own fields begin."""
        record = parse_json(value, self.names)
        if not isinstance(record, Mapping):
            raise BadRecord("the record is not a JSON object")
        return record, ("payload",) if self._is_envelope(record) else ()

    def _example(self, value: bytes) -> tuple[Any, Path] | None:
        """A record whose form may be learnt."""
        record, base = self._parse(value)
        inside = find(record, base)
        if not isinstance(inside, Mapping) or (self.debezium_rules and "op" not in inside):
            return None
        return record, base

    def _is_envelope(self, record: Mapping[str, Any]) -> bool:
        if not self.roots or any(root in record for root in self.roots):
            return False
        return all(name in record and (record[name] is None or isinstance(record[name], Mapping)) for name in _ENVELOPE)


class _Envelopes:
    """Decodes enveloped records to the same structs as bare ones."""

    def __init__(self, projection: Projection, roots: Sequence[str]) -> None:
        fields: list[tuple[str, Any, Any]] = [
            ("schema", msgspec.defstruct("Schema", [], gc=False) | None | msgspec.UnsetType, UNSET),
            ("payload", projection.root | None | msgspec.UnsetType, UNSET),
        ]
        rename = {"schema": "schema", "payload": "payload"}
        for number, root in enumerate(roots):
            fields.append((f"r{number}", msgspec.Raw | msgspec.UnsetType, UNSET))
            rename[f"r{number}"] = root
        self.type: Any = msgspec.defstruct("Enveloped", fields, rename=rename, gc=False)
        self.decoder = msgspec.json.Decoder(self.type)
        self.projection = projection
        self.roots = [f"r{number}" for number in range(len(roots))]

    def decode(self, values: Sequence[bytes]) -> tuple[list[Any], Mask | None]:
        """The structs inside, and which records are no envelopes around an object (or None: all are)."""
        found, misfit = [], []
        for value in values:
            try:
                record = self.decoder.decode(value)
            except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError, TypeError):
                record = None
            struct = self.projection.empty if record is None else self._inside(record)
            found.append(self.projection.empty if struct is None else struct)
            misfit.append(record is None or struct is None)
        return found, np.array(misfit, np.bool_) if any(misfit) else None

    def _inside(self, record: Any) -> Any:
        if record.schema is UNSET or record.payload is UNSET or record.payload is None:
            return None
        return None if any(getattr(record, root) is not UNSET for root in self.roots) else record.payload


def _flags(mask: Mask | None, count: int) -> list[bool]:
    return [False] * count if mask is None else mask.tolist()


def _picked(chunk: Chunk, which: Rows) -> Chunk:
    values = [chunk.values[row] for row in which.tolist()]
    return Chunk(chunk.rows[which], values, b"\n".join(values), chunk.lengths[which])
