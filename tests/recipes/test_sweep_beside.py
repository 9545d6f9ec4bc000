"""A sweep beside others: live writers, a busy source, a cutover that goes first, a second sweep; and it stops when told."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from databases.ledger import Ledger
from reconciler import lease, recall, sweep
from reconciler.lease import Held, Rank
from reconciler.outcome import Outcome
from reconciler.sweeping import book, cut
from schemas.errors import RefusedWrite
from schemas.verdict import Verdict
from tests.recipes.test_keys import INTS, TEXTS, UUIDS
from tests.recipes.world import World, found
from tests.stack.postgres import Postgres
from tests.stack.processes import wait_until

SETTLE_S = 1
WITHOUT_LOG: dict[str, Any] = {"without_log": True}


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DENSE_ROWS", "ROWS", "WIDEST"):
        monkeypatch.setattr(cut, name, 30)


class Heard:
    """Remembers what was said."""

    def __init__(self) -> None:
        self.waits: list[str] = []

    def phase(self, text: str) -> None: ...
    def advance(self, done: int, total: int | None) -> None: ...
    def waiting(self, text: str) -> None:
        self.waits.append(text)


class Beside:
    """A sweep in a thread of its own."""

    def __init__(self, world: World, **options: Any) -> None:
        self.stop, self.heard = threading.Event(), Heard()
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(world, options))

    def _run(self, world: World, options: dict[str, Any]) -> None:
        settings, ledger, handed = world._handed()
        try:
            with closing(ledger):
                self.outcome = sweep.run(settings, ledger, stop=self.stop, **(handed | {"say": self.heard} | options))
        except BaseException as error:  # noqa: BLE001 - told to the test
            self.error = error

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended()

    def ended(self) -> Outcome | None:
        self._thread.join(90)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.outcome

    def waits_for(self, word: str) -> None:
        wait_until(lambda: any(word in text for text in self.heard.waits), f"the sweep waits for {word}", within_s=60)


@contextlib.contextmanager
def live(world: World, lose: Callable[[int], bool]) -> Iterator[dict[str, set[int]]]:
    """An application that creates and deletes rows, and an applier a moment behind that loses some of both. Where the
    machine held the applier up for longer than `settle`, its keys are among `trailed`."""
    stop, truth = threading.Event(), {"missing": set[int](), "orphans": set[int](), "trailed": set[int]()}
    chance = random.Random(7)

    def work() -> None:
        with psycopg.connect(world.source, autocommit=True) as source, psycopg.connect(world.target, autocommit=True) as target:
            alive: list[int] = []
            for number in range(1_000, 100_000):
                if stop.is_set():
                    return
                key = number if number % 3 else number - 990  # also below the highest key: 10 at first
                began = time.monotonic()
                with contextlib.suppress(psycopg.errors.UniqueViolation):
                    source.execute("INSERT INTO items VALUES (%s, 1, now())", [key])
                    if lose(number):
                        truth["missing"].add(key)
                    else:
                        target.execute("INSERT INTO item_registry (item_id) VALUES (%s) ON CONFLICT DO NOTHING", [key])
                        alive.append(key)
                        truth["trailed"] |= {key} if time.monotonic() - began > SETTLE_S else set()
                if len(alive) > 40:
                    gone, began = alive.pop(chance.randrange(len(alive))), time.monotonic()
                    source.execute("DELETE FROM items WHERE id = %s", [gone])
                    if lose(number + 25):
                        truth["orphans"].add(gone)
                    else:
                        target.execute("DELETE FROM item_registry WHERE item_id = %s", [gone])
                        truth["trailed"] |= {gone} if time.monotonic() - began > SETTLE_S else set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield truth
    finally:
        stop.set()
        thread.join(60)


@pytest.mark.usefixtures("narrow")
def test_beside_live_writers_nothing_false_is_told_and_nothing_lost_before_is_missed(items: World) -> None:
    items.extra = {"fence": {"settle": f"{SETTLE_S}s"}}
    with live(items, lose=lambda number: number % 50 == 0) as truth:
        wait_until(lambda: len(truth["missing"]) > 2 and len(truth["orphans"]) > 2, "some are lost")
        before = {name: set(keys) for name, keys in truth.items()}
        outcome = items.sweep()
    by_class: dict[str, set[int]] = {}
    for key, (name, _) in found(outcome).items():
        by_class.setdefault(name, set()).add(int(key))
    missing, orphans = by_class.pop("dropped_create"), by_class.pop("dropped_delete")
    assert not by_class
    assert before["missing"] <= missing <= truth["missing"] | truth["trailed"]
    assert before["orphans"] <= orphans <= truth["orphans"] | truth["trailed"]
    assert outcome.report.verdict is Verdict.GAPS


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(("key", "keys"), [("bigint", INTS), ("text", TEXTS), ("uuid", UUIDS)])
def test_odd_keys_are_swept_whole_and_the_sweep_is_evidence_for_them(world: World, key: str, keys: list[int | str]) -> None:
    world.key, world.type_extra = key, {}
    world.tables()
    world.rows(keys)
    world.registered(keys[1:])
    assert set(found(world.sweep(**WITHOUT_LOG))) == {str(keys[0])}
    with psycopg.connect(world.target) as db:
        db.execute("DELETE FROM item_registry WHERE item_id = %s", [keys[-1]])
    outcome = world.gaps(since="auto", **WITHOUT_LOG)
    assert set(found(outcome)) == {str(keys[0]), str(keys[-1])}
    assert any(note.startswith("1 of the rows") for note in outcome.report.data_types[0].notes)


def unordered(world: World, first: int) -> None:
    """Five hundred rows by a key without order; as many are registered, from the `first` one on."""
    with psycopg.connect(world.source) as db:
        db.execute("CREATE TABLE items (a int, b text, created_at timestamptz, PRIMARY KEY (a, b))")
        db.execute("INSERT INTO items SELECT g % 7, 'x' || g, now() FROM generate_series(1, 500) g")
    with psycopg.connect(world.target) as db:
        db.execute("CREATE TABLE item_registry (a int, b text, state int DEFAULT 0, created_at timestamptz, UNIQUE (a, b))")
        numbers = "generate_series(%s::int, %s::int + 499)"
        db.execute(f"INSERT INTO item_registry SELECT g %% 7, 'x' || g FROM {numbers} g", [first, first])
    world.source_extra = world.registry_extra = {"key": ["a", "b"]}
    world.type_extra = {"event": {"key": ["a", "b"]}}


def test_a_key_without_order_is_swept_in_one_piece(world: World) -> None:
    unordered(world, 2)
    outcome = world.sweep()
    assert {key: name for key, (name, _) in found(outcome).items()} == {"1/x1": "unheard_create", "4/x501": "dropped_delete"}
    assert outcome.report.data_types[0].rows == 500
    assert set(found(world.gaps(since="auto", **WITHOUT_LOG))) == {"1/x1"}


def test_a_scope_cuts_the_rows_and_never_the_orphans(items: World) -> None:
    """A registry row whose source row lies out of scope is no orphan."""
    items.source_extra = {"scope": [{"column": "project_id", "in": [1]}]}
    items.registry_extra = {"accepted": {"state": [2]}}
    items.rows([201])
    items.registered([202, 901])
    with psycopg.connect(items.source) as db:
        db.execute("INSERT INTO items VALUES (202, 5, now()), (203, 5, now())")
    items.rows([204])
    items.registered([204], state=9)
    assert {key: name for key, (name, _) in found(items.sweep()).items()} == {
        "201": "dropped_create",
        "204": "unaccepted",
        "901": "dropped_delete",
    }


def test_a_lagging_standby_brakes_the_sweep_until_it_has_caught_up(items: World, own_postgres: Callable[..., Postgres]) -> None:
    server = own_postgres()
    items.source = server.create_database("app")
    items.extra = {"sweep": {"brakes": {"replica_lag": "1s"}}}
    with psycopg.connect(items.source, autocommit=True) as db, server.standby() as standby:
        db.execute("CREATE TABLE items (id bigint PRIMARY KEY, project_id int, created_at timestamptz)")
        db.execute("INSERT INTO items SELECT g, 1, now() FROM generate_series(1, 100) g")
        late = "SELECT coalesce(max(replay_lag) > interval '1 s', false) FROM pg_stat_replication"
        standby.pause_replay()

        def behind() -> bool:
            db.execute("UPDATE items SET project_id = 2")
            return db.execute(late).fetchone() == (True,)

        wait_until(behind, "the standby lags", within_s=60)
        with Beside(items, **WITHOUT_LOG) as beside:
            beside.waits_for("for the source: the standby")
            assert "sweep.brakes.replica_lag: 1s" in beside.heard.waits[-1]
            assert "the standby walreceiver at 127.0.0.1 replays" in beside.heard.waits[-1]
            standby.resume_replay()

            def caught_up() -> bool:
                db.execute("UPDATE items SET project_id = 1")
                return db.execute(late).fetchone() == (False,)

            wait_until(caught_up, "the standby has caught up", within_s=60)
            outcome = beside.ended()
    assert outcome is not None
    assert outcome.report.verdict is Verdict.CLEAR
    assert outcome.report.data_types[0].rows == 100


def sleep(db: psycopg.Connection) -> None:
    with contextlib.suppress(psycopg.errors.QueryCanceled):
        db.execute("SELECT pg_sleep(600)")


def asleep(world: World) -> int:
    with psycopg.connect(world.source) as db:
        row = db.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        ).fetchone()
    assert row
    return int(row[0])


def test_active_sessions_and_slow_look_ups_brake_the_sweep_and_a_stop_ends_its_wait(items: World) -> None:
    items.extra = {"sweep": {"brakes": {"active_sessions": 1, "statement_time": "1ms"}}}
    with contextlib.ExitStack() as busy:
        for _ in range(2):
            db = busy.enter_context(psycopg.connect(items.source, autocommit=True))
            sleeper = threading.Thread(target=sleep, args=(db,))
            sleeper.start()
            busy.callback(sleeper.join, 30)
            busy.callback(db.cancel)
        wait_until(lambda: asleep(items) == 2, "both sessions are active")
        with Beside(items, **WITHOUT_LOG) as beside:
            beside.waits_for("sessions are active (sweep.brakes.active_sessions: 1)")
            beside.stop.set()
            assert beside.ended() is None
    settings, ledger, _ = items._handed()
    (past,) = recall.runs(ledger)
    assert (past.kind, past.state) == ("sweep", "interrupted")
    assert settings.sweep.brakes.statement_time == timedelta(milliseconds=1)
    items.extra = {}
    assert items.sweep(**WITHOUT_LOG).report.verdict is Verdict.CLEAR


@pytest.mark.usefixtures("narrow")
def test_a_rate_holds_the_keys_of_a_second_down(items: World) -> None:
    with Beside(items, rate=10, **WITHOUT_LOG) as beside:
        wait_until(lambda: ranges(items) >= 1, "the first range is stored", within_s=60)
        beside.stop.set()
        assert beside.ended() is None
    assert 1 <= ranges(items) < 4  # thirty keys take three seconds


def ranges(world: World) -> int:
    with psycopg.connect(world.target) as db:
        row = db.execute("SELECT to_regclass('fencepost.verified_range')").fetchone()
        if row is None or row[0] is None:
            return 0
        row = db.execute("SELECT count(*) FROM fencepost.verified_range").fetchone()
        return int(row[0]) if row else 0


def test_a_cutover_goes_first_and_the_sweep_gives_way_between_two_batches(items: World) -> None:
    items.extra = {"backfill": {"batch": 1, "rate": 1}}
    items.rows(range(201, 241))
    with Beside(items, backfill=True) as beside:
        wait_until(lambda: "201" in items.in_registry(), "the sweep inserts", within_s=60)
        items.extra = {}
        report = items.cutover().report
        outcome = beside.ended()
    assert report.verdict is Verdict.CLEAR
    assert outcome is not None
    (told,) = outcome.report.data_types
    assert any("gave way in the middle" in note for note in outcome.report.notes)
    assert report.data_types[0].backfilled + told.backfilled == 40
    assert told.backfilled < 40
    # The sweep looks again as soon as it gave way; how much the cutover has inserted by then is between the two.
    assert told.gaps.count == 40
    assert 0 <= told.remaining <= 40 - told.backfilled
    assert {str(key) for key in range(201, 241)} <= items.in_registry()


def test_a_sweep_inserts_nothing_while_a_cutover_writes(items: World) -> None:
    items.rows([201])
    _, ledger, _ = items._handed()
    ledger.upgrade()
    held = lease.acquire(ledger, "another-run", rank=Rank.CUTOVER)
    assert isinstance(held, Held)
    with held:
        outcome = items.sweep(backfill=True)
    assert any("nothing was inserted: registry rows are being written by" in note for note in outcome.report.notes)
    assert "201" not in items.in_registry()


def test_a_sweep_above_its_cap_inserts_nothing(items: World) -> None:
    items.rows([201, 202])
    outcome = items.sweep(backfill=True, max_backfill=1)
    assert outcome.report.data_types[0].backfilled == 0
    assert not {"201", "202"} & items.in_registry()


def test_two_sweeps_of_one_type_never_run_at_once(items: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PATIENCE", timedelta(0))
    _, ledger, _ = items._handed()
    ledger.upgrade()
    other = lease.acquire(ledger, "another-run", name="sweep:item", rank=Rank.BACKGROUND)
    assert isinstance(other, Held)
    with other, pytest.raises(RefusedWrite, match=r"item is being swept by .*another-run"):
        items.sweep(**WITHOUT_LOG)
    assert items.sweep(**WITHOUT_LOG).report.verdict is Verdict.CLEAR


def test_of_earlier_passes_only_the_numbers_are_kept(items: World) -> None:
    items.sweep(**WITHOUT_LOG)
    items.sweep(**WITHOUT_LOG)
    with closing(Ledger.of(items.settings())), psycopg.connect(items.target) as db:
        kept = db.execute("SELECT count(*), count(DISTINCT sweep) FROM fencepost.verified_range").fetchone()
        passes = db.execute("SELECT count(*) FROM fencepost.sweep WHERE state = %s", [book.Stage.FINISHED]).fetchone()
    assert kept == (1, 1)
    assert passes == (2,)
