"""What one read brings of several partitions is decoded at once, and says what each of its batches would say by itself."""

from __future__ import annotations

import random
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import pytest

from consumer.formats import Decoder
from schemas.events import Decoded, RawBatch
from tests.consumer.formats.making import (
    ENVELOPE,
    EVENT,
    TOPIC,
    Schemas,
    as_avro,
    as_json,
    change,
    data_type,
    decoder,
    route,
    told,
)

PLAIN: Any = {
    "type": "record",
    "name": "Event",
    "fields": [{"name": "id", "type": "long"}, {"name": "event", "type": "string"}, {"name": "seq", "type": ["null", "long"]}],
}
SCHEMAS = {"avro": PLAIN, "debezium-avro": ENVELOPE}
FORMATS = ["avro", "debezium-avro", "json", "debezium-json"]
#: Without a time of its own, so that the broker's is asked for.
NUMBERED = {**{name: EVENT[name] for name in ("key", "op", "create", "delete")}, "sequence": "seq"}


def reader(form: str) -> Decoder:
    """Two data types share the topic, and their records are numbered, where the format has words for it."""
    if form.startswith("debezium"):
        return decoder(route(data_type(form)), schemas=Schemas(ENVELOPE))
    both = [route(data_type(form, event=NUMBERED | {"create": [word]}), name=word) for word in ("created", "restored")]
    return decoder(*both, schemas=Schemas(PLAIN))


def record(form: str, key: int, rng: random.Random) -> bytes | None:
    if form.startswith("debezium"):
        old, new = (key, None) if key % 7 == 0 else (key, key + 1) if key % 11 == 0 else (None, key)
        made = change("d" if new is None else "u" if old else "c", new, old)
    else:
        word = "deleted" if key % 7 == 0 else "restored" if key % 5 == 0 else "other" if key % 11 == 0 else "created"
        made = {"id": key, "event": word, "seq": key if key % 13 else None}
    value = as_avro(made, SCHEMAS[form]) if form in SCHEMAS else as_json(made)
    damaged = [value[: rng.randrange(len(value))], value + b"\7", b"\5" + rng.randbytes(20), b"", b"\2" + value[1:], None]
    return rng.choice(damaged) if rng.random() < 0.03 else value


def batches(form: str, lengths: Sequence[int], seed: int) -> list[RawBatch]:
    """Runs of three partitions in turn, of records some of which are damaged or tombstones."""
    rng, at, made = random.Random(seed), [0, 50, 7], []
    for number, length in enumerate(lengths):
        partition = number % 3
        values = [record(form, rng.randrange(100, 2000), rng) for _ in range(length)]
        offsets = np.arange(at[partition], at[partition] + 2 * length, 2)
        at[partition] += 2 * length + 1
        stamps = 1_700_000_000_000 + offsets if form in ("avro", "json") else None
        made.append(RawBatch(topic=TOPIC, partition=partition, offsets=offsets, values=values, timestamps=stamps))
    return made


def events(found: Sequence[Decoded]) -> list[tuple[str, int, object]]:
    """Of each data type, batch by batch: of which partition, and all it says."""
    every = [
        (batch.data_type, batch.partition, told(Decoded(batches=[batch], unreadable=()), batch.data_type))
        for decoded in found
        for batch in decoded.batches
    ]
    return sorted(every, key=itemgetter(0))


@pytest.mark.parametrize("lengths", [(400, 300, 500, 0, 250), (1, 1, 1, 1), (3000, 2500), (900,)])
@pytest.mark.parametrize("form", FORMATS)
def test_batches_decoded_together_say_what_each_says(form: str, lengths: tuple[int, ...]) -> None:
    every = batches(form, lengths, sum(lengths))
    singly = [reader(form).decode(batch) for batch in every if len(batch)]
    together = reader(form).decode(*(batch for batch in every if len(batch)))
    assert events([together]) == events(singly)
    assert [*together.unreadable] == [record for decoded in singly for record in decoded.unreadable]
    assert len(together.unreadable) > 0 or sum(lengths) < 5
    assert together.ignored == sum(decoded.ignored for decoded in singly)
    if together.numbers is not None:
        assert together.numbers.tolist() == np.concatenate([d.numbers for d in singly if d.numbers is not None]).tolist()
        assert together.unnumbered == sum(decoded.unnumbered for decoded in singly)
    assert (together.numbers is not None) == (not form.startswith("debezium"))
