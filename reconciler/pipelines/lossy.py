"""Settings of a connector by which it drops records and goes on: it runs, its offset moves, and no error is told.

A run needs none of this, for the rows decide. Told before the start, it is where somebody who sees many drops should look.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

#: Kafka's own and Debezium's transforms that leave records out.
_FILTERS = (
    "org.apache.kafka.connect.transforms.Filter",
    "io.debezium.transforms.Filter",
)
_OPERATIONS = {"c": "creations", "d": "deletions"}
#: A stranger's word is repeated only where it can be nothing but a name.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def dropping(config: Mapping[str, Any]) -> Iterator[str]:
    """What it may drop, and by which setting, in words."""
    if _words(config, "errors.tolerance") == ["all"]:
        yield "errors.tolerance is all: a record that cannot be converted, or that the broker finds too big, is passed over"
    for setting in ("event.processing.failure.handling.mode", "event.deserialization.failure.handling.mode"):
        if _words(config, setting) in (["warn"], ["skip"], ["ignore"]):
            yield f"{setting} is {_words(config, setting)[0]}: a change that cannot be read is passed over"
    skipped = [_OPERATIONS[word] for word in sorted({*_words(config, "skipped.operations")} & {*_OPERATIONS})]
    if skipped:
        yield f"skipped.operations leaves out {' and '.join(skipped)}"
    for name in _words(config, "transforms", lower=False):
        if _NAME.fullmatch(name) and config.get(f"transforms.{name}.type") in _FILTERS:
            yield f"the transform {name!r} leaves records out"


def _words(config: Mapping[str, Any], setting: str, *, lower: bool = True) -> list[str]:
    value = config.get(setting)
    words = [word.strip() for word in value.split(",")] if isinstance(value, str) else []
    return [word.lower() for word in words] if lower else words
