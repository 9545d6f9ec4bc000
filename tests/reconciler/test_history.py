"""Runs are remembered as they were told, and any change to them afterwards shows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa

import databases.ledger
from databases.ledger import Ledger
from reconciler import history, recall
from reconciler.history import State
from schemas import ledger as tables
from schemas.errors import LedgerError, SettingsError, UnavailableError
from schemas.keys import IntKeys, key_type
from schemas.settings import Dsn
from tests.reports import reports
from tests.stack.processes import wait_until

INT, TEXT = key_type("int"), key_type("text")


@pytest.fixture
def ledger(ledger_database: str) -> Iterator[Ledger]:
    found = Ledger(Dsn(ledger_database), "fencepost")
    with found.begin() as connection:
        for name, kinds in (("job_artifact", "int"), ("upload", "text")):
            connection.execute(sa.insert(tables.data_type).values(name=name, kinds=kinds))
    yield found
    found.close()


def finished(ledger: Ledger, kind: str = "gaps") -> str:
    run = history.begin(ledger, "gaps", "sha256:settings", world={"servers": {}, "types": {"job_artifact": {"scope": []}}})
    _backfilled(ledger, run)
    keys = {"job_artifact": {("dropped_create", "never_announced"): IntKeys.of(np.arange(5))}}
    history.finish(ledger, run, reports()[kind].model_copy(update={"run": run}), keys)
    return run


def _backfilled(ledger: Ledger, run: str) -> None:
    keys = IntKeys.of(np.arange(5)).serialize()
    for batch in (0, 1):
        row = {"run": run, "data_type": "job_artifact", "batch": batch, "state": "reread", "target": {"table": ["public", "r"]}}
        values = sa.insert(tables.backfill).values(**row, kinds="int", xid=700 + batch, planned=keys, inserted=keys)
        with ledger.begin() as connection:
            connection.execute(values)


def change(ledger: Ledger, statement: str, *values: object) -> None:
    with psycopg.connect(ledger.dsn.get_secret_value(), autocommit=True) as db:
        db.execute("SET search_path = fencepost")
        db.execute(statement.encode(), values)


def test_a_run_is_read_back_exactly_as_it_was_printed(ledger: Ledger) -> None:
    report = reports()["gaps"]
    run = history.begin(ledger, "gaps", "sha256:s")
    printed = history.finish(ledger, run, report)
    told = recall.load(ledger, run)
    assert told.text == printed == report.json_text()
    assert told.report == report
    assert (told.state, told.verdict, told.exit_code, told.number) == (State.FINISHED, "GAPS", 3, 1)
    with ledger.begin() as connection:
        rows = connection.execute(sa.select(tables.proof).order_by(tables.proof.c.number)).all()
    assert [(row.name, row.held) for row in rows] == [(p.name, p.held) for p in report.proofs]


def test_every_key_is_kept_and_comes_back_in_chunks(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CHUNK", 1000)
    monkeypatch.setattr(tables, "BYTE_CHUNK", 1000)
    numbers = IntKeys.of(np.arange(-2500, 2500) * 3)
    words = TEXT.of([TEXT.canonical(f"{'long ' * (n % 9)}key {n}é") for n in range(2500)])
    run = history.begin(ledger, "gaps", "sha256:s")
    history.finish(
        ledger,
        run,
        reports()["gaps"],
        {
            "job_artifact": {("dropped_create", "never_announced"): numbers, ("unaccepted", "unaccepted_state"): INT.empty()},
            "upload": {("unapplied_create", "unapplied"): words},
        },
    )
    parts = list(recall.found_keys(ledger, run))
    assert max(len(part.keys) for part in parts) <= 1000
    assert {(p.data_type, p.gap_class, p.cause) for p in parts} == {
        ("job_artifact", "dropped_create", "never_announced"),
        ("upload", "unapplied_create", "unapplied"),
    }
    assert {key for p in parts if p.data_type == "job_artifact" for key in p.keys} == set(numbers)
    assert {key for p in parts if p.data_type == "upload" for key in p.keys} == set(words)
    assert recall.verify(ledger, run).intact


def test_whoever_reads_the_keys_of_a_run_may_take_their_time(ledger_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases.ledger, "SILENT", timedelta(milliseconds=200))
    monkeypatch.setattr(tables, "CHUNK", 2)
    with closing(Ledger(Dsn(ledger_database), "fencepost")) as ledger:
        with ledger.begin() as connection:
            connection.execute(sa.insert(tables.data_type).values(name="job_artifact", kinds="int"))
        parts, since = recall.found_keys(ledger, finished(ledger)), time.monotonic()
        first = next(parts)
        wait_until(lambda: time.monotonic() - since > 1, "a page was looked at")
        assert [len(part.keys) for part in (first, *parts)] == [2, 2, 1]


def test_a_run_that_failed_or_was_stopped_says_why_and_takes_its_place_in_the_chain(ledger: Ledger) -> None:
    failed, stopped = (history.begin(ledger, "cutover", "sha256:s") for _ in range(2))
    history.fail(ledger, failed, UnavailableError("the source is away"))
    history.interrupted(ledger, stopped, "after the first compare; nothing was inserted")
    assert (recall.load(ledger, failed).state, recall.load(ledger, failed).note) == (State.FAILED, "the source is away")
    assert recall.load(ledger, stopped).state is State.INTERRUPTED
    assert [recall.load(ledger, run).number for run in (failed, stopped)] == [1, 2]
    assert recall.verify(ledger, failed).intact


def test_an_unforeseen_error_is_noted_by_its_type_alone(ledger: Ledger) -> None:
    run = history.begin(ledger, "gaps", "sha256:s")
    history.fail(ledger, run, RuntimeError("postgresql://u:canary@h/d"))
    assert recall.load(ledger, run).note == "unexpected RuntimeError"


def test_a_run_ends_once(ledger: Ledger) -> None:
    run = finished(ledger)
    with pytest.raises(LedgerError, match="ended before"):
        history.fail(ledger, run, "again")
    with pytest.raises(LedgerError, match="never opened"):
        history.interrupted(ledger, "01JDQ0000000000000000000ZZ", "x")
    assert recall.load(ledger, run).state is State.FINISHED


def test_runs_that_end_at_once_are_numbered_without_holes(ledger: Ledger) -> None:
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda _: finished(ledger), range(12)))
    assert sorted(recall.load(ledger, run).number or 0 for run in ended) == list(range(1, 13))
    checked = recall.verify(ledger, ended[0])
    assert (checked.intact, checked.links) == (True, 12)


#: What somebody does to the second of four runs.
TAMPERING = {
    "a report is edited": "UPDATE run SET report = replace(report, 'GAPS', 'CLEAR') WHERE id = %s",
    "a verdict is edited": "UPDATE run SET verdict = 'CLEAR', exit_code = 0 WHERE id = %s",
    "a time is edited": "UPDATE run SET started_at = started_at - '1us'::interval WHERE id = %s",
    "a proof is edited": "UPDATE proof SET held = NOT held WHERE run = %s AND held IS NOT NULL",
    "a proof is removed": "DELETE FROM proof WHERE run = %s AND number = 0",
    "keys are edited": "UPDATE gap SET keys = keys || '\\x00' WHERE run = %s",
    "keys are removed": "DELETE FROM gap WHERE run = %s",
    "keys change their class": "UPDATE gap SET class = 'unaccepted' WHERE run = %s",
    "a proof is added": "INSERT INTO proof (run, number, name, seen) VALUES (%s, 77, 'reread', 'x')",
    "what a proof saw is edited": "UPDATE proof SET seen = seen || '.' WHERE run = %s AND number = 1",
    "keys are counted anew": "UPDATE gap SET count = count + 1 WHERE run = %s",
    "inserted keys are edited": "UPDATE backfill SET inserted = inserted || '\\x00' WHERE run = %s AND batch = 1",
    "planned keys are edited": "UPDATE backfill SET planned = planned || '\\x00' WHERE run = %s AND batch = 1",
    "a transaction is edited": "UPDATE backfill SET xid = 1 WHERE run = %s AND batch = 0",
    "where rows went is edited": "UPDATE backfill SET target = '{}' WHERE run = %s AND batch = 0",
    "a batch is removed": "DELETE FROM backfill WHERE run = %s AND batch = 1",
    "all batches are removed": "DELETE FROM backfill WHERE run = %s",
    "a batch is added": "INSERT INTO backfill SELECT run, data_type, 7, state, target, kinds, xid, planned, inserted"
    " FROM backfill WHERE run = %s AND batch = 1",
    "what it judged is edited": "UPDATE run SET world = '{}' WHERE id = %s",
    "what it judged is removed": "UPDATE run SET world = NULL WHERE id = %s",
    "its note is edited": "UPDATE run SET note = 'x' WHERE id = %s",
    "its settings are edited": "UPDATE run SET settings = 'x' WHERE id = %s",
    "its state is edited": "UPDATE run SET state = 'failed' WHERE id = %s",
    "a run is removed": "DELETE FROM run WHERE id = %s",
    "a run is renumbered": "UPDATE run SET number = 77 WHERE id = %s",
    "a predecessor is changed": "UPDATE run SET previous = 'x' WHERE id = %s",
}


@pytest.mark.parametrize("statement", TAMPERING.values(), ids=TAMPERING.keys())
def test_the_chain_shows_when(statement: str, ledger: Ledger) -> None:
    runs = [finished(ledger) for _ in range(4)]
    assert recall.verify(ledger, runs[0]).intact
    change(ledger, statement, runs[1])
    checked = recall.verify(ledger, runs[0])
    assert not checked.intact
    assert "run" in checked.seen


def test_a_forged_run_with_a_digest_of_its_own_breaks_the_link_behind_it(ledger: Ledger) -> None:
    runs = [finished(ledger) for _ in range(3)]
    change(ledger, "UPDATE run SET verdict = 'CLEAR' WHERE id = %s", runs[1])
    with ledger.begin() as connection:
        forged = next(history.links(connection, runs[1])).digest()
    change(ledger, "UPDATE run SET digest = %s WHERE id = %s", forged, runs[1])
    checked = recall.verify(ledger, runs[0])
    assert (checked.intact, "does not follow" in checked.seen) == (False, True)


def test_what_becomes_of_inserted_rows_later_is_no_change_of_the_run(ledger: Ledger) -> None:
    run = finished(ledger)
    change(ledger, "UPDATE backfill SET state = 'undone', removed = inserted WHERE run = %s", run)
    assert recall.verify(ledger, run).intact


def test_runs_cut_off_at_the_end_are_missed_also_after_new_ones(ledger: Ledger) -> None:
    """Failure mode S21: the chain's end is kept once more, so that a missing head shows."""
    runs = [finished(ledger) for _ in range(4)]
    change(ledger, "DELETE FROM run WHERE id = ANY (%s)", runs[2:])
    checked = recall.verify(ledger, runs[0])
    assert (checked.intact, "the last 2 recorded runs are missing" in checked.seen) == (False, True)
    finished(ledger)
    checked = recall.verify(ledger, runs[0])
    assert (checked.intact, "2 recorded runs are missing" in checked.seen) == (False, True)


