"""docs/settings.md held to the models: every setting with its default, nothing stale, and an example that loads."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas.durations import show
from schemas.settings import REFUSED_KAFKA, KafkaSettings, Settings, load

PAGE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
#: Values of one setting, not settings of their own: they are told in its row.
LEAVES = {"FromSource", "Literally", KafkaSettings.__name__}


def models(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Models within an annotation, and how their place is written."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation.__name__ not in LEAVES:
            yield "", annotation
        return
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        for part in parts:
            yield from models(part)
    elif origin is dict:
        yield from ((f".NAME{below}", model) for below, model in models(parts[1]))
    elif origin in (tuple, list):
        yield from ((f"[]{below}", model) for below, model in models(parts[0]))


def settings(model: type[BaseModel], place: str = "") -> Iterator[tuple[str, str]]:
    """Every setting that takes a value, with its default as the page writes it."""
    for name, field in model.model_fields.items():
        path = f"{place}.{field.alias or name}".lstrip(".")
        inner = list(models(field.annotation))
        if not inner or field.default is None or typing.get_origin(field.annotation) is tuple:
            yield path, default(field)
        for below, found in inner:
            yield from settings(found, path + below)


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True, validated_data={})
    match value:
        case timedelta():
            return f"`{show(value)}`"
        case None:
            return "`null`"
        case bool():
            return f"`{str(value).lower()}`"
        case tuple():
            return f"`[{', '.join(value)}]`"
        case _:
            return f"`{value}`"


ROWS = dict(re.findall(r"^\| `([a-z_]+\.[^`]+)` \| (needed|`[^`]+`) \|", PAGE, re.M))
DECLARED = dict(settings(Settings))


def test_the_page_describes_exactly_the_settings_there_are() -> None:
    assert ROWS.keys() == DECLARED.keys()


@pytest.mark.parametrize("path", sorted(DECLARED))
def test_a_settings_default_is_the_one_described(path: str) -> None:
    assert ROWS[path] == DECLARED[path]


def test_no_setting_is_described_twice() -> None:
    found = re.findall(r"^\| `([a-z_]+\.[^`]+)` \| (?:needed|`)", PAGE, re.M)
    assert len(found) == len(set(found))


def test_every_refused_kafka_setting_is_described_with_its_reason() -> None:
    told = dict(re.findall(r"^\| `([a-z.]+)` \| ([^|`]+) \|$", PAGE, re.M))
    assert told == REFUSED_KAFKA


def test_the_example_loads_as_it_stands(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    secret = tmp_path / "writer"
    secret.write_text("w\n")
    path = tmp_path / "fencepost.yaml"
    path.write_text(example.replace("/run/secrets/writer", str(secret)))
    loaded = load(path, {"READER_PASSWORD": "r"})
    assert loaded.source.dsn.get_secret_value() == "postgresql://fencepost_reader:r@source/app"
    assert loaded.registry.dsn.get_secret_value() == "postgresql://fencepost_writer:w@target/tracking"


def test_every_choice_of_a_setting_is_named() -> None:
    for path, choices in {
        "source.kind": ("primary", "standby", "copy"),
        "fence.pipeline": ("application", "debezium", "outbox"),
        "logs.format": ("text", "json"),
        "logs.level": ("debug", "info", "warning", "error"),
        "data_types.NAME.format": ("avro", "json", "debezium-avro", "debezium-json"),
    }.items():
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{path}` ")]
        assert all(f"`{choice}`" in row for choice in choices), path


def test_the_readers_of_the_page_would_notice_a_missing_row() -> None:
    assert len(ROWS) > 60
