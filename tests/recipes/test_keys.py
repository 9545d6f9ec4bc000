"""Every key type keeps every key apart: at the ends of its range, with odd characters, in several columns."""

from __future__ import annotations

import json
from datetime import timedelta

import psycopg
import pytest

from schemas.verdict import Verdict
from tests.recipes.world import World, found

HOUR = timedelta(hours=1)
UNAPPLIED, DROPPED = ("unapplied_create", "unapplied"), ("dropped_create", "never_announced")

INTS = [-(2**63), -(2**63) + 1, -1, 0, 1, 2**31, 2**53 + 1, 2**63 - 2, 2**63 - 1]
# The last two are one letter in two spellings, as code points; a and A, 1 and 01 are others.
TEXTS = ["a/b", "a\\b", "q\"'", "😀", "trail ", " lead", "", "a\nb", "%s", "x" * 2000, "A", "a", "1", "01", "\x1f", "null",
         "a\x01b", "a" * 16, "a" * 17, "{}", "$1", "\\N", "\\\\", "\u00e9", "e\u0301"]  # fmt: skip
UUIDS = [
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "12345678-1234-1234-1234-123456780000",
    "12345678-1234-1234-1234-123456000000",
    "12345678-1234-1234-1234-123456780001",
    "12345678-0000-0000-0000-000000000000",
]


@pytest.mark.parametrize(("key", "keys"), [("bigint", INTS), ("text", TEXTS), ('text COLLATE "C"', TEXTS), ("uuid", UUIDS)])
def test_odd_keys_are_found_backfilled_and_compared_again(world: World, key: str, keys: list[int | str]) -> None:
    world.key = key
    world.tables()
    world.fine(keys[::2])
    lost, announced = keys[1::2], keys[1::4]
    world.rows(lost)
    world.announce(announced)
    outcome = world.cutover()
    assert found(outcome) == {str(k): UNAPPLIED if k in announced else DROPPED for k in lost}
    assert outcome.report.verdict is Verdict.CLEAR
    assert world.in_registry() == {str(k) for k in keys}
    assert world.gaps(deletes=True).report.verdict is Verdict.CLEAR


def test_a_uuid_is_one_key_in_every_spelling(world: World) -> None:
    world.key = "uuid"
    world.tables()
    world.fine(UUIDS[:1])
    world.rows(UUIDS[1:4])
    world.announce([UUIDS[1].upper(), UUIDS[2].replace("-", ""), f"{{{UUIDS[3]}}}"])
    assert found(world.gaps()) == dict.fromkeys(UUIDS[1:4], UNAPPLIED)


def test_composite_keys_with_odd_parts_are_kept_apart_in_any_order_of_columns(world: World) -> None:
    keys = [
        (1, "a/b"), (1, "a\\"), (-5, ""), (2, "\\/"), (2, "x\x1fy"), (2, "x\\uy"), (3, "é😀 "), (2**31 - 1, "q\"'"),
    ]  # fmt: skip
    with psycopg.connect(world.source) as db:
        db.execute("CREATE TABLE items (a int, b text, created_at timestamptz, PRIMARY KEY (a, b))")
        db.cursor().executemany("INSERT INTO items VALUES (%s, %s, %s)", [(a, b, world.now - HOUR) for a, b in keys])
    with psycopg.connect(world.target) as db:
        db.execute(
            "CREATE TABLE item_registry (b text NOT NULL, a bigint NOT NULL, state varchar(10), created_at timestamptz,"
            " UNIQUE (b, a))"
        )
        db.cursor().executemany("INSERT INTO item_registry VALUES (%s, %s, 'done', now())", [(b, a) for a, b in keys[::2]])
    world.source_extra = {"key": ["a", "b"]}
    world.registry_extra = {"key": ["a", "b"], "accepted": {"state": ["done", "0"]}}
    event = {"key": ["a", "b"], "op": "op", "create": ["created"], "delete": ["deleted"], "time": "at"}
    world.type_extra = {"event": event}
    at = (world.now - HOUR).isoformat()
    world.publish([json.dumps({"a": a, "b": b, "op": "created", "at": at}).encode() for a, b in [*keys[::2], *keys[1:4:2]]])
    outcome = world.cutover()
    assert found(outcome) == {
        "1/a\\\\": UNAPPLIED,
        "2/\\\\\\/": UNAPPLIED,
        "2/x\\\\uy": DROPPED,
        "2147483647/q\"'": DROPPED,
    }
    assert outcome.report.verdict is Verdict.CLEAR
    assert world.gaps(deletes=True).report.verdict is Verdict.CLEAR


