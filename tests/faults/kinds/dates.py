"""Rows whose date lies: set by an importer, missing, infinite, ahead, in the hour that comes twice, in another zone."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.contract import CLEAR, Fault, Inject
from tests.faults.world import World

ODD = {
    "NULL": "NULL",
    "infinity": "'infinity'",
    "minus infinity": "'-infinity'",
    "future": "now() + interval '1 year'",
    "before all times": "'4713-01-01 BC'",
}


def dated(world: World, expression: str) -> str:
    key = world.new_id()
    with psycopg.connect(world.source) as db:
        db.execute(f"INSERT INTO items (id, created_at) VALUES (%s, {expression})", [key])
    return str(key)


def odd(world: World) -> Iterator[None]:
    """Within `--since 1h`: whatever no clock can place is looked at all the same."""
    keys = {dated(world, expression) for name, expression in ODD.items() if name not in ("before all times", "minus infinity")}
    near = dated(world, "now() - interval '55 minutes'")
    since(world, "1 hour")
    yield
    assert keys | {near} <= world.registered()["item"], world.told()


def since(world: World, window: str) -> None:
    """Rows older than that are outside of what is asked."""
    with psycopg.connect(world.source) as db:
        for kind in ("item", "part"):
            rows = db.execute(f"SELECT id::text FROM {kind}s WHERE created_at < now() - interval '{window}'").fetchall()
            world.exempt[kind] = {key for (key,) in rows}


def backdated(world: World) -> Iterator[None]:
    for _ in range(5):
        dated(world, "now() - interval '2 years'")
    for expression in ODD.values():
        dated(world, expression)
    yield


def backdated_outside(world: World) -> Iterator[None]:
    """What `--since` cannot see is not claimed: the report has to say so."""
    dated(world, "now() - interval '2 years'")
    since(world, "1 hour")
    yield
    assert any("backdated" in words or "dated before" in words for words in world.told().of("item")["window"]["cannot_see"])


def session_zone(zone: str) -> Inject:
    """A column without a zone, a database whose sessions are elsewhere: the same row must stay in the same window."""

    def inject(world: World) -> Iterator[None]:
        name = psycopg.conninfo.conninfo_to_dict(world.source)["dbname"]
        with psycopg.connect(world.source, autocommit=True) as db:
            db.execute("ALTER TABLE items ALTER created_at TYPE timestamp USING created_at AT TIME ZONE 'Europe/Berlin'")
            db.execute(f"ALTER DATABASE {name} SET timezone = '{zone}'")
        berlin = "(now() AT TIME ZONE 'Europe/Berlin')"
        within = dated(world, f"{berlin} - interval '70 hours'")
        beyond = dated(world, f"{berlin} - interval '74 hours'")
        with psycopg.connect(world.source) as db:
            rows = db.execute(f"SELECT id::text FROM items WHERE created_at < {berlin} - interval '72 hours'").fetchall()
            world.exempt["item"] = {key for (key,) in rows}
        since_parts(world)
        world.extra = {**world.extra, "data_types/item/source/zone": "Europe/Berlin"}
        yield
        assert within in world.registered()["item"], world.told()
        assert beyond not in world.registered()["item"], world.told()

    return inject


def since_parts(world: World) -> None:
    with psycopg.connect(world.source) as db:
        rows = db.execute("SELECT id::text FROM parts WHERE created_at < now() - interval '72 hours'").fetchall()
        world.exempt["part"] = {key for (key,) in rows}


def the_hour_that_comes_twice(world: World) -> Iterator[None]:
    """01:30 and 02:30 of the night in which summer time ended, in a column without a zone: either hour may be meant."""
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute("ALTER TABLE items ALTER created_at TYPE timestamp USING created_at AT TIME ZONE 'Europe/Berlin'")
    for text in ("2024-10-27 01:30", "2024-10-27 02:00", "2024-10-27 02:30", "2024-10-27 02:59:59.999999", "2024-10-27 03:00"):
        dated(world, f"'{text}'")
    world.extra = {**world.extra, "data_types/item/source/zone": "Europe/Berlin"}
    # The second 02:30 was at 01:30 UTC. Rows of the first one may be looked at or not; of the second one, they must.
    world.exempt = {"item": older(world, "items", "'2024-10-27 02:30'::timestamp"), "part": older(world, "parts", "now()")}
    yield


def older(world: World, table: str, than: str) -> set[str]:
    with psycopg.connect(world.source) as db:
        return {key for (key,) in db.execute(f"SELECT id::text FROM {table} WHERE created_at < {than}").fetchall()}


FAULTS = {
    "backdated and undatable rows": Fault(
        about="rows dated two years ago, before all times, NULL, infinite, in the future; no `--since`",
        modes=(4, 5),
        inject=backdated,
        right=CLEAR,
    ),
    "undatable rows in a window": Fault(
        about="rows without a date, infinite or in the future, with `--since 1h`",
        modes=(5, 7),
        inject=odd,
        right=CLEAR,
        asks=("--since", "1h"),
        mended=None,
        own=True,
    ),
    "backdated outside the window": Fault(
        about="a row dated before `--since`: not claimed, and the report says so",
        modes=(4,),
        inject=backdated_outside,
        right=CLEAR,
        asks=("--since", "1h"),
        mended=None,
        own=True,
    ),
    "hour that comes twice": Fault(
        about="rows dated in the hour in which summer time ended, in a column without a zone",
        modes=(6,),
        inject=the_hour_that_comes_twice,
        right=CLEAR,
        asks=("--since", "2024-10-27T01:30:00Z"),
        mended=None,
        own=True,
    ),
    **{
        f"session zone {zone}": Fault(
            about=f"times without a zone are read in sessions of {zone}, with `--since 72h`",
            modes=(6,),
            inject=session_zone(zone),
            right=CLEAR,
            asks=("--since", "72h"),
            mended=None,
            own=True,
            slow=zone != "Asia/Tokyo",
        )
        for zone in ("UTC", "Asia/Tokyo", "America/Los_Angeles")
    },
}
