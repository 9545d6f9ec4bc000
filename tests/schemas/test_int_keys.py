"""IntKeys held to Python sets over the whole int64 range, dense and sparse."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.key_sets import joined
from schemas.keys import INT64_MAX, INT64_MIN, IntKeys, KeySet

EDGES = [
    bound + step
    for bound in (INT64_MIN, -(1 << 53), -(1 << 31), 0, 1 << 16, 1 << 31, 1 << 32, 1 << 53, INT64_MAX)
    for step in (-1, 0, 1)
    if INT64_MIN <= bound + step <= INT64_MAX
]
anywhere = st.one_of(st.integers(INT64_MIN, INT64_MAX), st.sampled_from(EDGES))


@st.composite
def key_sets(draw: st.DrawFn) -> set[int]:
    """Sparse keys, and runs of neighbours around any place."""
    keys = set(draw(st.lists(anywhere, max_size=20)))
    for start, length in draw(st.lists(st.tuples(anywhere, st.integers(1, 300)), max_size=2)):
        keys.update(range(start, min(start + length, INT64_MAX + 1)))
    return keys


def of(keys: Iterable[int]) -> IntKeys:
    return IntKeys.of(np.array(list(keys), np.int64))


@given(st.lists(anywhere, max_size=30))
def test_a_set_holds_its_keys_once_in_ascending_order(keys: list[int]) -> None:
    got = of(keys + keys)
    assert list(got) == sorted(set(keys)) == got.column().tolist()
    assert len(got) == len(set(keys))
    assert got.column().dtype == np.int64
    assert isinstance(got, KeySet)


@given(key_sets(), key_sets())
def test_the_algebra_is_that_of_sets(a: set[int], b: set[int]) -> None:
    assert set(of(a) | of(b)) == a | b
    assert set(of(a) & of(b)) == a & b
    assert set(of(a) - of(b)) == a - b
    assert (of(a) == of(b)) == (a == b)


@given(key_sets(), key_sets(), st.booleans(), st.booleans(), anywhere)
def test_a_bitmap_and_a_sorted_column_of_the_same_keys_answer_alike(
    a: set[int], b: set[int], first: bool, second: bool, bound: int
) -> None:
    """How keys are held is a matter of cost: every mixture gives the same."""
    left = IntKeys(of(a).bits) if first else of(a)
    right = IntKeys(of(b).bits) if second else of(b)
    assert (set(left | right), set(left & right), set(left - right)) == (a | b, a & b, a - b)
    assert (left == right) == (a == b)
    assert left == of(a)
    assert set(joined([left, right, left])) == a | b
    assert set(left.cut(bound, None)) == {key for key in a if key >= bound}
    assert set(left.cut(None, bound)) == {key for key in a if key < bound}
    assert left.serialize() == of(a).serialize()
    assert all((key in left) == (key in a) for key in [*b, bound])


@given(st.integers(2, 400), st.data())
def test_of_keys_far_apart_that_are_nearly_the_same_the_few_differences_are_told(count: int, data: st.DataObject) -> None:
    """One by one up to a few of them, all at once beyond."""
    places = st.sets(st.integers(0, count - 1), max_size=40)
    everyone = [place << 40 for place in range(count)]
    lost = [data.draw(places) for _ in range(2)]
    a, b = ({key for key in everyone if key >> 40 not in some} for some in lost)
    assert of(everyone)._bits is None
    left, right = of(a), of(b)
    assert (set(left - right), set(right - left), set(left & right)) == (a - b, b - a, a & b)


def test_keys_far_apart_take_eight_bytes_each_and_not_a_container() -> None:
    keys = IntKeys.of(np.arange(10_000, dtype=np.int64) * (1 << 30))
    assert keys._bits is None
    assert (keys - IntKeys.of(keys.column()[::2]))._bits is None
    assert IntKeys.of(np.arange(10_000, dtype=np.int64))._sorted is None


@given(key_sets(), key_sets())
def test_no_operator_changes_its_operands(a: set[int], b: set[int]) -> None:
    left, right = of(a), of(b)
    _ = left | right, left & right, left - right, left.cut(0, None), left.serialize()
    assert (set(left), set(right)) == (a, b)


@given(key_sets(), st.none() | anywhere, st.none() | anywhere | st.just(INT64_MAX + 1))
@example({INT64_MAX}, INT64_MAX, None)
@example({INT64_MIN, INT64_MAX}, INT64_MIN, INT64_MAX)
@example({INT64_MIN, INT64_MAX}, INT64_MIN + 1, None)
@example({5, 6, 7}, 7, 5)
@settings(max_examples=300)
def test_a_cut_is_half_open_at_every_bound(keys: set[int], low: int | None, high: int | None) -> None:
    wanted = {k for k in keys if (low is None or k >= low) and (high is None or k < high)}
    assert set(of(keys).cut(low, high)) == wanted


@given(key_sets().filter(bool), st.data())
def test_a_cut_at_a_keys_own_place_includes_it_below_and_not_above(keys: set[int], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(keys)))
    assert of(keys).cut(key, None).min() == key
    assert key not in of(keys).cut(None, key)


@given(key_sets())
def test_what_is_serialised_reads_back_the_same(keys: set[int]) -> None:
    assert IntKeys.parse(of(keys).serialize()) == of(keys)
    assert set(IntKeys.parse(of(keys).serialize())) == keys


@given(key_sets().filter(bool))
def test_least_and_greatest_are_those_of_the_set(keys: set[int]) -> None:
    assert (of(keys).min(), of(keys).max()) == (min(keys), max(keys))


@given(key_sets(), anywhere)
def test_membership_is_that_of_the_set(keys: set[int], key: int) -> None:
    assert (key in of(keys)) == (key in keys)
    assert all(k in of(keys) for k in keys)


@pytest.mark.parametrize("stranger", [True, 1.0, "1", b"1", None, INT64_MAX + 1, INT64_MIN - 1, -(1 << 64)])
def test_what_is_no_int64_is_in_no_set(stranger: object) -> None:
    assert stranger not in of([1, 0, -1])


@pytest.mark.parametrize("low", [INT64_MIN, -70000, 0, INT64_MAX - 5])
@pytest.mark.parametrize("length", [0, 1, 6])
def test_a_range_holds_every_integer_of_it(low: int, length: int) -> None:
    assert list(IntKeys.range(low, low + length)) == list(range(low, low + length))


def test_the_empty_set_has_no_least_key_and_no_column() -> None:
    nothing = IntKeys()
    assert not len(nothing)
    assert nothing.column().tolist() == []
    assert IntKeys.parse(nothing.serialize()) == nothing
    with pytest.raises(ValueError, match=r"(?i)empty"):
        nothing.min()


def test_a_cut_across_nearly_all_numbers_costs_as_its_keys_and_not_as_its_range() -> None:
    rng = np.random.default_rng(7)
    keys = IntKeys.of(rng.integers(INT64_MIN, INT64_MAX, 50_000))
    began = time.monotonic()
    for shift in (62, 61, 40, 33):
        part = keys.cut(-(1 << shift), 1 << shift)
        column = keys.column()
        assert len(part) == int(((column >= -(1 << shift)) & (column < 1 << shift)).sum())
    assert time.monotonic() - began < 60  # a mask over 2**62 numbers would take 2**46 containers


def test_dense_keys_cost_next_to_nothing() -> None:
    assert len(IntKeys.range(1, 5_000_001).serialize()) < 5_000
