"""`fencepost audit` as a process: it serves, finds what was lost, and ends cleanly."""

from __future__ import annotations

import signal
import socket
import urllib.request

from tests.end_to_end.conftest import Items
from tests.end_to_end.installation import execute
from tests.stack.processes import wait_until


def test_an_audit_serves_its_metrics_and_ends_with_0_when_told_to_stop(items: Items) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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
