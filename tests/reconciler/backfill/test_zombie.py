"""A real process, stopped in the middle of its backfill and woken after another one has finished the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.lease import Held, acquire
from tests.reconciler.backfill.conftest import BOTH, World

ROOT = Path(__file__).parents[3]
CHILD = """
import sys
from datetime import timedelta
from reconciler.backfill import backfill
from reconciler.lease import acquire
from schemas.errors import RefusedWrite
from schemas.settings import BackfillSettings, Dsn
from databases.ledger import Ledger
from tests.reconciler.backfill.conftest import World

source, registry, ledger, run = sys.argv[1:]
world = World(source, registry, Ledger(Dsn(ledger), "fencepost"))
with acquire(world.ledger, run, holder="the zombie", ttl=timedelta(seconds=1)) as held:
    try:
        backfill(
            BackfillSettings(batch=5, rate=50), world.ledger, run, [world.job(range(1, 101))],
            source=world.to_source, registry=world.to_registry, lease=held,
            progress=lambda done, total: print(done, flush=True),
        )
    except RefusedWrite as error:
        print(error, flush=True)
        sys.exit(7)
"""


@BOTH
@pytest.mark.slow
def test_a_stopped_process_writes_nothing_after_it_is_woken(world: World) -> None:
    """Failure mode 66."""
    run = world.run()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, world.source, world.registry, world.ledger.dsn.get_secret_value(), run],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout
    try:
        while int(child.stdout.readline() or 100) < 20:
            pass
        child.send_signal(signal.SIGSTOP)
        other = world.run()
        with _when_it_is_free(world, other):
            pass
        world.finish()
        world.backfill(range(1, 101), run=other)
        before = world.on_registry("SELECT item_id, xmin::text, ctid::text FROM item_registry ORDER BY 1")
        child.send_signal(signal.SIGCONT)
        said, _ = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 7
    assert "the lease on registry writes is not ours any more" in said
    assert world.on_registry("SELECT item_id, xmin::text, ctid::text FROM item_registry ORDER BY 1") == before
    assert world.registered() == list(range(1, 101))


def _when_it_is_free(world: World, run: str) -> Held:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = acquire(world.ledger, run, ttl=timedelta(seconds=15))
        if isinstance(found, Held):
            return found
        assert found.holder == "the zombie"
        time.sleep(0.05)
    raise AssertionError("the lease of a stopped process never came free")
