"""What cannot be read is set aside, its neighbours are read, and no word of it reaches the operator's terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.faults.contract import CLEAR, Fault
from tests.faults.world import ITEM, PARTITIONS, World

FAULT = Fault(
    name="hostile records",
    about="truncated, flipped, random, deeply nested and overflowing records",
    modes=(24, 54),
    right=CLEAR,
    own=True,
)


def inject(world: World) -> Iterator[None]:
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