def test_a_run_appended_by_another_hand_is_not_the_end_that_was_recorded(ledger: Ledger) -> None:
    runs = [finished(ledger) for _ in range(2)]
    newest = recall.verify(ledger, runs[1]).newest
    change(
        ledger,
        "INSERT INTO run (id, kind, settings, state, started_at, finished_at, verdict, exit_code, report, number, previous)"
        " SELECT 'FORGED', kind, settings, state, started_at, finished_at, 'CLEAR', 0, report, 3, %s FROM run WHERE number = 2",
        newest,
    )
    with ledger.begin() as connection:
        forged = next(history.links(connection, "FORGED")).digest()
    change(ledger, "UPDATE run SET digest = %s WHERE id = 'FORGED'", forged)
    checked = recall.verify(ledger, "FORGED")
    assert (checked.intact, "put there afterwards" in checked.seen) == (False, True)
    change(ledger, "DELETE FROM chain")
    assert "not recorded any more" in recall.verify(ledger, runs[0]).seen


def test_a_chain_written_anew_shows_by_its_newest_digest_alone(ledger: Ledger) -> None:
    """Whoever may write everything can make it whole again; the digest noted elsewhere is another one."""
    runs = [finished(ledger) for _ in range(2)]
    noted = recall.verify(ledger, runs[1]).newest
    change(ledger, "UPDATE run SET verdict = 'CLEAR' WHERE id = %s", runs[1])
    with ledger.begin() as connection:
        forged = next(history.links(connection, runs[1])).digest()
    change(ledger, "UPDATE run SET digest = %s WHERE id = %s", forged, runs[1])
    change(ledger, "UPDATE chain SET digest = %s", forged)
    checked = recall.verify(ledger, runs[1])
    assert checked.intact
    assert checked.newest != noted


