"""Canonical keys for whole columns: byte spans of a buffer, or lists of Python values, without a step per record.

Agrees with `schemas.keys`; what is not plainly right is marked unsure and left to `KeyType.canonical`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from consumer.formats.columns import Column, Mask
from schemas.errors import BadKey
from schemas.events import Int64s
from schemas.keys import ESCAPE, MAX_KEY_BYTES, SEPARATOR, KeyType, escape

Bytes = npt.NDArray[np.uint8]
_U = np.uint64
#: Bytes that must follow a buffer's last record, so that any key can be gathered by its start.
PADDING = bytes(MAX_KEY_BYTES + 16)


def gather(data: bytes, start: Int64s, width: int) -> Bytes:
    """The `width` bytes at each start, as a matrix. Every start must lie within the padded buffer."""
    windows = np.ndarray((len(data) - width + 1,), f"V{width}", data, 0, (1,))
    return windows[start].view(np.uint8).reshape(len(start), width)


def texts(data: bytes, start: Int64s, length: Int64s) -> tuple[npt.NDArray[np.bytes_], Mask | None]:
    """Text keys from spans of UTF-8."""
    if not len(start):
        return np.empty(0, "S16"), None
    longest, shortest = int(length.max()), int(length.min())
    bad: Mask | None = None
    if longest > MAX_KEY_BYTES:
        bad = length > MAX_KEY_BYTES
        length = np.where(bad, 0, length)
        longest, shortest = int(length.max()), 0
    width = max(longest, 1)
    found = gather(data, start, width)
    if shortest != width:
        found *= np.arange(width) < length[:, None]
    if np.count_nonzero(found) != int(length.sum()):  # a NUL inside
        bad = _or(bad, np.count_nonzero(found, axis=1) != length)
    column: npt.NDArray[np.bytes_] = found.view(f"S{width}").ravel()
    if found.max() >= 128:
        bad = _or(bad, _not_utf8(column))
    return column, bad


def _or(a: Mask | None, b: Mask | None) -> Mask | None:
    return a if b is None else b if a is None else a | b


def _not_utf8(column: npt.NDArray[np.bytes_]) -> Mask | None:
    values = column.tolist()
    try:  # a line end cannot be part of a longer character: all are valid together or one is not
        b"\n".join(values).decode()
    except UnicodeDecodeError:
        return np.array([not _is_utf8(value) for value in values], np.bool_)
    return None


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def uuids(data: bytes, start: Int64s, length: Int64s) -> tuple[npt.NDArray[np.bytes_], Mask | None]:
    """uuid keys from spans of the 36-character spelling in either case; any other spelling is unsure."""
    count = len(start)
    if not count:
        return np.empty(0, "S16"), None
    raw = gather(data, start, 36)
    digits = np.empty((count, 32), np.uint8)
    for at, begin, end in ((0, 0, 8), (8, 9, 13), (12, 14, 18), (16, 19, 23), (20, 24, 36)):
        digits[:, at : at + end - begin] = raw[:, begin:end]
    good = _all_hex(digits)
    for at in (8, 13, 18, 23):
        good &= raw[:, at] == 0x2D
    good &= length == 36
    column = _pack(digits).view("S16").ravel()
    return column, None if good.all() else ~good


def _all_hex(digits: Bytes) -> Mask:
    """Replace hex digits, 8 at a time, by their values; tells which rows hold nothing else."""
    words = digits.view(np.uint64)
    sixes, low = _U(0x0606060606060606), _U(0x0F0F0F0F0F0F0F0F)
    ones, cases = _U(0x0101010101010101), _U(0x2020202020202020)
    letters = (words >> _U(6)) & ones
    values = (words & low) + letters * _U(9)
    # Written out again in lower case the digits must be what was read, or its upper case.
    above = ((values + sixes) >> _U(4)) & ones
    again = values + _U(0x3030303030303030) + above * _U(39)
    same = ((words | cases) == again) & (((words | (words >> _U(1))) & cases) == cases) & ((values & ~low) == 0)
    words[...] = values
    return np.asarray(same.all(axis=1))


def _pack(nibbles: Bytes) -> Bytes:
    return np.ascontiguousarray((nibbles[:, ::2] << np.uint8(4)) | nibbles[:, 1::2])


def listed(values: Sequence[Any], key_type: KeyType) -> tuple[Column, Mask | None]:
    """Keys from decoded values, of a single column."""
    plain = _plain(values, key_type.kind)
    return plain if plain is not None else one_by_one(values, key_type)


def _plain(values: Sequence[Any], kind: str) -> tuple[Column, Mask | None] | None:
    """The whole list at once, where all of it has the expected type."""
    if len(values) and set(map(type, values)) != {int if kind == "int" else str}:
        return None
    if kind == "int":
        try:
            return np.array(values, np.int64), None
        except OverflowError:
            return None
    try:
        encoded = [value.encode() for value in values] if not (joined := "".join(values)).isascii() else None
    except UnicodeEncodeError:
        return None
    data = b"".join(encoded) if encoded is not None else joined.encode()
    length = np.fromiter(map(len, values if encoded is None else encoded), np.int64, len(values))
    start = np.cumsum(length) - length
    return (uuids if kind == "uuid" else texts)(data + PADDING, start, length)


def one_by_one(values: Sequence[Any], key_type: KeyType) -> tuple[Column, Mask | None]:
    """Some are odd: judge each; a neighbour of an odd one stays in."""
    keys: list[Any] = []
    bad = np.zeros(len(values), np.bool_)
    blank: Any = 0 if key_type.kind == "int" else b""
    for row, value in enumerate(values):
        try:
            keys.append(key_type.canonical(value))
        except BadKey:
            keys.append(blank)
            bad[row] = True
    return key_type.column(keys), bad if bad.any() else None


def composite(parts: Sequence[tuple[str, Column, Mask | None]]) -> tuple[npt.NDArray[np.bytes_], Mask | None]:
    """Composite keys from the columns of their parts, each with its kind."""
    bad: Mask | None = None
    pieces: list[list[bytes]] = []
    for kind, column, unsure in parts:
        bad = _or(bad, unsure)
        pieces.append(_piece(kind, column))
    keys = list(map(SEPARATOR.join, zip(*pieces, strict=True)))
    if not keys:
        return np.empty(0, "S16"), None
    if max(map(len, keys)) > MAX_KEY_BYTES:
        long = np.array([len(key) > MAX_KEY_BYTES for key in keys])
        bad = _or(bad, long)
        keys = [b"" if len(key) > MAX_KEY_BYTES else key for key in keys]
    return np.array(keys, "S"), bad


def _piece(kind: str, column: Column) -> list[bytes]:
    if kind == "int":
        return [b"%d" % value for value in column.tolist()]
    if kind == "uuid":
        texts = (value.ljust(16, b"\0").hex() for value in column.tolist())
        return [f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}".encode() for t in texts]
    values: list[bytes] = column.tolist()
    joined = b"".join(values)
    return list(map(escape, values)) if SEPARATOR in joined or ESCAPE in joined else values
