"""Key types: how one declared key is checked, made canonical, stored and printed.

Integers are int64; uuid, text and composite keys are canonical byte strings that never end in NUL. No coercion: a key of
the wrong type is BadKey. Sets of canonical keys are `schemas.key_sets`, offered here too.

A new key type is one class here with an entry in `key_type`; databases learn to send it in `reconciler.probe`.
"""

from __future__ import annotations

import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from schemas.errors import BadKey
from schemas.key_sets import (
    BIAS,
    BITS_END,
    INT64_MAX,
    INT64_MIN,
    UUID_BYTES,
    WIDTHS,
    ByteKeys,
    Column,
    IntKeys,
    Key,
    KeySet,
    by_width,
    width_of,
)

__all__ = [
    "BIAS",
    "BITS_END",
    "ESCAPE",
    "INT64_MAX",
    "INT64_MIN",
    "MAX_KEY_BYTES",
    "SEPARATOR",
    "UUID_BYTES",
    "WIDTHS",
    "ByteKeys",
    "Column",
    "CompositeKey",
    "IntKey",
    "IntKeys",
    "Key",
    "KeySet",
    "KeyType",
    "TextKey",
    "UuidKey",
    "by_width",
    "checked_bytes",
    "escape",
    "key_type",
    "unescape",
    "width_of",
]

#: Longest canonical key in bytes. A PostgreSQL btree entry holds at most 2704 (nbtree, BTMaxItemSize on 8 kB pages).
MAX_KEY_BYTES = 2704


class KeyType(ABC):
    """How one declared key is checked, stored and printed."""

    kind: ClassVar[str]

    @abstractmethod
    def canonical(self, value: object) -> Key:
        """Check one decoded value and make it canonical. Raises BadKey, never coerces."""

    @abstractmethod
    def column(self, keys: Sequence[Key]) -> Column:
        """Canonical keys as a column of this type."""

    @abstractmethod
    def keys(self, column: Column) -> KeySet:
        """The set of a column's keys."""

    @abstractmethod
    def parse(self, data: bytes) -> KeySet:
        """Read back what `KeySet.serialize` wrote."""

    @abstractmethod
    def text(self, key: Key) -> str:
        """As reports print it. `from_text` is its inverse."""

    @abstractmethod
    def from_text(self, text: str) -> Key:
        """Read a key as an operator or a report writes it. Raises BadKey."""

    def bound(self, key: Key) -> bytes:
        """Order-preserving bytes, for the ledger's range columns."""
        assert isinstance(key, bytes)
        return key

    def from_bound(self, data: bytes) -> Key:
        return data

    def after(self, key: Key) -> Key | None:
        """The bound just above a key, so that [key, after) holds it alone; None where no number is left above it."""
        assert isinstance(key, bytes)
        return key.ljust(UUID_BYTES, b"\0") + b"\0"

    def empty(self) -> KeySet:
        return self.keys(self.column([]))

    def of(self, keys: Iterable[Key]) -> KeySet:
        return self.keys(self.column(list(keys)))

    def texts(self, keys: KeySet, limit: int | None = None) -> list[str]:
        return [self.text(key) for key in islice(keys, limit)]


_INT_TEXT = re.compile(r"-?(0|[1-9][0-9]{0,18})\Z", re.ASCII)


class IntKey(KeyType):
    """A signed 64-bit integer. JSON numbers and decimal text without sign games or leading zeros."""

    kind = "int"

    def canonical(self, value: object) -> int:
        if type(value) is str and _INT_TEXT.match(value) and value != "-0":
            value = int(value)
        if type(value) is not int:
            raise BadKey(f"a key must be an integer, not {_show(value)}")
        if not INT64_MIN <= value <= INT64_MAX:
            raise BadKey(f"the key {_show(value)} does not fit 64 bits with sign")
        return value

    def column(self, keys: Sequence[Key]) -> npt.NDArray[np.int64]:
        return np.array(keys, np.int64)

    def keys(self, column: Column) -> IntKeys:
        return IntKeys.of(column)

    def parse(self, data: bytes) -> IntKeys:
        return IntKeys.parse(data)

    def text(self, key: Key) -> str:
        return str(key)

    def from_text(self, text: str) -> int:
        return self.canonical(text)

    def bound(self, key: Key) -> bytes:
        return (int(key) + BIAS).to_bytes(8, "big")

    def from_bound(self, data: bytes) -> int:
        return int.from_bytes(data, "big") - BIAS

    def after(self, key: Key) -> int | None:
        return None if int(key) == INT64_MAX else int(key) + 1


class _BytesKey(KeyType):
    def column(self, keys: Sequence[Key]) -> npt.NDArray[np.bytes_]:
        if not keys:
            return np.empty(0, "S16")
        return np.array(keys, "S")

    def keys(self, column: Column) -> ByteKeys:
        return ByteKeys.of(column)

    def parse(self, data: bytes) -> ByteKeys:
        return ByteKeys.parse(data)


