"""Backfill against `COPY` of the same rows into the same table, side by side in one run.

The table is GitLab's usual registry: seven columns, a surrogate key, a unique index on the record's id, one on the state.
COPY is given the rows ready made; the backfill asks the source before and after.
"""

from __future__ import annotations

import statistics
import time
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg

from bench.machine import load
from bench.stand import Stand
from bench.table import Row, seconds
from databases.connect import connect
from databases.ledger import Ledger
from reconciler import history
from reconciler.backfill import Job, backfill, plan
from reconciler.catalog import resolve
from reconciler.identity import identify
from reconciler.lease import Held, acquire
from schemas.data_types import DataType
from schemas.keys import IntKeys, key_type
from schemas.settings import BackfillSettings, Dsn

REGISTRY = """
DROP TABLE IF EXISTS item_registry;
CREATE TABLE item_registry (id bigserial PRIMARY KEY, item_id bigint NOT NULL, created_at timestamptz NOT NULL,
  last_synced_at timestamptz, retry_at timestamptz, state smallint NOT NULL DEFAULT 0, retry_count smallint NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX ON item_registry (item_id);
CREATE INDEX ON item_registry (retry_at);
CREATE INDEX ON item_registry (state) WHERE state = 2;
INSERT INTO item_registry (item_id, created_at, state) SELECT g, now(), 2 FROM generate_series(1, {rows}) g;
"""
DECLARED = DataType.model_validate(
    {
        "topics": "t",
        "format": "debezium-json",
        "source": {"table": "public.items", "key": "id"},
        "registry": {"table": "public.item_registry", "key": "item_id", "insert": {"state": 0, "created_at": "now"}},
    }
)


def row(stand: Stand, rows: int, repeats: int) -> Row:
    """Dense new keys, as many as the registry has rows."""
    server = stand.postgres(18)
    names = stand.new("source"), stand.new("target")
    source, target = (server.create_database(name) for name in names)
    with psycopg.connect(source, autocommit=True) as db:
        db.execute("CREATE TABLE items (id bigint PRIMARY KEY, project_id int, name text)")
        db.execute(f"INSERT INTO items SELECT g, g % 100, 'item ' || g FROM generate_series(1, {2 * rows + 1}) g")
        db.execute("VACUUM ANALYZE items")
    keys = np.arange(rows + 1, 2 * rows + 1)
    with closing(Ledger(Dsn(target), "fencepost")) as ledger:
        ledger.upgrade()
        times = [(copied(target, rows, keys), backfilled(source, target, ledger, rows, keys)) for _ in range(repeats)]
    for name in names:
        server.drop_database(name)
    copy, ours = (statistics.median(side) for side in zip(*times, strict=True))
    return Row(
        name=f"backfill of {rows / 1e6:g} M rows",
        ours=seconds(ours),
        plain=f"COPY {seconds(copy)}",
        value=statistics.median(c / o for c, o in times),
        unit=" ×",
        must=0.5,
        aim=0.6,
        more=True,
        load=load(),
        raw={"copy_s": [c for c, _ in times], "backfill_s": [o for _, o in times]},
    )


def fresh(target: str, rows: int) -> None:
    with psycopg.connect(target, autocommit=True) as db:
        db.execute(REGISTRY.format(rows=rows))
        db.execute("VACUUM ANALYZE item_registry")
        db.execute("CHECKPOINT")


def copied(target: str, rows: int, keys: npt.NDArray[np.int64]) -> float:
    fresh(target, rows)
    now = "2026-01-01 00:00:00+00"
    data = "".join(f"{key}\t{now}\t0\n" for key in keys.tolist()).encode()
    with psycopg.connect(target, autocommit=True) as db:
        start = time.perf_counter()
        with db.cursor().copy("COPY item_registry (item_id, created_at, state) FROM STDIN") as copy:
            copy.write(data)
        return time.perf_counter() - start


def backfilled(source: str, target: str, ledger: Ledger, rows: int, keys: npt.NDArray[np.int64]) -> float:
    fresh(target, rows)

    def to_source() -> psycopg.Connection[Any]:
        return connect(Dsn(source), "the source", read_only=True)

    def to_registry() -> psycopg.Connection[Any]:
        return connect(Dsn(target), "the registry")

    with to_source() as s, to_registry() as r:
        tables = (
            resolve(s, "the source", "public.items", ["id"]),
            resolve(r, "the registry", "public.item_registry", ["item_id"]),
        )
        server = identify(r, "registry")
    wanted = IntKeys.of(keys)
    job = Job(
        name="item",
        data_type=DECLARED,
        key_type=key_type("int"),
        source=tables[0],
        registry=tables[1],
        keys=wanted,
        unique=True,
    )
    start = time.perf_counter()
    plan(server, [job])
    run = history.begin(ledger, "cutover", "bench")
    held = acquire(ledger, run)
    assert isinstance(held, Held)
    with held:
        done = backfill(BackfillSettings(), ledger, run, [job], source=to_source, registry=to_registry, lease=held)
    took = time.perf_counter() - start
    assert done["item"].inserted == wanted
    return took
