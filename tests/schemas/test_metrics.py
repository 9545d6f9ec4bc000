"""Metric names are a promise: documented, well-formed, and closed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schemas import metrics
from schemas.metrics import ALL, Kind, Metric
from schemas.verdict import GapClass, OrphanClass

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
every_metric = pytest.mark.parametrize("metric", ALL, ids=lambda m: m.name)


@every_metric
def test_every_metric_is_documented_with_its_kind_and_labels(metric: Metric) -> None:
    row = re.search(rf"^\| `{metric.name}` \| (\w+) \| ([^|]*)\|", PAGE, re.M)
    assert row
    assert row[1] == ("gauge" if metric.kind is Kind.INFO else str(metric.kind))
    assert tuple(re.findall(r"`(\w+)`", row[2])) == metric.labels


def test_the_page_names_no_metric_that_is_not_there() -> None:
    assert set(re.findall(r"^\| `(fencepost_\w+)`", PAGE, re.M)) == {m.name for m in ALL}


@every_metric
def test_a_metrics_name_tells_its_kind_and_unit(metric: Metric) -> None:
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert (metric.kind is Kind.HISTOGRAM) == bool(metric.buckets) == metric.name.endswith("_duration_seconds")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.help.endswith(".")


def test_every_constant_is_exported() -> None:
    assert {m.name for m in vars(metrics).values() if isinstance(m, Metric)} == {m.name for m in ALL}
    assert len({m.name for m in ALL}) == len(ALL)


@pytest.mark.parametrize("promised", [
    "fencepost_events_total{data_type,op}", "fencepost_rows_audited_total{data_type}", "fencepost_drops_total{data_type,class}",
    "fencepost_gaps_open{data_type}", "fencepost_lag_records{topic,partition}",
    "fencepost_last_audit_timestamp_seconds{data_type}",
    "fencepost_sweep_finished_timestamp_seconds{data_type}", "fencepost_drop_rate_low{data_type,window}",
    "fencepost_holes_open{}", "fencepost_quarantine_open{}",
])  # fmt: skip
def test_the_promised_metrics_have_the_promised_labels(promised: str) -> None:
    assert promised in {f"{m.name}{{{','.join(m.labels)}}}" for m in ALL}


def test_the_classes_are_those_of_the_report_and_the_healed_drop() -> None:
    assert set(metrics.CLASSES) == {*map(str, GapClass), *map(str, OrphanClass), "healed_drop"}
    assert set(metrics.DROPPED) < set(metrics.CLASSES)
