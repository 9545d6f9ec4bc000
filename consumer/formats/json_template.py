"""Learn the form of JSON records from examples: what is the same in each, byte by byte, and where the values stand.

Machines write JSON by template: names, order and spacing do not change. A record that has a template's exact bytes around
its values has the example's structure, and so everything that was proved of the example by parsing it: valid JSON, no
name twice, each wanted value at its path. `json_columns` compares and reads such records column by column.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from consumer.formats.contract import MAX_DEPTH
from consumer.formats.listed import UNSET
from consumer.formats.paths import MISSING, Path, find

#: Examples with a longer form than this are not learnt: comparing would cost more than parsing.
MAX_FORM = 8192
MAX_TOKENS = 200


class Kind(IntEnum):
    """What a value may be made of."""

    WHOLE = 0  #: digits without a leading zero; its sign belongs to the fixed bytes
    FRACTION = 1  #: any digits, behind a point
    TEXT = 2  #: anything but quotes, backslashes and control characters


@dataclass(frozen=True, slots=True)
class Token:
    """One value in an example: its place, and the path it stands at (None inside an array)."""

    start: int
    end: int
    kind: Kind
    path: Path | None


class Unfit(Exception):
    """This record cannot be an example."""


_WHOLE = re.compile(rb"-?(0|[1-9][0-9]*)")
_FRACTION = re.compile(rb"\.([0-9]+)")
_SPACE = re.compile(rb"[ \t\r\n]*")
_WORD = re.compile(rb"true|false|null")
_TEXT = re.compile(rb'"([^"\\\x00-\x1f]*)"')


class Scanner:
    """Finds the values of a record. Any bytes may come: it ends on all of them, and raises Unfit where they are no JSON of
    a form that can be learnt. Whether a record is valid JSON, the parser says."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.depth = data, 0, 0
        self.tokens: list[Token] = []
        self._value(())
        self._space()
        if self.at != len(data) or len(self.tokens) > MAX_TOKENS:
            raise Unfit

    def _space(self) -> bytes:
        found = _SPACE.match(self.data, self.at)
        assert found is not None
        self.at = found.end()
        return self.data[self.at : self.at + 1]

    def _value(self, path: Path | None) -> None:
        sign = self._space()
        if sign in (b"{", b"["):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise Unfit
            self.at += 1
            self._object(path) if sign == b"{" else self._array()
            self.depth -= 1
        elif sign == b'"':
            start, self.at = self._text()
            self.tokens.append(Token(start, self.at - 1, Kind.TEXT, path))
        elif (word := _WORD.match(self.data, self.at)) is not None:
            self.at = word.end()
        else:
            self._number(path)

    def _goes_on(self, end: bytes) -> bool:
        """Behind a value: whether another one follows, or the object or array ends."""
        sign = self._space()
        if sign not in (b",", end):
            raise Unfit
        self.at += 1
        return sign == b","

    def _text(self) -> tuple[int, int]:
        found = _TEXT.match(self.data, self.at)
        if found is None:
            raise Unfit
        return found.start(1), found.end()

    def _number(self, path: Path | None) -> None:
        found = _WHOLE.match(self.data, self.at)
        if found is None:
            raise Unfit
        self.tokens.append(Token(found.start(1), found.end(), Kind.WHOLE, path))
        self.at = found.end()
        fraction = _FRACTION.match(self.data, self.at)
        if fraction is not None:
            self.tokens.append(Token(fraction.start(1), fraction.end(), Kind.FRACTION, None))
            self.at = fraction.end()
        if self.data[self.at : self.at + 1] in (b"e", b"E"):
            raise Unfit

    def _object(self, path: Path | None) -> None:
        if self._space() == b"}":
            self.at += 1
            return
        while True:
            self._space()
            start, self.at = self._text()
            name = self.data[start : self.at - 1].decode()
            if self._space() != b":":
                raise Unfit
            self.at += 1
            self._value(None if path is None else (*path, name))
            if not self._goes_on(b"}"):
                return

    def _array(self) -> None:
        if self._space() == b"]":
            self.at += 1
            return
        while True:
            self._value(None)
            if not self._goes_on(b"]"):
                return


@dataclass(frozen=True, slots=True)
class Template:
    """Fixed bytes and values in turn; `tail` are the fixed bytes at the end."""

    steps: tuple[tuple[bytes, Kind, Path | None], ...]
    tail: bytes
    #: wanted values that are fixed: text, truth, null, or UNSET where the field is not there
    constants: Mapping[Path, Any]
    examples: tuple[bytes, ...]  #: what it was learnt from


def learn(examples: Sequence[bytes], record: Any, base: Path, codes: Collection[Path], values: Collection[Path]) -> Template:
    """A template from examples of one form; `record` is the first one, parsed, and known to have no wanted name twice.

    Wanted paths start at `base`. At `codes` a value may be fixed, at `values` (keys and times) it is always read.
    Raises Unfit.
    """
    if len(examples[0]) > MAX_FORM:
        raise Unfit
    constants: dict[Path, Any] = {}
    places: dict[Path, Path] = {}
    for path in {*codes, *values}:
        found = _plain(record, (*base, *path))
        if found is MISSING or found is None or isinstance(found, bool):
            constants[path] = UNSET if found is MISSING else found
        else:
            places[(*base, *path)] = path
    scans = [Scanner(example).tokens for example in examples]
    same = _unchanging(examples, scans)
    read = {(*base, *path) for path in values}
    first, tokens = examples[0], scans[0]
    steps, at = [], 0
    for token, fixed in zip(tokens, same, strict=True):
        place = places.get(token.path) if token.path is not None else None
        if fixed and token.path not in read:
            if place is not None and token.kind is Kind.TEXT:
                constants[place] = first[token.start : token.end].decode()
                continue
            if place is None:
                continue
        _refuse_sign(first, token, place)
        steps.append((first[at : token.start], token.kind, place))
        at = token.end
    if set(places.values()) - {place for _, _, place in steps} - set(constants):
        raise Unfit
    return Template(tuple(steps), first[at:], constants, tuple(examples))


def _refuse_sign(example: bytes, token: Token, place: Path | None) -> None:
    """A wanted number must be whole and positive to be read here."""
    if place is not None and token.kind is Kind.WHOLE:
        around = example[token.start - 1 : token.start] + example[token.end : token.end + 1]
        if b"-" in around or b"." in around:
            raise Unfit


def _plain(record: Any, path: Path) -> object:
    """The value at a path, which must not lead through JSON text."""
    at = record
    for name in path:
        if isinstance(at, str):
            raise Unfit
        at = find(at, (name,))
        if at is MISSING or at is None:
            return at
    if not isinstance(at, bool | int | str):
        raise Unfit
    return at


def _unchanging(examples: Sequence[bytes], scans: Sequence[list[Token]]) -> list[bool]:
    """Which values are the same in every example."""
    if len(examples) < 2:
        return [False] * len(scans[0])
    rows = [[example[t.start : t.end] for t in tokens] for example, tokens in zip(examples, scans, strict=True)]
    return [len(set(column)) == 1 for column in zip(*rows, strict=True)]


def form(data: bytes) -> tuple[bytes, ...]:
    """Everything but the values: records of one template have it in common. Raises Unfit."""
    pieces, at = [], 0
    for token in Scanner(data).tokens:
        pieces += [data[at : token.start], bytes([token.kind])]
        at = token.end
    return (*pieces, data[at:])
