"""Brokers that die, standbys, and copies of a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from consumer.streams import kafka
from tests.faults.phases import Phase
from tests.faults.world import ITEM, KINDS, World
from tests.stack.kafka import Cluster
from tests.stack.postgres import Copy, Server, Standby
from tests.stack.processes import wait_until


def strike_the_broker(world: World, phase: Phase, *, comes_back: bool) -> Iterator[None]:
    """`kill -9` of the broker at this moment of the run; the log still holds what nobody has read."""

    usual = kafka.ASK_WITHIN_S

    def strike() -> None:
        world.kafka.kill()
        if comes_back:
            world.kafka.start()
        else:
            kafka.ASK_WITHIN_S = 3.0  # nobody is there who might be slow

    for key in world.lost(count=3):
        world.event(ITEM, key)
    world.flush()
    world.at(phase, strike)
    try:
        yield
    finally:
        kafka.ASK_WITHIN_S = usual
    if not world.kafka.process.running:
        world.kafka.start()
        world.renew_producer()


def cluster_of(world: World) -> Cluster:
    """Three brokers; those of the last fault are whole again, and its second leads whatever is made now."""
    assert isinstance(world.kafka, Cluster)
    return world.kafka


def follower_takes_over(world: World) -> None:
    """The leader is dead, the follower awakes."""
    cluster = cluster_of(world)
    cluster.follower.resume()
    topics = [world.topic(kind) for kind in KINDS]
    wait_until(lambda: all(cluster.led_by(topic, cluster.follower) for topic in topics), "the follower leads")
    world.renew_producer()


@contextmanager
def standby(world: World) -> Iterator[Standby]:
    """A standby of the source that has replayed every row so far."""
    world.lost(count=3)
    with world.server.standby() as server:
        wait_until(lambda: items(world.source) == items(at(world, world.source, server)), "the standby is up to date")
        yield server


def at(world: World, dsn: str, server: Server) -> str:
    """The same database at another server, not over a wire."""
    for port in (world.server.port, world.taps["source"].port):
        dsn = dsn.replace(f":{port}/", f":{server.port}/")
    return dsn


def items(dsn: str) -> int:
    with psycopg.connect(dsn) as db:
        row = db.execute("SELECT count(*) FROM items").fetchone()
    return int(row[0]) if row else 0


@contextmanager
def restored(world: World) -> Iterator[Copy]:
    """The files of a stopped server, put back beside it: the same system, timeline and oid, and an older history."""
    assert world.run("gaps").code in (0, 3)
    with world.server.copied() as copy:
        world.live(20, lossy=False)
        assert world.run("cutover").code == 0  # how far its history had come is recorded
        world.live(30, lossy=False)
        world.lost(count=3)
        world.extra = {**world.extra, "source/dsn": at(world, world.wired("source", world.source), copy)}
        yield copy
