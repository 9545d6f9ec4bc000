"""SIGSTOP before its first insert, until its lease is another's and the work is done; then SIGCONT."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

from tests.faults.beside import Child
from tests.faults.contract import CLEAR, Fault
from tests.faults.phases import Phase
from tests.faults.world import World

FAULT = Fault(
    name="winner paused",
    about="SIGSTOP of the run that holds the lease, another one finishes, SIGCONT",
    modes=(65, 66),
    right=CLEAR,
)


def inject(world: World) -> Iterator[None]:
    world.lost(count=4)
    world.baseline = world.registered()
    children: list[Child] = []

    def pause() -> None:
        os.kill(children[0].process.pid, signal.SIGSTOP)
        world.lease_over()
        with world.process("cutover", "--max-backfill", "1000000") as other:
            done = other.ended()
            assert done.code == 0, done
        os.kill(children[0].process.pid, signal.SIGCONT)

    world.at(Phase.INSERT, pause)
    with world.process("cutover") as child:
        children.append(child)
        done = child.ended()
        assert done.code == 1, done
        assert "lease" in done.err or "another" in done.err, done
    world.forget()
    yield
