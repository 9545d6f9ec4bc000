"""`fencepost audit`: the service between cutovers. Follows the log, looks every `audit.every`, and tells what it found.

    lease       on each data type: several instances share them, and each look is written under it
    look        what is new, what waited, what can be judged (`reconciler.auditing.look`)
    keep        seen keys, findings and totals in one transaction of the ledger (`reconciler.auditing.book`)
    tell        /metrics, and the webhook where there is no Prometheus

A server that is away is waited for: the audit is then blind, and says so. Nothing it could not see becomes a drop.
"""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from databases.connect import renamed
from databases.ledger import Ledger
from reconciler import history, killed, lease
from reconciler.auditing import book, seen
from reconciler.auditing.exposition import Exposition, Local
from reconciler.auditing.look import Eyes, look
from reconciler.auditing.reach import Marks
from reconciler.auditing.seen import Seen
from reconciler.auditing.serve import serving
from reconciler.lease import Held, Rank
from reconciler.paging.webhook import Webhook
from reconciler.ports import CatchUp, Locate
from reconciler.scene import Scene, resolve
from schemas.burn import windows
from schemas.errors import CatalogError, FencepostError, FloodError, LedgerAway, LedgerError, RefusedWrite, UnavailableError
from schemas.log_state import LogState
from schemas.metrics import COMPARE_SECONDS, Blind, Side, buckets, sum_of
from schemas.settings import Settings

log = logging.getLogger("fencepost.audit")

#: How long one look waits for the log to be read to its end. The snapshots are held so long.
FOLLOW_S = 20.0
#: So many looks between two tidyings.
TIDY_EVERY = 16


