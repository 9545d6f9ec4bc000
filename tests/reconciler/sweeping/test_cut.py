"""Ranges join, hold every key once, and stay of bounded size, whatever the keys are."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.sweeping import cut
from reconciler.sweeping.cut import Size, aligned, end_of
from schemas.keys import INT64_MAX, INT64_MIN, Key, key_type


class Table:
    """Stands for a reader: sorted keys, repeats among them."""

    def __init__(self, keys: list[Any]) -> None:
        self.keys = sorted(keys)


def ranked(table: Table, low: Key | None, high: Key | None, rank: int) -> Key | None:
    first = 0 if low is None else bisect_left(table.keys, low)
    last = len(table.keys) if high is None else bisect_left(table.keys, high)
    found: Key | None = table.keys[first + rank] if first + rank < last else None
    return found


@pytest.fixture(autouse=True)
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "ranked", ranked)
    monkeypatch.setattr(cut, "ROWS", 8)
    monkeypatch.setattr(cut, "WIDEST", 64)
    monkeypatch.setattr(cut, "DENSE_ROWS", 16)
    monkeypatch.setattr(cut, "FAR_GLANCE", 4)


def ranges(kind: str, tables: list[Table]) -> list[tuple[Key | None, Key | None]]:
    at: Key | None = None
    size, out = Size.of(kind, None), list[tuple[Key | None, Key | None]]()
    while True:
        high = end_of(tables, key_type(kind), at, size)  # type: ignore[arg-type]
        out.append((at, high))
        if high is None:
            return out
        size.learn(max(len(held(t, at, high)) for t in tables))
        at = high
        assert len(out) < 10_000


def held(table: Table, low: Key | None, high: Key | None) -> list[Key]:
    return [k for k in table.keys if (low is None or k >= low) and (high is None or k < high)]


ints = st.lists(
    st.one_of(st.integers(0, 200), st.integers(INT64_MIN, INT64_MAX), st.sampled_from([INT64_MIN, INT64_MAX, INT64_MAX - 1]))
)
texts = st.lists(st.text("ab\x01", min_size=1, max_size=4).map(str.encode))


@pytest.mark.parametrize(("kind", "keys"), [("int", ints), ("text", texts)])
def test_ranges_join_and_hold_every_key_once(kind: str, keys: st.SearchStrategy[list[Any]]) -> None:
    @given(keys, keys)
    def check(source: list[Any], registry: list[Any]) -> None:
        tables = [Table(source), Table(registry)]
        found = ranges(kind, tables)
        assert found[0][0] is None
        assert found[-1][1] is None
        assert all(before[1] == after[0] and before[1] is not None for before, after in pairwise(found))
        for table in tables:
            assert [k for low, high in found for k in held(table, low, high)] == table.keys

    check()


@given(texts, texts)
def test_no_range_holds_more_rows_than_it_may_but_repeats_of_one_key(source: list[bytes], registry: list[bytes]) -> None:
    for low, high in ranges("text", [Table(source), Table(registry)]):
        for keys in (source, registry):
            inside = held(Table(keys), low, high)
            assert len(inside) <= 8 or len(set(inside)) == 1


def test_a_table_with_holes_is_read_in_wider_ranges_and_never_wider_than_may_be() -> None:
    size = Size(rows=16, width=16)
    for _ in range(10):
        size.learn(1)
    assert size.width == 64
    size.learn(17)
    assert size.width == 32


def test_a_rate_makes_ranges_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert Size.of("int", None).rows == 1 << 22
    assert Size.of("int", 10_000).rows == 50_000
    assert Size.of("int", 1).rows == 1000


def test_wide_ranges_end_where_slices_begin() -> None:
    assert aligned(5, 1 << 22) == 1 << 22
    assert aligned(5, 100) == 105
