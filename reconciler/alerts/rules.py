"""The rule file of one settings file: groups of recording rules and alerts, as plain values and as YAML.

Rules of a group are evaluated in their order, one after the other: what is recorded stands before what compares it.
"""

from __future__ import annotations

from typing import Any

import yaml

from reconciler.alerts import blindness, burning
from schemas.settings import Settings

_HEAD = """\
# Made by `fencepost alerts rules` from the settings; make it again when data_types, audit, sweep, fence or alerts change.
# Prometheus scrapes `fencepost audit` under the job name {job}. docs/runbooks.md has a section for each alert.
"""


def groups(settings: Settings, *, patience: float = 1.0) -> dict[str, Any]:
    """The whole file. `patience` is for tests in fast motion (see `blindness.alerts`)."""
    runbooks = settings.alerts.runbooks
    burn = [*burning.recorded(settings), *(alert.rule(runbooks) for alert in burning.alerts(settings))]
    blind = [alert.rule(runbooks) for alert in blindness.alerts(settings, patience=patience)]
    return {"groups": [{"name": "fencepost-drop-rate", "rules": burn}, {"name": "fencepost-blindness", "rules": blind}]}


def as_yaml(settings: Settings, *, patience: float = 1.0) -> str:
    body = yaml.dump(groups(settings, patience=patience), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return _HEAD.format(job=blindness.JOB) + body


class _Dumper(yaml.SafeDumper):
    """Expressions of several lines stay several lines."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
