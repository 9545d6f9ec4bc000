"""Records set aside can be listed, shown, accepted by name and reason, and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from consumer import quarantine
from consumer.catch_up import catch_up
from consumer.formats.contract import Decoder
from consumer.formats.schema_source import MAX_ID
from consumer.settlement import Settlement
from consumer.settling import record_text, settlement_text, unsettled
from consumer.streams.memory import MemoryLog
from databases.ledger import Ledger
from schemas import ledger as tables
from schemas.errors import LedgerError, SettingsError
from schemas.events import Decoded, RawBatch, Unreadable
from schemas.log_state import AcceptedRecords
from schemas.settings import Settings
from tests.consumer.support import KEY_TYPES, credited, event, fill, rows, settings, words
from tests.stack.processes import LOOPBACK
from tests.stack.registry import SchemaRegistry


class Blind:
    """Reads what the true decoder reads, but for some offsets: a schema that was not there yet."""

    needs_timestamps = False

    def __init__(self, true: Decoder, offsets: set[int]) -> None:
        self.true, self.offsets = true, offsets

    def decode(self, *batches: RawBatch) -> Decoded:
        (batch,) = batches  # a topic of one partition
        seen = [i for i, offset in enumerate(batch.offsets.tolist()) if offset not in self.offsets]
        unreadable = tuple(
            Unreadable(
                topic=batch.topic, partition=batch.partition, offset=o, reason="no such schema", value=v, size=len(v or b"")
            )
            for o, v in zip(batch.offsets.tolist(), batch.values, strict=True)
            if o in self.offsets
        )
        kept = RawBatch(
            topic=batch.topic, partition=batch.partition, offsets=batch.offsets[seen], values=[batch.values[i] for i in seen]
        )
        return Decoded(batches=self.true.decode(kept).batches if seen else (), unreadable=unreadable)


@pytest.fixture
def about(database: str) -> Settings:
    return settings(database)


def blinded(about: Settings, offsets: set[int]) -> Mapping[str, Decoder]:
    from consumer.routes import opened_decoders

    with opened_decoders(about, KEY_TYPES, ["jobs"]) as decoders:
        return {"jobs": Blind(decoders["jobs"], offsets)}


def read_blindly(about: Settings, ledger: Ledger, log: MemoryLog, *offsets: int) -> list[int]:
    catch_up(about, ledger, KEY_TYPES, streams=log.stream, decoders=blinded(about, set(offsets)))
    return [r.id for r in quarantine.list_(ledger)]


def again(about: Settings, ledger: Ledger, log: MemoryLog, ids: list[int], **more: Any) -> Settlement:
    return quarantine.read_again(about, ledger, KEY_TYPES, ids, by="ana", streams=log.stream, **more)


def test_a_record_read_again_is_announced_and_resolved(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    fill(log, "jobs", range(5))
    ids = read_blindly(about, ledger, log, 1, 3)
    assert credited(ledger) == {0, 2, 4}
    done = again(about, ledger, log, ids)
    assert (done.settled, dict(done.failed)) == (tuple(ids), {})
    assert credited(ledger) == set(range(5))
    assert {(q.state, q.settled_by, q.value) for q in rows(ledger, tables.quarantine)} == {("resolved", "ana", None)}
    assert dict(again(about, ledger, log, ids).failed) == dict.fromkeys(ids, "it is already resolved")


def test_an_old_creation_read_again_does_not_undo_the_deletion_after_it(
    about: Settings, ledger: Ledger, log: MemoryLog
) -> None:
    """Failure mode 61."""
    log.append("jobs", event(7, "created", 1_700_000_000))
    log.append("jobs", event(7, "deleted", 1_700_000_009))
    ids = read_blindly(about, ledger, log, 0)
    again(about, ledger, log, ids)
    assert credited(ledger) == set()
    assert list(words(ledger, ordered=True).unsure) == [7]


def test_what_is_still_unreadable_stays_open_and_says_why(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    fill(log, "jobs", range(5))
    ids = read_blindly(about, ledger, log, 1, 3)
    done = again(about, ledger, log, ids, decoders=blinded(about, {3}))
    assert done.settled == (ids[0],)
    assert done.failed == {ids[1]: "no such schema"}
    assert "was not settled: no such schema" in settlement_text(done)


def test_a_record_the_log_lost_or_replaced_is_not_read_again(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    fill(log, "jobs", range(5))
    ids = read_blindly(about, ledger, log, 1, 3)
    log.delete_records("jobs", 0, 2)
    assert "does not hold it any more" in again(about, ledger, log, ids[:1]).failed[ids[0]]
    log.delete("jobs")
    log.create("jobs", 3)
    fill(log, "jobs", range(100, 110))
    catch_up(about, ledger, KEY_TYPES, streams=log.stream)
    assert "recreated since" in again(about, ledger, log, ids[1:]).failed[ids[1]]
    assert 103 in credited(ledger)


def test_a_loss_is_accepted_by_name_and_reason(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    fill(log, "jobs", range(5))
    ids = read_blindly(about, ledger, log, 1)
    with pytest.raises(SettingsError, match="needs a reason"):
        quarantine.accept(ledger, ids, reason=" ", by="ana")
    quarantine.accept(ledger, ids, reason="a test record", by="ana")
    assert quarantine.count(ledger) == 0
    assert quarantine.show(ledger, ids[0]).settled_reason == "a test record"
    assert quarantine.list_(ledger) == []
    assert len(quarantine.list_(ledger, state=None)) == 1
    state = catch_up(about, ledger, KEY_TYPES, streams=log.stream)
    assert (dict(state.quarantined), state.accepted) == (
        {},
        (AcceptedRecords(topic="jobs", count=1, by="ana", reason="a test record"),),
    )
    assert quarantine.show(ledger, ids[0]).value is not None, "its bytes still name the key whose announcement is lost"
    assert quarantine.accept(ledger, ids, reason="another", by="bob").failed == {ids[0]: "it is already accepted"}
    assert quarantine.show(ledger, ids[0]).settled_by == "ana"


def test_another_record_at_the_same_offset_is_not_taken_for_the_one_set_aside(
    about: Settings, ledger: Ledger, log: MemoryLog
) -> None:
    fill(log, "jobs", range(5))
    ids = read_blindly(about, ledger, log, 1)
    log.delete("jobs")
    log.create("jobs", 3)
    fill(log, "jobs", range(100, 110))  # nobody has looked since, so the ledger knows of no hole
    done = again(about, ledger, log, ids)
    assert "another record stands" in done.failed[ids[0]]
    assert credited(ledger) == {0, 2, 3, 4}


def test_an_unknown_id_is_told(about: Settings, ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="no quarantined record 4"):
        quarantine.show(ledger, 4)


def test_texts_tell_where_and_why(about: Settings, ledger: Ledger, log: MemoryLog) -> None:
    log.append("jobs", json.dumps({"type": "job", "id": "12x", "op": "created"}).encode())
    catch_up(about, ledger, KEY_TYPES, streams=log.stream)
    (record,) = quarantine.list_(ledger)
    assert "jobs[0]@0" in unsettled(ledger).text()
    assert "4 more records" in replace(unsettled(ledger), of_records=5).text()
    shown = record_text(quarantine.show(ledger, record.id))
    assert "at offset 0" in shown
    assert "12x" in shown


def test_a_record_whose_schema_was_not_asked_for_in_a_flood_is_read_again(
    database: str, ledger: Ledger, log: MemoryLog, schema_registry: SchemaRegistry, topic_name: str
) -> None:
    """Failure mode 84."""
    long = {"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}]}
    with SchemaRegistryClient({"url": schema_registry.url}) as client:
        number = client.register_schema(f"{topic_name}-value", Schema(json.dumps(long), "AVRO"))
    kafka = {"bootstrap.servers": "memory:1", "group.id": "g"}
    about = Settings(
        source={"dsn": database}, registry={"dsn": database},
        event_log={"kafka": kafka, "schema_registry": {"url": schema_registry.url}},
        data_types={"job": {
            "topics": ["jobs"], "format": "avro", "event": {"key": "id"}, "source": {"table": "public.jobs", "key": "id"},
            "registry": {"table": "public.job_registry", "key": "record_id"},
        }},
    )  # fmt: skip
    beyond = MAX_ID + 1
    # Ids of one chunk are asked for in the order of their last byte: ours comes behind the flood.
    flood = [0x01_00_00_00 + (n << 8) + (number % 256 == 0) for n in range(300)]
    for other in [*flood, beyond, number]:
        log.append("jobs", b"\0" + other.to_bytes(4, "big") + b"\x0e")
    state = catch_up(about, ledger, KEY_TYPES, streams=log.stream)
    assert (state.drained, sum(state.quarantined.values())) == (True, 302)
    aside = {record.offset: record for record in quarantine.list_(ledger, limit=400)}
    asked = [record for record in aside.values() if f"is unknown to the schema registry at {LOOPBACK}" in record.reason]
    assert 0 < len(asked) < 200
    assert aside[300].reason == f"schema id {beyond} is unknown: no registry gives such a number"
    assert aside[301].reason.startswith(f"schema id {number} was not asked for yet")
    late = [record for record in aside.values() if "was not asked for yet" in record.reason]
    assert len(asked) + len(late) + 1 == 302
    done = again(about, ledger, log, [aside[301].id, late[0].id])
    assert done.settled == (aside[301].id,)
    assert f"schema id {flood[late[0].offset]} is unknown to the schema registry" in done.failed[late[0].id]
    assert credited(ledger) == {7}
