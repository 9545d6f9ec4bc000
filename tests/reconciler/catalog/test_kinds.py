"""Key kinds asked of the source, held to the registry, remembered by the ledger."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from databases.ledger import Ledger
from reconciler.catalog import key_kinds, key_types, remember_kinds, remembered_kinds
from schemas.errors import CatalogError, LedgerError, UnavailableError
from schemas.keys import CompositeKey, IntKey
from schemas.settings import Dsn, Settings

AWAY = "postgresql://postgres@127.0.0.1:1/nowhere"


def settings(source: str, registry: str, **types: tuple[list[str], list[str]]) -> Settings:
    def declared(key: list[str], theirs: list[str]) -> dict[str, Any]:
        return {
            "topics": ["t"],
            "format": "debezium-json",
            "source": {"table": "public.s", "key": key},
            "registry": {"table": "public.r", "key": theirs},
        }

    return Settings.model_validate(
        {
            "source": {"dsn": source},
            "registry": {"dsn": registry},
            "event_log": {"kafka": {"bootstrap.servers": "b:9092", "group.id": "g"}},
            "data_types": {name: declared(*keys) for name, keys in types.items()},
        }
    )


@pytest.fixture
def both(databases: tuple[str, str]) -> tuple[str, str]:
    columns = "n bigint, u uuid, t text"
    for dsn, table in zip(databases, ("s", "r"), strict=True):
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute(f"CREATE TABLE public.{table} ({columns})".encode())
    return databases


def test_each_data_type_gets_the_key_type_of_its_source_columns(both: tuple[str, str]) -> None:
    found = key_types(settings(*both, one=(["n"], ["n"]), two=(["u", "t"], ["u", "t"])), ())
    assert isinstance(found["one"], IntKey)
    assert isinstance(found["two"], CompositeKey)
    assert found["two"].canonical(("0B0E4E5A-0000-4000-8000-000000000000", "x"))
    assert list(key_types(settings(*both, one=(["n"], ["n"]), two=(["u"], ["u"])), ["two"])) == ["two"]


def test_a_registry_that_keeps_another_kind_of_key_is_refused(both: tuple[str, str]) -> None:
    with pytest.raises(CatalogError, match=r"'one': the key column t of public\.r in the registry is text, the source's u"):
        key_kinds(settings(*both, one=(["u"], ["t"])), ())


def test_a_registry_that_is_away_does_not_keep_the_tracker_from_starting(both: tuple[str, str]) -> None:
    assert key_kinds(settings(both[0], AWAY, one=(["n"], ["n"])), ()) == {"one": ("int",)}


def test_a_source_that_is_away_is_unavailable(both: tuple[str, str]) -> None:
    with pytest.raises(UnavailableError, match="cannot connect to the source"):
        key_kinds(settings(AWAY, both[1], one=(["n"], ["n"])), ())


def test_the_ledger_remembers_kinds_and_refuses_a_change_of_them(database: str) -> None:
    ledger = Ledger(Dsn(database), "fencepost")
    try:
        ledger.upgrade()
        kinds = {"one": ("int",), "two": ("uuid", "text")}
        for _ in range(2):
            with ledger.begin() as connection:
                remember_kinds(connection, kinds)
        with ledger.begin() as connection:
            assert remembered_kinds(connection) == kinds
        changed = "'two' in the ledger are of kind uuid,text, the source's are now int"
        with pytest.raises(LedgerError, match=changed), ledger.begin() as connection:
            remember_kinds(connection, {"two": ("int",)})
    finally:
        ledger.close()
