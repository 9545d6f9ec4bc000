"""Record formats: from the bytes of a topic's records to columns of announced keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from consumer.formats import debezium, plan
from consumer.formats.avro import AvroDecoder
from consumer.formats.contract import Decoder, Route, SchemaSource
from consumer.formats.json import JsonDecoder
from consumer.formats.paths import Path, split
from consumer.formats.plan import Plan
from consumer.formats.schema_source import open_source
from schemas.errors import SettingsError
from schemas.numbering import ONE_SEQUENCE
from schemas.settings import EventLogSettings

__all__ = ["Decoder", "Route", "SchemaSource", "decoder_for", "open_source"]


def decoder_for(
    topic: str, routes: Sequence[Route], event_log: EventLogSettings, schemas: SchemaSource | None = None
) -> Decoder:
    """The decoder of one topic for all data types that read it. `schemas` None: as the settings say.

    Raises SettingsError where the routes cannot share the topic.
    """
    if not routes:
        raise SettingsError(f"no data type reads topic {topic!r}")
    form = routes[0].data_type.format
    for route in routes:
        if route.data_type.format != form:
            raise SettingsError(
                f"topic {topic!r} cannot be {form.value!r} for data type {routes[0].name!r} and "
                f"{route.data_type.format.value!r} for {route.name!r}",
                hint="a topic's records have one format",
            )
    sequence = _sequence(topic, routes)
    plans = [replace(_plan(route, topic, alone=len(routes) == 1), sequence=sequence) for route in routes]
    if not form.is_avro:
        return JsonDecoder(plans, debezium_rules=form.is_debezium)
    source = open_source(event_log) if schemas is None else schemas
    return AvroDecoder(plans, source, debezium_rules=form.is_debezium)


def _plan(route: Route, topic: str, *, alone: bool) -> Plan:
    shape = route.data_type.event
    if not route.data_type.format.is_debezium:
        assert shape is not None  # the settings' own rule
        return plan.plain(route, shape)
    return debezium.change_plan(route, topic, alone=alone) if shape is None else debezium.outbox_plan(route)


def _sequence(topic: str, routes: Sequence[Route]) -> Path | None:
    """Where the records of a topic tell their numbers: all of them, for a number that is passed over looks like a gap."""
    told = dict.fromkeys(r.data_type.event.sequence for r in routes if r.data_type.event and r.data_type.event.sequence)
    if len(told) > 1:
        raise SettingsError(f"topic {topic!r} cannot tell numbers at {' and '.join(map(repr, told))}", hint=ONE_SEQUENCE)
    return split(next(iter(told))) if told else None
