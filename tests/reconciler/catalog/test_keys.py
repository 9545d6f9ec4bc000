"""Which keys can be compared, and which indexes really prove them unique or ordered."""

from __future__ import annotations

import re

import psycopg
import pytest

from databases.connect import connect
from reconciler.catalog import facts, resolve
from schemas.errors import CatalogError
from schemas.settings import Dsn
from tests.reconciler.catalog.conftest import SOURCE, Made
from tests.stack.postgres import Postgres

KINDS = {
    "smallint": "int",
    "integer": "int",
    "bigint": "int",
    "uuid": "uuid",
    "text": "text",
    "varchar(40)": "text",
    'public."short number"': "int",
    "public.twice": "text",
}


def test_a_key_may_be_any_integer_uuid_or_text_also_through_domains(made: Made) -> None:
    columns = ", ".join(f"k{number} {column}" for number, column in enumerate(KINDS))
    db = made(
        'CREATE DOMAIN public."short number" AS int4 CHECK (value > 0);'
        "CREATE DOMAIN public.once AS varchar(9); CREATE DOMAIN public.twice AS public.once;"
        f"CREATE TABLE public.t ({columns})"
    )
    kinds = [resolve(db, SOURCE, "public.t", [f"k{number}"]).kinds for number in range(len(KINDS))]
    assert kinds == [(kind,) for kind in KINDS.values()]


REFUSED = {
    "character(8)": "ignores trailing blanks",
    "numeric": "one number in many spellings",
    "bytea": "bytes have no agreed spelling",
    "double precision": "no exact spelling",
    "date": "cannot be a key",
    "bigint[]": "cannot be a key",
    "public.mood": "cannot be a key",
}


def test_a_key_that_cannot_be_compared_exactly_is_refused_with_the_reason(made: Made) -> None:
    columns = ", ".join(f"k{number} {column}" for number, column in enumerate(REFUSED))
    db = made(f"CREATE TYPE public.mood AS ENUM ('sad'); CREATE TABLE public.t ({columns})")
    for number, why in enumerate(REFUSED.values()):
        with pytest.raises(CatalogError, match=why):
            resolve(db, SOURCE, "public.t", [f"k{number}"])


def test_citext_is_refused_because_it_ignores_case(made: Made) -> None:
    # A stand-in: the embedded servers ship no contrib. What counts is the type's name outside pg_catalog.
    db = made("CREATE SCHEMA app; CREATE TYPE app.citext; CREATE FUNCTION app.i(cstring) RETURNS app.citext"
              " LANGUAGE internal IMMUTABLE STRICT AS 'textin'; CREATE FUNCTION app.o(app.citext) RETURNS cstring"
              " LANGUAGE internal IMMUTABLE STRICT AS 'textout';"
              "CREATE TYPE app.citext (INPUT = app.i, OUTPUT = app.o, LIKE = text);"
              "CREATE TABLE public.t (k app.citext)")  # fmt: skip
    with pytest.raises(CatalogError, match="ignores case"):
        resolve(db, SOURCE, "public.t", ["k"])


@pytest.mark.parametrize(
    ("index", "why"),
    [
        ("", "no unique index on"),
        ("CREATE INDEX i ON public.t (k)", "is not unique"),
        ("CREATE UNIQUE INDEX i ON public.t (k) WHERE k > 0", "is partial"),
        ("CREATE UNIQUE INDEX i ON public.t ((k + 0))", "no unique index on"),
        ("CREATE UNIQUE INDEX i ON public.t (k, part)", r"makes \(k, part\) unique, not \(k\) alone"),
        ("ALTER TABLE public.t ADD CONSTRAINT i UNIQUE (k) DEFERRABLE", "is deferrable"),
        ("CREATE UNIQUE INDEX i ON ONLY public.parts (k, part)", "is not valid"),
    ],
)
def test_a_unique_index_that_does_not_prove_the_key_unique_does_not_count(made: Made, index: str, why: str) -> None:
    db = made(
        "CREATE TABLE public.t (k bigint NOT NULL, part int NOT NULL);"
        "CREATE TABLE public.parts (k bigint NOT NULL, part int NOT NULL) PARTITION BY LIST (part);"
        "CREATE TABLE public.part_1 PARTITION OF public.parts FOR VALUES IN (1);" + index
    )
    name, key = ("public.parts", ["k", "part"]) if "parts" in index else ("public.t", ["k"])
    found = facts(db, SOURCE, name, key)
    assert not found.table.unique
    assert found.unique_index is None
    assert found.why_not_unique is not None
    assert re.search(why, found.why_not_unique)


def test_an_index_whose_build_failed_does_not_count(made: Made, database: str) -> None:
    db = made("CREATE TABLE public.t (k bigint NOT NULL); INSERT INTO public.t VALUES (1), (1)")
    with psycopg.connect(database, autocommit=True) as other, pytest.raises(psycopg.errors.UniqueViolation):
        other.execute("CREATE UNIQUE INDEX CONCURRENTLY i ON public.t (k)")
    found = facts(db, SOURCE, "public.t", ["k"])
    assert not found.table.unique
    assert not found.table.ordered
    assert "is not valid" in (found.why_not_unique or "")


def test_a_unique_key_that_may_be_null_is_unique_all_the_same_and_told_as_nullable(made: Made) -> None:
    db = made("CREATE TABLE public.t (k int UNIQUE)")
    found = facts(db, SOURCE, "public.t", ["k"])
    assert found.unique_index is not None
    assert found.nullable == ("k",)
    assert (found.table.unique, found.table.ordered) == (True, True)


