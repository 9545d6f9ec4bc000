"""What the catalog says of a declared table: found or clearly refused, with whatever may hide its rows."""

from __future__ import annotations

import pytest

from databases.connect import connect
from reconciler.catalog import facts, resolve, scope_of
from schemas.data_types import Condition
from schemas.errors import CatalogError
from schemas.settings import Dsn
from tests.reconciler.catalog.conftest import SOURCE, Made

FOREIGN = "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"


def test_a_plain_table_is_found_with_everything_a_compare_relies_on(made_any: Made) -> None:
    db = made_any(
        "CREATE TABLE public.jobs (id bigint PRIMARY KEY, created_at timestamptz NOT NULL);"
        "CREATE INDEX ON public.jobs (created_at)"
    )
    found = facts(db, SOURCE, "public.jobs", ["id"], created_at="created_at")
    table = found.table
    assert (table.schema, table.name, table.key, table.kinds) == ("public", "jobs", ("id",), ("int",))
    assert (table.unique, table.ordered, table.leaves) == (True, True, None)
    assert (table.created_at, table.created_kind) == ("created_at", "timestamptz")
    assert found.created_at_index is not None
    assert found.hidden == []
    assert found.why_not_unique is None


def test_a_partitioned_table_is_unique_only_by_an_index_of_the_whole_and_lists_all_its_leaves(made_any: Made) -> None:
    db = made_any(
        "CREATE TABLE public.p (id bigint, part int, PRIMARY KEY (id, part)) PARTITION BY LIST (part);"
        "CREATE TABLE public.p_1 PARTITION OF public.p FOR VALUES IN (1);"
        "CREATE TABLE public.p_2 PARTITION OF public.p FOR VALUES IN (2) PARTITION BY RANGE (id);"
        'CREATE UNLOGGED TABLE public."P 2a" PARTITION OF public.p_2 FOR VALUES FROM (0) TO (100);'
        "CREATE TABLE public.p_2b PARTITION OF public.p_2 FOR VALUES FROM (100) TO (200);"
        "CREATE UNIQUE INDEX ON public.p_1 (id)"
    )
    found = facts(db, SOURCE, "public.p", ["id"])
    assert not found.table.unique
    assert found.table.ordered
    assert found.table.leaves == (("public", "P 2a"), ("public", "p_1"), ("public", "p_2b"))
    assert found.why_not_unique == "p_pkey makes (id, part) unique, not (id) alone"
    assert 'unlogged, so that a crash of the server empties it: public."P 2a"' in found.seen
    assert facts(db, SOURCE, "public.p", ["part", "id"]).table.unique


def test_an_index_that_only_some_partitions_have_is_no_index_of_the_table(made: Made) -> None:
    db = made(
        "CREATE TABLE public.p (id bigint, at timestamptz, part int) PARTITION BY LIST (part);"
        "CREATE TABLE public.p_1 PARTITION OF public.p FOR VALUES IN (1);"
        "CREATE TABLE public.p_2 PARTITION OF public.p FOR VALUES IN (2);"
        "CREATE INDEX ON public.p_1 (at); CREATE INDEX ON ONLY public.p (at)"
    )
    assert facts(db, SOURCE, "public.p", ["id"], created_at="at").created_at_index is None


def test_rows_of_inheriting_tables_are_covered_by_no_index_of_the_parent(made: Made) -> None:
    db = made("CREATE TABLE public.t (id int PRIMARY KEY); CREATE TABLE public.kid () INHERITS (public.t)")
    found = facts(db, SOURCE, "public.t", ["id"])
    assert (found.table.unique, found.table.ordered) == (False, False)
    assert "inherit" in (found.why_not_unique or "")
    assert any("1 tables inherit" in seen for seen in found.seen)


