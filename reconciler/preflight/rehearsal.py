"""What a run would do first, really done: lock the tables, take a snapshot, see who would hold up the fence. No waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from reconciler import fence
from reconciler.catalog import Facts
from reconciler.ports import names
from reconciler.preflight.finding import Finding, failed, ok, warn
from reconciler.preflight.ground import LOCK_TIMEOUT, STATEMENT_TIMEOUT, Ground
from reconciler.snapshot import Limits, snapshot
from schemas.errors import FencepostError
from schemas.settings import Dsn


def look(ground: Ground) -> Iterator[Finding]:
    source = [subject.source for subject in ground.subjects if subject.source is not None]
    registry = [subject.registry for subject in ground.subjects if subject.registry is not None]
    if ground.source is not None:
        yield from _snapshot(ground, ground.settings.source.dsn, "the source", source)
    if ground.registry is not None:
        yield from _snapshot(ground, ground.settings.registry.dsn, "the registry", registry)
    origin = [subject.origin for subject in ground.subjects if subject.origin is not None]
    if ground.settings.source.kind == "copy" and origin:
        yield from _snapshot(ground, ground.settings.source.rows, "the copy's origin", origin)
    written = origin if ground.settings.source.kind == "copy" else source
    if ground.fence_at is not None and written:
        yield from _writers(ground, written)


def _snapshot(ground: Ground, dsn: Dsn, what: str, found: Sequence[Facts]) -> Iterator[Finding]:
    started, limits = time.monotonic(), Limits.of(ground.settings.source)
    try:
        with snapshot(
            dsn,
            what,
            [facts.table for facts in found],
            replace(limits, statement_timeout=STATEMENT_TIMEOUT, lock_timeout=min(LOCK_TIMEOUT, limits.lock_timeout)),
        ) as taken:
            took = time.monotonic() - started
            connections = len(taken.connections)
            yield ok(
                "rehearsal",
                f"{what}: {len(found)} tables locked in ACCESS SHARE mode and one snapshot over {connections}"
                f" connections in {took:.2f} s",
            )
    except FencepostError as error:
        yield failed("rehearsal", error)


def _writers(ground: Ground, found: Sequence[Facts]) -> Iterator[Finding]:
    assert ground.fence_at is not None
    try:
        everyone = fence.open_transactions(ground.fence_at, [facts.oid for facts in found])
    except FencepostError as error:
        yield failed("rehearsal", error)
        return
    now = datetime.now(UTC)
    waited_for = [transaction.described(now) for transaction in everyone if transaction.waited_for]
    if waited_for:
        told = f"a fence taken now would wait for {len(waited_for)}: {names(waited_for, 3)}"
        yield warn("rehearsal", told, try_="see that they end before the cutover; --wait bounds the wait")
    else:
        yield ok("rehearsal", f"a fence taken now would wait for nobody ({len(everyone)} transactions open)")
