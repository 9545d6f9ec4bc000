"""Everything a healthy system does that looks like damage."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.compaction import compacted
from tests.faults.contract import CLEAR, Fault
from tests.faults.transactions import announce, transaction
from tests.faults.world import ITEM, PARTITIONS, World

FAULT = Fault(
    name="harmless noise",
    about="duplicates, tombstones, compaction, control records, sequences and events of transactions rolled back",
    modes=(),
    right=CLEAR,
    writes=False,
)


def inject(world: World) -> Iterator[None]:
    assert world.run("cutover").code == 0  # what the world lost so far is mended, so that nothing is to be written now
    with psycopg.connect(world.source) as db:
        for _ in range(5):
            key = world.new_id()
            db.execute("INSERT INTO items (id) VALUES (%s)", [key])
            db.rollback()
            world.event(ITEM, key)  # published before the rollback
    world.live(20, lossy=False)
    again = [int(text) for text in world.rng.sample(sorted(world.rows()["item"], key=int), 5)]
    for key in again:
        world.event(ITEM, key)  # late duplicates
        world.produce(ITEM, None, key % PARTITIONS, str(key).encode())  # tombstones
        world.event(ITEM, key)
    world.flush()
    with compacted(world):
        with transaction(world) as producer:  # a transaction's end is a record that nobody is given
            announce(world, producer, again)
            producer.commit_transaction(30)
        with transaction(world) as producer:
            announce(world, producer, again)
            producer.abort_transaction(30)
        yield
    proofs = [proof for proof in world.told().json["proofs"] if proof["name"] in ("log_unbroken", "log_drained", "decoded")]
    assert len(proofs) >= 3, proofs
    assert all(proof["held"] for proof in proofs), proofs
