"""The rules against synthetic series, by promtool: what fires, when it ends, and that everything else stays quiet."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from reconciler.alerts.rules import as_yaml, groups
from reconciler.auditing.rate import lower_bound
from tests.reconciler.alerts.conftest import Fires
from tests.reconciler.alerts.support import ODD_NAMES, healthy, rate, settings

FAST = {"alertname": "FencepostDropRateFast", "severity": "page", "data_type": "upload"}
SLOW = {"alertname": "FencepostDropRateSlow", "severity": "ticket", "data_type": "upload"}


def at(alert: str, **labels: str) -> dict[str, str]:
    return {"alertname": alert, "severity": "ticket", "data_type": "upload"} | labels


# -- the drop rate ----------------------------------------------------------------------------------------------------


def test_a_healthy_day_is_quiet(fires: Fires) -> None:
    fires(settings(), healthy(), {minute: [] for minute in (0, 1, 20, 60, 200)})


def test_a_fast_burn_pages_and_ends_with_its_short_window(fires: Fires) -> None:
    # 1 % for an hour, at a budget of 0.01 %; then the drops end, and the long window still remembers them.
    series = healthy() | rate("1h", "0x59 0.01x2000") | rate("5m", "0x59 0.01x60 0x2000")
    fires(settings(), series, {59: [], 60: [FAST], 119: [FAST], 120: [FAST], 121: []})


def test_a_slower_fast_burn_pages_over_the_longer_windows_as_the_same_alert(fires: Fires) -> None:
    series = healthy() | rate("6h", "0.0007x2000") | rate("30m", "0.0007x2000")
    series |= rate("1h", "0x20 0.01x20 0x2000") | rate("5m", "0x20 0.01x20 0x2000")
    fires(settings(), series, {minute: [FAST] for minute in (1, 19, 20, 21, 25, 40, 41, 42, 100)})


def test_a_slow_burn_is_a_ticket_and_wakes_nobody(fires: Fires) -> None:
    series = healthy() | rate("24h", "0.00035x2000") | rate("2h", "0.00035x100 0x2000")
    fires(settings(), series, {5: [SLOW], 100: [SLOW], 102: []})


def test_the_slowest_burn_above_the_budget_is_told(fires: Fires) -> None:
    series = healthy() | rate("72h", "0.00011x2000") | rate("6h", "0.00011x2000")
    fires(settings(), series, {5: [SLOW]})


def test_a_rate_at_the_budget_is_no_alarm(fires: Fires) -> None:
    series = healthy()
    for window in WINDOWS:
        series |= rate(window, "0.0001x2000")
    fires(settings(), series, {5: [], 100: []})


WINDOWS = ("5m", "30m", "1h", "2h", "6h", "24h", "72h")


def test_tiny_counts_tell_nobody(fires: Fires) -> None:
    """What an audit exports where one of three creations was dropped, or two of two hundred thousand, in every window."""
    for counts in ((1, 3), (2, 200_000)):
        series = healthy()
        for window in WINDOWS:
            series |= rate(window, f"{lower_bound(*counts):.9f}x2000")
        fires(settings(), series, {5: [], 100: []})


def test_a_burn_goes_on_over_a_restart_and_ends_where_its_series_are_missing(fires: Fires) -> None:
    series = healthy() | rate("1h", "0.01x60 _x3 0.01x40 _x30 0.01x2000") | rate("5m", "0.01x60 _x3 0.01x2000")
    fires(settings(), series, {60: [FAST], 62: [FAST], 64: [FAST], 104: [FAST], 112: [], 140: [FAST]})


@pytest.mark.parametrize("window", WINDOWS)
def test_one_window_alone_tells_nobody(window: str, fires: Fires) -> None:
    fires(settings(), healthy() | rate(window, "0.5x2000"), {5: [], 60: []})


def test_each_type_is_held_against_its_own_budget(fires: Fires) -> None:
    series = healthy("strict", "lax")
    for name in ("strict", "lax"):
        series |= rate("1h", "0.002x2000", name) | rate("5m", "0.002x2000", name)
    wanted = FAST | {"data_type": "strict"}
    fires(settings("strict", "lax", budgets={"lax": 0.01}), series, {5: [wanted]})


def test_a_generous_budget_can_still_be_exceeded(fires: Fires) -> None:
    series = healthy() | rate("1h", "0.9x2000") | rate("5m", "0.9x2000")
    fires(settings(alerts={"budget": 0.5}), series, {5: [FAST]})


def test_a_type_of_another_settings_file_is_not_judged(fires: Fires) -> None:
    series = healthy() | rate("1h", "0.5x2000", "stranger") | rate("5m", "0.5x2000", "stranger")
    fires(settings(), series, {5: []})


def test_two_instances_that_both_export_a_rate_raise_one_alarm(fires: Fires) -> None:
    series = healthy()
    for instance, value in (("a", "0.01"), ("b", "0")):
        for window in ("1h", "5m"):
            series[f'fencepost_drop_rate_low{{data_type="upload", window="{window}", instance="{instance}"}}'] = f"{value}x2000"
    fires(settings(), series, {5: [FAST]})


def test_windows_follow_the_looks_of_the_audit(fires: Fires) -> None:
    series = healthy() | rate("12h", "0.01x2000") | rate("1h", "0.01x2000")
    fires(settings(audit={"every": "1h"}), series, {5: [FAST]})


# -- blindness --------------------------------------------------------------------------------------------------------


def test_an_audit_that_was_never_there_is_told_for_every_type(fires: Fires) -> None:
    up = {'up{job="fencepost", instance="a:1"}': "1x2900"}
    wanted = [at("FencepostNoAudit", data_type=name) for name in ODD_NAMES]
    fires(settings(*ODD_NAMES), up, {1: [], 5: wanted})


def test_one_type_that_is_audited_no_more_is_told_alone(fires: Fires) -> None:
    series = healthy("a", "b") | {'fencepost_last_audit_timestamp_seconds{data_type="b"}': "0+60x100 6000x2800"}
    fires(settings("a", "b"), series, {100: [], 117: [], 122: [at("FencepostNoAudit", data_type="b")]})


def test_an_audit_that_vanishes_is_told_twice_by_scrape_and_by_age(fires: Fires) -> None:
    series = {name: values.replace("x2900", "x100") for name, values in healthy().items()}
    series['up{job="fencepost", instance="a:1"}'] = "1x100 0x2000"
    down = at("FencepostDown", data_type="*", job="fencepost", instance="a:1")
    fires(settings(), series, {99: [], 103: [], 107: [down], 109: [down, at("FencepostNoAudit")]})


def test_a_restart_is_no_alarm(fires: Fires) -> None:
    """Counters begin anew, and some scrapes are missed."""
    series = healthy()
    for name in series:
        if "_total" in name or "lag" in name:
            series[name] = "0+50x100 _x3 0+50x2000" if "_total" in name else "0x100 _x3 9 4 0x2000"
        elif "up{" in name:
            series[name] = "1x100 0x3 1x2000"
        elif "timestamp" in name:
            series[name] = "0+60x100 _x3 6240+60x2000"
        else:
            series[name] = "0x100 _x3 0x2000"
    fires(settings(), series, {minute: [] for minute in (99, 101, 103, 104, 105, 110, 130, 165, 180)})


LAG = 'fencepost_lag_records{topic="t", partition="3"}'
LATE = 'fencepost_lag_seconds{topic="t", partition="3"}'
SKEW = 'fencepost_clock_skew_seconds{side="source"}'
UNSEEN = 'fencepost_audit_blind{data_type="upload", reason="log"}'
SWEEP = 'fencepost_sweep_finished_timestamp_seconds{data_type="upload"}'
CREATED = 'fencepost_events_total{data_type="upload", op="create"}'
LOG_LABELS = {"data_type": "*", "topic": "t", "partition": "3"}
#: An alert, the series that differ from a healthy day, and minutes at which it is silent and at which it fires.
BLIND = {
    "lag that only grows": ("FencepostLogStalled", {LAG: "0x100 5+1x2000"}, LOG_LABELS, [100, 120], [160, 180]),
    "lag that stands": ("FencepostLogStalled", {LAG: "0x100 7x2000"}, LOG_LABELS, [100, 120], [160, 180]),
    "no events for many rows": ("FencepostLogSilent", {CREATED: "0+100x100 10000x2000"}, {}, [100, 150], [195]),
    "never an event": ("FencepostLogSilent", {CREATED: "0x2000"}, {}, [2], [60]),
    "a hole": ("FencepostHoleOpen", {"fencepost_holes_open": "0x100 1x2000"}, {"data_type": "*"}, [100], [101, 150]),
    "quarantine": (
        "FencepostQuarantineOpen",
        {"fencepost_quarantine_open": "0x100 2x2000"},
        {"data_type": "*"},
        [100, 105],
        [112, 150],
    ),
    "an old sweep": ("FencepostSweepOld", {SWEEP: "0x2900"}, {}, [60, 119], [122]),
    "clocks apart": ("FencepostClockSkew", {SKEW: "0x99 -6x2000"}, {"data_type": "*", "side": "source"}, [99], [103, 150]),
    "a look that sees no log": ("FencepostBlind", {UNSEEN: "0x100 1x2000"}, {"reason": "log"}, [100, 110], [117, 150]),
    "reading that is late": ("FencepostLogBehind", {LATE: "0x100 3600x2000"}, LOG_LABELS, [100, 110], [120, 150]),
    "open gaps": ("FencepostGapsOpen", {'fencepost_gaps_open{data_type="upload"}': "0x100 3x2000"}, {}, [100, 110], [117]),
}


@pytest.mark.parametrize("case", BLIND.values(), ids=BLIND)
def test_what_makes_us_blind_is_told_alone(
    case: tuple[str, dict[str, str], dict[str, str], list[int], list[int]], fires: Fires
) -> None:
    alert, differing, labels, quiet, told = case
    nobody: list[dict[str, str]] = []
    firing = dict.fromkeys(quiet, nobody) | {minute: [at(alert, **labels)] for minute in told}
    fires(settings(sweep={"every": "1h"}), healthy() | differing, firing)


def test_where_no_setting_says_that_sweeps_are_run_none_is_missed(fires: Fires) -> None:
    fires(settings(), healthy() | {SWEEP: "0x2900"}, {minute: [] for minute in (60, 1439, 2890)})


def test_every_alert_is_seen_firing_in_some_test() -> None:
    seen = {case[0] for case in BLIND.values()} | {FAST["alertname"], SLOW["alertname"], "FencepostNoAudit", "FencepostDown"}
    assert seen == {
        rule["alert"] for g in groups(settings(sweep={"every": "1h"}))["groups"] for rule in g["rules"] if "alert" in rule
    }


HARMLESS = {
    "a busy partition that is read": {LAG: "900 1000 " * 500},
    "lag of a short outage": {LAG: "0x100 1+100x20 0x2000"},
    "the end of a burst of rows": {
        CREATED: "0+100x100 10000x2000",
        'fencepost_rows_audited_total{data_type="upload"}': "0+100x106 10600x2000",
    },
    "a few rows without an event": {
        CREATED: "0x2000",
        'fencepost_rows_audited_total{data_type="upload"}': "0x100 1x50 2x50 3x2000",
    },
    "a gap that is gone at the third look": {'fencepost_gaps_open{data_type="upload"}': "0x100 3x12 0x2000"},
    "a sweep that takes its time": {SWEEP: "0x110 6600x2000"},
}


@pytest.mark.parametrize("differing", HARMLESS.values(), ids=HARMLESS)
def test_harmless_noise_tells_nobody(differing: dict[str, str], fires: Fires) -> None:
    fires(
        settings(sweep={"every": "1h"}), healthy() | differing, {minute: [] for minute in (100, 110, 120, 130, 160, 170, 180)}
    )


def test_a_person_can_read_what_is_told(promtool: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(as_yaml(settings()))
    series = healthy() | rate("1h", "0.0123x100") | rate("5m", "0.5x100")
    told = {
        "summary": "upload: creations are being dropped, far above the budget",
        "description": "At least 1.23% of the creations of upload were not announced within 1h or 6h, and it goes on."
        " `fencepost gaps --type upload` names the rows.",
        "runbook_url": "docs/runbooks.md#fencepostdropratefast",
    }
    check = {
        "eval_time": "5m",
        "alertname": "FencepostDropRateFast",
        "exp_alerts": [{"exp_labels": {"severity": "page", "data_type": "upload"}, "exp_annotations": told}],
    }
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [check],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    done = promtool("test", "rules", "test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_net_would_notice_an_alarm_that_is_missing_or_too_many(fires: Fires) -> None:
    with pytest.raises(AssertionError, match="FAILED"):
        fires(settings(), healthy(), {5: [FAST]})
    with pytest.raises(AssertionError, match="FAILED"):
        fires(settings(), healthy() | rate("1h", "0.01x100") | rate("5m", "0.01x100"), {5: []})
