"""Candidates are looked up exactly: rows, times and conditions, windows by time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from reconciler.probe import (
    INFINITY,
    MINUS_INFINITY,
    NO_DATE,
    condition,
    count_keyless,
    count_rows,
    dates,
    estimate,
    key_bisect,
    keys_since,
    lookup,
    present,
)
from schemas.data_types import Condition
from schemas.errors import CatalogError
from schemas.keys import KeySet, key_type
from tests.reconciler.probe.conftest import World

INT, TEXT, UID = key_type("int"), key_type("text"), key_type("uuid")
NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)


def us(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def dated(world: World, table: Any, keys: KeySet) -> dict[Any, int]:
    out: dict[Any, int] = {}
    for column, times in dates(world.reader(table), keys):
        out.update(zip(column.tolist(), times.tolist(), strict=True))
    return out


def test_given_rows_are_looked_up_and_no_others(world_any: World) -> None:
    table = world_any.table("t", [[k, k % 3] for k in range(25_000)])
    world_any.hand.execute("CREATE TYPE public.mood AS ENUM ('sad'); ALTER TABLE public.t ADD mood public.mood DEFAULT 'sad'")
    reader = world_any.reader(table)
    wanted = INT.of([*range(12_000), 99_999, -1])
    found = dict(lookup(reader, wanted, ["state", "mood"]))
    assert found == {k: (k % 3, "sad") for k in range(12_000)}
    assert set(present(reader, wanted)) == set(range(12_000))
    second = world_any.reader(table, condition(accepted={"state": (0,)}))
    assert set(present(second, wanted)) == set(range(0, 12_000, 3))
    assert len(present(reader, INT.empty())) == 0


@pytest.mark.parametrize("indexed", [True, False])
def test_every_kind_of_key_can_be_looked_up(world: World, indexed: bool) -> None:
    one = UUID("12345678-0000-0000-0000-000000000000")
    tail = " PRIMARY KEY" if indexed else ""
    uids = world.table("u", [[one, 1]], columns=f"id uuid{tail}, state int", kinds=("uuid",), unique=indexed)
    assert dict(lookup(world.reader(uids), UID.of([one.bytes, b"\1" * 16]), ["state"])) == {one.bytes.rstrip(b"\0"): (1,)}
    assert len(present(world.reader(uids), UID.of([one.bytes, b"\1" * 16]))) == 1
    texts = world.table("x", [["a ", 1], ["a", 2], ["\\N", 3]], columns=f"id varchar(9){tail}, state int", kinds=("text",),
                        unique=indexed)  # fmt: skip
    assert dict(lookup(world.reader(texts), TEXT.of([b"a ", b"A", b"%s"]), ["state"])) == {b"a ": (1,)}
    kind = key_type(["int", "text"])
    pairs = world.table("p", [[1, "a/\x1f\\", 5], [2, "b", 6]], columns=f"a int2, b text, state int{', PRIMARY KEY (a, b)' * indexed}",  # noqa: E501
                        key=("a", "b"), kinds=("int", "text"), unique=indexed)  # fmt: skip
    keys = kind.of([kind.canonical((1, "a/\x1f\\")), kind.canonical((2, "a"))])
    assert dict(lookup(world.reader(pairs), keys, ["state"])) == {kind.canonical((1, "a/\x1f\\")): (5,)}
    assert set(present(world.reader(pairs), keys)) == {kind.canonical((1, "a/\x1f\\"))}


def test_dates_are_instants_with_words_for_what_is_none(world: World) -> None:
    data: list[list[Any]] = [
        [1, NOON],
        [2, None],
        [3, "infinity"],
        [4, "-infinity"],
        [5, "294276-12-31 23:59:59+00"],
        [6, "4713-01-01 00:00:00+00 BC"],
    ]
    columns = "id int8 PRIMARY KEY, created_at timestamptz"
    table = world.table("t", data, columns=columns, created_at="created_at", created_kind="timestamptz")
    found = dated(world, table, INT.of(range(9)))
    assert found == {1: us(NOON), 2: NO_DATE, 3: INFINITY, 4: MINUS_INFINITY, 5: found[5], 6: found[6]}
    assert MINUS_INFINITY < found[6] < 0 < us(NOON) < found[5] < INFINITY


def test_a_time_without_zone_is_read_in_its_zone(world: World) -> None:
    data: list[list[Any]] = [[1, "2026-03-29 14:00:00"], [2, "2026-01-01 00:00:00"], [3, None], [4, "infinity"]]
    facts = {"created_at": "created_at", "created_kind": "timestamp", "zone": "Europe/Berlin"}
    table = world.table("t", data, columns="id int8 PRIMARY KEY, created_at timestamp", **facts)
    winter = us(datetime(2025, 12, 31, 23, tzinfo=UTC))
    assert dated(world, table, INT.of(range(9))) == {1: us(NOON), 2: winter, 3: NO_DATE, 4: INFINITY}
    days = world.table(
        "d", [[1, "2026-01-01"]], columns="id int8 PRIMARY KEY, created_at date", **facts | {"created_kind": "date"}
    )
    assert dated(world, days, INT.of([1])) == {1: winter}


def test_a_window_by_time_holds_what_no_date_places(world: World) -> None:
    data: list[list[Any]] = [
        [1, "2026-03-29 11:59:59.999999+00"],
        [2, NOON],
        [3, None],
        [4, "infinity"],
        [5, "-infinity"],
        [6, "2099-01-01 00:00+00"],
    ]
    columns = "id int8 PRIMARY KEY, created_at timestamptz"
    table = world.table("t", data, columns=columns, created_at="created_at", created_kind="timestamptz")
    assert set(keys_since(world.reader(table), us(NOON))) == {2, 3, 4, 5, 6}
    naive = world.table("n", [[1, "2026-03-28 13:00"], [2, "2026-03-28 10:59"], [3, None]],
                        columns="id int8 PRIMARY KEY, created_at timestamp",
                        created_at="created_at", created_kind="timestamp", zone="Europe/Berlin")  # fmt: skip
    assert set(keys_since(world.reader(naive), us(NOON))) == {1, 3}, "26 hours of margin"


def test_a_window_starts_at_a_key_where_dates_rise(world: World) -> None:
    start = us(NOON)
    data: list[list[Any]] = [[k * 7, datetime.fromtimestamp(start / 1e6 + k, UTC) if k % 5 else None] for k in range(-500, 500)]
    columns = "id int8 PRIMARY KEY, created_at timestamptz"
    facts = {"columns": columns, "created_at": "created_at", "created_kind": "timestamptz"}
    table = world.table("t", data, **facts)
    found = key_bisect(world.reader(table), start + 101_000_000)
    assert found is not None
    assert 99 * 7 < int(found) <= 101 * 7
    assert key_bisect(world.reader(table), start + 10**12) is None
    assert key_bisect(world.reader(table), start - 10**12) == -500 * 7
    assert key_bisect(world.reader(world.table("empty", [], **facts)), start) is None


def test_conditions_keep_rows_that_null_would_hide(world: World) -> None:
    table = world.table("t", [[1, 5], [2, None], [3, 7]], columns='id int8 PRIMARY KEY, "50% of %s" int')
    cases: list[tuple[dict[str, Any], set[int]]] = [
        ({"in": [5, None]}, {1, 2}), ({"in": [5]}, {1}), ({"not_in": [5]}, {2, 3}), ({"not_in": [5, None]}, {3}),
        ({"eq": 5}, {1}),
        ({"ne": 5}, {2, 3}), ({"lt": 7}, {1}), ({"le": 7}, {1, 3}), ({"gt": 5}, {3}), ({"ge": 5}, {1, 3}),
        ({"is_null": True}, {2}),
        ({"is_null": False}, {1, 3}), ({"eq": "5"}, {1}),
    ]  # fmt: skip
    everything = INT.of(range(9))
    for term, wanted in cases:
        where = condition([Condition.model_validate({"column": "50% of %s"} | term)])
        assert set(present(world.reader(table, where), everything)) == wanted, term
    both = condition([Condition.model_validate({"column": "id", "gt": 1})], {"50% of %s": (7,)})
    assert set(present(world.reader(table, both), everything)) == {3}
    assert condition() is None
    with pytest.raises(CatalogError, match=r"cannot read public\.t"):
        present(world.reader(table, condition([Condition.model_validate({"column": "no such", "eq": 1})])), everything)


def test_hostile_literals_stay_literals(world: World) -> None:
    hostile = "'; DROP TABLE t; -- \\ %s %(a)s {} \" 50%"
    table = world.table("t", [[1, hostile], [2, "x"]], columns="id int8 PRIMARY KEY, note text")
    where = condition([Condition.model_validate({"column": "note", "eq": hostile})])
    assert set(present(world.reader(table, where), INT.of([1, 2]))) == {1}


def test_tables_are_counted_and_estimated(world: World) -> None:
    table = world.table("t", [[k if k % 2 else None, k % 4] for k in range(1000)], columns="id int8, state int")
    assert estimate(world.reader(table)).rows is None
    world.hand.execute("ANALYZE public.t")
    seen = estimate(world.reader(table))
    assert seen.rows == 1000
    assert "0% of the pages" in str(seen.warning)
    reader = world.reader(table, condition(accepted={"state": (0, 1)}))
    assert (count_rows(reader), count_keyless(reader)) == (500, 250)
