"""Key types: what is accepted, what is refused and never coerced, and that every spelling finds its way back."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.errors import BadKey
from schemas.keys import INT64_MAX, INT64_MIN, MAX_KEY_BYTES, CompositeKey, Key, KeyType, key_type

INT, TEXT, UUID = key_type("int"), key_type("text"), key_type("uuid")
PAIR = key_type(["text", "text"])
MIXED = key_type(["int", "uuid", "text"])

ints = st.integers(INT64_MIN, INT64_MAX)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
tricky = st.text(st.sampled_from(["\\", "/", "\x1f", "u", "a", "\n"]), max_size=12)


# -- what is a key ----------------------------------------------------------------------------------------------------


@given(ints)
@example(INT64_MIN)
@example(INT64_MAX)
@example(2**53 + 1)
def test_an_integer_is_exact_as_number_and_as_text(value: int) -> None:
    assert INT.canonical(value) == value
    assert INT.canonical(str(value)) == value
    assert INT.from_text(INT.text(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        1.0,
        1.5,
        float("nan"),
        float("inf"),
        Decimal(1),
        None,
        "",
        "0012",
        "-0",
        "+1",
        " 1",
        "1 ",
        "1\n",
        "1e3",
        "1_000",
        "0x10",
        "12x",
        "1.0",
        "١٢",
        "-",
        b"1",
        [1],
        {"id": 1},
        1 << 63,
        -(1 << 63) - 1,
        str(1 << 63),
        str(-(1 << 63) - 1),
        "9" * 19,
        10**5000,
    ],
    ids=lambda value: repr(value)[:20] if not isinstance(value, int) or abs(value) < 1 << 70 else "huge",
)
def test_what_is_no_int64_is_refused_and_never_coerced(value: object) -> None:
    with pytest.raises(BadKey):
        INT.canonical(value)


SPELLINGS = [
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a00",
    "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A00",
    "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a00}",
    "a0eebc999c0b4ef8bb6d6bb9bd380a00",
    "{A0EEBC999C0B4EF8BB6D6BB9BD380A00}",
    uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a00"),
]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=str)
def test_all_spellings_of_a_uuid_are_one_key(spelling: object) -> None:
    assert UUID.canonical(spelling) == UUID.canonical(SPELLINGS[0])
    assert UUID.text(UUID.canonical(spelling)) == SPELLINGS[0]


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        True,
        b"a" * 16,
        "",
        "a0eebc99",
        "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
        " a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\n",
        "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "urn:uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    ],
    ids=repr,
)
def test_what_is_no_uuid_is_refused(value: object) -> None:
    with pytest.raises(BadKey):
        UUID.canonical(value)


@given(st.uuids())
@example(uuid.UUID(int=0))
@example(uuid.UUID(int=1 << 8))
def test_a_uuid_reads_back_from_its_text(value: uuid.UUID) -> None:
    key = UUID.canonical(value)
    assert UUID.text(key) == str(value)
    assert UUID.from_text(str(value)) == key


@given(texts)
@example("")
@example(" trailing ")
@example("\u00e9")
def test_text_is_kept_to_the_byte(value: str) -> None:
    assert TEXT.canonical(value) == value.encode()
    assert TEXT.from_text(TEXT.text(TEXT.canonical(value))) == value.encode()


def test_text_is_neither_folded_nor_normalised_nor_trimmed() -> None:
    spellings = ["e\u0301", "\u00e9", "\u00c9", "a", "A", "a ", " a", "ss", "ß"]
    assert len({TEXT.canonical(spelling) for spelling in spellings}) == len(spellings)


@pytest.mark.parametrize(
    "value",
    [None, 1, True, b"a", 1.5, "a\0b", "\0", "\ud800", "x" * (MAX_KEY_BYTES + 1), "é" * MAX_KEY_BYTES],
    ids=lambda value: repr(value)[:12],
)
def test_what_no_text_column_could_index_is_refused(value: object) -> None:
    with pytest.raises(BadKey):
        TEXT.canonical(value)


def test_the_longest_text_key_is_accepted() -> None:
    assert len(TEXT.of([TEXT.canonical("x" * MAX_KEY_BYTES)])) == 1


@pytest.mark.parametrize("value", [10**5000, "x" * 10_000, [[[[]]]] * 1000, "\x1b[31mred\n", "\u202egnp"], ids=type)
def test_a_refusal_shows_a_strangers_value_short_and_on_one_line(value: object) -> None:
    with pytest.raises(BadKey) as caught:
        key_type(["uuid"]).canonical([value])
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


def test_a_refusal_survives_a_value_that_cannot_be_shown() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(BadKey):
        INT.canonical(nested)


# -- bounds -----------------------------------------------------------------------------------------------------------


@given(st.lists(ints, min_size=2, max_size=2))
def test_the_bounds_of_integers_are_in_their_order_and_read_back(pair: list[int]) -> None:
    a, b = pair
    assert (INT.bound(a) < INT.bound(b)) == (a < b)
    assert INT.from_bound(INT.bound(a)) == a


@given(texts, texts)
def test_the_bounds_of_texts_are_in_bytewise_order_and_read_back(a: str, b: str) -> None:
    left, right = TEXT.canonical(a), TEXT.canonical(b)
    assert (TEXT.bound(left) < TEXT.bound(right)) == (a.encode() < b.encode())
    assert TEXT.from_bound(TEXT.bound(left)) == left


@given(st.uuids() | st.integers(0, 15).map(lambda n: uuid.UUID(int=n << 112)), st.uuids())
def test_the_bounds_of_uuids_are_in_the_servers_order_and_read_back(a: uuid.UUID, b: uuid.UUID) -> None:
    left, right = UUID.canonical(a), UUID.canonical(b)
    assert (UUID.bound(left) < UUID.bound(right)) == (a < b)
    assert UUID.bound(left) == UUID.bound(a.bytes)
    assert UUID.from_bound(UUID.bound(left)) == left


@pytest.mark.parametrize(("kind", "value"), [("int", 7), ("text", ""), ("text", "a" * 15), ("uuid", str(uuid.UUID(int=0)))])
def test_the_bound_after_a_key_sorts_just_above_it(kind: str, value: object) -> None:
    kinds = key_type(kind)
    key = kinds.canonical(value)
    after = kinds.after(key)
    assert after is not None
    assert kinds.bound(after) > kinds.bound(key)


def test_no_number_is_left_above_the_greatest() -> None:
    assert INT.after(INT64_MAX) is None
    assert INT.after(INT64_MIN) == INT64_MIN + 1


# -- composite keys ---------------------------------------------------------------------------------------------------


@given(st.tuples(tricky, tricky), st.tuples(tricky, tricky))
@example(("a", ""), ("", "a"))
@example(("a\x1fb", "c"), ("a", "b\x1fc"))
@example(("\\", "u"), ("\x1f", ""))
@example(("\\u", ""), ("\x1f", ""))
def test_two_composite_keys_are_one_only_where_all_parts_are_one(a: tuple[str, str], b: tuple[str, str]) -> None:
    assert (PAIR.canonical(a) == PAIR.canonical(b)) == (a == b)
    assert (PAIR.text(PAIR.canonical(a)) == PAIR.text(PAIR.canonical(b))) == (a == b)


@given(st.tuples(ints, st.uuids(), st.one_of(tricky, texts)))
def test_a_composite_key_splits_into_its_parts_and_reads_back_from_its_text(parts: tuple[int, uuid.UUID, str]) -> None:
    assert isinstance(MIXED, CompositeKey)
    key = MIXED.canonical(parts)
    assert MIXED.split(key) == (parts[0], UUID.canonical(parts[1]), parts[2].encode())
    assert MIXED.from_text(MIXED.text(key)) == key
    assert MIXED.of([key]).column().tolist() == [key]


@given(st.lists(st.tuples(tricky, tricky), max_size=8))
def test_a_set_of_composite_keys_tells_them_apart(parts: list[tuple[str, str]]) -> None:
    keys: list[Key] = [PAIR.canonical(p) for p in parts]
    assert set(PAIR.of(keys)) == set(keys)


@pytest.mark.parametrize(
    "value",
    [None, "a", ("a",), ("a", "b", "c"), ("a", 1), ("a", None), {"a": "b"}, ("a", "b\0"), ("x" * 1400, "y" * 1400)],
    ids=lambda value: repr(value)[:20],
)
def test_a_composite_key_with_a_wrong_part_is_refused(value: object) -> None:
    with pytest.raises(BadKey):
        PAIR.canonical(value)


@pytest.mark.parametrize("text", ["a", "a/b/c", "", "a/b\\", "\\", "a\\/b"])
def test_a_composite_text_of_other_parts_is_refused(text: str) -> None:
    with pytest.raises(BadKey):
        PAIR.from_text(text)


@pytest.mark.parametrize("kinds", ["int", "text", "uuid", ["int", "text"]], ids=str)
def test_a_type_makes_reads_and_bounds_the_empty_set(kinds: str | list[str]) -> None:
    kind: KeyType = key_type(kinds)
    assert len(kind.empty()) == 0
    assert len(kind.parse(kind.empty().serialize())) == 0
    assert len(kind.empty() | kind.empty()) == 0
    assert len(kind.empty().cut(None, None)) == 0