@pytest.mark.parametrize(
    ("ddl", "why"),
    [
        ("CREATE VIEW public.x AS SELECT 1 AS id", "is a view, which may hide rows"),
        ("CREATE MATERIALIZED VIEW public.x AS SELECT 1 AS id", "is a materialized view"),
        ("CREATE SEQUENCE public.x", "is a sequence"),
        (f"{FOREIGN} CREATE FOREIGN TABLE public.x (id int) SERVER s", "is a foreign table"),
    ],
)
def test_what_is_no_table_is_refused_by_its_name(made: Made, ddl: str, why: str) -> None:
    with pytest.raises(CatalogError, match=why):
        resolve(made(ddl), SOURCE, "public.x", ["id"])


def test_a_foreign_partition_is_told_as_rows_outside_the_snapshot(made: Made) -> None:
    db = made(
        f"{FOREIGN} CREATE TABLE public.p (id int) PARTITION BY LIST (id);"
        "CREATE FOREIGN TABLE public.far PARTITION OF public.p FOR VALUES IN (1) SERVER s"
    )
    (told,) = facts(db, SOURCE, "public.p", ["id"]).hidden
    assert "public.far is a foreign table" in told


def test_a_name_without_a_schema_is_taken_only_where_it_can_mean_one_table_of_public(made: Made) -> None:
    db = made(
        "CREATE SCHEMA app; CREATE TABLE public.one (id int); CREATE TABLE public.two (id int);"
        "CREATE TABLE app.two (id int); CREATE TABLE app.three (id int)"
    )
    assert resolve(db, SOURCE, "one", ["id"]).schema == "public"
    with pytest.raises(CatalogError, match=r"2 tables of that name: app\.two, public\.two") as raised:
        resolve(db, SOURCE, "two", ["id"])
    assert raised.value.hint == "write the schema too: app.two or public.two"
    with pytest.raises(CatalogError, match=r"one table of that name: app\.three"):
        resolve(db, SOURCE, "three", ["id"])


def test_quoted_names_are_exact_and_unquoted_ones_fold_only_as_a_second_choice(made: Made) -> None:
    db = made(
        'CREATE SCHEMA "Weird Schema"; CREATE TABLE "Weird Schema"."We""ird" ("Id" int, "a.b" int, id text);'
        'CREATE TABLE public."Jobs" (id int); CREATE TABLE public.jobs (id uuid); CREATE TABLE public.lower (id int)'
    )
    odd = resolve(db, SOURCE, '"Weird Schema"."We""ird"', ["Id", "a.b"])
    assert (odd.schema, odd.name, odd.key, odd.kinds) == ("Weird Schema", 'We"ird', ("Id", "a.b"), ("int", "int"))
    assert resolve(db, SOURCE, "public.Jobs", ["ID"]).kinds == ("int",)
    assert resolve(db, SOURCE, "Public.jobs", ["id"]).kinds == ("uuid",)
    assert resolve(db, SOURCE, "PUBLIC.LOWER", ["id"]).name == "lower"
    with pytest.raises(CatalogError, match="has no table"):
        resolve(db, SOURCE, '"PUBLIC".lower', ["id"])


def test_a_long_name_is_never_cut_to_another_tables_name(made: Made) -> None:
    kept = "t" * 63
    db = made(f"CREATE TABLE public.{kept} (id int, {'c' * 63} int)")
    assert resolve(db, SOURCE, f"public.{kept}", ["c" * 63]).name == kept
    with pytest.raises(CatalogError, match="64 bytes long"):
        resolve(db, SOURCE, f"public.{kept}t", ["id"])
    with pytest.raises(CatalogError, match="64 bytes long"):
        resolve(db, SOURCE, f"public.{kept}", ["c" * 64])


@pytest.mark.parametrize(
    "hostile",
    ['x"; drop table public.jobs; --', "public.jobs; select 1", "public.jobs--", "jobs' OR '1'='1", "public.%s", "пublic.jobs"],
)
def test_a_hostile_name_is_an_error_and_changes_nothing(made: Made, hostile: str) -> None:
    db = made("CREATE TABLE public.jobs (id int)")
    with pytest.raises(CatalogError):
        resolve(db, SOURCE, hostile, ["id"])
    with pytest.raises(CatalogError):
        resolve(db, SOURCE, "public.jobs", [hostile])
    assert resolve(db, SOURCE, "public.jobs", ["id"]).kinds == ("int",)


