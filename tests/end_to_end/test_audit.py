"""`fencepost audit` as a process: it serves, finds what was lost, and ends cleanly."""

from __future__ import annotations

import signal
import urllib.request

import psycopg

from tests.end_to_end.conftest import Items
from tests.end_to_end.installation import execute, rows
from tests.stack.processes import LOOPBACK, free_port, wait_until
from tests.stack.scrapes import scraped


def test_an_audit_serves_its_metrics_and_ends_with_0_when_told_to_stop(items: Items) -> None:
    port = free_port()
    here = items.here.with_(("audit/every", "1s"), ("audit/listen", f"127.0.0.1:{port}"))

    def scrape() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            return ""

    with here.started("audit") as audit:
        wait_until(lambda: 'fencepost_audit_lease_held{data_type="item"} 1.0' in scrape(), "the lease", within_s=60)
        seen = 'fencepost_in_flight{data_type="item"} 3.0'
        looked = 'fencepost_compare_duration_seconds_count{data_type="item"} 0.0'
        wait_until(lambda: looked not in (text := scrape()) and bool(text), "the first look", within_s=60)
        execute(items.source, "INSERT INTO items (id) SELECT generate_series(201, 203)")
        wait_until(lambda: seen in scrape(), "three rows that wait", within_s=60)
        done = audit.ends(signal.SIGTERM)
    assert done.code == 0, done
    assert done.json["stopped"] is True


def test_the_audit_sweeps_on_schedule_and_goes_on_with_a_pass_that_was_killed(items: Items) -> None:
    here = items.here.with_(("audit", {"every": "500ms", "listen": f"{LOOPBACK}:{free_port()}"}), ("alerts/webhook", None))
    passes = "SELECT id, run, state FROM fencepost.sweep ORDER BY id"

    def asked(query: str) -> list[tuple[object, ...]]:
        try:
            return rows(items.target, query)
        except psycopg.Error:  # no ledger yet
            return []

    for side, table in ((items.source, "items (id)"), (items.target, "item_registry (item_id, created_at)")):
        now = ", now()" if "registry" in table else ""
        execute(side, f"INSERT INTO {table} SELECT k{now} FROM generate_series(1001, 5000) AS k")
    with here.with_(("sweep", {"every": "1s"})).started("audit"):
        wait_until(lambda: any(state == "finished" for _, _, state in asked(passes)), "a first pass", within_s=60)
        seen = {id_ for id_, _, _ in asked(passes)}
        wait_until(lambda: len({id_ for id_, _, _ in asked(passes)} - seen) > 0, "the next one is begun", within_s=60)
    port = free_port()
    slow = here.with_(("sweep", {"every": "1s", "rate": 200}), ("audit/listen", f"{LOOPBACK}:{port}"))
    known = {id_ for id_, _, state in asked(passes) if state == "finished"}
    with slow.started("audit") as audit:
        progress = "fencepost_sweep_progress_ratio", ("item",)
        # Not near its end: it has to be killed before it gets there.
        wait_until(lambda: 0 < scraped(port).get(progress, 0) < 0.5, "a pass is told half way", within_s=90)
        audit.child.kill()
    ((begun, run),) = [(id_, run) for id_, run, state in asked(passes) if state == "running" and id_ not in known]
    with here.with_(("sweep", {"every": "1s"})).started("audit") as audit:
        ends = f"SELECT run FROM fencepost.sweep WHERE id = '{begun}' AND state = 'finished'"
        wait_until(lambda: bool(asked(ends)), "the pass that was killed is finished", within_s=60)
        killed = f"SELECT state FROM fencepost.run WHERE id = '{run}'"
        wait_until(lambda: asked(killed) == [("killed",)], "the run is settled as killed", within_s=60)
        assert asked(ends) != [(run,)], "by another run"
        assert audit.ends(signal.SIGTERM).code == 0


def test_a_run_that_was_killed_is_settled_by_an_audit_that_sweeps_nothing(items: Items) -> None:
    here = items.here.with_(("audit", {"every": "500ms", "listen": f"{LOOPBACK}:{free_port()}"}), ("fence/settle", "60s"))
    with here.started("gaps", "--wait", "60s") as gaps:
        execute(items.source, "INSERT INTO items (id) VALUES (900)")
        state = "SELECT state FROM fencepost.run WHERE kind = 'gaps'"

        def is_(wanted: str) -> bool:
            try:
                return rows(items.target, state) == [(wanted,)]
            except psycopg.Error:
                return False

        wait_until(lambda: is_("running"), "it is at work", within_s=60)
        gaps.child.kill()
        gaps.child.wait(30)
    with here.started("audit"):
        wait_until(lambda: is_("killed"), "the run is settled", within_s=60)
