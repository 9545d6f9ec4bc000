"""Full two-sided compare against binary COPY of both id lists one after the other, in the same run, as ratios.

    python bench/learn.py DSN [rows] [uuid rows]

Makes tables in a scratch schema of that database, runs pairs in turn, and prints medians. COPY is read by psql (set PSQL
where it is not on the path). On a busy machine only the server's CPU can be compared: that of one connection is printed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

sys.path.insert(0, str(Path(__file__).parent.parent))

from reconciler.probe import Side, Table, compare
from schemas.keys import ByteKeys, IntKeys, KeySet, key_type

SCHEMA, PAIRS = "fencepost_bench", 5
ROW = "7 AS project_id, now() AS created_at, 2 AS state, repeat('x', 60) AS payload"


def main() -> None:
    dsn, rows, uids = sys.argv[1], *(int(text) for text in (*sys.argv[2:], "1000000", "1000000")[:2])
    with psycopg.connect(dsn, autocommit=True) as hand:
        hand.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
        gap = max(rows // 100, 1)
        make(hand, "source", f"SELECT g AS id, {ROW} FROM generate_series(1, {rows}) g")
        make(hand, "gaps", f"SELECT g AS id, {ROW} FROM generate_series(1, {rows}) g WHERE g % {gap} <> {gap // 3}")
        make(hand, "tenth", f"SELECT g AS id, {ROW} FROM generate_series(1, {rows}) g WHERE hashint8(g) % 10 <> 0")
        make(hand, "uids", f"SELECT gen_random_uuid() AS id, {ROW} FROM generate_series(1, {uids}) g")
        some = f"(SELECT id, row_number() OVER () AS n FROM {SCHEMA}.uids) u WHERE n % {max(uids // 100, 1)} <> 0"
        make(hand, "uid_gaps", f"SELECT id, {ROW} FROM {some}")
        log = IntKeys.range(1, rows + 1) - IntKeys.of(np.arange(60, dtype=np.int64) * (rows // 61) + 5)
        print(f"{rows} rows, {uids} uuids, {hand.info.server_version}, load {os.getloadavg()[0]:.1f}")
        heads = ("1 connection", "2 connections", "server CPU", "client CPU")
        print(f"{'against COPY of both id lists':36}" + "".join(f"{head:>15}" for head in heads))
        report(dsn, "100 gaps", "source", "gaps", "int", log, 0.2)
        report(dsn, "10 % missing", "source", "tenth", "int", log, 0.35)
        log_of_uids = ByteKeys.of(np.frombuffer(packed(hand, "uids"), "S16"))
        report(dsn, "uuid, 100 gaps", "uids", "uid_gaps", "uuid", log_of_uids, 1.1)
        hand.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


def make(hand: psycopg.Connection[Any], name: str, rows: str) -> None:
    hand.execute(f"CREATE TABLE {SCHEMA}.{name} AS {rows}")
    hand.execute(f"ALTER TABLE {SCHEMA}.{name} ADD PRIMARY KEY (id)")
    hand.execute(f"VACUUM (ANALYZE, FREEZE) {SCHEMA}.{name}")


def packed(hand: psycopg.Connection[Any], name: str) -> bytes:
    query = f"SELECT string_agg(uuid_send(id), ''::bytea) FROM {SCHEMA}.{name}"
    ((data,),) = hand.cursor(binary=True).execute(query).fetchall()
    return bytes(data)


def report(dsn: str, title: str, source: str, registry: str, kind: str, log: KeySet, goal: float) -> None:
    copies, ours = [], {1: [], 2: []}
    connections = [snapshot(dsn) for _ in range(4)]
    facts: dict[str, Any] = {"schema": SCHEMA, "key": ("id",), "kinds": (kind,), "unique": True, "bytewise": kind == "uuid"}

    def compared(workers: int) -> None:
        sides = [
            Side(table=Table(name=name, **facts), connections=connections[at : at + workers])
            for name, at in ((source, 0), (registry, 2))
        ]
        parts = compare(*sides, key_type(kind), lambda span: span.select(log))
        assert sum(len(part.source - part.registry) for part in parts) > 0

    def copied() -> None:
        for name in (source, registry):
            copy(dsn, name)

    for _ in range(PAIRS):
        copies.append(timed(connections, copied))
        for workers in (1, 2):
            ours[workers].append(timed(connections, lambda w=workers: compared(w)))
    spent = statistics.median(sum(copy_cpu(connections[0], name) for name in (source, registry)) for _ in range(3))
    for connection in connections:
        connection.close()
    wall = statistics.median(run[0] for run in copies)
    one, two = (statistics.median(run[0] for run in ours[workers]) / wall for workers in (1, 2))
    server = statistics.median(run[1] for run in ours[1]) / spent
    client = statistics.median(run[2] for run in ours[1]) / wall
    print(f"{title:23} (goal {goal:4}) {one:15.2f}{two:15.2f}{server:15.2f}{client:15.2f}")


def snapshot(dsn: str) -> psycopg.Connection[Any]:
    connection = psycopg.connect(dsn, autocommit=True, prepare_threshold=None, client_encoding="UTF8")
    connection.execute("SET search_path = pg_catalog")
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    return connection


def copy(dsn: str, name: str) -> None:
    """Send a table's ids to psql, which drops them."""
    query = f"COPY (SELECT id FROM {SCHEMA}.{name}) TO STDOUT (FORMAT binary)"
    command = [os.environ.get("PSQL", "psql"), "-X", "-q", "-d", dsn, "-c", query]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def copy_cpu(connection: psycopg.Connection[Any], name: str) -> float:
    """The server's CPU for the same, into nowhere."""
    before = cpu([connection])
    wire = connection.pgconn
    wire.exec_(f"COPY (SELECT id FROM {SCHEMA}.{name}) TO STDOUT (FORMAT binary)".encode())
    while wire.get_copy_data(0)[0] > 0:
        pass
    while wire.get_result() is not None:
        pass
    return cpu([connection]) - before


def timed(connections: list[psycopg.Connection[Any]], work: Callable[[], None]) -> tuple[float, float, float]:
    """Seconds by the wall, of the server's processes (where they run on this machine), of ours."""
    wall, server, client = time.perf_counter(), cpu(connections), time.process_time()
    work()
    return time.perf_counter() - wall, cpu(connections) - server, time.process_time() - client


def cpu(connections: list[psycopg.Connection[Any]]) -> float:
    ticks = 0
    for connection in connections:
        try:
            fields = Path(f"/proc/{connection.info.backend_pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        except OSError:
            return float("nan")
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
