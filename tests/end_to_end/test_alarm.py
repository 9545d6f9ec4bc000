"""The alarm from end to end, on real parts: drops, the audit, Prometheus with our rules, Alertmanager, and who is woken.

In fast motion: windows are counted in looks of the audit, so a look every two seconds makes an hour of twenty-four.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer

from reconciler.alerts.rules import as_yaml
from schemas.settings import Settings
from tests.end_to_end.conftest import Items
from tests.end_to_end.installation import event, registered, rows
from tests.stack.alertmanager import Alertmanager
from tests.stack.processes import LOOPBACK, StandError, free_port, wait_until
from tests.stack.prometheus import Prometheus
from tests.stack.receiver import Receiver
from tests.stack.threads import beside
from tests.stand.test_dashboard import queries

WITHIN_S = 60.0


@dataclass
class Application:
    """Creates rows, announces them, and an applier registers what was announced. `losing`: of four, one is not announced."""

    items: Items
    losing: bool = False
    lost: list[int] = field(default_factory=list)

    def work(self, stop: threading.Event) -> None:
        producer = Producer({"bootstrap.servers": self.items.kafka.bootstrap, "linger.ms": 5})
        with (
            psycopg.connect(self.items.source, autocommit=True) as source,
            psycopg.connect(self.items.target, autocommit=True) as target,
        ):
            key = 1000
            while not stop.wait(0.2):
                keys = range(key, key + 20)
                key += 20
                source.execute("INSERT INTO items (id) SELECT unnest(%s::bigint[])", [list(keys)])
                lost = [k for k in keys if self.losing and k % 4 == 0]
                self.lost += lost
                told = [k for k in keys if k not in lost]
                for k in told:
                    producer.produce(self.items.topic, event(k), partition=0)
                assert producer.flush(30) == 0
                self._register(target, told)

    def heal(self) -> None:
        with psycopg.connect(self.items.target, autocommit=True) as target:
            self._register(target, self.lost)

    @staticmethod
    def _register(target: psycopg.Connection[Any], keys: list[int]) -> None:
        insert = "INSERT INTO item_registry (item_id, created_at) SELECT unnest(%s::bigint[]), now()"
        target.execute(insert, [keys])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_burst_of_drops_pages_with_its_rate_and_the_page_is_taken_back(
    items: Items, own_prometheus: Callable[..., Prometheus], own_alertmanager: Callable[..., Alertmanager]
) -> None:
    port = free_port()
    here = items.here.with_(
        ("audit", {"every": "2s", "listen": f"{LOOPBACK}:{port}"}),
        ("fence", {"settle": "500ms", "skew": "200ms"}),
        ("tracker", {"flush_every": "200ms"}),
        ("sweep", {"every": "1h"}),
        ("alerts/webhook", None),
        ("data_types/item/event/sequence", "id"),
    )
    settings = Settings.model_validate(here.settings)
    application = Application(items)
    with Receiver() as pager, here.started("audit") as audit, beside(application.work):
        alertmanager = own_alertmanager(
            {
                "route": {"receiver": "pager", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s"},
                "receivers": [{"name": "pager", "webhook_configs": [{"url": pager.url, "send_resolved": True}]}],
            }
        )
        prometheus = own_prometheus(
            {"fencepost": f"{LOOPBACK}:{port}"}, rules=as_yaml(settings, patience=0.1), alertmanager=alertmanager.address
        )

        def judged() -> bool:
            found = prometheus.query("sum(fencepost_rows_audited_total)")
            return bool(found) and float(found[0]["value"][1]) > 200

        wait_until(judged, "rows are audited, and Prometheus knows", within_s=WITHIN_S)
        assert not pager.told
        assert "FencepostDropRateFast" not in prometheus.firing()

        application.losing = True
        wait_until(lambda: bool(pager.heard("firing")), "somebody is woken", within_s=WITHIN_S)
        page = pager.heard("firing")[0]
        assert (page["labels"]["severity"], page["labels"]["data_type"]) == ("page", "item")
        assert "creations of item were not announced" in page["annotations"]["description"]

        # Every query of the dashboard, while there is something to see. The sweep that it tells of is the audit's own.
        silent = set(queries())

        def all_answered() -> bool:
            silent.difference_update([query for query in silent if prometheus.query(query)])
            return not silent

        try:
            wait_until(all_answered, "every query of the dashboard returns data", within_s=WITHIN_S)
        except StandError:
            pytest.fail(f"no data for: {sorted(silent)}")

        application.losing = False
        wait_until(lambda: bool(pager.heard("resolved")), "the page is taken back", within_s=WITHIN_S)
        application.heal()

        def counted() -> bool:
            # Nothing comes back right after a scrape that took longer than its second.
            asked = ('sum(fencepost_drops_total{class="dropped_create"})', "sum(fencepost_gaps_open)")
            told = [float(one["value"][1]) for query in asked for one in prometheus.query(query)]
            return told == [len(application.lost), 0]

        wait_until(counted, "each lost row was counted once, and none is open", within_s=WITHIN_S)
        assert {told["labels"]["alertname"] for told in pager.told if told["labels"]["severity"] == "page"} == {
            "FencepostDropRateFast"
        }
        assert audit.child.poll() is None
    assert registered(items.target) == [key for (key,) in rows(items.source, "SELECT id FROM items ORDER BY 1")]
