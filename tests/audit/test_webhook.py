"""Alarms of a real audit over a real receiver: each change told once, whoever dies, whoever is away, and in what order."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import psycopg
import pytest
from pydantic import SecretStr

from reconciler.paging.webhook import Webhook
from tests.audit.conftest import Watch, speak
from tests.stack.processes import LOOPBACK
from tests.stack.receiver import Receiver

TOKEN = "t0ken-of-the-hook"
FAST, SLOW = "FencepostDropRateFast", "FencepostDropRateSlow"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(path=f"/hook/{TOKEN}?key={TOKEN}") as made:
        yield made


def hook(watch: Watch, receiver: Receiver | str) -> Webhook:
    """Of the process that has the watch's leases now."""
    settings = watch.audit.settings
    url = receiver if isinstance(receiver, str) else receiver.url
    alerts = settings.alerts.model_copy(update={"webhook": SecretStr(url)})
    settings = settings.model_copy(update={"alerts": alerts})
    return Webhook(settings=settings, ledger=watch.ledger, local=watch.audit.local, leases=watch.audit._held)


def once(webhook: Webhook) -> None:
    webhook._not_before = 0.0  # as if its pause were over
    webhook.once(threading.Event())


def lose(watch: Watch, first: int = 101) -> list[str]:
    """Forty rows of which four, far from each other, are lost; judged."""
    keys = range(first, first + 40)
    lost = [first + n for n in (5, 15, 25, 35)]
    watch.world.rows(keys, at=datetime.now(UTC))
    fine = [k for k in keys if k not in lost]
    watch.world.announce(fine, at=datetime.now(UTC))
    watch.world.registered(fine)
    watch.look()
    speak(watch, first + 40)
    watch.look(2)
    return [str(key) for key in lost]


def windows_pass(watch: Watch, time: str = "300 days") -> None:
    with psycopg.connect(watch.world.target) as db:
        db.execute("UPDATE fencepost.audit_look SET at = at - %s::interval", [time])


def rate(receiver: Receiver) -> list[tuple[str, str]]:
    """Status and start of what was told of the drop rate's page."""
    return [(told["status"], told["startsAt"]) for told in receiver.told if told["labels"]["alertname"] == FAST]


def statuses(receiver: Receiver) -> list[str]:
    return [status for status, _ in rate(receiver)]


def test_a_page_and_its_end_are_told_once_with_the_ids_and_no_token_in_the_log(
    watch: Watch, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    once(hook(watch, receiver))
    assert receiver.told == []
    lost = lose(watch)
    webhook = hook(watch, receiver)
    once(webhook)
    once(webhook)
    assert statuses(receiver) == ["firing"]
    (page,) = receiver.heard("firing")
    assert page["labels"] == {"alertname": FAST, "data_type": "item", "severity": "page"}
    assert sorted(page["keys"]) == lost
    with psycopg.connect(watch.world.target) as db:
        assert db.execute("SELECT kind FROM fencepost.run WHERE id = %s", [page["run"]]).fetchone() == ("audit",)
    watch.lost()  # killed, and another goes on
    watch.look()
    once(hook(watch, receiver))
    assert statuses(receiver) == ["firing"]
    windows_pass(watch)
    receiver.down()
    webhook = hook(watch, receiver)
    once(webhook)
    assert webhook._pause_s == 1.0
    once(webhook)
    assert webhook._pause_s == 2.0
    before = webhook._not_before
    webhook.once(threading.Event())
    assert webhook._not_before == before, "its pause is kept"
    receiver.up()
    once(webhook)
    once(hook(watch, receiver))
    assert statuses(receiver) == ["firing", "resolved"]
    assert len({start for _, start in rate(receiver)}) == 1
    assert webhook._pause_s == 0.0
    assert set(receiver.asked) == {receiver.path}
    told = str([record.__dict__ for record in caplog.records])
    assert "connection refused" in told
    assert TOKEN not in told


def test_one_burst_pages_once_and_what_goes_on_burning_slowly_is_told_when_the_page_has_ended(
    watch: Watch, receiver: Receiver
) -> None:
    def told() -> list[tuple[str, str]]:
        return [(one["status"], one["labels"]["alertname"]) for one in receiver.told]

    lose(watch)
    for _ in range(2):
        once(hook(watch, receiver))
    assert told() == [("firing", FAST)]
    windows_pass(watch, "10 hours")  # a page's short windows
    for _ in range(2):
        once(hook(watch, receiver))
    assert sorted(told()[1:]) == [("firing", SLOW), ("resolved", FAST)]
    windows_pass(watch)
    once(hook(watch, receiver))
    assert told()[3:] == [("resolved", SLOW)]


def test_what_ended_with_the_page_that_said_it_too_is_never_told(watch: Watch, receiver: Receiver) -> None:
    lose(watch)
    once(hook(watch, receiver))
    windows_pass(watch)
    for _ in range(2):
        once(hook(watch, receiver))
    assert {one["labels"]["alertname"] for one in receiver.told} == {FAST}
    with psycopg.connect(watch.world.target) as db:
        assert db.execute("SELECT name FROM fencepost.audit_alert WHERE state <> 'pending'").fetchall() == []


def test_who_lost_the_lease_tells_nothing_and_who_dies_in_between_is_followed_by_one_that_tells_the_same_again(
    watch: Watch, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(watch)
    paused = hook(watch, receiver)
    paused.leases = dict(watch.audit._held)
    # Another instance takes the data type over; the first one wakes and does not know yet.
    with psycopg.connect(watch.world.target) as db:
        db.execute("UPDATE fencepost.lease SET expires_at = clock_timestamp(), holder = NULL WHERE name = 'audit:item'")
    watch.audit._held = {}
    watch.look()
    once(paused)
    assert receiver.told == []

    send = Webhook._send

    def dies(self: Webhook, body: bytes) -> None:
        send(self, body)
        raise SystemExit

    with monkeypatch.context() as patched, suppress(SystemExit):
        patched.setattr(Webhook, "_send", dies)
        once(hook(watch, receiver))
    once(hook(watch, receiver))
    once(hook(watch, receiver))
    same = [(told["fingerprint"], told["startsAt"]) for told in receiver.heard("firing")]
    assert len(same) == 2
    assert len(set(same)) == 1


@pytest.mark.parametrize("answer", [302, 404, 500])
def test_only_a_receiver_that_takes_it_was_told(watch: Watch, receiver: Receiver, answer: int) -> None:
    with Receiver() as elsewhere:
        receiver.answer, receiver.headers = answer, {"Location": elsewhere.url}
        lose(watch)
        once(hook(watch, receiver))
        assert len(receiver.asked) == 1, "after a failure it rests"
        assert elsewhere.asked == []
    receiver.answer = 200
    once(hook(watch, receiver))
    assert statuses(receiver) == ["firing"]


def test_a_receiver_that_never_answers_holds_nobody_for_long(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("reconciler.paging.webhook.ANSWER_WITHIN_S", 0.3)
    lose(watch)
    with socket.create_server((LOOPBACK, 0)) as silent:
        webhook = hook(watch, f"http://{LOOPBACK}:{silent.getsockname()[1]}/")
        once(webhook)
    assert "answer within 0.3 s" in str([record.__dict__ for record in caplog.records])
    assert webhook._pause_s == 1.0
