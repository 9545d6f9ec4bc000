"""The sign of life that a run gives, so that one which was killed can be told from one at work.

A run's row comes with a row in the lease table, `run:<id>`, in the same transaction: there is no moment at which a run
has none. While the run is at work it is renewed; where it ends it goes. A lease that has run out says that nobody
renewed it for `LIFE`, which a ledger that was away does as well. So the process behind it is asked first, where that
can be: on the same machine, in the same namespace of processes, it is known whether it is there. Settling what is dead
is `reconciler.killed`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from databases.ledger import Ledger
from reconciler.lease import Held, whoami
from schemas import ledger as tables

#: From elsewhere a run is taken for dead only after so long without a sign: longer than a ledger's restart.
LIFE = timedelta(minutes=1)
EVERY = timedelta(seconds=5)
#: How its lease is called: this, then the run's id.
LEASE = "run:"
_PROC = Path("/proc")
_BOOT = _PROC / "sys/kernel/random/boot_id"
#: Runs of this very process. A service outlives its runs, and one of them may end without being able to say so.
_at_work: set[str] = set()


def lease_of(run: str) -> str:
    return f"{LEASE}{run}"


def begun(connection: sa.Connection, run: str) -> None:
    """The first sign of life, within the transaction that opens the run."""
    _at_work.add(run)  # before it can be seen: another thread of ours may look for dead runs
    row = {"name": lease_of(run), "epoch": 1, "holder": f"{whoami()} {process() or ''}".strip(), "run": run}
    connection.execute(sa.insert(tables.lease).values(**row, expires_at=sa.func.clock_timestamp() + LIFE))


def ended(connection: sa.Connection, run: str) -> None:
    """No sign is awaited any more, from the transaction on that closes the run."""
    connection.execute(sa.delete(tables.lease).where(tables.lease.c.name == lease_of(run)))


@contextmanager
def kept(ledger: Ledger, run: str) -> Iterator[None]:
    """Renew the sign of life while the run is at work."""
    try:
        with _Sign(ledger, name=lease_of(run), epoch=1, holder=whoami(), run=run, ttl=LIFE, every=EVERY):
            yield
    finally:
        _at_work.discard(run)


class _Sign(Held):
    def ours(self) -> tuple[sa.ColumnElement[bool], ...]:
        """The run's name is nobody else's; the holder's, which tells the process, was given when the run was opened."""
        return tables.lease.c.name == self.name, tables.lease.c.epoch == self.epoch

    def release(self) -> None:
        """It goes with the run, in one transaction; where the run could not be closed, it runs out."""


def is_dead(run: str, holder: str | None) -> bool | None:
    """Whether the process behind a run is gone. None where that cannot be seen from here."""
    machine, pid, began = _read(holder)
    here = _machine()
    if machine is None or here is None or machine != here:
        return None
    if pid == os.getpid() and began == _began(pid):
        return run not in _at_work
    return _began(pid) != began


def process() -> str | None:
    """This process, so that it is not taken for another that gets its number later. None where the system does not tell."""
    here, began = _machine(), _began(os.getpid())
    return None if here is None or began is None else f"{here}/{os.getpid()}/{began}"


def _read(holder: str | None) -> tuple[str | None, int, str]:
    *machine, pid, began = ["", "", *(holder or "").rpartition(" ")[2].split("/")]
    return ("/".join(filter(None, machine)) or None, int(pid), began) if pid.isdecimal() else (None, 0, "")


@cache
def _machine() -> str | None:
    """This boot of this machine, and the namespace in which process numbers mean what they do for us."""
    try:
        return f"{_BOOT.read_text().strip()}/{(_PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return None


def _began(pid: int) -> str | None:
    """When the process was started, in ticks of its machine. None where there is none, or it is dead and not yet reaped."""
    try:
        state, *words = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else words[18]
