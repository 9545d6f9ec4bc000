"""Decode JSON by typed projection: msgspec builds only the wanted fields of each record and skips the rest.

What msgspec was seen to check in what it skips: structure, numbers, escapes, control characters, trailing bytes, and
recursion (bounded by the interpreter's own limit). What it does not check: UTF-8 in skipped text, and names given twice.
Both are checked here: UTF-8 over the whole chunk at once, and repeats by counting how often each wanted name is written
against how often it was found; only records where the counts differ are looked at one by one.

The only importer of msgspec beside `listed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from consumer.formats.columns import Mask
from consumer.formats.listed import UNSET, ListedLeaves
from consumer.formats.paths import Path, Shape, parse_json
from schemas.errors import BadRecord

_SCALAR = int | float | str | bool | None | msgspec.UnsetType
_FAILURES = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError, TypeError)
_ODD = re.compile(r'[\\"\x00-\x1f]')
#: A name of ASCII letters can be spelled with escapes; then counting its plain spelling would not see it.
_ESCAPED = re.compile(rb"\\u00[2-7]")


class Projection:
    """The typed form of the wanted fields of an object."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(dict.fromkeys(paths))
        shape = Shape.of(self.paths)
        #: a path that is wanted itself and has wanted paths below it cannot be typed, nor one of a name that msgspec refuses
        self.fits = all(not _both(below) for below in shape.values()) and not any(map(_refused, self.paths))
        self.names = frozenset(name for path in self.paths for name in path)
        self.ascii = all(name.isascii() for name in self.names)
        self.nodes: dict[Path, type] = {}
        self.fields: dict[Path, str] = {}
        self.root = self._struct(shape if self.fits else Shape(), ())
        self.decoder: Any = msgspec.json.Decoder(self.root)
        self.empty = self.root()
        #: every path on the way, grouped by its last name
        self.by_name: dict[str, list[Path]] = {}
        for path in self.fields:
            self.by_name.setdefault(path[-1], []).append(path)
        self.needles = {name: msgspec.json.encode(name) for name in self.names}
        self._inner: dict[Path, Projection] = {}

    def _struct(self, shape: Shape, path: Path) -> type:
        fields: list[tuple[str, Any, Any]] = []
        rename = {}
        for number, (name, below) in enumerate(shape.items()):
            field = f"f{number}"
            rename[field] = name
            self.fields[(*path, name)] = field
            kind: Any = _SCALAR
            if below:
                kind = self._struct(below, (*path, name)) | str | None | msgspec.UnsetType
            fields.append((field, kind, UNSET))
        built = msgspec.defstruct("Wanted", fields, rename=rename, gc=False)
        self.nodes[path] = built
        return built

    def decode(self, values: Sequence[bytes]) -> tuple[list[Any], Mask | None]:
        """One struct a record; an empty one where the record does not fit, and which those are."""
        try:
            return list(map(self.decoder.decode, values)), None
        except _FAILURES:
            return self._decode_singly(values)

    def _decode_singly(self, values: Sequence[bytes]) -> tuple[list[Any], Mask]:
        found, bad = [], np.zeros(len(values), np.bool_)
        for row, value in enumerate(values):
            try:
                found.append(self.decoder.decode(value))
            except _FAILURES:
                found.append(self.empty)
                bad[row] = True
        return found, bad

    def inner(self, values: Sequence[Any]) -> tuple[Projected, Mask | None]:
        """The same for JSON held in text fields; None is null."""
        datas = [value.encode() if type(value) is str else b"null" if value is None else b"" for value in values]
        none = [value is None for value in values]
        structs, bad = self.decode([b"{}" if data == b"null" else data for data in datas])
        structs = [None if absent else struct for absent, struct in zip(none, structs, strict=True)]
        projected = Projected(self, structs)
        bad = joined_doubts(projected, datas, b"".join(datas), bad)
        return projected, _or(bad, projected.bad)

    def below(self, path: Path) -> Projection:
        """The projection of what lies under a node."""
        if path not in self._inner:
            size = len(path)
            self._inner[path] = Projection(p[size:] for p in self.paths if len(p) > size and p[:size] == path)
        return self._inner[path]


