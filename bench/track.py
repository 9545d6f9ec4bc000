"""From a real topic into the ledger: against a bare `consume()` loop over the same topic, and against the usual way.

Each measurement is a process of its own, and tells the time from its first call to the broker on: imports and the making
of the ledger are left out on both sides. `python -m bench.track WORKER STAND` is such a process.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import events
from bench.child import run
from bench.machine import load
from bench.stand import Stand
from bench.table import Row

PARTITIONS = 4
#: One record in so many is damaged where the cost of damage is measured.
ONE_BAD_IN = 100
FIRST_KEY = 10_000_000
FIRST_US = 1_700_000_000_000_000
EVENT = {"key": "model_record_id", "op": "event_name", "create": ["created"], "delete": ["deleted"], "time": "created_at"}
PLAIN = {"match": {"replicable_name": "job_artifact"}, "event": EVENT}


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format: its bytes, its declaration, its bounds."""

    name: str
    encode: Callable[[int, int, int], bytes]
    declared: dict[str, Any]
    must: float
    aim: float


FORMATS = (
    Format(name="avro", encode=events.avro, declared=PLAIN, must=0.6, aim=0.8),
    Format(name="debezium-avro", encode=events.debezium_avro, declared={}, must=0.45, aim=0.6),
    Format(name="json", encode=events.plain_json, declared=PLAIN, must=0.45, aim=0.6),
    Format(name="debezium-json", encode=events.debezium_json, declared={}, must=0.45, aim=0.6),
)


def rows(stand: Stand, count: int, repeats: int) -> Iterator[Row]:
    """Two rows for each format: as it is, and with damaged records. For Avro also the usual way and what is stored."""
    for form in FORMATS:
        found, size, stored = _rounds(stand, form, count, repeats)
        ratios = [bare["seconds"] / track["seconds"] for bare, track in zip(found["bare"], found["track"], strict=True)]
        yield Row(
            name=f"track {form.name}, {count / 1e6:g} M events of {size:.0f} B",
            ours=_rate(found["track"], count),
            plain=f"consume() {_rate(found['bare'], count)}",
            value=statistics.median(ratios),
            unit=" ×",
            must=form.must,
            aim=form.aim,
            more=True,
            load=load(),
            raw={name: found[name] for name in ("bare", "track")},
        )
        ratios = [clean["seconds"] / spoilt["seconds"] for clean, spoilt in zip(found["track"], found["spoilt"], strict=True)]
        yield Row(
            name=f"track {form.name} with 1 % bad records, against the same without",
            ours=_rate(found["spoilt"], count),
            plain=_rate(found["track"], count),
            value=statistics.median(ratios),
            unit=" ×",
            must=0.8,
            aim=0.9,
            more=True,
            load=load(),
            raw={"spoilt": found["spoilt"]},
        )
        if form.name == "avro":
            few = found["usual"][0]["events"]
            ratios = [
                (track["seconds"] / count) ** -1 * usual["seconds"] / few
                for usual, track in zip(found["usual"], found["track"], strict=True)
            ]
            yield Row(
                name="track avro, against AvroDeserializer and a row per id",
                ours=_rate(found["track"], count),
                plain=_rate(found["usual"], few),
                value=statistics.median(ratios),
                unit=" ×",
                must=8,
                aim=15,
                more=True,
                load=load(),
                raw={"usual": found["usual"]},
            )
            yield Row(
                name="stored by the ledger, dense ints",
                ours=f"{stored / 1024:.0f} KiB for {count / 1e6:g} M ids",
                plain="a row: 83 B",
                value=stored / count,
                unit=" B/id",
                must=0.5,
                aim=0.1,
                load=load(),
                raw={"bytes": [stored], "ids": [count]},
            )


def _rate(found: list[dict[str, float]], count: float) -> str:
    rate = statistics.median(count / one["seconds"] for one in found)
    return f"{rate / 1e6:.2f} M/s" if rate >= 100_000 else f"{rate / 1e3:.0f} k/s"


def _rounds(stand: Stand, form: Format, count: int, repeats: int) -> tuple[dict[str, list[dict[str, float]]], float, int]:
    folder = stand.room("track")
    (folder / "schemas").mkdir()
    for number, schema in ((1, events.event_schema()), (2, events.ENVELOPE)):
        (folder / "schemas" / f"{number}.avsc").write_text(json.dumps(schema))
    topic, bad_topic = (stand.kafka.create_topic(stand.new("topic"), PARTITIONS) for _ in range(2))
    _, size = events.fill(stand.kafka.bootstrap, topic, _values(form, count), PARTITIONS)
    events.fill(stand.kafka.bootstrap, bad_topic, _spoilt(_values(form, count)), PARTITIONS)
    workers = ["bare", "track", "spoilt", *(["usual"] if form.name == "avro" else [])]
    found: dict[str, list[dict[str, float]]] = {worker: [] for worker in workers}
    server, stored = stand.postgres(18), 0
    for _ in range(repeats):
        for worker in workers:
            name = stand.new("track")
            asked = {
                "bootstrap": stand.kafka.bootstrap, "topic": bad_topic if worker == "spoilt" else topic, "events": count,
                "format": form.name, "declared": form.declared, "schemas": str(folder / "schemas"),
                "dsn": server.create_database(name), "bad": count // ONE_BAD_IN if worker == "spoilt" else 0,
            }  # fmt: skip
            (folder / "stand.json").write_text(json.dumps(asked))
            done = run([sys.executable, "-m", "bench.track", worker, folder / "stand.json"], folder)
            found[worker].append(json.loads(done.out.splitlines()[-1]))
            server.drop_database(name)
        stored = int(found["track"][-1]["stored"])
    stand.kafka.delete_topic(topic)
    stand.kafka.delete_topic(bad_topic)
    return found, size / count, stored


