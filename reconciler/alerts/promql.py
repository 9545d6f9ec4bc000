"""The few forms of PromQL that the rules are written in, and an alert as a value. Pure text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from schemas.burn import Severity
from schemas.durations import show

#: The label `data_type` of an alert that concerns them all; no data type can be called so.
ALL = "*"
#: One series per data type of the settings, its value the budget: what is declared, whether or not it is measured.
BUDGET = "data_type:fencepost_drop_budget:share"


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One alert. `summary` and `description` may use the labels and the value, as Prometheus expands them."""

    name: str
    severity: Severity
    expression: str
    lasts: timedelta = timedelta(0)  #: how long it must hold before anybody is told
    every_type: bool = False  #: it concerns all data types; else the expression says which
    summary: str
    description: str

    def rule(self, runbooks: str) -> dict[str, Any]:
        """As the rule file has it."""
        labels = {"severity": str(self.severity)} | ({"data_type": ALL} if self.every_type else {})
        return {
            "alert": self.name,
            "expr": self.expression,
            **({"for": show(self.lasts)} if self.lasts else {}),
            "labels": labels,
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": self.runbook(runbooks),
            },
        }

    def runbook(self, runbooks: str) -> str:
        """Where its section is to be read."""
        return f"{runbooks}#{self.name.lower()}"


def by_type(expression: str, *, of: str = "max") -> str:
    """One series per data type, whichever instance exports it."""
    return f"{of} by (data_type) ({expression})"


def seconds(span: timedelta) -> str:
    """A number of seconds, as short as it can be written."""
    return f"{span.total_seconds():g}" if span < timedelta(days=10) else str(round(span.total_seconds()))
