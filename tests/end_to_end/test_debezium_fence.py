"""The fence of `fence.pipeline: debezium`, asked of a real Kafka Connect: what passes it, what does not, what is withheld."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.conftest import DebeziumFactory
from tests.end_to_end.installation import Done, Installation, arrived, execute, register, registry_table, settings
from tests.stack.connect import Connector
from tests.stack.kafka import Kafka
from tests.stack.processes import free_port


@pytest.fixture
def connector(databases: tuple[str, str], debezium: DebeziumFactory) -> Connector:
    source, target = databases
    execute(source, "CREATE TABLE orders (id bigint PRIMARY KEY, created_at timestamptz DEFAULT now())")
    execute(target, registry_table("order"))
    return debezium(source, ["public.orders"])


@pytest.fixture
def here(tmp_path: Path, databases: tuple[str, str], kafka: Kafka, connector: Connector) -> Installation:
    """Five rows, announced and registered; since then the database is quiet."""
    source, target = databases
    fence = {"pipeline": "debezium", "settle": "0s", "connect": connector.worker.url, "connector": connector.name}
    order = {
        "topics": [f"{connector.prefix}.public.orders"],
        "format": "debezium-json",
        "source": {"table": "public.orders", "key": "id", "created_at": "created_at"},
        "registry": {"table": "public.order_registry", "key": "order_id", "insert": {"state": 0, "created_at": "now"}},
    }
    execute(source, "INSERT INTO orders (id) SELECT generate_series(1, 5)")
    register(target, "order", range(1, 6))
    arrived(kafka, f"{connector.prefix}.public.orders", '"id":5')
    return Installation(tmp_path, settings(source, target, kafka, {"order": order}, fence=fence))


def drained(done: Done) -> dict[str, Any]:
    (proof,) = [p for p in done.json["proofs"] if p["name"] == "log_drained"]
    return dict(proof)


def test_on_a_quiet_database_a_marker_moves_the_stored_offset_past_the_fence(here: Installation) -> None:
    """Without one, only what needs the drained log is withheld, within --wait."""
    quiet = here.run("cutover", "--deletes", "--wait", "2s")
    assert quiet.code == 4, quiet
    assert quiet.json["claims"] == {"creates": "CLEAR", "deletes": "CANNOT TELL", "drop_rate": "incomplete"}
    assert drained(quiet)["held"] is False
    assert "runs, but its stored offset is" in drained(quiet)["seen"]
    assert "fence.marker: true" in drained(quiet)["try"]

    marked = here.with_(("fence/marker", True))
    cutover = marked.run("cutover", "--deletes")
    assert cutover.code == 0, cutover
    assert cutover.json["claims"] == {"creates": "CLEAR", "deletes": "CLEAR", "drop_rate": "complete"}
    assert cutover.json["fence"]["pipeline"] == "debezium"
    assert f"past the fence at {cutover.json['fence']['lsn']}" in drained(cutover)["seen"]
    assert marked.run("gaps", "--deletes").code == 0
    swept = marked.run("sweep")
    assert swept.code == 0, swept
    assert "past the fence at" in drained(swept)["seen"]
    assert marked.run("check").code == 0


def test_a_paused_connector_leaves_the_rows_to_speak_and_withholds_what_needs_the_log(
    here: Installation, connector: Connector, databases: tuple[str, str]
) -> None:
    source, target = databases
    connector.worker.pause_connector(connector.name)
    marked = here.with_(("fence/marker", True))
    execute(source, "INSERT INTO orders (id) VALUES (6)")
    gaps = marked.run("gaps", "--wait", "3s")
    assert gaps.code == 4, gaps
    assert gaps.of("order")["in_flight"] == 1, "its event may be on its way: nobody can say that it was dropped"
    sweep = marked.run("sweep", "--backfill", "--wait", "3s")
    assert (sweep.code, sweep.of("order")["in_flight"], sweep.of("order")["backfilled"]) == (4, 1, 0), sweep
    assert "is not running" in drained(sweep)["seen"]

    register(target, "order", [6])
    cutover = marked.run("cutover", "--wait", "3s")
    assert cutover.code == 0, cutover
    assert cutover.json["claims"] == {"creates": "CLEAR", "deletes": "not asked", "drop_rate": "incomplete"}
    assert drained(cutover)["held"] is False
    check = marked.run("check")
    assert check.code == 1
    assert any("is not" in finding["seen"] for finding in check.json["findings"] if finding["level"] == "fail"), check

    connector.worker.resume_connector(connector.name)
    again = marked.run("cutover")
    assert (again.code, again.json["claims"]["drop_rate"]) == (0, "complete"), again


def test_a_connector_that_is_not_this_database_s_own_passes_no_fence(
    here: Installation, connector: Connector, databases: tuple[str, str]
) -> None:
    """LSNs of two servers compare as well as any numbers (failure mode 11)."""
    for changes, why in (
        ([("fence/connector", "nobody")], "knows no config of a connector 'nobody'"),
        ([("fence/slot", "another")], "uses the slot"),
        ([("fence/publication", "another")], "uses the publication"),
        ([("fence/connect", f"http://127.0.0.1:{free_port()}")], "connection refused"),
    ):
        done = here.with_(*changes).run("cutover", "--wait", "2s")
        assert done.code == 0, done
        assert done.json["claims"] == {"creates": "CLEAR", "deletes": "not asked", "drop_rate": "incomplete"}
        assert why in drained(done)["seen"], done
    unasked = here.with_(("fence/connect", None), ("fence/slot", connector.slot)).run("cutover")
    assert drained(unasked)["held"] is True
    assert "bounded" in drained(unasked)["seen"]
    assert f"its slot {connector.slot} is confirmed up to" in drained(unasked)["seen"]

    with psycopg.connect(databases[0], autocommit=True) as db:
        words = [sql.Identifier(connector.publication), sql.Identifier("orders")]
        db.execute(sql.SQL("ALTER PUBLICATION {} DROP TABLE {}").format(*words))
    done = here.with_(("fence/marker", True)).run("cutover")
    assert done.json["claims"] == {"creates": "CLEAR", "deletes": "not asked", "drop_rate": "incomplete"}, done
    assert "does not have public.orders" in drained(done)["seen"]
