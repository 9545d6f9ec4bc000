"""The thread that judges alarms and calls `alerts.webhook`. Beside the audit, which never waits for it.

Each instance judges what it holds; what changed is kept in the ledger first and told after it. A receiver that is away is
tried again, ever more rarely, up to every five minutes; what ended a day ago is told no more. The URL may hold a token: it
is in no log line and in no error.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from urllib.parse import SplitResult

import sqlalchemy as sa

from databases.ledger import Ledger
from reconciler import door
from reconciler.alerts.limits import Limits
from reconciler.auditing import standing
from reconciler.auditing.exposition import Local
from reconciler.lease import Held
from reconciler.paging import book, conditions, message
from reconciler.paging.alarm import Alarm, Condition, Place, Status, step
from reconciler.paging.conditions import Sight
from reconciler.paging.quiet import said_already
from schemas.errors import FencepostError, LedgerError, RefusedWrite, UnavailableError
from schemas.settings import Settings

log = logging.getLogger("fencepost.audit")

ANSWER_WITHIN_S = 10.0
#: How often is judged, at the most seldom.
JUDGED_EVERY_S = 15.0
#: Pauses after a receiver could not be told.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 300.0
#: An end that could not be told for so long is told no more.
GIVEN_UP = timedelta(days=1)


@dataclass(slots=True, kw_only=True)
class Webhook:
    """Of one instance. `leases` are those it has now."""

    settings: Settings
    ledger: Ledger
    local: Local
    leases: Mapping[str, Held]
    patience: float = 1.0
    _pause_s: float = 0.0
    _not_before: float = 0.0
    _url: SplitResult = field(init=False)

    def __post_init__(self) -> None:
        assert self.settings.alerts.webhook is not None
        found = door.parts(self.settings.alerts.webhook.get_secret_value())
        assert found is not None, "the settings hold a URL"
        self._url = found

    def work(self, stop: threading.Event) -> None:
        """Until stopped. A ledger that is away is waited for: without it nobody knows what was told."""
        every = min(JUDGED_EVERY_S, self.settings.audit.every.total_seconds())
        while not stop.wait(every):
            try:
                self.once(stop)
            except FencepostError as error:
                log.warning("alarms could not be judged", extra={"event": "alarms_unjudged", "why": str(error)})

    def once(self, stop: threading.Event) -> None:
        """Judge all that is ours, then tell what is due."""
        held = {name: lease for name, lease in dict(self.leases).items() if not lease.lost}
        if not held:
            return
        sight = self._sight()
        alarms = book.load(self.ledger)
        now = datetime.fromtimestamp(sight.now, UTC)
        for place, found in conditions.judged(self.settings, held, sight, patience=self.patience):
            self._judge(held, place, alarms.get(place), found, now)
        for place, alarm in alarms.items():
            if not conditions.known(self.settings, place) and conditions.first(self.settings) in held:
                self._judge(held, place, alarm, Condition(value=None), now)
        alarms = book.load(self.ledger)
        for alarm in alarms.values():
            if stop.is_set() or time.monotonic() < self._not_before:
                return
            lease = held.get(self._speaker(alarm.place))
            if lease is None or alarm.due is None:
                continue
            if alarm.due is Status.FIRING and said_already(alarm, alarms.values()):
                self._keep_quiet(lease, alarm)
            else:
                self._tell(lease, alarm, now)

    def _sight(self) -> Sight:
        limits = Limits.of(self.settings, patience=self.patience)
        with self.ledger.begin("read the ledger's clock") as db:
            now = db.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return Sight(
            now=now.timestamp(),
            standing=standing.read(self.ledger, self.settings),
            heard=book.heard(self.ledger, limits.silent_rows, limits.silent_events),
            blind={name: set(reasons) for name, reasons in dict(self.local.blind).items()},
            ends=dict(self.local.ends),
            skew_s=dict(self.local.skew_s),
        )

    def _speaker(self, place: Place) -> str:
        """Of which data type the lease is needed."""
        if place.data_type in self.settings.data_types:
            return place.data_type
        owner = conditions.speakers(self.settings).get(place.labels.get("topic", ""))
        return owner or conditions.first(self.settings)

    # -- one alarm ----------------------------------------------------------------------------------------------------

    def _judge(self, held: Mapping[str, Held], place: Place, before: Alarm | None, found: Condition, now: datetime) -> None:
        after = step(place, before, found, now)
        if after is before:
            return
        if after is not None and after.status is Status.FIRING and (before is None or before.status is Status.PENDING):
            after = replace(after, words=self._words(after))
        try:
            book.move(self.ledger, held[self._speaker(place)], before, after)
        except (RefusedWrite, LedgerError):  # another instance has it, and judges for itself
            return
        if after is not None and after.status is not Status.PENDING and (before is None or before.status is not after.status):
            of = {"of": place.more} if place.more else {}
            fields = {"event": f"alarm_{after.status}", "alert": place.name, "data_type": place.data_type, **of}
            if after.status is Status.FIRING:
                log.warning("an alarm rose", extra=fields)
            else:
                log.info("an alarm ended", extra=fields)

    def _keep_quiet(self, lease: Held, alarm: Alarm) -> None:
        """It is told once the other one has ended; where it has ended before, nobody need know."""
        if alarm.status is Status.RESOLVED:
            with contextlib.suppress(RefusedWrite, LedgerError):  # another instance has it
                book.move(self.ledger, lease, alarm, None)

    def _words(self, alarm: Alarm) -> str:
        alert = conditions.alerts(self.settings, patience=self.patience)[alarm.place.name]
        about = message.AtHand()
        if alarm.place.name in book.OF_ROWS:
            about = book.at_hand(self.ledger, alarm.place.data_type)
        return message.words(alarm.place, alert, alarm.value, self.settings.alerts.runbooks, about)

    def _tell(self, lease: Held, alarm: Alarm, now: datetime) -> None:
        status = alarm.due
        assert status is not None
        fields = {"alert": alarm.place.name, "data_type": alarm.place.data_type, "status": str(status)}
        try:
            with book.telling(self.ledger, lease, alarm, status):
                self._send(message.body(alarm, status))
        except UnavailableError as error:
            self._pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause_s))
            self._not_before = time.monotonic() + self._pause_s
            again = {"event": "webhook_failed", "why": str(error), "again_in_s": round(self._pause_s)}
            log.warning("the webhook could not be told", extra=fields | again)
            if alarm.ended_at is not None and now - alarm.ended_at > GIVEN_UP:
                book.move(self.ledger, lease, alarm, None)
        except (RefusedWrite, LedgerError):  # another instance has it, and tells
            return
        else:
            self._pause_s = self._not_before = 0.0
            log.info("the webhook was told", extra={"event": "webhook_told", **fields})

    def _send(self, body: bytes) -> None:
        """Raises UnavailableError. A redirect is no delivery: whoever sends us on may be a stranger."""
        url = self._url
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = {"Content-Type": "application/json", "User-Agent": "fencepost"}
        try:
            status, _ = door.exchange("POST", url, target, body=body, headers=headers, within_s=ANSWER_WITHIN_S, at_most=None)
        except (door.SlowError, *door.FAILURES) as error:
            raise UnavailableError(f"the receiver of alerts.webhook: {door.named(error, ANSWER_WITHIN_S)}") from None
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise UnavailableError(f"the receiver of alerts.webhook answered {status}")
