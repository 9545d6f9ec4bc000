"""Settings for rules, and series as a healthy audit would export them, in promtool's notation."""

from __future__ import annotations

from typing import Any

from schemas.settings import Settings

#: The longest name the settings take, names that YAML would read as something else, and signs that PromQL has a use for.
ODD_NAMES = ("a" * 63, "no", "null", "y", "_", "e1", "True", "a.b-c", "A-1.__x", "on", "by", "inf")


def settings(*names: str, budgets: dict[str, float] | None = None, **changed: Any) -> Settings:
    data_type = {
        "topics": ["t"],
        "format": "json",
        "event": {"key": "id"},
        "source": {"table": "s", "key": "id"},
        "registry": {"table": "r", "key": "id"},
    }
    own = budgets or {}
    types = {name: data_type | ({"budget": own[name]} if name in own else {}) for name in names or ("upload",)}
    values = {
        "source": {"dsn": "postgresql://source/app"},
        "registry": {"dsn": "postgresql://target/tracking"},
        "event_log": {"kafka": {"bootstrap.servers": "broker:9092", "group.id": "fencepost"}},
        "data_types": types,
    }
    return Settings.model_validate(values | changed)


def healthy(*names: str) -> dict[str, str]:
    """A minute a step, for two days: audited and swept this minute, rows and events coming in, nothing wrong."""
    long = "x2900"
    series = {
        'up{job="fencepost", instance="a:1"}': f"1+0{long}",
        "fencepost_holes_open": f"0+0{long}",
        "fencepost_quarantine_open": f"0+0{long}",
        'fencepost_lag_records{topic="t", partition="0"}': "0 7 3 " + f"0+0{long}",
        'fencepost_lag_seconds{topic="t", partition="0"}': "0 900 0 " + f"0+0{long}",
        'fencepost_clock_skew_seconds{side="source"}': f"-2+0{long}",
        'fencepost_clock_skew_seconds{side="registry"}': f"3+0{long}",
    }
    for name in names or ("upload",):
        of = f'{{data_type="{name}"'
        series[f"fencepost_last_audit_timestamp_seconds{of}}}"] = f"0+60{long}"
        series[f"fencepost_sweep_finished_timestamp_seconds{of}}}"] = f"0+60{long}"
        series[f"fencepost_gaps_open{of}}}"] = f"0+0{long}"
        for reason in ("source", "log", "ledger"):
            series[f'fencepost_audit_blind{of}, reason="{reason}"}}'] = f"0+0{long}"
        series[f"fencepost_rows_audited_total{of}}}"] = f"0+100{long}"
        series[f'fencepost_events_total{of}, op="create"}}'] = f"0+100{long}"
        series[f'fencepost_events_total{of}, op="delete"}}'] = f"0+0{long}"
        for window in ("5m", "30m", "1h", "2h", "6h", "24h", "72h"):
            series[f'fencepost_drop_rate_low{of}, window="{window}"}}'] = f"0+0{long}"
    return series


def rate(window: str, values: str, name: str = "upload") -> dict[str, str]:
    return {f'fencepost_drop_rate_low{{data_type="{name}", window="{window}"}}': values}
