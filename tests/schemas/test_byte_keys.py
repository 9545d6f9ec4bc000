"""ByteKeys held to Python sets: all widths, the empty text, uuids that end in zero bytes."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas import key_sets as key_sets_module
from schemas.key_sets import joined
from schemas.keys import MAX_KEY_BYTES, WIDTHS, ByteKeys, KeySet, UuidKey, key_type

TEXT, UUID = key_type("text"), UuidKey()
EDGES = sorted({0, 1, MAX_KEY_BYTES, *(w + step for w in WIDTHS if w < MAX_KEY_BYTES for step in (-1, 0, 1))})

letters = st.sampled_from(["a", "b", "\x01", "\x7f", "é", "\uffff", "\U0001f600"])
short = st.text(letters, max_size=40).map(str.encode)
#: Keys of one letter share long prefixes, and sit on every border between width classes.
long = st.builds(lambda letter, length: letter * length, st.sampled_from([b"a", b"b"]), st.sampled_from(EDGES))
keys_of_any_width = st.one_of(short, long)
key_sets = st.sets(keys_of_any_width, max_size=14)


def of(keys: Iterable[bytes]) -> ByteKeys:
    got = TEXT.of(keys)
    assert isinstance(got, ByteKeys)
    return got


@given(st.lists(keys_of_any_width, max_size=14))
def test_a_set_holds_its_keys_once_in_bytewise_order(keys: list[bytes]) -> None:
    got = of(keys + keys)
    assert list(got) == sorted(set(keys)) == got.column().tolist()
    assert len(got) == len(set(keys))
    assert isinstance(got, KeySet)


@given(key_sets, key_sets)
def test_the_algebra_is_that_of_sets(a: set[bytes], b: set[bytes]) -> None:
    assert set(of(a) | of(b)) == a | b
    assert set(of(a) & of(b)) == a & b
    assert set(of(a) - of(b)) == a - b
    assert (of(a) == of(b)) == (a == b)


#: The first eight bytes tell some apart and others not.
alike = st.builds(lambda head, tail: head * 8 + tail, st.sampled_from([b"a", b"b", b"c"]), st.binary(min_size=1, max_size=2))


@given(st.sets(alike, max_size=60), st.sets(alike, max_size=4), st.sets(alike, max_size=4), st.sampled_from([1, 3, 2048]))
@settings(max_examples=300)
def test_sets_that_differ_in_a_handful_of_keys_differ_in_exactly_those(
    both: set[bytes], ours: set[bytes], theirs: set[bytes], few: int
) -> None:
    a, b = ({key.rstrip(b"\0") for key in both | own} for own in (ours, theirs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_sets_module, "FEW", few)
        assert set(of_bytes(a) - of_bytes(b)) == a - b
        assert set(of_bytes(b) - of_bytes(a)) == b - a
        assert set(of_bytes(a) & of_bytes(b)) == a & b


@given(st.lists(st.sets(alike, max_size=5), min_size=1, max_size=30), st.sampled_from([1, 12]))
def test_however_many_sets_are_joined_nothing_is_lost_or_doubled(sets: list[set[bytes]], many: int) -> None:
    plain = [{key.rstrip(b"\0") for key in keys} for keys in sets]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_sets_module, "MANY_RUNS", many)
        assert list(joined([of_bytes(keys) for keys in plain])) == sorted(set().union(*plain))


def of_bytes(keys: set[bytes]) -> ByteKeys:
    return ByteKeys.of(np.array(sorted(keys), "S16"))


@given(key_sets, st.none() | keys_of_any_width, st.none() | keys_of_any_width)
@example({b"", b"a"}, b"", b"a")
@example({b"a" * 16, b"a" * 17}, b"a" * 17, None)
@example({b"a" * 16, b"a" * 17, b"a" * 18}, None, b"a" * 17)
@settings(max_examples=300)
def test_a_cut_is_half_open_and_bytewise_at_every_bound(keys: set[bytes], low: bytes | None, high: bytes | None) -> None:
    wanted = {k for k in keys if (low is None or k >= low) and (high is None or k < high)}
    assert set(of(keys).cut(low, high)) == wanted


@given(key_sets.filter(bool), st.data())
def test_the_bound_after_a_key_lies_between_it_and_all_that_follow(keys: set[bytes], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(keys)))
    after = TEXT.after(key)
    assert set(of(keys).cut(key, after)) == {key}
    assert set(of(keys).cut(None, after)) == {k for k in keys if k <= key}
    assert set(of(keys).cut(after, None)) == {k for k in keys if k > key}


@given(key_sets)
def test_what_is_serialised_reads_back_the_same(keys: set[bytes]) -> None:
    back = ByteKeys.parse(of(keys).serialize())
    assert back == of(keys)
    assert set(back) == keys


@given(key_sets.filter(bool))
def test_least_and_greatest_are_those_of_the_set(keys: set[bytes]) -> None:
    assert (of(keys).min(), of(keys).max()) == (min(keys), max(keys))


@given(key_sets, keys_of_any_width)
def test_membership_is_that_of_the_set(keys: set[bytes], key: bytes) -> None:
    assert (key in of(keys)) == (key in keys)
    assert all(k in of(keys) for k in keys)


@pytest.mark.parametrize("stranger", ["a", 97, None, bytearray(b"a"), b"a" * 5000])
def test_what_is_no_key_is_in_no_set(stranger: object) -> None:
    assert stranger not in of([b"a"])


def test_the_empty_text_is_a_key_like_any_other() -> None:
    assert b"" in of([b"", b"a"])
    assert b"" not in of([b"a"])
    assert list(of([b""])) == [b""]
    assert list(of([b"", b"a"]) - of([b""])) == [b"a"]


def test_the_empty_set_has_no_least_key_and_no_column() -> None:
    nothing = ByteKeys()
    assert not len(nothing)
    assert nothing.column().tolist() == []
    assert ByteKeys.parse(nothing.serialize()) == nothing
    with pytest.raises(ValueError, match=r"(?i)empty"):
        nothing.min()


def test_one_long_key_does_not_widen_ten_thousand_short_ones() -> None:
    keys = of([b"%d" % n for n in range(10_000)] + [b"x" * MAX_KEY_BYTES])
    assert sum(a.nbytes for a in keys.classes.values()) < 200_000


# -- uuids: raw bytes, whose last may be zero -------------------------------------------------------------------------

zero_ended = st.builds(
    lambda head, zeros: uuid.UUID(bytes=(head[: 16 - zeros] + bytes(16))[:16]),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 16),
)
uuid_sets = st.sets(st.one_of(st.uuids(), zero_ended), max_size=20)


def uuids(keys: Iterable[uuid.UUID]) -> KeySet:
    return UUID.of(UUID.canonical(key) for key in keys)


@given(uuid_sets)
def test_uuids_come_back_as_they_went_in_and_in_the_servers_order(keys: set[uuid.UUID]) -> None:
    got = uuids(keys)
    assert list(got) == [UUID.canonical(key) for key in sorted(keys)]
    assert UUID.texts(got) == [str(key) for key in sorted(keys)]


@given(uuid_sets, uuid_sets)
def test_the_algebra_of_uuids_is_that_of_sets(a: set[uuid.UUID], b: set[uuid.UUID]) -> None:
    left, right = uuids(a), uuids(b)
    assert {UUID.text(k) for k in left | right} == {str(k) for k in a | b}
    assert {UUID.text(k) for k in left & right} == {str(k) for k in a & b}
    assert {UUID.text(k) for k in left - right} == {str(k) for k in a - b}


@given(uuid_sets, zero_ended, zero_ended, st.booleans())
def test_uuids_are_cut_at_canonical_and_at_raw_bounds_alike(
    keys: set[uuid.UUID], low: uuid.UUID, high: uuid.UUID, raw: bool
) -> None:
    bounds = (low.bytes, high.bytes) if raw else (UUID.canonical(low), UUID.canonical(high))
    assert UUID.texts(uuids(keys).cut(*bounds)) == [str(k) for k in sorted(keys) if low <= k < high]


@given(uuid_sets.filter(bool), st.data())
def test_the_bound_after_a_uuid_lies_between_it_and_all_that_follow(keys: set[uuid.UUID], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(keys)))
    after = UUID.after(UUID.canonical(key))
    assert UUID.texts(uuids(keys).cut(UUID.canonical(key), after)) == [str(key)]
    assert UUID.texts(uuids(keys).cut(after, None)) == [str(k) for k in sorted(keys) if k > key]


@given(zero_ended)
def test_a_raw_uuid_is_found_as_well_as_a_canonical_one(key: uuid.UUID) -> None:
    assert key.bytes in uuids([key])
    assert UUID.canonical(key) in uuids([key])


def test_raw_uuids_from_a_binary_answer_make_the_same_set() -> None:
    keys = [uuid.UUID(int=n << 8) for n in range(300)]
    assert ByteKeys.of(np.frombuffer(b"".join(k.bytes for k in keys), "S16")) == uuids(keys)