def _values(form: Format, count: int) -> Iterator[bytes]:
    schema = {"schema": 2} if form.name == "debezium-avro" else {}
    return (form.encode(i, FIRST_KEY + i, FIRST_US + i * 1000, **schema) for i in range(count))


def _spoilt(values: Iterator[bytes]) -> Iterator[bytes]:
    """One in a hundred damaged: cut short, grown, noise, nothing at all, or of another beginning."""
    rng = random.Random(1)
    for number, value in enumerate(values):
        if number % ONE_BAD_IN != ONE_BAD_IN // 2:
            yield value
            continue
        match number // ONE_BAD_IN % 5:
            case 0:
                yield value[: rng.randrange(6, len(value))]
            case 1:
                yield value + b"\x07"
            case 2:
                yield b"\x05" + rng.randbytes(len(value))
            case 3:
                yield b""
            case _:
                yield b"\x02" + value[1:]


# -- measured, each in a process of its own ---------------------------------------------------------------------------


def bare(asked: dict[str, Any]) -> dict[str, float]:
    """Consume and let go."""
    from confluent_kafka import Consumer, TopicPartition

    began, cpu = time.perf_counter(), time.process_time()
    consumer = Consumer(_client(asked, "bare"))
    consumer.assign([TopicPartition(asked["topic"], p, 0) for p in range(PARTITIONS)])
    seen = 0
    while seen < asked["events"]:
        seen += len(consumer.consume(1000, 0.1))
    took = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    consumer.close()
    return took


def track(asked: dict[str, Any]) -> dict[str, float]:
    """As `fencepost track --until-end` and every judging command do it."""
    import confluent_kafka  # noqa: F401 - start-up is not what is measured

    import consumer.formats  # noqa: F401
    from consumer.catch_up import catch_up
    from databases.ledger import Ledger
    from schemas.keys import IntKey
    from schemas.settings import Settings

    settings = Settings(**_settings(asked))
    ledger = Ledger.of(settings)
    ledger.upgrade()
    began, cpu = time.perf_counter(), time.process_time()
    state = catch_up(settings, ledger, {"job_artifact": IntKey()})
    took = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    assert state.drained, state.problems
    assert state.records == asked["events"], state.records
    assert sum(state.quarantined.values()) == asked["bad"], state.quarantined
    return took | {"stored": _stored(asked)}


def usual(asked: dict[str, Any]) -> dict[str, float]:
    """One message after the other through Confluent's deserializer, ids as rows, a tenth of the events."""
    import psycopg
    from confluent_kafka import Consumer, TopicPartition
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    client = SchemaRegistryClient.new_client({"url": "mock://bench"})
    client.register_schema(f"{asked['topic']}-value", Schema(json.dumps(events.event_schema()), "AVRO"))
    decode = AvroDeserializer(client)
    context = SerializationContext(asked["topic"], MessageField.VALUE)
    few = max(asked["events"] // 10, 1)
    with psycopg.connect(asked["dsn"]) as db:
        db.execute("CREATE TABLE seen (data_type text, id bigint, PRIMARY KEY (data_type, id))")
        db.commit()
        began, cpu = time.perf_counter(), time.process_time()
        consumer = Consumer(_client(asked, "usual"))
        consumer.assign([TopicPartition(asked["topic"], p, 0) for p in range(PARTITIONS)])
        seen, ids = 0, list[int]()
        while seen < few:
            message = consumer.poll(1.0)
            if message is None:
                continue
            record: Any = decode(message.value(), context)
            if record["event_name"] == "created":
                ids.append(record["model_record_id"])
            seen += 1
            if len(ids) == 50_000 or seen == few:
                db.execute("INSERT INTO seen SELECT 'job_artifact', unnest(%s::bigint[]) ON CONFLICT DO NOTHING", [ids])
                db.commit()
                ids = []
        took = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "events": few}
        consumer.close()
        (count,) = db.execute("SELECT count(*) FROM seen").fetchone() or (0,)
        assert count == few, count
        return took


def _client(asked: dict[str, Any], group: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": asked["bootstrap"], "group.id": group, "enable.auto.commit": False,
        "auto.offset.reset": "error", "fetch.queue.backoff.ms": 1,
    }  # fmt: skip


def _settings(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": {"dsn": asked["dsn"]}, "registry": {"dsn": asked["dsn"]},
        "event_log": {"kafka": {"bootstrap.servers": asked["bootstrap"], "group.id": "bench"}, "schemas": asked["schemas"]},
        "quarantine": {"limit": asked["bad"]},
        "data_types": {"job_artifact": {
            "topics": [asked["topic"]], "format": asked["format"], **asked["declared"],
            "source": {"table": "public.items", "key": "id"},
            "registry": {"table": "public.item_registry", "key": "item_id"},
        }},
    }  # fmt: skip


def _stored(asked: dict[str, Any]) -> int:
    """Heap, indexes and TOAST of what holds the keys."""
    import psycopg

    query = "SELECT sum(pg_total_relation_size(('fencepost.' || name)::regclass)) FROM unnest(%s::text[]) AS name"
    with psycopg.connect(asked["dsn"]) as db:
        (size,) = db.execute(query, [["segment", "segment_keys"]]).fetchone() or (0,)
    return int(size)


if __name__ == "__main__":
    worker = {"bare": bare, "track": track, "spoilt": track, "usual": usual}[sys.argv[1]]
    print(json.dumps(worker(json.loads(Path(sys.argv[2]).read_text()))))
