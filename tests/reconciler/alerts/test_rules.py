"""What every rule owes whoever is woken by it, whatever the settings; and that a page stands behind each alert."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

import fencepost
from reconciler.alerts.rules import as_yaml, groups
from schemas import metrics
from schemas.settings import Settings, load
from tests.reconciler.alerts.support import ODD_NAMES, settings

ROOT = Path(__file__).parents[3]
RUNBOOKS = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
ODD: dict[str, Settings] = {
    "usual": settings(),
    "many odd names": settings(*ODD_NAMES),
    "fast motion": settings(audit={"every": "1ms"}, sweep={"every": "1ms"}, fence={"settle": "0s", "skew": "0s"}),
    "hardly ever": settings(audit={"every": "7d"}, sweep={"every": "400d"}, fence={"settle": "30h"}),
    "crooked": settings(audit={"every": "7m13s"}, sweep={"every": "1h30m"}, fence={"skew": "250ms"}),
    "tiny budget": settings(alerts={"budget": 1e-12}),
    "huge budget": settings(alerts={"budget": 0.999999}),
    "runbooks elsewhere": settings(alerts={"runbooks": "https://wiki.example/x?page=run%20books&a='b'"}),
}
each_odd = pytest.mark.parametrize("odd", ODD.values(), ids=ODD)


def rules(of: Settings) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(as_yaml(of))["groups"] for rule in group["rules"]]


def alerts(of: Settings) -> list[dict[str, Any]]:
    return [rule for rule in rules(of) if "alert" in rule]


@each_odd
def test_promtool_takes_the_rules(odd: Settings, promtool: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(as_yaml(odd))
    done: subprocess.CompletedProcess[str] = promtool("check", "rules", "--lint-fatal", "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules(odd))} rules found" in done.stdout


def test_promtool_takes_the_rules_of_the_demo(promtool: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(as_yaml(load(ROOT / "demo" / "fencepost.yaml", {})))
    done: subprocess.CompletedProcess[str] = promtool("check", "rules", "--lint-fatal", "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_would_have_refused_a_broken_file(promtool: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(as_yaml(settings()).replace("on (data_type)", "on data_type"))
    assert promtool("check", "rules", "rules.yaml").returncode != 0


@each_odd
def test_yaml_and_json_say_the_same(odd: Settings) -> None:
    assert yaml.safe_load(as_yaml(odd)) == json.loads(json.dumps(groups(odd)))


@each_odd
def test_every_alert_says_who_is_told_about_what_and_what_to_do(odd: Settings) -> None:
    for alert in alerts(odd):
        assert alert["labels"]["severity"] in ("page", "ticket")
        # either the label is set, or the expression's result has it
        assert alert["labels"].get("data_type") == "*" or re.search(r"(?:by|on) \(data_type[,)]", alert["expr"]), alert["alert"]
        told = alert["annotations"]
        assert told["summary"]
        assert told["description"]
        assert told["runbook_url"] == f"{odd.alerts.runbooks}#{alert['alert'].lower()}"


def test_only_a_fast_burn_wakes_somebody() -> None:
    paging = {alert["alert"] for alert in alerts(settings()) if alert["labels"]["severity"] == "page"}
    assert paging == {"FencepostDropRateFast"}


def test_no_name_of_the_settings_stands_in_an_expression_or_an_annotation() -> None:
    """Names are only values of labels of recorded series, where nothing expands them."""
    few, many = settings("zebra"), settings("zebra", *ODD_NAMES)
    for rule in rules(few):
        assert "zebra" not in rule["expr"] + json.dumps(rule.get("annotations", {}))
    assert alerts(few) == alerts(many)


def test_every_declared_type_has_a_budget_and_its_own_where_it_says_so() -> None:
    recorded = {
        rule["labels"]["data_type"]: rule["expr"]
        for rule in rules(settings("a", "b", budgets={"b": 0.01}))
        if rule.get("record") == "data_type:fencepost_drop_budget:share"
    }
    assert recorded == {"a": "vector(0.0001)", "b": "vector(0.01)"}


def test_what_is_compared_is_recorded_first_in_the_same_group() -> None:
    for group in groups(settings())["groups"]:
        kinds = ["record" in rule for rule in group["rules"]]
        assert kinds == sorted(kinds, reverse=True)


def test_an_alert_waits_for_looks_however_seldom_they_are() -> None:
    """Whoever audits once an hour must not be told after 17 minutes that nobody looks."""
    every = timedelta(hours=1)
    (alert,) = [a for a in alerts(settings(audit={"every": "1h"})) if a["alert"] == "FencepostNoAudit"]
    limit = int(re.findall(r"time\(\) - (\d+)", alert["expr"])[0])
    assert limit >= 3 * every.total_seconds()


def test_every_metric_that_is_asked_for_is_exported_with_the_labels_that_are_used() -> None:
    declared = {metric.name: metric for metric in metrics.ALL}
    values = metrics.values(settings())
    for rule in rules(settings(sweep={"every": "24h"})):
        for name in re.findall(r"(?<![:\w])fencepost_\w+", rule["expr"]):
            assert name in declared, name
        for name, value in re.findall(r'(window|reason|side|class|op)="([^"]+)"', rule["expr"]):
            assert value in values[name], value


# -- the page behind each ---------------------------------------------------------------------------------------------


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    sections = [title for title in re.findall(r"^## (.+)$", RUNBOOKS, re.M) if title.startswith("Fencepost")]
    assert sections == [alert["alert"] for alert in alerts(settings(sweep={"every": "24h"}))]


def test_every_section_says_what_it_means_how_to_look_and_what_to_do() -> None:
    for part in re.split(r"^## ", RUNBOOKS, flags=re.M)[1:]:
        if part.startswith("Fencepost"):
            for word in ("**Means.**", "**Look.**", "**Do.**"):
                assert word in part, part.splitlines()[0]


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_rules_and_connects_to_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "docker" / "fencepost.yaml"
    assert fencepost.run_command(["alerts", "rules", "--config", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out == as_yaml(load(path, {}))
    assert err == ""
    assert fencepost.run_command(["alerts", "rules", "--json", "--config", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == groups(load(path, {}))


def test_settings_that_cannot_be_used_print_no_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fencepost.yaml"
    path.write_text((ROOT / "docker" / "fencepost.yaml").read_text() + "alerts: {budget: 2}\n")
    assert fencepost.run_command(["alerts", "rules", "--config", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "alerts.budget" in err


@pytest.mark.parametrize("place", ["docs/{{ $value }}", "a b", "a\nb", "", "page#anchor", "a{b"])
def test_a_place_of_runbooks_that_would_break_the_link_is_refused(place: str) -> None:
    with pytest.raises(ValueError, match="runbooks"):
        settings(alerts={"runbooks": place})


def test_the_data_types_label_cannot_collide_with_all() -> None:
    with pytest.raises(ValueError, match="data_types"):
        settings("*")
