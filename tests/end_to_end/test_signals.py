"""Told to stop, a service has done its work, and a judging command says where it stopped and leaves nothing behind."""

from __future__ import annotations

import signal

import psycopg
import pytest

from tests.end_to_end.conftest import Items
from tests.end_to_end.installation import event, execute, heard, publish, registered, rows
from tests.stack.processes import wait_until

STOPS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("how", STOPS, ids=lambda s: s.name)
def test_a_tracker_told_to_stop_stores_what_it_read_and_says_so_last(items: Items, how: signal.Signals) -> None:
    with items.here.started("track") as track:
        wait_until(lambda: "segment" in heard(items.target), "the first flush", within_s=60)
        publish(items.kafka, items.topic, [event(key) for key in range(101, 151)])
        wait_until(lambda: tracked(items) == 150, "all is stored", within_s=60)
        done = track.ends(how)
    assert done.code == 0, done
    assert done.json["stopped"] is True
    assert done.json["events"] == {"item": {"create": 150, "delete": 0}}
    assert "tracker stopped, all it read is stored" in done.err.splitlines()[-1]


def test_a_sweep_that_goes_on_until_stopped_ends_with_0_and_its_pass_is_kept(items: Items) -> None:
    with items.here.started("sweep", "--every", "1h") as sweep:
        wait_until(lambda: swept(items) == 1, "a pass is finished", within_s=60)
        done = sweep.ends(signal.SIGTERM)
    assert done.code == 0, done
    assert items.here.run("status").json["data_types"][0]["sweep"]["rows"] == 100
    assert items.here.run("gaps", "--since", "auto").code == 0


def swept(items: Items) -> int:
    if rows(items.target, "SELECT to_regclass('fencepost.sweep')") == [(None,)]:
        return 0
    ((found,),) = rows(items.target, "SELECT count(*) FROM fencepost.sweep WHERE state = 'finished'")
    return int(found)


def tracked(items: Items) -> int:
    ((found,),) = rows(items.target, "SELECT coalesce(sum(next_offset), 0) FROM fencepost.position")
    return int(found)


def test_gaps_beside_a_tracker_at_work_follow_it(items: Items) -> None:
    with items.here.started("track") as track:
        wait_until(lambda: "segment" in heard(items.target), "the first flush", within_s=60)
        execute(items.source, "INSERT INTO items (id) SELECT generate_series(201, 210)")
        publish(items.kafka, items.topic, [event(key) for key in range(201, 211)])
        gaps = items.here.run("gaps")
        assert track.ends(signal.SIGTERM).code == 0
    assert gaps.code == 3, gaps
    assert gaps.of("item")["announced"] == 110
    assert gaps.of("item")["gaps"]["by_class"] == {"unapplied_create": 10}


def test_a_cutover_interrupted_at_the_fence_writes_nothing_and_is_recorded(items: Items) -> None:
    with psycopg.connect(items.source) as writer:
        writer.execute("INSERT INTO items (id) VALUES (500)")
        with items.here.started("cutover", "--wait", "2m") as cutover:
            cutover.says("waiting for earlier writers")
            done = cutover.ends(signal.SIGINT)
        writer.commit()
    assert (done.code, done.out) == (1, ""), done
    assert "interrupted" in done.err
    (run,) = items.here.run("runs").json["runs"]
    assert (run["state"], run["exit_code"], run["verdict"]) == ("interrupted", 1, None)
    assert run["note"] == "interrupted by the operator, while waiting for earlier writers to end"
    assert registered(items.target) == list(range(1, 101))
    # Nothing is left that holds up the next one.
    again = items.here.run("cutover")
    assert again.code == 0, again
    assert again.of("item")["backfilled"] == 1
    assert items.here.run("report", "latest", "--verify").json["links"] == 2


def test_a_fence_that_is_held_up_too_long_names_who_holds_it(items: Items) -> None:
    with psycopg.connect(items.source, application_name="a-slow-import") as writer:
        writer.execute("INSERT INTO items (id) VALUES (500)")
        pid = writer.info.backend_pid
        done = items.here.run("cutover", "--wait", "1s")
    assert done.code == 4, done
    proof = done.proof("earlier_writers_ended")
    assert proof["held"] is False
    assert "a-slow-import" in proof["seen"]
    assert str(pid) in proof["seen"]


def test_a_cutover_that_was_paused_writes_nothing_after_another_one_has_finished(items: Items) -> None:
    """Failure mode 66, with the command itself: SIGSTOP in the middle of the backfill until the lease has run out."""
    execute(items.source, "INSERT INTO items (id) SELECT generate_series(1001, 1200)")
    here = items.here.with_(("backfill", {"rate": 20}))
    with here.started("cutover") as paused:
        wait_until(lambda: len(registered(items.target)) > 100, "the backfill has begun", within_s=60)
        paused.child.send_signal(signal.SIGSTOP)
        other = here.with_().run("cutover")
        before = rows(items.target, "SELECT item_id, xmin::text, ctid::text FROM item_registry ORDER BY 1")
        paused.child.send_signal(signal.SIGCONT)
        done = paused.ends()
    assert other.code == 0, other
    assert other.of("item")["remaining"] == 0
    assert (done.code, done.out) == (1, ""), done
    assert "the lease on registry writes is not ours any more" in done.err
    assert rows(items.target, "SELECT item_id, xmin::text, ctid::text FROM item_registry ORDER BY 1") == before
    assert registered(items.target) == [*range(1, 101), *range(1001, 1201)]
    told = {run["run"]: run for run in items.here.run("runs").json["runs"]}
    assert told.pop(other.json["run"])["verdict"] == "CLEAR"
    ((zombie,),) = [told.values()]
    assert (zombie["state"], zombie["exit_code"]) == ("failed", 1)
    assert items.here.run("report", "latest", "--verify").code == 0