class UuidKey(_BytesKey):
    """A uuid in any spelling PostgreSQL and RFC 9562 share: lower case with hyphens outside, raw bytes inside.

    The raw bytes are kept without the zero bytes at their end, as an `S` array gives them back: else one uuid in 256 would
    be another key before it went into a set than after. PostgreSQL's order of uuids is kept.
    """

    kind = "uuid"
    _SPELLING = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\Z", re.ASCII | re.I)

    def canonical(self, value: object) -> bytes:
        if isinstance(value, uuid.UUID):
            return value.bytes.rstrip(b"\0")
        if type(value) is str:
            inner = value[1:-1] if value.startswith("{") and value.endswith("}") else value
            if self._SPELLING.match(inner):
                return bytes.fromhex(inner.replace("-", "")).rstrip(b"\0")
        raise BadKey(f"a key must be a uuid, not {_show(value)}")

    def column(self, keys: Sequence[Key]) -> npt.NDArray[np.bytes_]:
        return np.array(keys, "S16") if keys else np.empty(0, "S16")

    def bound(self, key: Key) -> bytes:
        assert isinstance(key, bytes)
        return key.rstrip(b"\0") if len(key) == UUID_BYTES else key

    def text(self, key: Key) -> str:
        assert isinstance(key, bytes)
        return str(uuid.UUID(bytes=key.ljust(16, b"\0")))

    def from_text(self, text: str) -> bytes:
        return self.canonical(text)


class TextKey(_BytesKey):
    """Text as PostgreSQL stores it, compared bytewise: never trimmed, folded or normalised."""

    kind = "text"

    def canonical(self, value: object) -> bytes:
        if type(value) is not str:
            raise BadKey(f"a key must be text, not {_show(value)}")
        try:
            data = value.encode()
        except UnicodeEncodeError:
            raise BadKey("the key is not valid UTF-8 text") from None
        return checked_bytes(data)

    def text(self, key: Key) -> str:
        assert isinstance(key, bytes)
        return key.decode()

    def from_text(self, text: str) -> bytes:
        return self.canonical(text)


def checked_bytes(data: bytes) -> bytes:
    """Refuse what no PostgreSQL text key can be."""
    if b"\0" in data:
        raise BadKey("the key holds a NUL character, which PostgreSQL text cannot")
    if len(data) > MAX_KEY_BYTES:
        raise BadKey(f"the key is {len(data)} bytes long; an index entry holds at most {MAX_KEY_BYTES}")
    return data


#: Parts of a composite key are joined by the unit separator; it and the escape are themselves escaped.
#: `reconciler.probe` writes the same form in SQL: replace(replace(part, '\', '\\'), chr(31), '\u').
SEPARATOR, ESCAPE = b"\x1f", b"\\"


_PIECE = r"(?:[^\\/]|\\.)*"
_PIECES = re.compile(rf"{_PIECE}(?:/{_PIECE})*", re.S)


class CompositeKey(_BytesKey):
    """Several columns, each of its own type, joined without ambiguity. Printed as `part/part`, with `\\` and `/` escaped."""

    kind = "composite"

    def __init__(self, parts: Sequence[KeyType]) -> None:
        self.parts = tuple(parts)

    def canonical(self, value: object) -> bytes:
        if not isinstance(value, tuple | list) or len(value) != len(self.parts):
            raise BadKey(f"a key must have {len(self.parts)} parts, not {_show(value)}")
        texts = (part.text(part.canonical(item)) for part, item in zip(self.parts, value, strict=True))
        return checked_bytes(SEPARATOR.join(escape(text.encode()) for text in texts))

    def split(self, key: bytes) -> tuple[Key, ...]:
        """The canonical parts of one canonical key."""
        pieces = (unescape(piece).decode() for piece in key.split(SEPARATOR))
        return tuple(part.from_text(piece) for part, piece in zip(self.parts, pieces, strict=True))

    def text(self, key: Key) -> str:
        assert isinstance(key, bytes)
        texts = [unescape(piece).decode() for piece in key.split(SEPARATOR)]
        return "/".join(text.replace("\\", "\\\\").replace("/", "\\/") for text in texts)

    def from_text(self, text: str) -> bytes:
        if not _PIECES.fullmatch(text):
            raise BadKey(f"a backslash at the end stands before nothing: {_show(text)}")
        pieces = [re.sub(r"\\(.)", r"\1", piece, flags=re.S) for piece in re.findall(rf"(?:^|/)({_PIECE})", text, re.S)]
        return self.canonical(tuple(pieces))


def escape(part: bytes) -> bytes:
    return part.replace(ESCAPE, b"\\\\").replace(SEPARATOR, b"\\u")


def unescape(part: bytes) -> bytes:
    return re.sub(rb"\\(.)", lambda m: SEPARATOR if m[1] == b"u" else m[1], part, flags=re.S)


def key_type(kinds: str | Sequence[str]) -> KeyType:
    """The key type of one column (`int`, `uuid`, `text`) or of several."""
    if isinstance(kinds, str):
        return _KINDS[kinds]
    return CompositeKey([_KINDS[kind] for kind in kinds])


_KINDS: dict[str, KeyType] = {"int": IntKey(), "uuid": UuidKey(), "text": TextKey()}


def _show(value: object) -> str:
    """A stranger's value, short and harmless, for a message."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, lists nested beyond reason
        text = "too long to show"
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:40] + '…'}"
