"""`fencepost undo RUN`: take back the registry rows that a run inserted and nobody touched since, and put back what it removed.

It is a run of its own, under the same lease as a cutover. A second undo finds nothing left to take back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from databases.connect import connect
from databases.ledger import Ledger
from reconciler import alive, backfill, history, killed, lease, removal
from reconciler.ports import Say
from schemas.errors import FencepostError, RefusedWrite
from schemas.keys import KeySet
from schemas.settings import Settings
from terminal.layout import columns, counted

KIND = "undo"
LISTED = 100
#: Keys shown in a line; `--json` lists `LISTED`.
SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """One data type's rows."""

    removed: int
    touched: int  #: somebody changed the row since: left alone
    gone: int  #: no longer there
    touched_keys: tuple[str, ...] = ()  #: at most `LISTED` of those left alone
    put_back: int = 0  #: orphans that the run removed, standing again as they stood
    left: int = 0  #: orphans of which another row stands by now, or that were changed since


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What an undo did."""

    run: str
    of: str
    data_types: Mapping[str, Counts]

    def plain(self) -> dict[str, Any]:
        types = [
            {
                "name": name,
                "removed": c.removed,
                "touched": c.touched,
                "gone": c.gone,
                "touched_keys": list(c.touched_keys),
                "orphans": {"put_back": c.put_back, "left": c.left},
            }
            for name, c in self.data_types.items()
        ]
        return {"run": self.run, "kind": KIND, "of": self.of, "data_types": types}

    def text(self) -> str:
        if not self.data_types:
            return f"run {self.of} wrote no registry rows: nothing to take back\n"
        rows = [(name, _words(c)) for name, c in self.data_types.items()]
        return "\n".join([f"What run {self.of} wrote:", *columns(rows), "To see what is missing now: fencepost gaps"]) + "\n"


def run(settings: Settings, ledger: Ledger, of: str, *, say: Say) -> Taken:
    """Undo run `of`. Raises RefusedWrite where another run is writing, or where `of` wrote to another database."""
    killed.settle(ledger)
    started = history.begin(ledger, KIND, history.settings_hash(settings, (of,)))
    with alive.kept(ledger, started):
        try:
            done, orphans = _taken_back(settings, ledger, of, started, say)
        except KeyboardInterrupt:
            with suppress(FencepostError):
                history.interrupted(ledger, started, f"interrupted while taking back what run {of} inserted; run it again")
            raise
        except Exception as error:
            with suppress(FencepostError):
                history.fail(ledger, started, error)
            raise
        taken = Taken(run=started, of=of, data_types=_all_counts(done, orphans))
        history.done(ledger, started, json.dumps(taken.plain(), ensure_ascii=False), now=datetime.now(UTC))
        return taken


def _all_counts(done: Mapping[str, backfill.Undone], orphans: Mapping[str, tuple[KeySet, KeySet]]) -> dict[str, Counts]:
    counts = {name: _counts(u) for name, u in done.items()}
    for name, (back, left) in orphans.items():
        counts[name] = replace(counts.get(name, Counts(removed=0, touched=0, gone=0)), put_back=len(back), left=len(left))
    return counts


def _taken_back(
    settings: Settings, ledger: Ledger, of: str, started: str, say: Say
) -> tuple[dict[str, backfill.Undone], dict[str, tuple[KeySet, KeySet]]]:
    held = lease.acquire(ledger, started)
    if isinstance(held, lease.Taken):
        raise RefusedWrite(f"the registry is being written by {held.described}", hint="wait until that run has ended")
    say.phase(f"taking back what run {of} inserted")
    with held:
        registry = partial(connect, settings.registry.dsn, "the registry", autocommit=False)
        done = backfill.undo(ledger, of, registry=registry, lease=held, progress=say.advance)
        return done, removal.undo(ledger, of, registry=registry, lease=held)


def _counts(u: backfill.Undone) -> Counts:
    return Counts(
        removed=len(u.removed),
        touched=len(u.touched),
        gone=len(u.gone),
        touched_keys=tuple(u.key_type.texts(u.touched, LISTED)),
    )


def _words(c: Counts) -> str:
    words = f"{counted(c.removed, 'row')} taken back"
    if c.touched:
        more = " …" if c.touched > SHOWN else ""
        keys = f"{', '.join(c.touched_keys[:SHOWN])}{more}"
        words += f", {c.touched:,} left alone, touched since or referred to: {keys}"
    words += f"; {c.gone:,} no longer there" if c.gone else ""
    if c.put_back or c.left:
        words += f"; {counted(c.put_back, 'orphan')} put back"
        words += f", {c.left:,} not: another row stands, or it was changed since" if c.left else ""
    return words
