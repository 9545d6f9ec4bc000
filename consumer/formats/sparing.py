"""Ask a schema registry within bounds, however many ids strangers name.

Each id in a record may be any of two thousand million, and most damaged ones are unknown: a request each would hammer the
registry, and stop a tracker that waits for the answers. So answers that brought no schema are paid for, out of an allowance
that grows with time; those that brought one cost nothing, for there are only so many. Half of it is kept for ids that
several records name. Damage seldom hits on one id twice, while a schema that is really new is soon named again: so it is
asked for in the midst of a flood. What is not asked for is not judged either: the record is set aside, to be read again.
"""

from __future__ import annotations

from collections.abc import Callable

from consumer.formats.remembered import Remembered

#: In seconds that have passed: what can be saved up, and how much of it is for ids that several records name.
SAVED_S, KEPT_FOR_OFTEN_S = 8.0, 4.0
#: What an answer costs: five a second in the long run, and at most one second in ten spent on asking.
PRICE_S, DEAR = 0.2, 10
#: Ids that were not asked for, remembered until they are named again.
KEPT_WAITING = 10_000


class Allowance:
    """`clock` tells seconds that only grow."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left, self._at = SAVED_S, clock()
        self._waiting = Remembered[bool](count=KEPT_WAITING, weight=KEPT_WAITING)

    def may_ask(self, number: int, records: int) -> bool:
        """Whether to ask for this id, which so many records name; if not, it is among the first when named again."""
        now = self._clock()
        self._left, self._at = min(self._left + now - self._at, SAVED_S), now
        often = records > 1 or self._waiting.get(number) is not None
        if self._left > (0 if often else KEPT_FOR_OFTEN_S):
            return True
        self._waiting.put(number, True)
        return False

    def spend(self, took_s: float) -> None:
        """Asked in vain; the answer took so long."""
        self._left -= max(PRICE_S, took_s * DEAR)
