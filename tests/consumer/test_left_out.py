"""A data type left out of the settings while its topic is read on, and put back: what nobody looked for is no drop."""

from __future__ import annotations

from datetime import UTC, datetime

from consumer.streams.memory import MemoryLog
from databases.ledger import Ledger
from reconciler.announced import read_coverage
from tests.consumer.support import caught_up, credited, fill, settings

BOTH = {"job": ["jobs"], "upload": ["jobs"]}


def test_a_type_that_was_left_out_while_its_topic_was_read_on_is_covered_anew_from_its_return(
    database: str, ledger: Ledger, log: MemoryLog
) -> None:
    """Else what nobody looked for would count as never announced: false drops, and an alarm that cries wolf."""
    both, alone = settings(database, types=BOTH), settings(database, types={"job": ["jobs"]})
    for partition in range(3):
        fill(log, "jobs", [partition], partition, at=1_000, name="upload")
        fill(log, "jobs", [partition], partition, at=1_000)
    state = caught_up(both, ledger, log)
    covered = read_coverage(ledger, "upload", state, ("jobs",))
    assert (covered.start_us, covered.from_the_beginning) == (1_000_000_000, True)
    fill(log, "jobs", [5], at=2_000, name="upload")
    fill(log, "jobs", [6], at=2_000)
    caught_up(alone, ledger, log)
    assert credited(ledger, "upload") == {0, 1, 2}
    back = datetime.now(UTC).timestamp() * 1e6
    fill(log, "jobs", [7], at=3_000, name="upload")
    state = caught_up(both, ledger, log)
    covered = read_coverage(ledger, "upload", state, ("jobs",))
    assert covered.start_us is not None
    assert covered.start_us >= back, "two partitions have told nothing since: what was told there before now was passed over"
    assert not covered.from_the_beginning
    still = read_coverage(ledger, "job", state, ("jobs",))
    assert (still.start_us, still.from_the_beginning) == (1_000_000_000, True)
    caught_up(both, ledger, log)
    assert read_coverage(ledger, "upload", state, ("jobs",)) == covered


def test_a_type_that_is_back_is_covered_from_its_first_event_on_where_every_partition_tells_one(
    database: str, ledger: Ledger, log: MemoryLog
) -> None:
    both, alone = settings(database, types=BOTH), settings(database, types={"job": ["jobs"]})
    for about, at in ((both, 1_000), (alone, 2_000), (both, 3_000)):
        for partition in range(3):
            fill(log, "jobs", [at + partition], partition, at=at + partition, name="upload")
        caught_up(about, ledger, log)
    state = caught_up(both, ledger, log)
    covered = read_coverage(ledger, "upload", state, ("jobs",))
    assert covered.start_us == 3_002_000_000, "the latest: what another partition passed over is older than its own first event"


def test_a_type_of_two_topics_that_is_left_out_of_one_is_covered_anew(database: str, ledger: Ledger, log: MemoryLog) -> None:
    log.create("uploads")
    both = settings(database, types={"job": ["jobs"], "upload": ["jobs", "uploads"]})
    one = settings(database, types={"job": ["jobs"], "upload": ["uploads"]})
    for about in (both, one, both):
        fill(log, "jobs", [1], at=1_000, name="upload")
        fill(log, "uploads", [2], at=1_000, name="upload")
        caught_up(about, ledger, log)
    state = caught_up(both, ledger, log)
    covered = read_coverage(ledger, "upload", state, ("jobs", "uploads"))
    assert not covered.from_the_beginning
    assert covered.start_us == 1_000_000_000
    fill(log, "jobs", [3], 1, at=5_000)
    fill(log, "uploads", [4], at=5_000, name="upload")
    caught_up(one, ledger, log)
    back = datetime.now(UTC).timestamp() * 1e6
    fill(log, "uploads", [5], at=6_000, name="upload")
    fill(log, "jobs", [6], at=6_000)
    state = caught_up(both, ledger, log)
    covered = read_coverage(ledger, "upload", state, ("jobs", "uploads"))
    assert covered.start_us is not None
    assert covered.start_us >= back
