"""Prometheus with its promtool, from Debian's package `prometheus`: one server on a free port, its data in a folder."""

from __future__ import annotations

import http
import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.stack.processes import LOOPBACK, MissingPartError, Part, Process, free_port

#: Both of Debian 12; docker-compose.yml names the same.
VERSION = "2.42.0"


def binary(name: str) -> str:
    """Raises MissingPartError."""
    found = shutil.which(name)
    if found is None:
        raise MissingPartError("Prometheus", f"no `{name}` on the PATH (Debian: make parts, as root)")
    return found


def promtool(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run it there; its exit code and words are the caller's to judge."""
    return subprocess.run([binary("promtool"), *words], cwd=folder, capture_output=True, text=True, check=False, timeout=240)


class Prometheus(Part):
    """Scrapes `targets` (job name -> address), evaluates rule files, and tells an Alertmanager where there is one."""

    def __init__(
        self,
        folder: Path,
        targets: Mapping[str, str],
        *,
        rules: str | None = None,
        alertmanager: str | None = None,
        every: str = "1s",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        config: dict[str, Any] = {
            "global": {"scrape_interval": every, "evaluation_interval": every, "scrape_timeout": every},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [address]}]} for job, address in targets.items()
            ],
        }
        if rules is not None:
            (folder / "rules.yaml").write_text(rules)
            config["rule_files"] = ["rules.yaml"]
        if alertmanager is not None:
            config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.process = Process(
            "Prometheus",
            [
                binary("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={LOOPBACK}:{self.port}",
                "--log.level=warn",
            ],
            log=folder / "prometheus.log",
        )

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query. Raises where Prometheus refuses it."""
        words = urllib.parse.urlencode({"query": expression})
        return list(self._ask(f"query?{words}")["result"])

    def alerts(self) -> list[dict[str, Any]]:
        """Pending and firing ones, with labels and annotations."""
        return list(self._ask("alerts")["alerts"])

    def firing(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.alerts() if alert["state"] == "firing"}

    def _ask(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=10) as reply:
            return dict(json.load(reply)["data"])

    def _answers(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as reply:
            return bool(reply.status == http.HTTPStatus.OK)
