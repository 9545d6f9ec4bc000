"""No value of the settings ever shows: not where it is refused, not where it is described, not where it is no YAML."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.errors import SettingsError
from schemas.settings import Dsn, Settings
from tests.schemas.settings_files import WHOLE, changed, read, refused, told

CANARY = "canary-7f3a"


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*place, key))
    else:
        yield place


def planted(value: Any, place: tuple[Any, ...], canary: object) -> Any:
    value = copy.deepcopy(value)
    node = value
    for part in place[:-1]:
        node = node[part]
    node[place[-1]] = canary
    return value


EVERYTHING: dict[str, Any] = yaml.safe_load(WHOLE)
FORMS: list[Any] = [
    CANARY,
    f"postgresql://user:{CANARY}@host:notaport/db",
    f"${{{CANARY}}}",
    f"http://[{CANARY}]/",
    [CANARY],
    {CANARY + "x": CANARY},
    {"dsn": CANARY},
]


def shown(settings: Settings) -> str:
    parts: list[Any] = [settings, settings.source, settings.event_log, settings.event_log.kafka, settings.ledger]
    parts += [*settings.data_types.values(), *(t.source for t in settings.data_types.values())]
    return "\n".join(f"{p!r} {p!s}" for p in parts)


@pytest.mark.parametrize("place", list(leaves(EVERYTHING)), ids=lambda p: ".".join(map(str, p)))
def test_a_password_in_any_place_of_the_file_never_shows(tmp_path: Path, place: tuple[Any, ...]) -> None:
    for form in FORMS:
        values = planted(EVERYTHING, place, form)
        try:
            text = shown(read(tmp_path, values))
        except SettingsError as error:
            text = told(error)
        keyed = isinstance(form, dict) and CANARY + "x" in form  # the name of a setting is told; its value never is
        assert CANARY not in (text.replace(CANARY + "x", "") if keyed else text), (form, text)


def test_a_password_in_every_place_at_once_never_shows(tmp_path: Path) -> None:
    values = EVERYTHING
    for place in leaves(EVERYTHING):
        values = planted(values, place, CANARY)
    assert CANARY not in told(refused(tmp_path, values))


@pytest.mark.parametrize(
    "unquoted",
    [
        "*{}",
        "&{}",
        "!{}",
        "%{}",
        "@{}",
        "`{}",
        "'{}",
        '"{}',
        "[{}",
        "{{{}",
        "{}: {}",
        "!!{} a",
        "&{} &{} b",
        '"\\q{}"',
        "| {}",
        "?{}\n\t{}",
    ],
)
def test_an_unquoted_password_that_is_no_yaml_never_shows(tmp_path: Path, unquoted: str) -> None:
    text = f"registry:\n  dsn: {unquoted.replace('{}', CANARY).replace('{{', '{')}\n"
    assert CANARY not in told(refused(tmp_path, text))


DSNS = [
    f"postgresql://user:{CANARY}@host:5432/db",
    f"postgresql://user:{CANARY}@host/db?sslmode=require",
    f"postgresql://user@host/db?password={CANARY}",
    f"postgresql://user:a/{CANARY}@host/db",
    f"postgresql://user:12/{CANARY}@host/db",
    f"postgresql://user:12?{CANARY}@host/db",
    f"postgresql://user:12#{CANARY}@host/db",
    f"postgresql://user:p@12/{CANARY}@host/db",
    f"postgresql://user:{CANARY}@[host/db",
    f"postgresql://user:{CANARY}@h1:1,h2:2/db",
    f"user:{CANARY}@host/db",
    CANARY,
    f"host=h user=u password={CANARY} dbname=d",
    f"host=h password='{CANARY} host={CANARY}' user=u",
    f"host=h password='it\\'s user={CANARY}' user=u",
    f"host=h password='{CANARY} user={CANARY}",
    f"host = h password = {CANARY}",
    "",
]


@pytest.mark.parametrize("dsn", DSNS)
def test_a_connection_string_of_any_shape_is_described_without_its_password(dsn: str) -> None:
    assert CANARY not in Dsn(dsn).described
    assert CANARY not in f"{Dsn(dsn)!r} {Dsn(dsn)!s}"


@pytest.mark.parametrize(
    ("dsn", "described"),
    [
        ("postgresql://user:pw@Host:5433/app", "user@host:5433/app"),
        ("postgresql://host/app", "host/app"),
        ("postgresql:///app", "localhost/app"),
        ("postgresql://us%40er:p%2Fw@host/app?sslmode=require", "us@er@host/app"),
        ("host=h port=5433 user=u password=p dbname=d", "u@h:5433/d"),
        ("host='my host' user = 'a b' password='p w' dbname=d", "a b@my host/d"),
        ("dbname=d", "localhost/d"),
    ],
)
def test_a_connection_string_is_described_by_who_where_and_which(dsn: str, described: str) -> None:
    assert Dsn(dsn).described == described


def test_settings_written_by_the_models_read_back_the_same_and_as_json_hide_their_secrets(tmp_path: Path) -> None:
    settings = read(tmp_path, changed("event_log.kafka.sasl~password", CANARY))
    assert Settings.model_validate(settings.model_dump(by_alias=True, exclude_unset=True)) == settings
    assert CANARY not in settings.model_dump_json()
