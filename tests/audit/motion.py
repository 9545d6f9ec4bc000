"""An audit in fast motion: an application that loses some of its events, two audits and a tracker as processes, and what
strikes them. What was planted is known, so what was counted can be held against it.

The application keeps the order that a publisher with one outbox keeps: a row is committed, then announced, and nothing
later is announced before. Where a server is away it tries again until it is back.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from confluent_kafka import Producer

from tests.end_to_end.forked import ROOT
from tests.end_to_end.installation import Installation, Running, event
from tests.stack.kafka import Kafka
from tests.stack.processes import LOOPBACK, StandError, free_port, wait_until

#: On two cores that others use as well a broker has been seen to take ninety seconds to come back.
WITHIN_S = 200.0
SETTLE_S = 0.2
FIRST = 1000
AUDIT = "tests.audit.audit_main"


@dataclass
class Application:
    """Creates rows, announces them, registers what it announced. `losing`: of five, one is never announced."""

    source: str
    target: str
    kafka: Kafka
    topic: str
    losing: bool = False
    every_s: float = 0.1
    made: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)  #: while set, what is made is not announced
    #: announced, or registered, later after their commit than `settle` allows, for a server was away or the machine busy
    trailed: set[int] = field(default_factory=set)
    unapplied: set[int] = field(default_factory=set)

    def work(self, stop: threading.Event) -> None:
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "enable.idempotence": True, "log_level": 0})
        key = FIRST
        kept: list[int] = []
        began = time.monotonic()
        while not stop.wait(self.every_s):
            began = began if kept else time.monotonic()  # before the commit, so that no wait is taken for shorter than it was
            keys = list(range(key, key + 10))
            key += len(keys)
            self._until_done(self.source, "INSERT INTO items (id) SELECT unnest(%s::bigint[]) ON CONFLICT DO NOTHING", keys)
            self.made += keys
            lost = [k for k in keys if self.losing and k % 5 == 0]
            self.lost += lost
            kept += [k for k in keys if k not in lost]
            if self.held.is_set():
                continue
            for k in kept:
                producer.produce(self.topic, event(k), partition=0)
            while producer.flush(1):
                pass
            self.trailed |= self._late(began, kept)
            self._until_done(
                self.target,
                "INSERT INTO item_registry (item_id, created_at) SELECT unnest(%s::bigint[]), now() ON CONFLICT DO NOTHING",
                kept,
            )
            self.unapplied |= self._late(began, kept)
            kept = []
        for k in kept:
            producer.produce(self.topic, event(k), partition=0)
        producer.flush(30)

    @staticmethod
    def _late(began: float, keys: list[int]) -> set[int]:
        return set(keys) if time.monotonic() - began > SETTLE_S else set()

    @staticmethod
    def _until_done(dsn: str, statement: str, keys: list[int]) -> None:
        until = time.monotonic() + WITHIN_S
        while True:
            try:
                with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as db:
                    db.execute(statement, [keys])
                return
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)


@dataclass
class Motion:
    """Two audits of one data type, as processes, and the ledger's word for what they counted."""

    here: Installation
    application: Application
    target: str
    webhook: str | None = None
    _stack: ExitStack = field(default_factory=ExitStack)
    audits: dict[str, Running] = field(default_factory=dict)
    tracker: Running | None = None

    def __enter__(self) -> Motion:
        for name in ("one", "other"):
            self.begin(name)
        wait_until(lambda: self.looks() > 0, "a first look is kept", within_s=WITHIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, name: str) -> None:
        self.audits[name] = self._stack.enter_context(self._quick().started("audit"))

    def _quick(self) -> Installation:
        return self.here.with_(
            ("audit", {"every": "500ms", "listen": f"{LOOPBACK}:{free_port()}"}),
            ("fence", {"settle": f"{SETTLE_S * 1000:.0f}ms", "skew": "200ms"}),
            ("tracker", {"flush_every": "100ms"}),
            ("alerts/webhook", self.webhook),
        )

    def dies_at(self, place: str, when: str, nth: int) -> None:
        """One more audit, which kills itself at this boundary; whoever has the lease is dead."""
        self.the_lease_runs_out()
        here = self._quick()
        here.variables["PYTHONPATH"] = str(ROOT)
        with here.started("audit", door=[sys.executable, "-m", AUDIT, place, when, str(nth)]) as running:
            running.child.wait(WITHIN_S)
            assert running.child.returncode == -signal.SIGKILL, (place, when, nth, running.err.read_text()[-2000:])

    def track(self) -> None:
        """A tracker beside them, as a process of its own."""
        self.tracker = self._stack.enter_context(self.here.with_(("tracker", {"flush_every": "100ms"})).started("track"))

    def kill(self, name: str) -> None:
        child = self.tracker.child if name == "tracker" and self.tracker else self.audits[name].child
        child.kill()
        child.wait(30)

    def holder(self) -> str:
        """Whose process has the lease; dead ones have it until it runs out."""
        pids = {str(running.child.pid): name for name, running in self.audits.items()}
        (found,) = self.asked("SELECT holder FROM fencepost.lease WHERE name = 'audit:item'")
        return next(name for pid, name in pids.items() if f" pid {pid} " in found[0])

    def holds(self, name: str) -> None:
        wait_until(lambda: self.holder() == name, f"the {name} audit has taken over", within_s=WITHIN_S)

    @contextmanager
    def standing_still(self) -> Iterator[str]:
        """Whoever has the lease is paused, wherever it stands, and its lease runs out; afterwards it goes on."""
        name = self.holder()
        child = self.audits[name].child
        child.send_signal(signal.SIGSTOP)
        try:
            self.the_lease_runs_out()
            yield name
        finally:
            child.send_signal(signal.SIGCONT)

    def the_lease_runs_out(self) -> None:
        """As if its time had passed; whoever is alive renews it."""
        self.asked("UPDATE fencepost.lease SET expires_at = clock_timestamp() WHERE name = 'audit:item' RETURNING 1")

    def looks(self) -> int:
        if self.asked("SELECT to_regclass('fencepost.audit')::text") == [(None,)]:
            return 0
        return int(self.asked("SELECT coalesce(max(look), 0) FROM fencepost.audit")[0][0])

    def totals(self) -> dict[str, int]:
        rows = self.asked(
            "SELECT name, kind, value FROM fencepost.total WHERE subject = 'item' AND name IN"
            " ('fencepost_rows_audited_total', 'fencepost_drops_total', 'fencepost_late_total')"
        )
        short = {"fencepost_rows_audited_total": "rows", "fencepost_late_total": "late"}
        return {str(short.get(name, kind)): value for name, kind, value in rows if value}

    def blind(self) -> str:
        (row,) = self.asked("SELECT coalesce(blind, '') FROM fencepost.audit")
        return str(row[0])

    def asked(self, query: str) -> list[tuple[Any, ...]]:
        """Raises psycopg.OperationalError while the server is away."""
        with psycopg.connect(self.target, autocommit=True, connect_timeout=5) as db:
            return db.execute(query).fetchall()

    def looks_on(self) -> None:
        """Wait until somebody has looked, and kept it, twice more."""
        before = self._patient(self.looks)
        wait_until(lambda: self._patient(self.looks) >= before + 2, "somebody looks on", within_s=WITHIN_S)

    @staticmethod
    def _patient(ask: Callable[[], int]) -> int:
        try:
            return ask()
        except psycopg.OperationalError:
            return -1

    def all_is_counted(self) -> None:
        """Each row once, each loss once, and nothing else, while the log goes on.

        A row whose announcement, or registration, trailed its commit for longer than `settle` may be counted as lost, or as
        lost and registered by another path; as late, too, once it is announced.
        """
        self.application.losing = False
        made, lost = len(self.application.made), len(self.application.lost)

        def counted() -> bool:
            found = self.totals()
            drops = found.get("dropped_create", 0) + found.get("healed_drop", 0)
            return found.get("rows", 0) >= made and drops >= lost + found.get("late", 0)

        try:
            wait_until(counted, f"{made} rows and {lost} drops are counted", within_s=WITHIN_S)
        except StandError as error:
            raise StandError(f"{error}; counted are {self.totals()}, {len(self.application.trailed)} trailed") from None
        found = self.totals()
        assert found.pop("rows") <= len(self.application.made)
        late, unapplied = found.pop("late", 0), found.pop("unapplied_create", 0)
        dropped, healed = found.pop("dropped_create", 0), found.pop("healed_drop", 0)
        assert not found
        assert dropped + healed == lost + late, (dropped, healed, lost, late)
        assert healed <= late
        assert late <= len(self.application.trailed), (late, len(self.application.trailed))
        assert unapplied <= len(self.application.unapplied), (unapplied, len(self.application.unapplied))