def test_a_missing_table_or_column_is_told_with_the_nearest_names(made: Made) -> None:
    db = made("CREATE SCHEMA app; CREATE TABLE app.job_artifacts (id int, project_id int)")
    with pytest.raises(CatalogError, match=r"the source has no table 'public\.job_artefacts'") as raised:
        resolve(db, SOURCE, "public.job_artefacts", ["id"])
    assert raised.value.hint == "did you mean app.job_artifacts?"
    with pytest.raises(CatalogError, match="has no column 'project'") as raised:
        resolve(db, SOURCE, "app.job_artifacts", ["project"])
    assert raised.value.hint == "did you mean project_id?"


def test_a_key_column_named_twice_is_refused(made: Made) -> None:
    with pytest.raises(CatalogError, match="twice"):
        resolve(made("CREATE TABLE public.t (id int)"), SOURCE, "public.t", ["id", "ID"])


@pytest.mark.parametrize("column", ["timestamp", "date"])
def test_a_time_without_a_zone_asks_for_one(made: Made, column: str) -> None:
    db = made(f"CREATE TABLE public.t (id int, at {column})")
    with pytest.raises(CatalogError, match="which has no zone") as raised:
        resolve(db, SOURCE, "public.t", ["id"], created_at="at")
    assert "zone: UTC" in (raised.value.hint or "")
    table = resolve(db, SOURCE, "public.t", ["id"], created_at="at", zone="Europe/Berlin")
    assert (table.created_kind, table.zone) == (column, "Europe/Berlin")


def test_a_created_at_that_is_no_time_is_refused(made: Made) -> None:
    with pytest.raises(CatalogError, match="is of type bigint"):
        resolve(made("CREATE TABLE public.t (id int, at bigint)"), SOURCE, "public.t", ["id"], created_at="at")


@pytest.mark.parametrize(
    ("index", "usable"),
    [
        ("(at)", True),
        ("(at DESC, id)", True),
        ("(id, at)", False),
        ("(at) WHERE id > 0", False),
        ("((id + 1), at)", False),
    ],
)
def test_an_index_serves_a_window_only_where_it_begins_with_the_time_and_holds_every_row(
    made: Made, index: str, usable: bool
) -> None:
    db = made(f"CREATE TABLE public.t (id int, at timestamptz); CREATE INDEX ON public.t {index}")
    assert (facts(db, SOURCE, "public.t", ["id"], created_at="at").created_at_index is not None) is usable


