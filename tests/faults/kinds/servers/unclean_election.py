"""The only replica that had everything dies, and one that stood still meanwhile leads: what was read is in no log any more, and
other records stand at its offsets."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.contract import CLEAR, CLUSTER, Fault
from tests.faults.kinds.log.steps import announced
from tests.faults.kinds.servers.steps import cluster_of, follower_takes_over
from tests.faults.world import ITEM, KINDS, World
from tests.stack.processes import wait_until

FAULT = Fault(
    name="unclean election",
    about="a replica that lags is elected: the log is cut back behind what was read, and written on",
    modes=(35,),
    right=CLEAR,
    stops=CLUSTER,
    slow=True,
)


def inject(world: World) -> Iterator[None]:
    cluster, topic = cluster_of(world), world.topic(ITEM)
    for kind in KINDS:
        cluster.configure(world.topic(kind), {"unclean.leader.election.enable": "true"})
    cluster.follower.pause()
    wait_until(lambda: cluster.in_sync(topic) == {cluster.leader.node}, "the follower is out of sync")
    for key in world.lost(count=12):
        world.event(ITEM, key)
    world.flush()
    assert world.run("track", "--until-end").code == 0
    cluster.leader.kill()
    follower_takes_over(world)
    keys = world.lost(count=30)  # more than went: no offset looks wrong
    for key in keys:
        world.event(ITEM, key)
    world.flush()
    yield
    announced(world, keys)
    assert world.told().json["claims"]["drop_rate"] == "incomplete", world.told()
