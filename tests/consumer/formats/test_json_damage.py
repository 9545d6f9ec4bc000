"""Damage told without parsing is what the parser tells, whatever was done to a record; what may be sound is left to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.formats.contract import MAX_DEPTH
from consumer.formats.json_damage import MAX_VALUES, Outline, why_unreadable
from consumer.formats.json_template import Unfit, learn
from consumer.formats.paths import LARGE, parse_json
from schemas.errors import BadRecord
from tests.consumer.formats.making import examples

SETTINGS = settings(max_examples=examples(300), deadline=None)
NAMES = frozenset({"op", "id"})
SCALARS = st.one_of(
    st.integers(-(10**19), 10**19), st.integers(0, 9), st.text(max_size=6), st.sampled_from([True, False, None]), st.floats()
)
NESTED = st.dictionaries(st.sampled_from(["id", "op", "a", "é"]), st.lists(SCALARS, max_size=2) | SCALARS, max_size=3)
RECORDS = st.dictionaries(st.sampled_from(["id", "op", "x", "a b"]), NESTED | SCALARS, max_size=4)
SPACE = st.sampled_from(["", " ", "\n", " \r\n\t"])
JUNK = [b"}", b"]", b'"', b"\\", b",", b" ", b"0", b"{", b"NaN", b"\xc3"]


def outlines(value: bytes) -> list[Outline]:
    """That of a record's form, if it has one."""
    try:
        return [Outline(learn([value], parse_json(value, NAMES), (), [], []))]
    except (Unfit, BadRecord):
        return []


def refusal(value: bytes) -> str | None:
    try:
        parse_json(value, NAMES)
    except BadRecord as error:
        return str(error)
    return None


def hold(value: bytes, known: list[Outline]) -> str | None:
    found = why_unreadable(value, known)
    assert found is None or found == refusal(value), value
    return found


@SETTINGS
@given(st.data())
def test_what_is_told_is_what_the_parser_tells(data: st.DataObject) -> None:
    record = data.draw(RECORDS)
    text = data.draw(SPACE) + json.dumps(record, ensure_ascii=data.draw(st.booleans())) + data.draw(SPACE)
    sound, other = text.encode(), json.dumps(data.draw(RECORDS)).encode()
    known = outlines(sound) + outlines(other)
    assert hold(sound, known) is None
    at = data.draw(st.integers(0, len(sound)))
    junk = data.draw(
        st.binary(max_size=4) | st.sampled_from([b"}", b"]", b'"', b"\\", b",", b" ", b"0", b"{", b"NaN", b"\xc3"])
    )
    hold(sound[:at], known)
    hold(sound[:at] + junk, known)
    hold(sound + junk, known)
    hold(sound[:at] + junk + sound[at:], known)
    hold(sound[:at] + junk + sound[at + 1 :], known)
    hold(sound + other, known)
    hold(sound[:at] + other, known)


SOUND = json.dumps({"op": "c", "after": {"id": 17, "by": "me"}, "at": 1.5}).encode()
FORM: dict[str, Any] = {"op": "c", "after": {"id": 1, "by": "é"}, "at": 2.25}


@pytest.mark.parametrize("known", [outlines(json.dumps(FORM).encode()), []], ids=["of a known form", "of no known form"])
def test_the_usual_damage_is_told(known: list[Outline]) -> None:
    for value in (b"", b"\x02" + SOUND[1:], b"\x05" + SOUND, b"\xff" + SOUND, SOUND[:-3] + b"\xc3", b"nonsense"[1:]):
        assert hold(value, known) is not None
    told = [hold(SOUND[:size], known) is not None for size in range(1, len(SOUND))]
    assert told == [bool(known)] * len(told)
    assert (hold(SOUND + b"\x07", known) is not None) == bool(known)


def test_what_the_parser_may_refuse_for_another_reason_is_left_to_it() -> None:
    known = outlines(SOUND)
    for value in (
        SOUND[:-1] + b',"op":1}',
        b'{"op": "c", "op": "c"',
        b'{"op": NaN, ',
        SOUND + b"[" * (MAX_DEPTH + 1),
        b"\x02" + b"[" * (MAX_DEPTH + 1),
        b"\x02" + b"1," * LARGE,
        SOUND + b" \n",
        SOUND,
    ):
        assert hold(value, known) is None


def test_a_form_of_many_values_is_left_to_the_parser() -> None:
    for count, told in ((MAX_VALUES, True), (MAX_VALUES + 1, False)):
        value = json.dumps(dict.fromkeys(map(str, range(count)), 1)).encode()
        assert (hold(value[:-1], outlines(value)) is not None) == told
