"""The event log breaks: records that are hidden, lost, rewritten, unreadable, or in a topic that is not the one meant.

The rows decide: none of this may keep a cutover from CLEAR. What the log can no longer prove (deletes, the drop rate)
must be withheld.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
from confluent_kafka.admin import NewPartitions

from tests.faults.compaction import compacted
from tests.faults.contract import CANNOT_TELL, CLEAR, GAPS, NO_VERDICT, Fault
from tests.faults.transactions import announce, transaction
from tests.faults.world import ITEM, PARTITIONS, World
from tests.stack.processes import wait_until

PRESENT = ("--wait", "3s")


def pinned(world: World) -> Iterator[None]:
    """Committed records of others stand behind the open transaction, and cannot be seen."""
    with transaction(world) as producer:
        announce(world, producer, world.lost(count=3))
        world.live(10, lossy=False)
        yield
        done = world.told()
        assert done.json["claims"]["drop_rate"] == "incomplete", done
        assert "held at stable offset" in " ".join(p["seen"] for p in done.json["proofs"]), done
        producer.commit_transaction(30)


def aborted(world: World) -> Iterator[None]:
    """What was only announced in an aborted transaction was never announced."""
    with transaction(world) as producer:
        keys = world.lost(count=5)
        announce(world, producer, keys)
        producer.abort_transaction(30)
    world.live(5, lossy=False)
    yield
    classes = world.told().of("item")["gaps"]["by_class"]
    assert classes.get("unapplied_create", 0) <= world.told().of("item")["gaps"]["count"] - len(keys), classes


def hostile(world: World) -> Iterator[None]:
    rng = world.rng
    whole = json.dumps({"id": 123456, "op": "created", "at": "2026-01-01T00:00:00Z"}).encode()
    flipped = bytearray(whole)
    flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
    world.lost(count=3)
    for value in (
        whole[: rng.randrange(1, len(whole))],
        bytes(flipped),
        rng.randbytes(200),
        b"[" * 100_000,
        b'{"id": 1e400, "op": "created"}',
        b'{"id": 18446744073709551616, "op": "created", "at": "2026-01-01T00:00:00Z"}',
        b'{"id": "\x1b[2JCLEAR", "op": "created", "at": "2026-01-01T00:00:00Z"}',
        b"",
    ):
        world.produce(ITEM, value, rng.randrange(PARTITIONS))
    world.live(5)
    yield
    done = world.told()
    assert done.json["claims"]["drop_rate"] == "incomplete", done
    assert "\x1b" not in done.out + done.err, done


def overtaken(world: World) -> Iterator[None]:
    """The log is read once; then more is announced, and deleted by retention before anybody reads it."""
    assert world.run("cutover").code == 0
    world.live(20, lossy=False)
    world.lost(count=3)
    ends = dict.fromkeys(range(PARTITIONS), -1)
    world.kafka.delete_records(world.topic(ITEM), ends)
    world.live(10, lossy=False)
    yield
    assert world.told().json["claims"]["drop_rate"] == "incomplete", world.told()


def recreated(world: World) -> Iterator[None]:
    """The new topic soon holds more records than the old one did: no offset looks wrong."""
    assert world.run("cutover").code == 0
    world.kafka.delete_topic(world.topic(ITEM))
    world.renew_producer()
    world.kafka.create_topic(world.topic(ITEM), PARTITIONS)
    for key in range(1, 400):
        world.event(ITEM, key)  # credit for everything that ever was, and was not announced here
    world.live(20)
    world.lost(count=3)
    yield
    assert world.told().json["claims"]["drop_rate"] == "incomplete", world.told()


def doubled(world: World) -> list[int]:
    """Six partitions become twelve: keys move. Rows that are announced in the new partitions only."""
    world.kafka.admin.create_partitions([NewPartitions(world.topic(ITEM), 2 * PARTITIONS)])[world.topic(ITEM)].result(30)
    world.renew_producer()
    keys: list[int] = world.lost(count=6)
    for key in keys:
        world.event_in(ITEM, key, PARTITIONS + key % PARTITIONS)
    world.flush()
    return keys


def more_partitions(world: World) -> Iterator[None]:
    """What stands in the new ones must be read from their start."""
    assert world.run("cutover").code == 0
    keys = doubled(world)
    yield
    announced(world, keys)


def more_partitions_while_tracked(world: World) -> Iterator[None]:
    """A tracker is at work, and goes on with the partitions it knows until it asks again."""
    with world.process("track") as tracker:
        stored = world.taps["ledger"].heard
        wait_until(lambda: any("INSERT INTO fencepost.segment" in words for words in [*stored]), "the tracker stores")
        keys = doubled(world)
        yield
        announced(world, keys)
        tracker.process.terminate()
        assert tracker.ended().code == 0, tracker.err.read_text()


def announced(world: World, keys: list[int]) -> None:
    """In partitions nobody knew a moment ago: nobody may call them dropped."""
    told = world.told().of("item")
    assert told["gaps"]["by_class"].get("unapplied_create", 0) >= len(keys), told


def delete_markers_collected(world: World) -> Iterator[None]:
    """Deleted at the source, never applied; and compaction took the word of it before anybody read it."""
    keys = world.lost(count=2)
    with psycopg.connect(world.source) as db, psycopg.connect(world.target) as target:
        for key in keys:
            target.execute("INSERT INTO item_registry (item_id, state) VALUES (%s, 2)", [key])
            db.execute("DELETE FROM items WHERE id = %s", [key])
            world.event(ITEM, key, "deleted")
            world.produce(ITEM, None, key % PARTITIONS, str(key).encode())
    with compacted(world):
        yield
    orphans = world.told().of("item")["orphans"]["keys"]
    assert {str(key) for key in keys} <= set(orphans), orphans


def misspelt(world: World) -> Iterator[None]:
    """The broker creates whatever topic is asked for: an empty one, on which nothing is ever missing."""
    wrong = f"{world.topic(ITEM)}s"
    world.extra = {**world.extra, "data_types/item/topics": [wrong]}
    yield
    assert wrong not in world.kafka.topics()


FAULTS = {
    "open producer transaction": Fault(
        about="an open transaction hides committed records behind it",
        modes=(38,),
        inject=pinned,
        right=CLEAR,
        asks=PRESENT,
    ),
    "open producer transaction, deletes asked": Fault(
        about="the same, with `--deletes`",
        modes=(38,),
        inject=pinned,
        right=CANNOT_TELL,
        asks=("--deletes", *PRESENT),
    ),
    "aborted producer transaction": Fault(
        about="creations are announced in a transaction that is aborted", modes=(20,), inject=aborted, right=CLEAR
    ),
    "hostile records": Fault(
        about="truncated, flipped, random, deeply nested and overflowing records",
        modes=(24, 54),
        inject=hostile,
        right=CLEAR,
        own=True,
    ),
    "retention was faster": Fault(
        about="records are deleted before they were read", modes=(31, 32), inject=overtaken, right=CLEAR, own=True
    ),
    "retention was faster, deletes asked": Fault(
        slow=True,
        about="the same, with `--deletes`",
        modes=(32, 44),
        inject=overtaken,
        right=CANNOT_TELL,
        asks=("--deletes",),
        mended=None,
        own=True,
    ),
    "topic recreated": Fault(
        about="the topic is deleted and created again, with more records than before",
        modes=(34,),
        inject=recreated,
        right=CLEAR,
        own=True,
    ),
    "partitions added": Fault(
        slow=True,
        about="six partitions become twelve between two runs",
        modes=(39,),
        inject=more_partitions,
        right=CLEAR,
        own=True,
    ),
    "partitions added while tracked": Fault(
        about="six partitions become twelve while a tracker reads them",
        modes=(39,),
        inject=more_partitions_while_tracked,
        right=CLEAR,
        own=True,
    ),
    "delete markers collected": Fault(
        about="a compacted topic no longer says what was deleted; with `--deletes`",
        modes=(44,),
        inject=delete_markers_collected,
        right=GAPS,
        asks=("--deletes",),
        own=True,
        slow=True,
    ),
    "misspelt topic": Fault(
        about="a topic is misspelt in the settings, and the broker creates topics by itself",
        modes=(14,),
        inject=misspelt,
        right=NO_VERDICT,
        writes=False,
        stops=frozenset({"kafka"}),
    ),
}
