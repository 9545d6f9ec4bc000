"""promtool, told in fewer words: rules of these settings, these series, and what is firing when."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.alerts.rules import as_yaml
from schemas.settings import Settings

#: Minutes, and the alerts that fire then: a name, or a name with some of its labels.
Firing = Mapping[int, list[dict[str, str]]]
Fires = Callable[[Settings, Mapping[str, str], Firing], None]


@pytest.fixture
def fires(promtool: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> Fires:
    """Hold that exactly these alerts fire at these minutes, with exactly these labels."""

    def held(settings: Settings, series: Mapping[str, str], firing: Firing) -> None:
        (tmp_path / "rules.yaml").write_text(as_yaml(settings))
        checks: list[dict[str, Any]] = [
            {
                "expr": 'ALERTS{alertstate="firing"}',
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": _series(alert), "value": 1} for alert in alerts],
            }
            for minute, alerts in firing.items()
        ]
        told = [{"series": name, "values": values} for name, values in series.items()]
        test = {
            "rule_files": ["rules.yaml"],
            "evaluation_interval": "1m",
            "tests": [{"interval": "1m", "input_series": told, "promql_expr_test": checks}],
        }
        (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
        done = promtool("test", "rules", "test.yaml")
        assert done.returncode == 0, done.stdout + done.stderr

    return held


def _series(labels: Mapping[str, str]) -> str:
    told = ", ".join(f'{name}="{value}"' for name, value in {"alertstate": "firing", **labels}.items())
    return f"ALERTS{{{told}}}"