def test_a_run_of_the_first_version_still_reads_as_written(ledger: Ledger) -> None:
    """It kept no world, and its digest knew nothing of its backfills."""
    old = history.begin(ledger, "cutover", "sha256:s")
    _backfilled(ledger, old)
    history.finish(ledger, old, reports()["gaps"])
    with ledger.begin() as connection:
        (link,) = history.links(connection, old)
    assert len(link.said) == 11
    assert recall.verify(ledger, finished(ledger)).intact


def test_the_low_end_may_be_dropped_by_retention(ledger: Ledger) -> None:
    runs = [finished(ledger) for _ in range(3)]
    change(ledger, "DELETE FROM run WHERE id = %s", runs[0])
    assert recall.verify(ledger, runs[2]).intact


def test_a_run_at_work_is_vouched_for_by_nothing(ledger: Ledger) -> None:
    finished(ledger)
    checked = recall.verify(ledger, history.begin(ledger, "gaps", "sha256:s"))
    assert (checked.intact, "has not ended" in checked.seen) == (False, True)


def test_an_undo_is_recorded_without_a_verdict(ledger: Ledger) -> None:
    run = history.begin(ledger, "undo", "sha256:s")
    history.done(ledger, run, json.dumps({"run": run}))
    told = recall.load(ledger, run)
    assert (told.state, told.verdict, told.report, json.loads(told.text or "")) == (State.FINISHED, None, None, {"run": run})


