"""The audit's HTTP door, without an audit: what it answers, whom it refuses, and where it cannot be opened."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, cast

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from reconciler.auditing.serve import address, serving
from schemas.errors import SettingsError


class _Told(Collector):
    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily("fencepost_told", "Something.", value=7)


@contextmanager
def door(healthy: str | None = None, ready: str | None = None, listen: str = "127.0.0.1:0") -> Iterator[int]:
    with serving(listen, cast("Any", _Told()), lambda: healthy, lambda: ready) as port:
        yield port


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as client:
        client.request(method, path, headers=headers)
        reply = client.getresponse()
        return reply.status, reply.headers["Content-Type"], reply.read()


def test_metrics_are_told_in_the_form_that_is_asked_for_and_health_in_words() -> None:
    with door(ready="no look has ended yet") as port:
        status, kind, body = ask(port, "/metrics")
        assert (status, kind.partition(";")[0]) == (200, "text/plain")
        assert b"fencepost_told 7.0" in body
        _, kind, body = ask(port, "/metrics?x=1", Accept="application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text")
        assert body.endswith(b"# EOF\n")
        assert ask(port, "/healthz")[::2] == (200, b"ok\n")
        assert ask(port, "/readyz")[::2] == (503, b"no look has ended yet\n")
        assert ask(port, "/")[0] == 404
        assert b"/metrics" in ask(port, "/../etc/passwd")[2]
    with door(healthy="no look began for 900 s") as port:
        assert ask(port, "/healthz")[::2] == (503, b"no look began for 900 s\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_nothing_but_asking_is_answered(method: str) -> None:
    with door() as port:
        status, _, body = ask(port, "/metrics", method)
        assert status == 405
        assert body == (b"" if method == "HEAD" else b"GET only\n")


def test_who_asks_nothing_keeps_nobody_waiting() -> None:
    with door() as port, socket.create_connection(("127.0.0.1", port)) as idle:
        idle.sendall(b"GET /metr")
        assert ask(port, "/healthz")[0] == 200


def test_addresses_are_read_as_people_write_them() -> None:
    assert address("127.0.0.1:9464") == ("127.0.0.1", 9464)
    assert address("[::1]:9464") == ("::1", 9464)
    assert address(":80") == ("", 80)
    for wrong in ("localhost", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:70000", ""):
        with pytest.raises(SettingsError, match="names no port"):
            address(wrong)


def test_a_port_that_is_taken_or_no_address_of_ours_is_told_with_what_to_do() -> None:
    with door() as port, pytest.raises(SettingsError, match="cannot be listened on") as told, door(listen=f"127.0.0.1:{port}"):
        pass
    assert told.value.hint == "another audit may run on this machine; give each a port of its own"
    with pytest.raises(SettingsError, match="cannot be listened on") as told, door(listen="no.such.host.invalid:0"):
        pass
    assert told.value.hint == 'name an address of this machine; without one (":9464") it listens on all of them'
    with door(listen="[::1]:0") as port, socket.create_connection(("::1", port), timeout=60):
        pass
