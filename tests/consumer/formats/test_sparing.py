"""However ids come, a registry is asked in vain so often and so long as the allowance grows, and no oftener."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.formats import sparing
from consumer.formats.sparing import DEAR, KEPT_FOR_OFTEN_S, PRICE_S, SAVED_S, Allowance

STEPS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 3), st.floats(0, 2), st.sampled_from([0.0, 0.001, 0.02, 0.5, 10.0])),
    max_size=300,
)


@given(STEPS)
def test_asking_in_vain_is_bounded_in_number_and_in_time(steps: list[tuple[int, int, float, float]]) -> None:
    now, answers, spent, longest = 0.0, 0, 0.0, 0.0
    made = Allowance(lambda: now)
    for number, records, passed, took in steps:
        now += passed
        if not made.may_ask(number, records):
            continue
        now += took
        made.spend(took)
        answers, spent, longest = answers + 1, spent + took, max(longest, took)
        # The last answer may cost more than there was left; the next one waits for it.
        assert (answers - 1) * PRICE_S <= SAVED_S + now + 1e-6
        assert (spent - longest) * DEAR <= SAVED_S + now + 1e-6


@given(st.integers(0, 2000), st.floats(0, 100))
def test_ids_named_once_leave_what_is_kept_for_those_named_often(flood: int, passed: float) -> None:
    now = 0.0
    made = Allowance(lambda: now)
    for number in range(flood):
        now += passed / (flood or 1)
        if made.may_ask(number, 1):
            made.spend(0.001)
    assert made.may_ask(10**6, 2)
    kept = 0
    while made.may_ask(10**6, 2):
        made.spend(0.001)
        kept += 1
    assert kept >= KEPT_FOR_OFTEN_S / PRICE_S - 1


def test_one_that_had_to_wait_is_asked_for_when_it_is_named_again_and_few_that_wait_are_remembered() -> None:
    made = Allowance(lambda: 0.0)
    while made.may_ask(1, 1):
        made.spend(0.001)
    assert not made.may_ask(7, 1)
    assert made.may_ask(7, 1)
    for number in range(100, 100 + sparing.KEPT_WAITING):
        made.may_ask(number, 1)
    assert len(made._waiting) == sparing.KEPT_WAITING
    assert not made.may_ask(7, 1)  # forgotten, so this is the first time again


def test_nobody_waits_longer_than_the_dearest_answer_has_to_be_paid_for() -> None:
    now = 0.0
    made = Allowance(lambda: now)
    assert made.may_ask(1, 1)
    now += 10.0
    made.spend(10.0)
    now += 10.0 * DEAR - SAVED_S - 10.0 - 0.1
    assert not made.may_ask(2, 5)
    now += 0.2
    assert made.may_ask(2, 5)
