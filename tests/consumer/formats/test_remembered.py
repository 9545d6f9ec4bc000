"""What strangers can name without end is not kept without end, and what was forgotten is answered all the same."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.formats import avro, schema_source
from consumer.formats.avro import AvroDecoder
from consumer.formats.remembered import Remembered
from consumer.formats.schema_source import FolderSource
from tests.consumer.formats.making import Schemas, as_avro, batch, data_type, decoder, keys, reasons, route

LONG = {"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}]}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), max_size=40))
def test_the_newest_are_kept_within_count_and_weight(asked: list[tuple[int, int]]) -> None:
    made = Remembered[int](count=4, weight=12)
    model: OrderedDict[int, int] = OrderedDict()
    for number, weight in asked:
        if weight == 6:  # a question
            assert made.get(number) == model.get(number)
            if number in model:
                model.move_to_end(number)
            continue
        made.put(number, weight, weight)
        model.pop(number, None)
        model[number] = weight
        while len(model) > 4 or sum(model.values()) > 12:
            model.popitem(last=False)
        assert len(made) == len(model)
    assert [made.get(n) for n in range(10)] == [model.get(n) for n in range(10)]


def test_one_that_is_too_heavy_is_kept_alone() -> None:
    made = Remembered[str](count=4, weight=12)
    made.put(1, "a", 5)
    made.put(2, "b", 50)
    assert (made.get(1), made.get(2)) == (None, "b")
    made.put(3, "c", 1)
    assert (made.get(2), made.get(3)) == (None, "c")
    made.clear()
    assert len(made) == 0


def test_a_decoder_keeps_few_of_many_schemas_and_reads_every_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avro, "KEPT_SCHEMAS", 3)
    schemas = Schemas(*[LONG] * 20)
    made = decoder(route(data_type("avro", event={"key": "id"})), schemas=schemas)
    assert isinstance(made, AvroDecoder)
    values = [as_avro({"id": n}, LONG, 1 + n % 20) for n in range(60)]
    for _ in range(2):
        assert [key for _, key in keys(made.decode(batch(values)))] == list(range(60))
    assert len(made._bound) == 3


def test_ids_that_nobody_knows_are_not_kept_by_a_decoder() -> None:
    made = decoder(route(data_type("avro", event={"key": "id"})), schemas=Schemas(LONG))
    assert isinstance(made, AvroDecoder)
    values = [b"\0" + n.to_bytes(4, "big") + b"\x0a" for n in range(1000)]
    decoded = made.decode(batch(values))
    assert (keys(decoded), len(reasons(decoded)), len(made._bound)) == ([("CREATE", 5)], 999, 1)


def test_a_folder_of_schemas_is_not_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_source, "KEPT_SCHEMAS", 2)
    for n in range(5):
        (tmp_path / f"{n}.avsc").write_text(json.dumps(LONG | {"name": f"R{n}"}))
    made = FolderSource(tmp_path)
    for n in [*range(5), *range(5)]:
        assert made.schema(n) == (json.dumps(LONG | {"name": f"R{n}"}),)
    assert len(made._known) == 2
