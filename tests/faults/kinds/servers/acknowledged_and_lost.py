"""A producer that is content with the leader's word is told that its record is kept; the leader dies, and the follower that
takes over, in sync and lawfully elected, never had it. The log shows no hole: the rows alone can tell."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import Producer

from tests.faults.contract import CLEAR, CLUSTER, Fault
from tests.faults.kinds.servers.steps import cluster_of, follower_takes_over
from tests.faults.transactions import announce
from tests.faults.world import World

FAULT = Fault(
    name="acknowledged and lost",
    about="records that the leader of their partition alone had acknowledged (acks=1) are gone with it",
    modes=(36,),
    right=CLEAR,
    stops=CLUSTER,
    slow=True,
)


def inject(world: World) -> Iterator[None]:
    cluster = cluster_of(world)
    assert world.run("cutover").code == 0
    keys = world.lost(count=6)
    careless = Producer({"bootstrap.servers": cluster.bootstrap, "acks": 1, "linger.ms": 0, "log_level": 0})
    cluster.follower.pause()
    announce(world, careless, keys)
    cluster.leader.kill()
    follower_takes_over(world)
    world.live(10, lossy=False)
    yield
    told = world.told()
    assert set(told.of("item")["gaps"]["by_class"]) == {"dropped_create"}, told  # some may have been deleted since
    assert told.json["claims"]["drop_rate"] == "complete", told
