"""The plan's hash: the same for the same writes, another for any other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.backfill import Job, approve, capped, plan
from reconciler.identity import Identity
from reconciler.probe import Table
from schemas.data_types import DataType
from schemas.errors import RefusedWrite
from schemas.keys import IntKeys, key_type

HERE = Identity(side="registry", system="1", timeline=1, database_oid=5, database="d", lsn=1, xid=1)
INT, TEXT = key_type("int"), key_type("text")


def declared(*, source_zone: str | None = None, **registry: Any) -> DataType:
    return DataType.model_validate(
        {
            "topics": "t",
            "format": "debezium-json",
            "source": {"table": "items", "key": "id", "zone": source_zone},
            "registry": {"table": "reg", "key": "item_id", "insert": {"state": 0, "at": "now"}} | registry,
        }
    )


def job(**change: Any) -> Job:
    table = Table(schema="public", name="items", key=("id",), kinds=("int",), unique=True)
    given: dict[str, Any] = {
        "name": "item",
        "data_type": declared(),
        "key_type": INT,
        "source": table,
        "registry": replace(table, name="reg", key=("item_id",)),
        "keys": INT.of([1, 2, 3]),
        "unique": True,
    }
    return Job(**given | change)


def test_a_dry_run_and_the_real_one_agree() -> None:
    found = plan(HERE, [job()])
    assert found == plan(replace(HERE, lsn=99, xid=99, timeline=2), [job()])
    assert found.hash.startswith("sha256:")
    assert found.counts == {"item": 3}
    assert found.total == 3


def test_the_way_a_set_came_about_does_not_matter() -> None:
    other = IntKeys.range(0, 100_000) - IntKeys.range(4, 100_000) - INT.of([0])  # type: ignore[operator]
    assert plan(HERE, [job()]).hash == plan(HERE, [job(keys=other)]).hash


def test_neither_does_the_order_of_types_nor_one_with_nothing_to_insert() -> None:
    a, b, none = job(name="a"), job(name="b"), job(name="c", keys=INT.empty())
    assert plan(HERE, [a, b]) == plan(HERE, [b, none, a])


@pytest.mark.parametrize("change", [
    {"keys": INT.of([1, 2, 4])}, {"keys": INT.of([1, 2])}, {"name": "other"},
    {"registry": Table(schema="other", name="reg", key=("item_id",), kinds=("int",), unique=True)},
    {"registry": Table(schema="public", name="reg2", key=("item_id",), kinds=("int",), unique=True)},
    {"registry": Table(schema="public", name="reg", key=("id",), kinds=("int",), unique=True)},
    {"data_type": declared(insert={"state": 1, "at": "now"})}, {"data_type": declared(insert={"state": "0", "at": "now"})},
    {"data_type": declared(insert={"state": 0, "at": {"value": "now"}})}, {"data_type": declared(insert={"state": 0})},
    {"data_type": declared(insert={"state": 0, "at": {"source": "now"}})},
    {"data_type": declared(insert={"state": False, "at": "now"})},
    {"data_type": declared(zone="Asia/Tokyo")}, {"data_type": declared(source_zone="Asia/Tokyo")},
])  # fmt: skip
def test_any_other_write_has_another_hash(change: dict[str, Any]) -> None:
    assert plan(HERE, [job(**change)]).hash != plan(HERE, [job()]).hash


@pytest.mark.parametrize("other", [replace(HERE, system="2"), replace(HERE, database_oid=6)])
def test_another_server_or_database_has_another_hash(other: Identity) -> None:
    assert plan(other, [job()]).hash != plan(HERE, [job()]).hash


def test_a_plan_that_was_not_approved_is_refused_with_both_hashes() -> None:
    found = plan(HERE, [job()])
    approve(found, None)
    approve(found, found.hash)
    with pytest.raises(RefusedWrite, match=f"expected sha256:0, found {found.hash}"):
        approve(found, "sha256:0")


def test_the_cap_counts_all_data_types_together() -> None:
    found = plan(HERE, [job(name="a"), job(name="b", key_type=TEXT, keys=TEXT.of([b"x", b"y"]))])
    assert capped(found, None) is None
    assert capped(found, 5) is None
    refusal = capped(found, 4)
    assert refusal is not None
    assert "5 rows would be inserted, and --max-backfill allows 4: nothing was written" in refusal.reason