def test_a_ledger_of_an_older_version_is_told_with_what_to_do(ledger: Ledger) -> None:
    run = finished(ledger)
    change(ledger, "ALTER TABLE run DROP COLUMN world")
    with pytest.raises(LedgerError, match="older version") as told:
        recall.load(ledger, run)
    assert "ledger upgrade" in (told.value.hint or "")


def test_runs_are_listed_newest_first(ledger: Ledger) -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    ids = [history.begin(ledger, "gaps", "s", now=at + timedelta(hours=n)) for n in range(5)]
    assert [past.run for past in recall.runs(ledger, 3)] == ids[:1:-1]


def test_a_run_is_known_by_its_kind_and_settings_whatever_became_of_it(ledger: Ledger) -> None:
    run = history.begin(ledger, "cutover", "sha256:a")
    history.begin(ledger, "cutover", "sha256:a")
    history.fail(ledger, run, "x")
    asked = [("cutover", "sha256:a"), ("cutover", "sha256:b"), ("gaps", "sha256:a")]
    assert [recall.asked_alike(ledger, run, *of) for of in asked] == [True, False, False]


def test_a_run_is_named_by_its_id_its_beginning_its_end_or_latest(ledger: Ledger) -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    old, new = (history.begin(ledger, "gaps", "s", now=at + timedelta(days=400 * n)) for n in range(2))
    assert recall.resolve(ledger, "latest") == recall.resolve(ledger, " LATEST ") == new
    assert recall.resolve(ledger, old) == recall.resolve(ledger, old.lower()) == old
    assert recall.resolve(ledger, old[:8]) == recall.resolve(ledger, old[-8:]) == old
    assert recall.resolve(ledger, old.replace("0", "O").replace("1", "l")) == old
    with pytest.raises(SettingsError, match="several runs"):
        recall.resolve(ledger, "0")
    for wrong in ("%", "_", "", "nosuchrun", "01' OR '1'='1"):
        with pytest.raises(SettingsError) as told:
            recall.resolve(ledger, wrong)
        assert "latest" in (told.value.hint or "")


def test_without_any_run_the_ledger_says_so(ledger: Ledger) -> None:
    assert recall.runs(ledger) == []
    with pytest.raises(SettingsError, match="remembers none yet"):
        recall.resolve(ledger, "latest")


def test_ids_sort_by_time_and_never_repeat() -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    ids = [history.new_id(at + timedelta(milliseconds=n)) for n in range(500)]
    assert ids == sorted(set(ids))
    assert all(len(run) == 26 and run.isascii() and run.isalnum() and run == run.upper() for run in ids)


def test_the_report_of_a_verdict_is_stored_with_its_exit_code(ledger: Ledger) -> None:
    for name, report in reports().items():
        run = history.begin(ledger, report.kind, "s")
        history.finish(ledger, run, report)
        assert recall.load(ledger, run).exit_code == {"CLEAR": 0, "GAPS": 3, "CANNOT TELL": 4}[report.verdict], name
