"""Which test file is given to a worker first, and which ones share a worker. For `pytest -n`; alone, files come by name.

A worker has servers of its own and keeps a file to its end. A long file that is begun late is what everybody waits for at
the end; by itself xdist begins with the files that have most tests, which here are the quickest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

#: Those that take longest, by what they take. What is new and not here comes after them, by its name.
LONGEST = (
    "faults/test_faults.py", "end_to_end/test_debezium.py", "bench/test_bench.py", "end_to_end/test_bad_input.py",
    "consumer/test_tracker.py", "end_to_end/test_signals.py", "end_to_end/test_promises.py",
    "reconciler/backfill/test_crashes.py", "recipes/test_gaps.py", "recipes/test_cutover.py", "audit/test_looks.py",
    "recipes/test_sweep_broken_off.py", "demo/test_story.py", "demo/test_watch.py", "audit/test_kills.py",
    "end_to_end/test_secrets.py", "reconciler/probe/test_ints.py", "recipes/test_sweep_beside.py",
    "reconciler/alerts/test_firing.py", "terminal/test_front_door.py", "end_to_end/test_alarm.py",
)  # fmt: skip
#: They start Kafka Connect and the schema registry, twenty seconds of processor time: one worker does it for all.
TOGETHER = (
    "end_to_end/test_debezium.py", "end_to_end/test_debezium_fence.py", "end_to_end/test_debezium_losses.py",
    "end_to_end/test_outbox.py", "stand/test_parts.py",
)  # fmt: skip


def file_of(nodeid: str) -> str:
    """Below `tests/`."""
    return nodeid.split("::")[0].removeprefix("tests/")


def longest_first(items: list[pytest.Item]) -> None:
    """Raises UsageError where a file starts Connect that is not among those that share it."""
    places = {name: number for number, name in enumerate(LONGEST)}
    for item in items:
        if "connect" in getattr(item, "fixturenames", ()) and file_of(item.nodeid) not in TOGETHER:
            raise pytest.UsageError(f"{item.nodeid} starts Kafka Connect: name its file in TOGETHER of tests/order.py")
    items.sort(key=lambda item: places.get(file_of(item.nodeid), len(places)))


def scheduler(config: Any, log: Any) -> LoadScopeScheduling:
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
        def _split_scope(self, nodeid: str) -> str:
            name = file_of(nodeid)
            return TOGETHER[0] if name in TOGETHER else name

    config.option.loadscopereorder = False
    return ByFile(config, log)