def test_a_not_null_that_was_never_validated_promises_nothing_about_old_rows(made: Made) -> None:
    db = made(
        "CREATE TABLE public.t (k int UNIQUE, c int UNIQUE, v int UNIQUE); INSERT INTO public.t VALUES (NULL, NULL, 1);"
        "ALTER TABLE public.t ADD CONSTRAINT filled NOT NULL k NOT VALID;"
        "ALTER TABLE public.t ADD CONSTRAINT checked CHECK (c IS NOT NULL) NOT VALID;"
        "ALTER TABLE public.t ADD CONSTRAINT valid CHECK (v IS NOT NULL)"
    )
    for column, nullable in (("k", ("k",)), ("c", ("c",)), ("v", ())):
        found = facts(db, SOURCE, "public.t", [column])
        assert found.nullable == nullable
        assert found.table.unique
    column_k = facts(db, SOURCE, "public.t", ["k"]).relation.by_name["k"]
    assert column_k.not_null  # new rows must have it, all the same


def test_included_columns_and_the_order_of_a_composite_key_do_not_matter(made: Made) -> None:
    db = made(
        "CREATE TABLE public.t (a int NOT NULL, b uuid NOT NULL, more text);"
        "CREATE UNIQUE INDEX i ON public.t (b, a) INCLUDE (more)"
    )
    found = facts(db, SOURCE, "public.t", ["a", "b"])
    assert found.table.unique
    assert found.table.kinds == ("int", "uuid")


#: (column, index) -> (bytewise, ordered)
ORDERS = {
    ('text COLLATE "C"', "k"): (True, True),
    ('text COLLATE "POSIX"', "k"): (True, True),
    ("text COLLATE public.folk", "k"): (False, True),
    ("text COLLATE public.folk", 'k COLLATE "C"'): (False, False),
    ('text COLLATE "C"', "k COLLATE public.folk"): (False, False),
    ('text COLLATE "C"', "k text_pattern_ops"): (False, False),
    ("text", "k"): (True, True),  # the stand's databases are of locale C
    ("uuid", "k DESC"): (True, True),
    ("uuid", "k) INCLUDE (more"): (True, True),
    ("uuid", "more, k"): (False, False),
}


def test_an_order_is_claimed_bytewise_only_where_column_and_index_say_so(made_any: Made) -> None:
    db = made_any("CREATE COLLATION public.folk (provider = libc, locale = 'C.UTF-8')")  # who knows in which order
    found = {}
    for number, (column, index) in enumerate(ORDERS):
        name = f"public.t{number}"
        made_any(f"CREATE TABLE {name} (k {column} NOT NULL, more int); CREATE INDEX ON {name} ({index})")
        table = resolve(db, SOURCE, name, ["k"])
        found[column, index] = (table.bytewise, table.ordered)
    assert found == ORDERS


def test_a_collation_that_takes_different_texts_for_one_key_is_refused(postgres15: Postgres) -> None:
    # Only ICU knows such collations, and only Debian's server of the stand knows ICU.
    name = "blurred_keys"
    dsn = postgres15.create_database(name)
    try:
        with connect(Dsn(dsn), SOURCE) as db:
            db.execute(
                "CREATE COLLATION public.blurred (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
                'CREATE TABLE public.t (k text COLLATE public.blurred PRIMARY KEY, i text COLLATE "en-x-icu" UNIQUE)'
            )
            with pytest.raises(CatalogError, match="nondeterministic collation"):
                resolve(db, SOURCE, "public.t", ["k"])
            table = resolve(db, SOURCE, "public.t", ["i"])
            assert (table.ordered, table.bytewise) == (True, False)
    finally:
        postgres15.drop_database(name)


def test_a_builtin_collation_orders_bytewise(made: Made) -> None:
    db = made("CREATE TABLE public.t (k text COLLATE pg_catalog.pg_c_utf8 PRIMARY KEY)")
    assert resolve(db, SOURCE, "public.t", ["k"]).bytewise


def test_a_database_of_another_locale_does_not_order_its_text_bytewise(postgres: Postgres) -> None:
    dsn = postgres.create_database("of_a_locale", locale="C.UTF-8")
    try:
        with connect(Dsn(dsn), SOURCE) as db:
            db.execute('CREATE TABLE public.t (k text PRIMARY KEY, c text COLLATE "C" NOT NULL UNIQUE)')
            assert not resolve(db, SOURCE, "public.t", ["k"]).bytewise
            assert resolve(db, SOURCE, "public.t", ["c"]).bytewise
    finally:
        postgres.drop_database("of_a_locale")


def test_text_keys_of_a_database_that_is_not_utf8_are_refused(postgres: Postgres) -> None:
    with postgres.connect() as admin:
        admin.execute("CREATE DATABASE of_latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with connect(Dsn(postgres.dsn("of_latin")), SOURCE) as db:
            db.execute("CREATE TABLE public.t (k text PRIMARY KEY, id int UNIQUE)")
            with pytest.raises(CatalogError, match="holds text as LATIN1, not as UTF-8"):
                resolve(db, SOURCE, "public.t", ["k"])
            assert resolve(db, SOURCE, "public.t", ["id"]).kinds == ("int",)
    finally:
        postgres.drop_database("of_latin")
