"""The tracker at work: on a log in memory, then on real Kafka and PostgreSQL, where it is killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from consumer.catch_up import catch_up
from consumer.session import opened
from consumer.streams.memory import MemoryLog, MemoryStream
from consumer.tracker import Tracker
from databases.ledger import Ledger
from schemas import ledger as tables
from schemas.errors import FloodError, PositionMoved
from schemas.settings import Settings
from tests.consumer.support import KEY_TYPES, credited, event, fill, gapless, numbers, positions, rows, settings
from tests.stack.kafka import Kafka
from tests.stack.processes import StandError, wait_until
from tests.stack.threads import beside

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def tracking(about: Settings, ledger: Ledger, log: MemoryLog) -> Iterator[Tracker]:
    """A tracker in a thread; an error in it fails the test, also one that was waiting for it in vain."""
    tracker = Tracker(settings=about, ledger=ledger, key_types=KEY_TYPES, streams=log.stream)
    with beside(tracker.run):
        yield tracker


@pytest.fixture
def quick(database: str) -> Settings:
    return settings(database, tracker={"flush_every": "10ms"})


def test_it_follows_and_stores_what_is_left_when_stopped(quick: Settings, ledger: Ledger, log: MemoryLog) -> None:
    with tracking(quick, ledger, log):
        fill(log, "jobs", range(50))
        wait_until(lambda: credited(ledger) == set(range(50)), "the first records are stored")
        fill(log, "jobs", range(50, 80), 2)
        wait_until(lambda: len(credited(ledger)) == 80, "the next records are stored")
    assert log.members == []
    assert positions(ledger) == {("jobs", 0): 50, ("jobs", 1): 0, ("jobs", 2): 30}


def test_what_a_tracker_died_of_is_told_and_not_only_that_a_test_waited_for_it(
    quick: Settings, ledger: Ledger, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = threading.Event()

    def dead(*_: object) -> MemoryStream:
        died.set()
        raise RuntimeError("what it died of")

    def wait_in_vain() -> None:
        with tracking(quick, ledger, log):
            assert died.wait(30)
            raise StandError("waited in vain")

    monkeypatch.setattr(log, "stream", dead)
    with pytest.raises(RuntimeError, match="what it died of"):
        wait_in_vain()


def test_two_instances_share_the_work_and_one_takes_over(quick: Settings, ledger: Ledger, log: MemoryLog) -> None:
    with tracking(quick, ledger, log) as first:
        with tracking(quick, ledger, log) as second:
            wait_until(lambda: {len(m._owned) for m in log.members} == {1, 2}, "a share for each")
            for partition in range(3):
                fill(log, "jobs", range(partition * 100, partition * 100 + 50), partition)
            wait_until(lambda: len(credited(ledger)) == 150, "all is stored")
        assert first.records
        assert second.records
        fill(log, "jobs", range(1000, 1010), 1)
        wait_until(lambda: len(credited(ledger)) == 160, "the other one has taken over")
    assert sum(s.events for s in rows(ledger, tables.segment)) == 160
    assert gapless(numbers(ledger))


def test_it_goes_on_when_the_log_was_away(
    quick: Settings, ledger: Ledger, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.tracker.BACKOFF_S", (0.05,))
    with tracking(quick, ledger, log):
        wait_until(lambda: bool(log.members), "the tracker has joined")
        log.away = True
        wait_until(lambda: not log.members, "the tracker has let go")
        fill(log, "jobs", range(20))
        log.away = False
        wait_until(lambda: len(credited(ledger)) == 20, "it went on")


def test_a_topic_recreated_while_it_follows_is_noticed_by_its_id(
    quick: Settings, ledger: Ledger, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.tracker.LOOK_EVERY_S", 0.05)
    monkeypatch.setattr("consumer.tracker.BACKOFF_S", (0.05,))
    fill(log, "jobs", range(10))
    with tracking(quick, ledger, log):
        wait_until(lambda: len(credited(ledger)) == 10, "the first history is read")
        other = MemoryLog()
        other.create("jobs", 3)
        fill(other, "jobs", range(500, 540))
        log.topics["jobs"], log.ids["jobs"] = other.topics["jobs"], other.ids["jobs"]
        wait_until(lambda: credited(ledger) >= set(range(500, 540)), "the new history is read from its start")
    lost = [h for h in rows(ledger, tables.hole) if h.kind == "recreated"]
    assert {h.partition for h in lost} == {0, 1, 2}
    # Some of the new history passed for the old one's until it was noticed: the hole begins well before that.
    assert max(h.from_us or 0 for h in lost) < 1_700_000_000_000_000


def test_a_flood_ends_it_with_the_ledger_as_it_was(database: str, ledger: Ledger, log: MemoryLog) -> None:
    about = settings(database, tracker={"flush_every": "10ms"}, quarantine={"limit": 2})
    fill(log, "jobs", range(5))
    catch_up(about, ledger, KEY_TYPES, streams=log.stream)
    before = positions(ledger)
    for _ in range(3):
        log.append("jobs", b"{")
    tracker = Tracker(settings=about, ledger=ledger, key_types=KEY_TYPES, streams=log.stream)
    with pytest.raises(FloodError):
        tracker.run(threading.Event())
    assert positions(ledger) == before
    assert rows(ledger, tables.quarantine) == []


def test_a_zombies_flush_is_refused_whole(database: str, ledger: Ledger, log: MemoryLog) -> None:
    """It read two partitions; somebody else moved one of them: nothing of its flush may land."""
    about = settings(database, quarantine={"limit": 100})
    fill(log, "jobs", range(10), 0)
    fill(log, "jobs", range(10, 20), 1)
    log.append("jobs", b"{", 1)
    with opened(about, ledger, KEY_TYPES, streams=log.stream) as zombie:
        zombie.attach()
        zombie.start()
        zombie.read()
        assert zombie.intake.records == 21
        with opened(about, ledger, KEY_TYPES, streams=log.stream) as other:
            other.attach([("jobs", 0)])
            other.start()
            other.read()
            other.flush()
        before = [rows(ledger, t) for t in (tables.position, tables.segment, tables.quarantine, tables.coverage)]
        with pytest.raises(PositionMoved, match=r"jobs\[0\]"):
            zombie.flush()
        assert before == [rows(ledger, t) for t in (tables.position, tables.segment, tables.quarantine, tables.coverage)]
        zombie.attach()
        zombie.start()
        zombie.read()
        zombie.flush()
    assert credited(ledger) == set(range(20))
    assert len(rows(ledger, tables.quarantine)) == 1
    assert sum(s.events for s in rows(ledger, tables.segment)) == 20


# -- real parts -------------------------------------------------------------------------------------------------------


class Producing:
    """Events for ever, in a thread; half of the deletions announce a key that was created before them."""

    def __init__(self, kafka: Kafka, topic: str, partitions: int) -> None:
        # Idempotent, for its order: a batch sent again may else arrive behind the one that followed it.
        values = {"bootstrap.servers": kafka.bootstrap, "linger.ms": 5, "log_level": 0, "enable.idempotence": True}
        self.producer = Producer(values)
        self.topic, self.partitions = topic, partitions
        self.created: set[int] = set()
        self.deleted: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Producing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert self.producer.flush(60) == 0

    def _run(self) -> None:
        rng, key = random.Random(7), 0
        while not self._stop.wait(0.01):
            self.producer.poll(0)  # else its queue counts what was delivered long ago
            for _ in range(40):
                key += 1
                self.created.add(key)
                self._put(key, "created", key)
                if rng.random() < 0.1:
                    # In the partition of its creation, and later: so that every order rule gives one answer.
                    gone = rng.choice([k for k in range(max(1, key - 200), key + 1) if k not in self.deleted])
                    self.deleted.add(gone)
                    self._put(gone, "deleted", key + 10_000_000)

    def _put(self, key: int, op: str, at: int) -> None:
        while True:
            try:
                return self.producer.produce(self.topic, event(key, op, at), partition=key % self.partitions)
            except BufferError:  # the broker is slower than we are
                self.producer.poll(0.1)


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("flags", [("--until-end",), ()], ids=["to the end", "following"])
def test_killed_twenty_times_under_load_the_ledger_equals_the_log(
    kafka: Kafka, database: str, ledger: Ledger, topic_name: str, flags: tuple[str, ...]
) -> None:
    kafka.create_topic(topic_name, 3)
    command = [sys.executable, "-m", "tests.consumer.track_main", database, kafka.bootstrap, topic_name, topic_name, *flags]
    rng = random.Random(11)

    def at_work(start: int, wanted: int) -> Callable[[], bool]:
        return lambda: sum(positions(ledger).values()) >= start + wanted or child.poll() is not None

    with Producing(kafka, topic_name, 3) as produced:
        for _ in range(20 if flags else 4):  # following, a dead member's partitions come free after its session's end
            child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_until(at_work(sum(positions(ledger).values()), rng.randrange(1, 1500)), "it has stored", within_s=60)
            child.kill()
            child.wait()
    about = settings(database, bootstrap=kafka.bootstrap, group=topic_name, types={"job": [topic_name]})
    state = catch_up(about, ledger, KEY_TYPES)
    assert state.drained, state.problems
    assert state.holes == ()
    events = len(produced.created) + len(produced.deleted)
    assert sum(p.high for p in state.partitions) == events
    assert sum(s.events for s in rows(ledger, tables.segment)) == events  # none twice, none left out
    assert gapless(numbers(ledger))
    assert credited(ledger) == produced.created - produced.deleted


def test_a_clean_stop_says_so_in_its_last_line(kafka: Kafka, database: str, ledger: Ledger, topic_name: str) -> None:
    kafka.create_topic(topic_name, 2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for key in range(100):
        producer.produce(topic_name, event(key), partition=key % 2)
    producer.flush(30)
    command = [sys.executable, "-m", "tests.consumer.track_main", database, kafka.bootstrap, topic_name, topic_name]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(credited(ledger)) == 100 or child.poll() is not None, "all is stored", within_s=60)
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert err.splitlines()[-1].endswith("tracker stopped, all it read is stored")
    assert json.loads(out)["events"] == {"job": {"create": 100, "delete": 0}}


def test_a_tracker_paused_past_its_session_comes_back_as_a_zombie_and_loses_nothing(
    kafka: Kafka, database: str, ledger: Ledger, topic_name: str
) -> None:
    kafka.create_topic(topic_name, 2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})

    def put(keys: range) -> None:
        for key in keys:
            producer.produce(topic_name, event(key), partition=key % 2)
        assert producer.flush(30) == 0

    command = [sys.executable, "-m", "tests.consumer.track_main", database, kafka.bootstrap, topic_name, topic_name]
    put(range(100))
    children = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]
    try:
        wait_until(lambda: len(credited(ledger)) == 100, "the first one is at work", within_s=60)
        children[0].send_signal(signal.SIGSTOP)
        put(range(100, 200))
        children.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        wait_until(lambda: len(credited(ledger)) == 200, "the second one has taken over", within_s=60)
        children[0].send_signal(signal.SIGCONT)
        put(range(200, 300))
        wait_until(lambda: len(credited(ledger)) == 300, "both go on", within_s=60)
    finally:
        for child in children:
            child.send_signal(signal.SIGCONT)
            child.terminate()
            child.wait(60)
    assert sum(s.events for s in rows(ledger, tables.segment)) == 300
    assert rows(ledger, tables.hole) == []
