"""What is handed to Prometheus, Alertmanager and Grafana in docker/: read by their own tools, held to metrics and rules."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.alerts.blindness import JOB
from reconciler.alerts.rules import groups
from schemas import metrics
from schemas.metrics import Kind
from schemas.settings import load
from tests.stack import alertmanager

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
DASHBOARD: dict[str, Any] = json.loads((DOCKER / "grafana" / "fencepost.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
RULES = [rule for group in groups(load(DOCKER / "fencepost.yaml", {}))["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    """Every query of the dashboard, as Grafana would send it with nothing chosen."""
    asked = [target["expr"] for panel in PANELS for target in panel.get("targets", [])]
    asked += [note["expr"] for note in DASHBOARD["annotations"]["list"]]
    return [filled(query) for query in asked]


def filled(query: str) -> str:
    return query.replace("$data_type", ".*").replace("$__rate_interval", "1m")


def mounts(service: str) -> dict[str, str]:
    """File here -> path in the container."""
    return dict(tuple(mount.split(":")[:2]) for mount in SERVICES[service]["volumes"])


# -- the dashboard ----------------------------------------------------------------------------------------------------


def test_every_query_is_promql(promtool: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    rules = [{"record": f"query:number:{n}", "expr": query} for n, query in enumerate(queries())]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", "queries.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_every_query_asks_for_what_is_exported_or_recorded() -> None:
    exported = {name for metric in metrics.ALL for name in _series(metric)}
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    for query in queries():
        for name in re.findall(r"[a-z_:]*fencepost_[a-z_:]+", query):
            assert name in exported | recorded, f"{name} in {query}"


def test_every_metric_is_shown() -> None:
    asked = " ".join(queries())
    assert [m.name for m in metrics.ALL if not any(re.search(rf"\b{name}\b", asked) for name in _series(m))] == []


def test_labels_in_legends_are_labels_of_what_is_asked() -> None:
    known = {label for metric in metrics.ALL for label in metric.labels} | {"instance", "burn"}
    for panel in PANELS:
        for target in panel.get("targets", []):
            assert {*re.findall(r"{{(\w+)}}", target["legendFormat"])} <= known, panel["title"]


def test_panels_do_not_overlap_and_fill_their_rows() -> None:
    places = [(p["gridPos"], p["title"]) for p in PANELS]
    for (one, a), (other, b) in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, f"{a} lies over {b}"
    for top in {place["y"] for place, _ in places}:
        assert sum(place["w"] for place, _ in places if place["y"] == top) == 24


def test_every_panel_has_a_number_a_title_and_says_what_it_shows() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["description"].endswith("."), panel["title"]
            assert panel["targets"], panel["title"]


def test_everything_is_asked_of_the_datasource_that_is_provisioned() -> None:
    (source,) = yaml.safe_load((DOCKER / "grafana" / "datasources.yml").read_text())["datasources"]
    asked = {json.dumps(found, sort_keys=True) for found in _datasources(DASHBOARD)}
    assert asked == {json.dumps({"type": source["type"], "uid": source["uid"]}, sort_keys=True)}
    assert source["url"] == "http://prometheus:9090"
    assert SERVICES["prometheus"]["ports"][0].endswith(":9090")


def test_grafana_finds_its_files_where_it_looks() -> None:
    (provider,) = yaml.safe_load((DOCKER / "grafana" / "dashboards.yml").read_text())["providers"]
    inside = mounts("grafana")
    assert inside["./docker/grafana/fencepost.json"] == f"{provider['options']['path']}/fencepost.json"
    assert inside["./docker/grafana/datasources.yml"].startswith("/etc/grafana/provisioning/datasources/")
    assert inside["./docker/grafana/dashboards.yml"].startswith("/etc/grafana/provisioning/dashboards/")
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == inside["./docker/grafana/fencepost.json"]


def _series(metric: metrics.Metric) -> tuple[str, ...]:
    if metric.kind is Kind.HISTOGRAM:
        return tuple(f"{metric.name}_{part}" for part in ("bucket", "sum", "count"))
    return (metric.name,)


def _datasources(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        if "datasource" in value:
            yield value["datasource"]
        for inner in value.values():
            yield from _datasources(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _datasources(inner)


# -- Prometheus -------------------------------------------------------------------------------------------------------


def test_prometheus_takes_its_settings(promtool: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text((DOCKER / "prometheus.yml").read_text())
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_reads_the_rules_from_where_they_are_written() -> None:
    config = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    (pattern,) = config["rule_files"]
    assert mounts("prometheus")["rules"] == pattern.removesuffix("/*.yaml")
    assert f"{mounts('rules')['rules']}/fencepost.yaml" in SERVICES["rules"]["entrypoint"][-1]
    assert "fencepost alerts rules" in SERVICES["rules"]["entrypoint"][-1]
    assert [job["job_name"] for job in config["scrape_configs"]] == [JOB]


def test_prometheus_tells_the_alertmanager_that_runs() -> None:
    config = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    assert config["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["alertmanager:9093"]}]}]
    assert SERVICES["alertmanager"]["ports"] == ["127.0.0.1:9093:9093"]


# -- Alertmanager -----------------------------------------------------------------------------------------------------


def test_alertmanager_takes_its_settings(amtool: Callable[[str], str]) -> None:
    assert amtool((DOCKER / "alertmanager.yml").read_text()) == ""


def test_alertmanager_would_refuse_a_receiver_that_is_not_there(amtool: Callable[[str], str]) -> None:
    assert "undefined receiver" in amtool((DOCKER / "alertmanager.yml").read_text().replace("name: tickets", "name: ticket"))


@pytest.mark.parametrize(("severity", "receiver"), [("page", "on-call"), ("ticket", "tickets"), ("other", "nobody")])
def test_each_severity_reaches_its_receiver(severity: str, receiver: str, amtool: object) -> None:
    line = [alertmanager.amtool(), "config", "routes", "test", f"--config.file={DOCKER / 'alertmanager.yml'}"]
    done = subprocess.run([*line, f"severity={severity}"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == receiver


def test_only_alerts_that_exist_are_kept_quiet_by_alerts_that_exist() -> None:
    known = {rule["alert"] for rule in RULES if "alert" in rule}
    for rule in yaml.safe_load((DOCKER / "alertmanager.yml").read_text())["inhibit_rules"]:
        named = re.findall(r'alertname="(\w+)"', " ".join(rule["source_matchers"] + rule["target_matchers"]))
        assert len(named) == 2
        assert {*named} <= known
        assert named[1] != "FencepostDropRateFast", "a page is never kept quiet"
