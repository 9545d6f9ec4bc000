"""Rows with a date of their own, and rows that are too old for what is asked."""

from __future__ import annotations

import psycopg

from tests.faults.world import World


def dated(world: World, expression: str) -> str:
    key = world.new_id()
    with psycopg.connect(world.source) as db:
        db.execute(f"INSERT INTO items (id, created_at) VALUES (%s, {expression})", [key])
    return str(key)


def older(world: World, table: str, than: str) -> set[str]:
    with psycopg.connect(world.source) as db:
        return {key for (key,) in db.execute(f"SELECT id::text FROM {table} WHERE created_at < {than}").fetchall()}


def since(world: World, window: str) -> None:
    """Rows older than that are outside of what is asked."""
    world.exempt = {kind: older(world, f"{kind}s", f"now() - interval '{window}'") for kind in ("item", "part")}
