"""Tables that change, or hide rows, while they are compared."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from tests.faults.beside import Aside
from tests.faults.contract import CANNOT_TELL, CLEAR, CLEAR_OR_GAPS, NO_VERDICT, WITHHELD, Fault, Inject
from tests.faults.phases import Phase
from tests.faults.world import World
from tests.stack.processes import wait_until


def changed_between_slices(statement: str) -> Inject:
    """The change waits for our lock, or it is over before the snapshot: never in between."""

    def inject(world: World) -> Iterator[None]:
        asides: list[Aside] = []

        def change() -> None:
            with psycopg.connect(world.source, autocommit=True, application_name="changer") as db:
                db.execute(statement)

        def begin() -> None:
            asides.append(Aside(change))
            wait_until(lambda: held_up(world), "the change waits for a lock")

        world.lost()
        world.at(Phase.SLICES, begin)
        yield
        for aside in asides:
            aside.join()

    return inject


def held_up(world: World) -> bool:
    with psycopg.connect(world.source) as db:
        row = db.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'changer' AND wait_event_type = 'Lock'"
            " AND datname = current_database()"
        ).fetchone()
    return bool(row and row[0])


def locked(world: World) -> Iterator[None]:
    """A migration holds the table; we do not queue up behind it for ever, for others would queue behind us."""
    world.extra = {**world.extra, "source/lock_timeout": "300ms"}
    with psycopg.connect(world.source) as db:

        def lock() -> None:
            db.execute("LOCK TABLE parts IN ACCESS EXCLUSIVE MODE")

        world.live(5)
        world.at(Phase.LOG, lock)
        world.afterwards.append(db.rollback)
        yield


def hidden_by_policy(world: World) -> Iterator[None]:
    role = f"half_blind_{world.mark}"
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(f"CREATE ROLE {role} LOGIN")
        db.execute(f"GRANT SELECT ON items, parts TO {role}")
        db.execute("ALTER TABLE items ENABLE ROW LEVEL SECURITY")
        db.execute("CREATE POLICY half ON items USING (id % 2 = 0)")
    world.lost(count=4)
    dsn = world.wired("source", world.source).replace("postgres:", f"{role}:")
    world.extra = {**world.extra, "source/dsn": dsn}
    yield
    assert world.told().of("part")["verdict"] == "CLEAR", world.told()
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute("DROP POLICY half ON items")
        db.execute("ALTER TABLE items DISABLE ROW LEVEL SECURITY")
        db.execute(f"DROP OWNED BY {role}")
        db.execute(f"DROP ROLE {role}")


def twin(world: World) -> Iterator[None]:
    """An empty table of the same name stands first in the search path, with functions that shadow the server's."""
    world.lost(count=2)
    name = psycopg.conninfo.conninfo_to_dict(world.source)["dbname"]
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute("CREATE SCHEMA shadow")
        db.execute("CREATE TABLE shadow.items (LIKE public.items INCLUDING ALL)")
        db.execute("CREATE FUNCTION shadow.count(text) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'")
        db.execute("CREATE FUNCTION shadow.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS 'SELECT false'")
        db.execute(f"ALTER DATABASE {name} SET search_path = shadow, public, pg_catalog")
    yield
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(f"ALTER DATABASE {name} RESET search_path")
        db.execute("DROP SCHEMA shadow CASCADE")


def unqualified_twin(world: World) -> Iterator[None]:
    """The settings name the table without its schema, and there are two of that name."""
    world.extra = {**world.extra, "data_types/item/source/table": "items"}
    yield from twin(world)


def attached(world: World) -> Iterator[None]:
    """Rows of last year come in as a partition, while the log is read: no event, no new row, no INSERT."""
    partitioned(world)
    with psycopg.connect(world.source) as db:
        db.execute("CREATE TABLE items_old (LIKE items)")
        db.execute(
            "INSERT INTO items_old (id, created_at) SELECT n, now() - interval '1 year' FROM generate_series(90001, 90020) n"
        )

    def attach() -> None:
        with psycopg.connect(world.source) as db:
            db.execute("ALTER TABLE items ATTACH PARTITION items_old FOR VALUES FROM (90000) TO (100000)")

    world.live(5)
    world.at(Phase.LOG, attach)
    yield
    assert {str(key) for key in range(90001, 90021)} <= world.registered()["item"]


def partition_without_grant(world: World) -> Iterator[None]:
    """Read through its parent a partition needs no grant of its own; the rows in it count like all others."""
    partitioned(world)
    role = f"parent_only_{world.mark}"
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(f"CREATE ROLE {role} LOGIN")
        db.execute(f"GRANT SELECT ON items, parts TO {role}")
    world.lost(count=3)
    dsn = world.wired("source", world.source).replace("postgres:", f"{role}:")
    world.extra = {**world.extra, "source/dsn": dsn}
    yield
    with psycopg.connect(world.source, autocommit=True) as db:
        db.execute(f"DROP OWNED BY {role}")
        db.execute(f"DROP ROLE {role}")


def partitioned(world: World) -> None:
    """The same rows, in a table of two partitions."""
    with psycopg.connect(world.source) as db:
        db.execute("ALTER TABLE items RENAME TO items_before")
        db.execute(
            "CREATE TABLE items (id bigint PRIMARY KEY, note text, created_at timestamptz DEFAULT now())"
            " PARTITION BY RANGE (id)"
        )
        db.execute("CREATE TABLE items_low PARTITION OF items FOR VALUES FROM (0) TO (20)")
        db.execute("CREATE TABLE items_high PARTITION OF items FOR VALUES FROM (20) TO (90000)")
        db.execute("INSERT INTO items SELECT * FROM items_before")
        db.execute("DROP TABLE items_before")


FAULTS = {
    "truncated between slices": Fault(
        about="TRUNCATE is issued after the snapshot stands and before its second slice",
        modes=(15, 45),
        inject=changed_between_slices("TRUNCATE parts"),
        right=CLEAR,  # the first compare is whole, and in the second no row is left that could be missing
        own=True,
    ),
    "rewritten between slices": Fault(
        about="ALTER TABLE rewrites the table after the snapshot stands and before its second slice",
        modes=(15,),
        inject=changed_between_slices("ALTER TABLE items ALTER note TYPE varchar(77) USING left(note, 77)"),
        right=CLEAR,
        own=True,
    ),
    "migration holds the table": Fault(
        about="a migration holds an exclusive lock on a table", modes=(85,), inject=locked, right=WITHHELD
    ),
    "row-level security": Fault(
        about="a policy hides half of the rows from our role",
        modes=(12,),
        inject=hidden_by_policy,
        right=CANNOT_TELL,
        names="row-level security",
    ),
    "twin table": Fault(
        about="`search_path` puts an empty twin, and shadowed functions, before the real table",
        modes=(12,),
        inject=twin,
        right=CLEAR,
    ),
    "twin table, no schema given": Fault(
        slow=True,
        about="the same, and the settings name the table without its schema",
        modes=(12, 14),
        inject=unqualified_twin,
        right=NO_VERDICT | CANNOT_TELL | CLEAR_OR_GAPS,
    ),
    "partition attached": Fault(
        about="a partition with old rows is attached while the log is read",
        modes=(29,),
        inject=attached,
        right=CLEAR,
        own=True,
    ),
    "partition without a grant": Fault(
        slow=True,
        about="our role has a grant on the parent only",
        modes=(12,),
        inject=partition_without_grant,
        right=CLEAR,
        own=True,
    ),
}
