"""Where reading goes on, and what was lost: the ruling on one partition, pure."""

from __future__ import annotations

import pytest

from consumer.attach import Ruling, Standing, judge
from consumer.streams.contract import Span


def standing(at: int, topic_id: str | None = "a") -> Standing:
    return Standing(topic_id=topic_id, start=0, next=at, epoch=0, event_us=None, anchor=None)


def span(start: int, high: int) -> Span:
    return Span(start=start, stable=high, high=high)


@pytest.mark.parametrize(
    ("at", "held", "topic_id", "same", "ruling"),
    [
        (50, (0, 100), "a", None, Ruling(next=50)),
        (100, (0, 100), "a", None, Ruling(next=100)),
        (50, (50, 100), "a", None, Ruling(next=50)),
        (50, (60, 100), "a", None, Ruling(next=60, lost=("retention", 50, 60))),
        (50, (0, 40), "a", None, Ruling(next=40, lost=("truncated", 40, 50))),
        (50, (0, 100), "b", None, Ruling(next=0, lost=("recreated", 50, None))),
        (50, (3, 10), "b", None, Ruling(next=3, lost=("recreated", 50, None))),
        (50, (0, 100), None, True, Ruling(next=50)),
        (50, (0, 100), None, False, Ruling(next=0, lost=("recreated", 50, None))),
        (50, (0, 100), None, None, Ruling(next=50)),
        # No id to prove that the shorter log is the one we knew: its head may never have been read.
        (50, (0, 40), None, None, Ruling(next=0, lost=("recreated", 50, None))),
    ],
)
def test_a_jump_is_always_a_hole_of_its_kind(
    at: int, held: tuple[int, int], topic_id: str | None, same: bool | None, ruling: Ruling
) -> None:
    assert judge(standing(at), span(*held), topic_id, same) == ruling


def test_a_log_cut_back_and_grown_again_is_read_from_the_cut() -> None:
    words = "Partition log truncation detected at offset 50: broker end offset is 30 (offset leader epoch 4)"
    assert judge(standing(50), span(0, 80), "a", None, words) == Ruling(next=30, lost=("truncated", 30, 50))


def test_other_words_of_the_broker_do_not_move_the_position() -> None:
    assert judge(standing(50), span(0, 80), "a", None, "Offset out of range") == Ruling(next=50)
