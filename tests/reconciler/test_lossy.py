"""By which settings a connector drops records and says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.pipelines.lossy import dropping

FILTER = "org.apache.kafka.connect.transforms.Filter"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"errors.tolerance": "ALL"}, ["errors.tolerance is all"]),
        ({"event.processing.failure.handling.mode": "warn"}, ["handling.mode is warn"]),
        ({"skipped.operations": "t, d,c"}, ["leaves out creations and deletions"]),
        ({"transforms": "route, drop", "transforms.drop.type": FILTER, "transforms.route.type": "x"}, ["transform 'drop'"]),
        ({"transforms": "Drop", "transforms.Drop.type": "io.debezium.transforms.Filter"}, ["transform 'Drop'"]),
    ],
)
def test_a_setting_that_drops_records_is_named(config: dict[str, Any], words: list[str]) -> None:
    found = [*dropping(config)]
    assert len(found) == len(words)
    assert all(word in told for word, told in zip(words, found, strict=True)), found


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"errors.tolerance": "none", "skipped.operations": "t", "event.processing.failure.handling.mode": "fail"},
        {"skipped.operations": "none", "transforms": "", "errors.tolerance": None},
        {"errors.tolerance": ["all"], "skipped.operations": 7, "transforms": {"a": 1}},
        {"transforms": "unwrap", "transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState"},
        {"transforms": "\x1b[2Jdrop", "transforms.\x1b[2Jdrop.type": FILTER},
    ],
)
def test_nothing_else_is_and_no_stranger_s_word_is_repeated(config: dict[str, Any]) -> None:
    assert [*dropping(config)] == []
