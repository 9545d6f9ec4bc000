"""Alerts on a drop budget that burns too fast: several windows, a limit per data type, nothing computed but a comparison.

The audit exports for each window a rate that the true one exceeds with confidence, so that one drop of three creations is not
33 %. Here that bound is only held against the budget, over a long window and over a short one: the long one keeps a
passing burst from waking anybody, the short one ends the alarm soon after the drops end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconciler.alerts.promql import BUDGET, Alert
from schemas.burn import Burn, Severity, burns, label
from schemas.metrics import DROP_RATE_LOW
from schemas.settings import Settings

#: The measured lower bound, one series per data type and window.
RATE = "data_type_window:fencepost_drop_rate_low:max"
#: The limit, one series per data type and pace.
LIMIT = "data_type_burn:fencepost_drop_limit:share"


def recorded(settings: Settings) -> Iterator[dict[str, Any]]:
    """Recording rules: budgets and limits as series, so that expressions join them instead of naming data types."""
    for name, data_type in settings.data_types.items():
        budget = data_type.budget_or(settings.alerts.budget)
        yield {"record": BUDGET, "expr": f"vector({budget!r})", "labels": {"data_type": name}}
        for burn in burns(settings.audit.every):
            labels = {"data_type": name, "burn": burn.name}
            yield {"record": LIMIT, "expr": f"vector({burn.limit(budget)!r})", "labels": labels}
    yield {"record": RATE, "expr": f"max by (data_type, window) ({DROP_RATE_LOW.name})"}


def alerts(settings: Settings) -> Iterator[Alert]:
    paces = burns(settings.audit.every)
    yield Alert(
        name="FencepostDropRateFast",
        severity=Severity.PAGE,
        expression=_exceeded(paces, Severity.PAGE),
        summary="{{ $labels.data_type }}: creations are being dropped, far above the budget",
        description=(
            "At least {{ $value | humanizePercentage }} of the creations of {{ $labels.data_type }} were not announced"
            f" within {_long(paces, Severity.PAGE)}, and it goes on."
            " `fencepost gaps --type {{ $labels.data_type }}` names the rows."
        ),
    )
    yield Alert(
        name="FencepostDropRateSlow",
        severity=Severity.TICKET,
        expression=_exceeded(paces, Severity.TICKET),
        summary="{{ $labels.data_type }}: more creations are dropped than the budget allows",
        description=(
            "At least {{ $value | humanizePercentage }} of the creations of {{ $labels.data_type }} were not announced"
            f" within {_long(paces, Severity.TICKET)}, and it goes on."
            " `fencepost gaps --type {{ $labels.data_type }}` names the rows."
        ),
    )


def _exceeded(paces: tuple[Burn, ...], severity: Severity) -> str:
    return "\nor on (data_type)\n".join(_pace(burn) for burn in paces if burn.severity is severity)


def _pace(burn: Burn) -> str:
    # `on (data_type)` leaves that label alone in the result: the window must not be part of an alert's identity, for it
    # would end and begin anew when another window takes over.
    limit = f'on (data_type) {LIMIT}{{burn="{burn.name}"}}'
    long, short = (f'{RATE}{{window="{label(window)}"}} > {limit}' for window in (burn.long, burn.short))
    return f"(\n  {long}\n  and on (data_type)\n  {short}\n)"


def _long(paces: tuple[Burn, ...], severity: Severity) -> str:
    return " or ".join(label(burn.long) for burn in paces if burn.severity is severity)