@pytest.mark.parametrize("key", ["bigint", "text", "uuid"])
def test_without_created_at_a_log_read_from_its_beginning_still_speaks(world: World, key: str) -> None:
    keys: list[int | str] = [10, 11, 12] if key == "bigint" else list(UUIDS[:3])
    world.key = key
    with psycopg.connect(world.source) as db:
        db.execute(f"CREATE TABLE items (id {key} PRIMARY KEY)")
        db.cursor().executemany("INSERT INTO items VALUES (%s)", [(k,) for k in keys])
    with psycopg.connect(world.target) as db:
        db.execute(f"CREATE TABLE item_registry (item_id {key} UNIQUE, state int, created_at timestamptz)")
        db.execute("INSERT INTO item_registry VALUES (%s, 0, now())", [keys[0]])
    world.source_extra = {"created_at": None}
    world.announce(keys[:2])
    assert found(world.gaps(since="1h")) == {str(keys[1]): UNAPPLIED, str(keys[2]): DROPPED}
    assert world.cutover().report.verdict is Verdict.CLEAR


def test_a_source_row_without_a_key_is_never_passed_over_in_silence(world: World) -> None:
    """No event and no registry row can name it; the scope can leave such rows out, in so many words."""
    world.tables()
    world.fine([1, 2, 3])
    with psycopg.connect(world.source) as db:
        db.execute("ALTER TABLE items DROP CONSTRAINT items_pkey, ADD UNIQUE (id), ALTER id DROP NOT NULL")
        db.execute("INSERT INTO items VALUES (NULL, 1, now())")
    report = world.gaps().report
    assert report.verdict is Verdict.CANNOT_TELL
    assert any(p.name == "visible" and p.held is False and "have no key" in p.seen for p in report.proofs)
    world.source_extra = {"scope": [{"column": "id", "is_null": False}]}
    assert world.gaps().report.verdict is Verdict.CLEAR


def test_a_scope_with_a_percent_sign_is_that_very_text(world: World) -> None:
    world.key = "uuid"
    world.tables()
    with psycopg.connect(world.source) as db:
        db.execute("ALTER TABLE items ADD kind text DEFAULT '50%'")
    world.source_extra = {"scope": [{"column": "kind", "eq": "50%"}]}
    world.fine(UUIDS[:2])
    world.rows(UUIDS[2:3])
    outcome = world.gaps()
    assert set(found(outcome)) == {UUIDS[2]}
    assert outcome.report.verdict is Verdict.GAPS


def test_a_key_of_the_wrong_type_names_no_row_and_another_field_neither(items: World) -> None:
    """201.5 is nobody's id, and the project 301 no item; the string "401" is item 401, 501.0 item 501, 60.1e1 item 601."""
    items.rows([201, 301, 401, 501, 601])
    at = '"at": "long ago"'
    items.publish(
        [
            b'{"id": 201.5, "op": "created", ' + at.encode() + b"}",
            b'{"id": "x", "project_id": 301, "op": "created", ' + at.encode() + b"}",
            b'{"id": "401", "op": "created", ' + at.encode() + b"}",
            b'{"id": 501.0, "op": "created"}',
            b'{"id": 60.1e1, "op": "created"}',
        ]
    )
    unheard = dict.fromkeys(("401", "501", "601"), ("unheard_create", "quarantined"))
    assert found(items.gaps()) == {"201": DROPPED, "301": DROPPED} | unheard
