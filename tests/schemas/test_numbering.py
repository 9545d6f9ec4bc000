"""Which topics are numbered together, and what settings say so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.data_types import DataType
from schemas.numbering import Numbering, numberings

MINUTE = timedelta(minutes=1)


def declared(topics: Sequence[str], sequence: str | None = None, numbering: str | None = None, **more: Any) -> DataType:
    event = {"key": "id", "sequence": sequence, "numbering": numbering}
    tables = {"source": {"table": "s", "key": "id"}, "registry": {"table": "r", "key": "id"}}
    return DataType.model_validate({"topics": topics, "format": "json", "event": event, **tables, **more})


def of(**types: DataType) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(found.topics, found.data_types) for found in numberings(types, MINUTE)]


def test_without_a_sequence_nothing_is_numbered() -> None:
    assert of(a=declared(["x"]), b=declared(["y"])) == []


def test_a_numbering_spans_the_topics_of_its_type_and_all_types_on_them() -> None:
    types = {"a": declared(["y", "x"], "n"), "b": declared(["y"]), "c": declared(["z"])}
    assert of(**types) == [(("x", "y"), ("a", "b"))]
    assert of(**types | {"c": declared(["z", "y"])}) == [(("x", "y"), ("a", "b", "c"))], "nothing numbers what is on z"
    assert of(**types | {"c": declared(["z", "y"], "n")}) == [(("x", "y", "z"), ("a", "b", "c"))]


def test_topics_apart_are_numbered_apart_unless_the_settings_name_one_numbering() -> None:
    assert of(a=declared(["x"], "n"), b=declared(["y"], "n")) == [(("x",), ("a",)), (("y",), ("b",))]
    types = {"a": declared(["x"], "n", "events"), "b": declared(["y"], "m", "events"), "c": declared(["y", "z"], "m")}
    assert of(**types) == [(("x", "y", "z"), ("a", "b", "c"))]


def test_a_topic_has_one_sequence() -> None:
    with pytest.raises(ValueError, match=r"topic 'x': 'event\.sequence' is m and n; the events of a topic are numbered by one"):
        of(a=declared(["x"], "n"), b=declared(["x"], "m"))


def test_a_numbering_needs_a_sequence() -> None:
    with pytest.raises(ValidationError, match="'sequence', where, is not set"):
        declared(["x"], None, "events")


def test_it_settles_with_the_slowest_of_its_types() -> None:
    types = {"a": declared(["x"], "n"), "b": declared(["x"], settle="3m"), "c": declared(["y"], settle="9m")}
    assert numberings(types, MINUTE) == (Numbering(topics=("x",), data_types=("a", "b"), settle=timedelta(minutes=3)),)