@dataclass(slots=True, kw_only=True)
class Audit:
    """One instance. `run` returns when `stop` is set."""

    settings: Settings
    ledger: Ledger
    catch_up: CatchUp
    locate: Locate | None
    track: Callable[[threading.Event], object]
    sweep: Callable[[threading.Event], None] | None = None
    looks: int = 0
    listening: Callable[[int], None] = lambda _: None  #: told the port once it is open
    local: Local = field(init=False)
    _held: dict[str, Held] = field(default_factory=dict)
    _seen: dict[str, Seen] = field(default_factory=dict)
    _marks: dict[str, Marks] = field(default_factory=dict)
    _beat: float = field(default_factory=time.monotonic)
    _failed: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.local = Local(held=self.held)

    def held(self) -> Collection[str]:
        return [name for name, held in list(self._held.items()) if not held.lost]

    def run(self, stop: threading.Event) -> None:
        """Look until stopped. Raises what no waiting cures: FloodError, SettingsError."""
        exposition = Exposition(self.settings, self.ledger, self.local)
        with serving(self.settings.audit.listen, exposition, self._unhealthy, self._unready) as port, self._beside(stop):
            self.listening(port)
            log.info("audit started", extra={"event": "audit_started", "port": port})
            try:
                self._loop(stop)
            finally:
                stop.set()
                for held in self._held.values():
                    held.__exit__(None, None, None)
        if self._failed:
            raise self._failed[0]
        log.info("audit stopped, all it judged is stored", extra={"event": "audit_stopped", "looks": self.looks})

    @contextmanager
    def _beside(self, stop: threading.Event) -> Iterator[None]:
        """The tracker, the sweeps and the webhook where there are any, each in a thread of its own."""
        work = [self.track, *([self.sweep] if self.sweep else [])]
        if self.settings.alerts.webhook is not None:
            hook = Webhook(settings=self.settings, ledger=self.ledger, local=self.local, leases=self._held)
            work.append(hook.work)
        threads = [threading.Thread(target=self._guarded, args=(one, stop), name="beside", daemon=True) for one in work]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _guarded(self, work: Callable[[threading.Event], object], stop: threading.Event) -> None:
        try:
            work(stop)
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that waits
            self._failed.append(error)
            stop.set()

    def _unhealthy(self) -> str | None:
        quiet = time.monotonic() - self._beat
        most = 10 * self.settings.audit.every.total_seconds() + 300
        return f"no look began for {quiet:.0f} s" if quiet > most else None

    def _unready(self) -> str | None:
        if not self.looks:
            return "no look has ended yet"
        for name, reasons in self.local.blind.items():
            if Blind.LEDGER in reasons:
                return f"the ledger could not be written for {name}"
        return self._unhealthy()

    # -- the loop -----------------------------------------------------------------------------------------------------

    def _loop(self, stop: threading.Event) -> None:
        every = self.settings.audit.every.total_seconds()
        while not stop.is_set():
            began = self._beat = time.monotonic()
            for name in self.settings.data_types:
                if stop.is_set():
                    return
                self.turn(name)
            self.looks += 1
            killed.settle(self.ledger)  # whoever died without a word: nobody else may come by for days
            stop.wait(max(0.05, every - (time.monotonic() - began)))

    def turn(self, name: str) -> None:
        """One data type's look, whatever is away."""
        self._beat = time.monotonic()
        try:
            held = self._hold(name)
            if held is None:
                return
            self._look(name, held)
        except (RefusedWrite, LedgerError) as error:  # PositionMoved among them: another has looked
            self._let_go(name)
            log.warning("a look was thrown away", extra={"event": "look_refused", "data_type": name, "why": str(error)})
        except LedgerAway as error:
            self._seen.pop(name, None)  # whether the last look was kept, the ledger will tell
            self._blind(name, Blind.LEDGER, error)
        except (UnavailableError, CatalogError) as error:
            self._blind(name, Blind.SOURCE, error)

    def _hold(self, name: str) -> Held | None:
        held = self._held.get(name)
        if held is not None and not held.lost:
            return held
        self._let_go(name)
        found = lease.acquire(self.ledger, "audit", rank=Rank.BACKGROUND, name=f"audit:{name}")
        if not isinstance(found, Held):
            self.local.blind.pop(name, None)
            return None
        log.info("data type taken", extra={"event": "audit_took", "data_type": name})
        self._held[name] = found.__enter__()
        return found

    def _let_go(self, name: str) -> None:
        self._seen.pop(name, None)
        self.local.blind.pop(name, None)
        held = self._held.pop(name, None)
        if held is not None:
            held.__exit__(None, None, None)

    def _look(self, name: str, held: Held) -> None:
        began = time.monotonic()
        with resolve(self.settings, [name], self.ledger) as scene:
            (subject,) = scene.subjects
            state = book.load(self.ledger, name, subject.key_type)
            if state is None:  # what is at hand is of an audit that was told to begin anew
                self._seen.pop(name, None)
                self._marks.pop(name, None)
            known = self._known(name, scene, None if state is None else state.look)
            eyes = Eyes(scene, self.ledger, None, self.locate, self._marks.get(name, Marks()))
            found = look(eyes, state, known, lambda: self._follow(scene))
            self._skew(scene)
        totals = found.totals
        took = time.monotonic() - began
        totals[COMPARE_SECONDS.name, name, buckets(COMPARE_SECONDS)[bisect_left(COMPARE_SECONDS.buckets, took)]] += 1
        totals[sum_of(COMPARE_SECONDS), name, ""] += int(took * 1_000_000)
        fingerprint = history.settings_hash(self.settings)
        book.store(self.ledger, held, name, subject.key_type, state, found, fingerprint)
        self._marks[name] = eyes.marks
        if known is not None:
            self._seen[name] = known.add(found.state.look, found.seen)
        self.local.blind[name] = {reason for reason in (found.blind or "").split(",") if reason}
        for (class_, cause), keys in found.findings.items():
            log.warning(
                "rows were lost",
                extra={"event": "audit_found", "data_type": name, "class": class_, "cause": cause, "count": len(keys)},
            )
        if found.state.look % TIDY_EVERY == 0:
            self._tidy(name, scene)

    def _known(self, name: str, scene: Scene, look_number: int | None) -> Seen | None:
        if look_number is None:
            return None
        known = self._seen.get(name)
        if known is None or known.look != look_number:
            known = Seen(self.ledger, name, scene.subjects[0].key_type, look_number)
        return known

    def _follow(self, scene: Scene) -> LogState | None:
        try:
            state = self.catch_up(scene.key_types, deadline_s=FOLLOW_S)
        except (UnavailableError, FloodError) as error:
            log.warning("the event log could not be asked", extra={"event": "audit_log_away", "why": str(error)})
            return None
        self.local.ends.update({(p.topic, p.partition): p.high for p in state.partitions})
        return state

    def _skew(self, scene: Scene) -> None:
        """How far the servers' clocks are from the ledger's."""
        import sqlalchemy as sa

        try:
            with self.ledger.begin("read the ledger's clock") as db:
                ours = db.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
            self.local.skew_s[Side.SOURCE] = (scene.now() - ours).total_seconds()
            with renamed("read the registry's clock"):
                row = scene.registry.execute("SELECT clock_timestamp()").fetchone()
        except UnavailableError as error:  # the look is whole without it
            log.warning("the clocks were not compared", extra={"event": "audit_clocks", "why": str(error)})
            return
        if row is not None:
            self.local.skew_s[Side.REGISTRY] = (row[0] - ours).total_seconds()

    def _tidy(self, name: str, scene: Scene) -> None:
        try:
            seen.tidy(self.ledger, name, scene.subjects[0].key_type)
            book.retire(self.ledger, name, windows(self.settings.audit.every)[-1] + timedelta(hours=1))
        except FencepostError as error:  # it costs room, never truth
            log.warning("the audit was not tidied", extra={"event": "audit_untidy", "why": str(error)})

    def _blind(self, name: str, reason: Blind, error: FencepostError) -> None:
        self.local.blind[name] = {reason}
        log.warning("the audit is blind", extra={"event": "audit_blind", "data_type": name, "why": str(error)})
        held = self._held.get(name)
        if reason is Blind.LEDGER or held is None:
            return
        try:
            book.go_blind(self.ledger, held, name, [reason])
        except FencepostError:
            self.local.blind[name].add(Blind.LEDGER)