def test_row_level_security_is_told_only_where_it_applies_to_our_role(made_any: Made, database_any: str) -> None:
    dsn, role = database_any, f"seer_{database_any.rpartition('/')[2]}"
    db = made_any(
        "CREATE TABLE public.t (id int); ALTER TABLE public.t ENABLE ROW LEVEL SECURITY;"
        f"CREATE POLICY p ON public.t USING (id > 5); CREATE ROLE {role} LOGIN; GRANT SELECT ON public.t TO {role}"
    )
    try:
        assert facts(db, SOURCE, "public.t", ["id"]).hidden == []
        as_role = Dsn(dsn.replace("postgres@", f"{role}@"))
        with connect(as_role, SOURCE) as other:
            (told,) = facts(other, SOURCE, "public.t", ["id"]).hidden
        assert "row-level security of public.t applies to our role (1 policies)" in told
        made_any(f"ALTER ROLE {role} BYPASSRLS")
        with connect(as_role, SOURCE) as other:
            assert facts(other, SOURCE, "public.t", ["id"]).hidden == []
    finally:
        made_any(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_missing_grant_is_told_and_columns_alone_do_not_do(made: Made, database: str) -> None:
    role = f"seer_{database.rpartition('/')[2]}"
    made(f"CREATE TABLE public.t (id int, secret int); CREATE ROLE {role} LOGIN")
    as_role = Dsn(database.replace("postgres@", f"{role}@"))
    try:
        with connect(as_role, SOURCE) as other:
            assert "no SELECT on public.t: not even id" in facts(other, SOURCE, "public.t", ["id"]).hidden[0]
            made(f"GRANT SELECT (id) ON public.t TO {role}")
            assert "some columns alone do not allow its lock" in facts(other, SOURCE, "public.t", ["id"]).hidden[0]
            made(f"GRANT SELECT ON public.t TO {role}")
            assert facts(other, SOURCE, "public.t", ["id"]).hidden == []
    finally:
        made(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_tables_of_the_same_name_elsewhere_are_told(made: Made) -> None:
    db = made("CREATE SCHEMA old; CREATE TABLE old.t (id int); CREATE TABLE public.t (id int)")
    assert "tables of the same name that are not looked at: old.t" in facts(db, SOURCE, "public.t", ["id"]).seen


def test_a_scope_gets_the_columns_names_from_the_catalog(made: Made) -> None:
    db = made("CREATE TABLE public.t (id int, project_id int)")
    found = facts(db, SOURCE, "public.t", ["id"])
    term = Condition.model_validate({"column": "PROJECT_ID", "in": [1, 2]})
    (resolved,) = scope_of(found.relation, SOURCE, [term])
    assert resolved.column == "project_id"
    assert resolved.operator == term.operator


def test_nothing_is_read_through_a_strangers_schema(made: Made, database: str) -> None:
    db = made(
        "CREATE FUNCTION public.row_security_active(oid) RETURNS bool LANGUAGE sql AS 'SELECT true';"
        "CREATE FUNCTION public.format_type(oid, int) RETURNS text LANGUAGE sql AS 'SELECT ''text''';"
        "CREATE TABLE public.pg_class (id int); CREATE TABLE public.t (id int)"
    )
    assert facts(db, SOURCE, "public.t", ["id"]).hidden == []


def test_looking_up_works_inside_a_read_only_snapshot_and_leaves_it_open(made: Made) -> None:
    db = made("CREATE TABLE public.t (id int PRIMARY KEY, at timestamp)")
    with db.transaction():
        db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        with pytest.raises(CatalogError, match="knows no time zone"):
            resolve(db, SOURCE, "public.t", ["id"], created_at="at", zone="Nowhere/Land")
        assert resolve(db, SOURCE, "public.t", ["id"], created_at="at", zone="UTC").unique


def test_every_part_that_holds_rows_is_listed_and_the_ones_our_role_cannot_read_by_pages_are_told(
    made: Made, database: str
) -> None:
    role = f"seer_{database.rpartition('/')[2]}"
    made(
        "CREATE SCHEMA parts; CREATE SCHEMA closed; CREATE TABLE public.p (k text, n int) PARTITION BY LIST (n);"
        "CREATE TABLE parts.p_1 PARTITION OF public.p FOR VALUES IN (1);"
        "CREATE TABLE closed.p_2 PARTITION OF public.p FOR VALUES IN (2);"
        "CREATE TABLE public.mother (k int); CREATE TABLE public.child () INHERITS (public.mother);"
        f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA parts TO {role}; GRANT SELECT ON public.p, public.mother TO {role}"
    )
    try:
        with connect(Dsn(database.replace("postgres@", f"{role}@")), SOURCE) as db:
            found = facts(db, SOURCE, "public.p", ["k"])
            assert found.table.parts == (("closed", "p_2"), ("parts", "p_1"))
            assert "our role may not look into the schema of the partition closed.p_2" in found.hidden
            assert any("no SELECT on the partition parts.p_1, which is read directly" in told for told in found.hidden)
            made(f"CREATE INDEX ON public.p (k); GRANT USAGE ON SCHEMA closed TO {role}")
            assert facts(db, SOURCE, "public.p", ["k"]).hidden == []
            mother = facts(db, SOURCE, "public.mother", ["k"])
            # Read by pages each with ONLY: a child left out here would hide its rows.
            assert mother.table.parts == (("public", "mother"), ("public", "child"))
            assert any("no SELECT on the child table public.child" in told for told in mother.hidden)
    finally:
        made(f"DROP OWNED BY {role}; DROP ROLE {role}")
