"""The table of windows and factors: what an operator's alarm rests on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from schemas.burn import USUAL, Severity, burns, label, windows

MINUTE = timedelta(minutes=1)


def test_the_usual_audit_has_the_usual_windows() -> None:
    assert burns(5 * MINUTE) == USUAL
    assert [label(window) for window in windows(5 * MINUTE)] == ["5m", "30m", "1h", "2h", "6h", "24h", "72h"]


@pytest.mark.parametrize("every", [timedelta(milliseconds=1), timedelta(seconds=1), 7 * MINUTE, 90 * MINUTE])
def test_every_window_holds_at_least_one_look(every: timedelta) -> None:
    found = windows(every)
    assert found[0] >= every
    assert len(found) == len({label(window) for window in found}) == 7
    assert all(burn.short < burn.long for burn in burns(every))


def test_only_what_burns_fast_wakes_somebody() -> None:
    paged = [burn.factor for burn in USUAL if burn.severity is Severity.PAGE]
    told = [burn.factor for burn in USUAL if burn.severity is Severity.TICKET]
    assert min(paged) > max(told) >= 1


@pytest.mark.parametrize("budget", [1e-9, 0.0001, 0.05, 0.5, 0.999])
def test_a_limit_can_be_exceeded_whatever_the_budget(budget: float) -> None:
    for burn in USUAL:
        assert budget <= burn.limit(budget) < 1


def test_a_limit_is_the_budget_times_the_factor() -> None:
    assert [burn.limit(0.0001) for burn in USUAL] == [0.00144, 0.0006, 0.0003, 0.0001]
