"""What the audit tells of the events' numbers: an estimate from the log alone, also while the source is away."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from consumer.catch_up import catch_up
from reconciler import status
from reconciler.report import state
from schemas.keys import IntKey
from tests.audit.conftest import Watch, _world, made_watch
from tests.consumer.support import age
from tests.stack.kafka import Kafka

EVENT = {"key": "id", "op": "op", "create": ["created"], "time": "at", "sequence": "n"}


def tell(watch: Watch, numbers: Iterable[int]) -> None:
    at = datetime.now(UTC).isoformat()
    watch.world.publish([json.dumps({"id": n, "op": "seen", "at": at, "n": n}).encode() for n in numbers])


def exposed(watch: Watch) -> dict[str, float]:
    told = watch.exposed()
    names = ("judged_total", "missing_total", "late_total", "open", "missing_above_usual")
    return {name: told[f"fencepost_sequence_{name}", (watch.world.topic,)] for name in names}


def test_missing_numbers_are_told_as_an_estimate_and_the_usual_ones_as_usual(
    databases: tuple[str, str], kafka: Kafka, topic_name: str, tmp_path: Path
) -> None:
    with closing(_world(databases, kafka, topic_name, tmp_path, "bigint")) as world:
        world.type_extra = {"event": EVENT}
        with made_watch(world) as watch:
            assert set(exposed(watch).values()) == {0}, "declared at zero"
            tell(watch, [1])
            watch.look()
            tell(watch, [2, 3, 6, 9])
            watch.look()
            assert exposed(watch) | {"open": 4} == exposed(watch)
            age(watch.ledger, 12)
            # The source is away: it is the tracker that reads on, and judges.
            catch_up(world.settings(), watch.ledger, {"item": IntKey()})
            counts = {"judged_total": 8, "missing_total": 4, "late_total": 0, "open": 0, "missing_above_usual": 0}
            assert exposed(watch) == counts, "what is usual nobody knows yet"
            with psycopg.connect(world.target) as db:  # of a hundred numbers one was missing in each of the hours before
                db.execute(
                    "INSERT INTO fencepost.sequence_hour"
                    " SELECT incarnation, numbering, max(hour) - n * interval '1 hour', 100, 1, 0"
                    " FROM fencepost.sequence_hour, generate_series(3, 8) AS n GROUP BY incarnation, numbering, n"
                )
            assert exposed(watch)["missing_above_usual"] == 4 - 0.08
            found = status.run(world.settings(), watch.ledger, ends=None)
    (told,) = found.plain()["numbers"]
    assert (told["estimated_missing"], told["of"], told["usual_share"], told["above_usual"]) == (4, 8, 0.01, 4)
    assert told["ranges"] == [[4, 5], [7, 8]]
    text = " ".join(state.text(found).split())
    assert "judged up to 9" in text
    assert "of 8 this hour and the last 4 missing (50 %), 1 % is usual. An estimate, no verdict" in text
    assert "missing: 4-5, 7-8" in text
