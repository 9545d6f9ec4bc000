"""Kafka Connect's REST door, answered by strangers: every answer ends in bounded time, as an error that says what was seen."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from reconciler.pipelines import connect
from reconciler.pipelines.connect import Connector
from reconciler.pipelines.debezium import position
from schemas.errors import SettingsError, UnavailableError

Answer = Callable[[socket.socket], None]
SECRET = "hunter2-of-the-connector"


def said(status: str, body: bytes, *headers: str) -> Answer:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""])
    return lambda peer: peer.sendall(head.encode() + body)


def dripping(peer: socket.socket) -> None:
    """A byte now and then, for ever: no single read is slow."""
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        peer.sendall(b"x")
        time.sleep(0.1)


def dripping_headers(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        peer.sendall(b"x")
        time.sleep(0.1)


def silent(peer: socket.socket) -> None:
    while peer.recv(1000):
        pass


@contextmanager
def stranger(answer: Answer, asked: list[bytes] | None = None) -> Iterator[str]:
    """Who answers everything in one way; `asked` collects what was sent to it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as door:

        def serve() -> None:
            while True:
                try:
                    peer, _ = door.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(peer,), daemon=True).start()

        def one(peer: socket.socket) -> None:
            with closing(peer):
                try:
                    request = peer.recv(4000)
                    if asked is not None:
                        asked.append(request)
                    answer(peer)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "ANSWER_WITHIN_S", 60.0)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (said("404 Not Found", b'{"message": "' + SECRET.encode() + b'"}'), "knows no status of a connector 'c'"),
        (said("500 Oops", SECRET.encode()), "answered 500"),
        (said("302 Found", b"", "Location: http://127.0.0.1:1/"), "answered 302"),
        (said("200 OK", b"<html>" + SECRET.encode()), "does not tell the status as Kafka Connect does"),
        (said("200 OK", b"[1, 2]"), "does not tell the status"),
        (said("200 OK", b"[" * 100_000), "does not tell the status"),
        (said("200 OK", b'{"connector": {"state": "\\u001b[31m"}, "tasks": []}'), "does not tell the status"),
        (said("200 OK", b" " * (connect.ANSWER_AT_MOST + 1)), "ValueError"),
        (lambda peer: peer.sendall(b"\x00\xff SSH-2.0\r\n"), "BadStatusLine"),
        (lambda peer: peer.close(), "RemoteDisconnected"),
        (silent, "within 1 s"),
        (dripping, "no whole answer within 1 s"),
        (dripping_headers, "no whole answer within 1 s"),
    ],
    ids=[
        "404",
        "500",
        "redirect",
        "html",
        "list",
        "deep",
        "escape",
        "long",
        "no http",
        "hangs up",
        "silent",
        "drips",
        "drips headers",
    ],
)
def test_whatever_a_stranger_answers_is_an_error_in_bounded_time_that_repeats_nothing_of_it(
    answer: Answer, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "within 1 s" in why:
        monkeypatch.setattr(connect, "ANSWER_WITHIN_S", 1.0)
    began = time.monotonic()
    with stranger(answer) as url, pytest.raises(UnavailableError) as told:
        Connector(url, "c").status()
    assert why in str(told.value)
    assert SECRET not in f"{told.value} {told.value.hint}"
    assert time.monotonic() - began < 45, "in bounded time"


def test_a_door_that_is_closed_is_told() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as door:
        port = door.getsockname()[1]
    with pytest.raises(UnavailableError, match="connection refused"):
        Connector(f"http://127.0.0.1:{port}", "c").status()


def test_user_and_password_of_the_url_are_sent_and_never_told() -> None:
    asked: list[bytes] = []
    with stranger(said("403 Forbidden", b""), asked) as url, pytest.raises(UnavailableError) as told:
        Connector(url.replace("//", f"//user:{SECRET}@"), "a name/with ?").status()
    assert SECRET not in str(told.value)
    assert b"Authorization: Basic " in asked[0]
    assert asked[0].startswith(b"GET /connectors/a%20name%2Fwith%20%3F/status ")


@pytest.mark.parametrize("url", ["connect:8083", "ftp://connect", "http://", "http://connect:port", "http://[::1"])
def test_what_is_no_url_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(SettingsError, match=r"fence\.connect is no URL"):
        Connector(url, "c")


@pytest.mark.parametrize(
    ("states", "running", "changing"),
    [
        (["RUNNING", "RUNNING"], True, True),
        (["RUNNING"], False, True),  # no task yet
        (["RUNNING", "FAILED"], False, False),
        (["PAUSED", "PAUSED"], False, False),
        (["STOPPED"], False, False),
        (["UNASSIGNED", "UNASSIGNED"], False, True),
        (["RUNNING", "RESTARTING"], False, True),
    ],
)
def test_a_connector_runs_only_with_every_task(states: list[str], running: bool, changing: bool) -> None:
    told = {"connector": {"state": states[0]}, "tasks": [{"state": state, "trace": SECRET} for state in states[1:]]}
    with stranger(said("200 OK", json.dumps(told).encode())) as url:
        status = Connector(url, "c").status()
    assert (status.running, status.changing) == (running, changing)
    assert SECRET not in status.described


@pytest.mark.parametrize(
    ("offsets", "at"),
    [
        ([{"lsn": 300, "lsn_proc": 500, "lsn_commit": 400}], 300),
        ([{"lsn": 300}, {"lsn": 200}], 200),
        ([{"lsn": 300, "snapshot": False}], 300),
        ([{"lsn": 300, "snapshot": "INITIAL"}], None),
        ([{"lsn": 300, "snapshot": True, "last_snapshot_record": False}], None),
        ([{"lsn": 300}, {}], None),
        ([{"lsn": "300"}], None),
        ([{"lsn": True}], None),
        ([{"lsn": -1}], None),
        ([], None),
    ],
)
def test_an_offset_counts_only_where_everything_before_it_is_known_to_be_out(
    offsets: list[dict[str, Any]], at: int | None
) -> None:
    assert position(offsets)[0] == at
