"""Which topics the data types name, and who decodes each.

A topic is read for ALL data types that share it, whichever were asked for: its position moves for all of them at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from consumer.formats.contract import Decoder, Route
from schemas.errors import SettingsError
from schemas.keys import KeyType
from schemas.settings import Settings


def topics_of(settings: Settings, names: Collection[str] = ()) -> tuple[str, ...]:
    """The topics of these data types, of all by default, each once."""
    return tuple(sorted({topic for t in settings.chosen(list(names)).values() for topic in t.topics}))


def sharing(settings: Settings, names: Collection[str] = ()) -> tuple[str, ...]:
    """These data types and all others that share a topic with them: the ones whose key types are needed."""
    topics = set(topics_of(settings, names))
    return tuple(name for name, t in settings.data_types.items() if topics & {*t.topics})


def readers(settings: Settings, topics: Collection[str]) -> dict[str, list[str]]:
    """By topic, the data types that are read from it."""
    return {topic: [name for name, t in settings.data_types.items() if topic in t.topics] for topic in topics}


def routes_of(settings: Settings, key_types: Mapping[str, KeyType], topic: str) -> tuple[Route, ...]:
    routes = []
    for name, data_type in settings.data_types.items():
        if topic not in data_type.topics:
            continue
        if name not in key_types:
            raise SettingsError(
                f"the topic {topic!r} is shared with data type {name!r}, whose key type is not known",
                hint="the source tables of all data types on a topic must be readable: see `fencepost check`",
            )
        routes.append(Route(name=name, data_type=data_type, key_type=key_types[name]))
    return tuple(routes)


@contextmanager
def opened_decoders(
    settings: Settings,
    key_types: Mapping[str, KeyType],
    topics: Collection[str],
    given: Mapping[str, Decoder] | None = None,
    *,
    sparing: bool = True,
) -> Iterator[dict[str, Decoder]]:
    """A decoder per topic, over one schema source. `given` replaces them, in tests. `sparing`: of a schema registry."""
    if given is not None:
        yield {topic: given[topic] for topic in topics}
        return
    # Late: commands that read no log start faster without the formats.
    from consumer.formats import decoder_for, open_source

    routes = {topic: routes_of(settings, key_types, topic) for topic in topics}
    avro = any(route.data_type.format.is_avro for of in routes.values() for route in of)
    source = open_source(settings.event_log, sparing=sparing) if avro else None
    try:
        yield {topic: decoder_for(topic, of, settings.event_log, source) for topic, of in routes.items()}
    finally:
        if source is not None:
            source.close()