def _refused(path: Path) -> bool:
    """Whether a column of a table has a name that no field of a struct may have."""
    return any(_ODD.search(name) for name in path)


def _both(shape: Shape) -> bool:
    return bool(shape) and (shape.wanted or any(map(_both, shape.values())))


class Projected(ListedLeaves):
    """The structs of a chunk, and the lists read from them, each once."""

    def __init__(self, projection: Projection, structs: list[Any]) -> None:
        super().__init__(len(structs), self.column)
        self.projection = projection
        self.bad: Mask | None = None  #: records whose JSON text inside could not be read
        self._columns: dict[Path, list[Any]] = {(): structs}
        self._kinds: dict[Path, set[type]] = {}
        self._opened: dict[Path, set[int]] = {}

    def column(self, path: Path) -> list[Any]:
        if path not in self._columns:
            self._columns[path] = self._read(path)
        return self._columns[path]

    def kinds(self, path: Path) -> set[type]:
        if path not in self._kinds:
            self._kinds[path] = set(map(type, self.column(path)))
        return self._kinds[path]

    def _read(self, path: Path) -> list[Any]:
        field = self.projection.fields.get(path)
        if field is None:
            return [UNSET] * self.count
        parent, struct = self.column(path[:-1]), self.projection.nodes[path[:-1]]
        get = attrgetter(field)
        if self.kinds(path[:-1]) == {struct}:
            found = list(map(get, parent))
        else:
            found = [get(value) if type(value) is struct else value for value in parent]
        if path in self.projection.nodes:
            self._open(path, found)
        return found

    def _open(self, path: Path, found: list[Any]) -> None:
        """Where an object is told as JSON text: put the object there."""
        rows = [row for row, value in enumerate(found) if type(value) is str]
        if not rows:
            return
        inside, bad = self.projection.below(path).inner([found[row] for row in rows])
        if bad is not None:
            if self.bad is None:
                self.bad = np.zeros(self.count, np.bool_)
            self.bad[np.array(rows)[bad]] = True
        struct: Any = self.projection.nodes[path]
        for row, built in zip(rows, inside.column(()), strict=True):
            # both types are made from the same names in the same order
            found[row] = struct(*(getattr(built, name) for name in built.__struct_fields__))
        self._opened[path] = set(rows)

    def written(self, path: Path) -> int:
        """In how many records' own text the field at this path stands."""
        parent, struct = self.column(path[:-1]), self.projection.nodes[path[:-1]]
        opened = [rows for above, rows in self._opened.items() if path[: len(above)] == above and above != path]
        column = self.column(path)
        if not opened and self.kinds(path[:-1]) == {struct}:
            return self.count - (column.count(UNSET) if msgspec.UnsetType in self.kinds(path) else 0)
        hidden = set().union(*opened) if opened else ()
        return sum(
            type(above) is struct and value is not UNSET and row not in hidden
            for row, (above, value) in enumerate(zip(parent, column, strict=True))
        )


def joined_doubts(found: Projected, values: Sequence[bytes], joined: bytes, bad: Mask | None) -> Mask | None:
    """Which records need a closer look: not UTF-8, or a wanted name written more often than it was found."""
    if bad is not None:
        joined = b"\n".join([value for value, odd in zip(values, bad.tolist(), strict=True) if not odd])
    if not joined.isascii():
        try:
            joined.decode()  # each record is JSON, so none begins or ends inside a character
        except UnicodeDecodeError:
            bad = _or(bad, np.array([not _is_utf8(value) for value in values], np.bool_))
    if _surprising(found, joined):
        bad = _or(bad, np.array([_repeats(value, found.projection.names) for value in values], np.bool_))
    return bad


def _surprising(found: Projected, joined: bytes) -> bool:
    projection = found.projection
    written = {name: sum(map(found.written, paths)) for name, paths in projection.by_name.items()}
    if _ESCAPED.search(joined) if projection.ascii else b"\\u" in joined:
        return True
    return any(joined.count(needle) != written[name] for name, needle in projection.needles.items())


def _repeats(value: bytes, names: frozenset[str]) -> bool:
    try:
        parse_json(value, names)
    except BadRecord:
        return True
    return False


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _or(a: Mask | None, b: Mask | None) -> Mask | None:
    return a if b is None else b if a is None else a | b
