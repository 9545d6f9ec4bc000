"""A standby is believed only once it shows what its primary held a moment ago: at the fence, and again in every later look.

A standby that stands still shows the same rows in the first compare and in the second, whatever was created meanwhile.
"""

from __future__ import annotations

import time

from databases.connect import renamed
from reconciler.identity import lsn_number, position
from reconciler.ports import Say
from reconciler.proofs.shown import Shown
from reconciler.scene import Scene

BEHIND = "the standby has not replayed"
#: Why it may stand still, in the order of what explains most.
_STATE = """
SELECT CASE WHEN NOT pg_is_in_recovery() THEN 'it was promoted'
            WHEN pg_get_wal_replay_pause_state() <> 'not paused' THEN 'its replay is paused, until pg_wal_replay_resume()'
            WHEN pg_last_wal_receive_lsn() >= %s::pg_lsn
            THEN 'it has received that, and a query there or recovery_min_apply_delay holds its replay up'
            WHEN EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 'it is still receiving, and --wait gives it longer'
            ELSE 'it receives nothing from its primary' END"""


def reached(scene: Scene, lsn: str, wait_s: float, say: Say) -> bool:
    """Whether the source shows all of its primary's history up to `lsn`; a standby is waited for."""
    if scene.fence_at is scene.source:
        return True
    deadline = time.monotonic() + wait_s
    while True:
        with renamed("ask the standby how far it has replayed"):
            row = scene.source.execute("SELECT pg_last_wal_replay_lsn()::text").fetchone()
        if row and row[0] and lsn_number(row[0]) >= lsn_number(lsn):
            return True
        if time.monotonic() > deadline:
            return False
        say.waiting(f"for the standby to replay {lsn}")
        time.sleep(0.1)


def follow(scene: Scene, shown: Shown, say: Say) -> None:
    """Before a look: wait until a standby shows what its primary holds now. That it does not come so far is a fault of the
    proof `snapshot`; then nobody waits a second time."""
    if scene.fence_at is scene.source or any(fault.startswith(BEHIND) for fault in shown.snapshot_faults):
        return
    with renamed("ask the source's primary how far its WAL has come"):
        lsn = position(scene.fence_at)
    if not reached(scene, lsn, scene.patience_s, say):
        shown.snapshot_faults.append(behind(scene, lsn, "where its primary stood before the rows were read"))


def behind(scene: Scene, lsn: str, what: str) -> str:
    """The fault, with why it stands still."""
    with renamed("ask the standby why it is behind"):
        row = scene.source.execute(_STATE, [lsn]).fetchone()
    assert row
    return f"{BEHIND} {lsn}, {what}: {row[0]}"
