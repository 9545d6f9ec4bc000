"""Dotted paths into a decoded record, through nested JSON text too.

`after.payload.model_record_id` goes through `payload` whether it holds an object or a string of JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np

from consumer.formats.contract import MAX_DEPTH, MAX_RECORD_BYTES, MAX_VALUES
from schemas.errors import BadRecord
from schemas.events import Bytes8

Path = tuple[str, ...]
#: Shorter JSON cannot hold too many values: each takes two bytes, its own and a comma or bracket.
LARGE = MAX_VALUES
NO_UTF8, NO_JSON = "the JSON is not valid UTF-8", "the record is not valid JSON"


class Missing:
    """There is no field of that name where one was looked for."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


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


def split(text: str) -> Path:
    return tuple(text.split("."))


def dotted(path: Path) -> str:
    return ".".join(path)


def find(value: object, path: Path) -> object:
    """The value at a path; None where it or something above it is null; MISSING where a name is not there."""
    for name in path:
        if isinstance(value, str):
            value = text_object(value, frozenset(path))
        if value is None:
            return None
        if not isinstance(value, Mapping):
            return MISSING
        value = value.get(name, MISSING)
        if value is MISSING:
            return MISSING
    return value


def text_object(text: str, wanted: frozenset[str]) -> object:
    """JSON text inside a field."""
    try:
        return parse_json(text.encode(), wanted)
    except UnicodeEncodeError:
        raise BadRecord("a field that should hold JSON is not valid text") from None


def parse_json(data: bytes, wanted: frozenset[str]) -> Any:
    """Any JSON value, strictly: UTF-8, bounded size, depth and number of values, no NaN, no wanted name twice in one object.

    Numbers written with a point or an exponent become float, others int.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise BadRecord(f"the JSON is {len(data)} bytes long; at most {MAX_RECORD_BYTES} are read")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise BadRecord(NO_UTF8) from None
    if text.count("{") + text.count("[") > MAX_DEPTH and depth(data) > MAX_DEPTH:
        raise BadRecord(f"the JSON nests deeper than {MAX_DEPTH}")
    if len(data) > LARGE and values(data) > MAX_VALUES:
        raise BadRecord(f"the JSON holds more than {MAX_VALUES} values")
    try:
        return _strict(wanted).decode(text)
    except (ValueError, RecursionError):  # int() refuses more than 4300 digits with a ValueError as well
        raise BadRecord(NO_JSON) from None


@lru_cache(maxsize=64)
def _strict(wanted: frozenset[str]) -> json.JSONDecoder:
    """To build one costs as much as to read a small record with it."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) != len(pairs):
            seen: set[str] = set()
            for name, _ in pairs:
                if name in seen and name in wanted:
                    raise BadRecord("a name that matters stands twice in one JSON object")
                seen.add(name)
        return built

    return json.JSONDecoder(object_pairs_hook=once, parse_constant=_refuse_constant)


def _refuse_constant(_name: str) -> Any:
    raise BadRecord("NaN and Infinity are not JSON")


#: Bytes looked at in one step: cutting strings out of sixteen MiB by a pattern took hundreds of MiB.
_BLOCK = 1 << 18
#: For each sign: whether a value begins with it or behind it, and how it changes the depth.
_BEGINS, _STEPS = np.zeros(256, np.bool_), np.zeros(256, np.int8)
_BEGINS[[0x2C, 0x5B, 0x7B]], _STEPS[[0x7B, 0x5B]], _STEPS[[0x7D, 0x5D]] = True, 1, -1


def values(data: bytes) -> int:
    """How many values there are at most, told by the signs outside strings that begin or part them."""
    if data.count(b",") + data.count(b"[") + data.count(b"{") < MAX_VALUES:
        return 0
    return 1 + sum(int(np.count_nonzero(_BEGINS.take(signs))) for signs in _outside_strings(data))


def depth(data: bytes) -> int:
    """How deep brackets nest outside strings. No recursion."""
    deepest = at = 0
    for signs in _outside_strings(data):
        levels = np.cumsum(_STEPS.take(signs), dtype=np.int64) + at
        deepest, at = max(deepest, int(levels.max(initial=0))), int(levels[-1]) if len(levels) else at
    return deepest


def _outside_strings(data: bytes) -> Iterator[Bytes8]:
    """The bytes that lie in no string, block by block, with the strings' last quotes."""
    every, inside, escapes = np.frombuffer(data, np.uint8), 0, 0
    for begin in range(0, len(every), _BLOCK):
        block = every[begin : begin + _BLOCK]
        quotes = block == 0x22
        slashes = block == 0x5C
        if escapes or slashes.any():
            # How many backslashes stand right before each byte: after an odd number a quote ends nothing.
            place = np.arange(len(block))
            other = np.maximum.accumulate(np.where(slashes, -1 - escapes, place))
            before = np.concatenate([[escapes], place - other])[:-1]
            quotes &= before % 2 == 0
            escapes = int(len(block) - 1 - other[-1])
        odd = (np.cumsum(quotes) + inside) & 1
        yield block[odd == 0]
        inside = int(odd[-1])
