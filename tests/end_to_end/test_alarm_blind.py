"""Alarms of an audit that cannot see, end to end: a clock that is off, a log that nobody can read, a process that is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from reconciler.alerts.rules import as_yaml
from schemas.settings import Settings
from tests.conftest import needed
from tests.end_to_end.installation import Installation, event, fine_items, item, item_tables, settings
from tests.stack.faketime import Clock
from tests.stack.kafka import Kafka
from tests.stack.postgres import Postgres
from tests.stack.processes import LOOPBACK, free_port, wait_until
from tests.stack.prometheus import Prometheus

WITHIN_S = 120.0
SKEW, STALLED, DOWN = "FencepostClockSkew", "FencepostLogStalled", "FencepostDown"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_clock_that_is_off_a_log_that_is_not_read_and_a_dead_audit_are_told_and_taken_back(
    database: str,
    kafka: Kafka,
    topic_name: str,
    tmp_path: Path,
    stand_folder: Path,
    own_postgres: Callable[..., Postgres],
    own_prometheus: Callable[..., Prometheus],
) -> None:
    with needed():
        clock = Clock(stand_folder / f"clock-{topic_name}")
    source = own_postgres(env=clock.variables).create_database("source")
    kafka.create_topic(topic_name)
    item_tables(source, database)
    fine_items(source, database, kafka, topic_name, range(1, 101))
    port = free_port()
    here = Installation(tmp_path, settings(source, database, kafka, {"item": item(topic_name)})).with_(
        ("audit", {"every": "1s", "listen": f"{LOOPBACK}:{port}"}),
        ("alerts/webhook", None),
    )
    rules = as_yaml(Settings.model_validate(here.settings), patience=0.02)
    prometheus = own_prometheus({"fencepost": f"{LOOPBACK}:{port}"}, rules=rules)

    def told(name: str) -> None:
        wait_until(lambda: name in prometheus.firing(), f"{name} is told", within_s=WITHIN_S)

    def over(name: str) -> None:
        wait_until(lambda: name not in prometheus.firing(), f"{name} is taken back", within_s=WITHIN_S)

    with here.started("audit") as audit:
        audit.says("audit started")
        over(DOWN)
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic_name})
        producer.init_transactions(60)
        producer.begin_transaction()
        producer.produce(topic_name, event(101), partition=0)
        producer.flush(60)
        assert not {SKEW, STALLED} & prometheus.firing()
        clock.set(1)
        told(SKEW)
        told(STALLED)
        (about,) = [one for one in prometheus.alerts() if one["labels"]["alertname"] == SKEW]
        assert about["labels"]["side"] == "source"
        clock.set(0)
        producer.abort_transaction(60)
        over(SKEW)
        over(STALLED)
        audit.child.kill()
        audit.child.wait(30)
        told(DOWN)
    with here.started("audit") as audit:
        over(DOWN)
        assert audit.child.poll() is None
