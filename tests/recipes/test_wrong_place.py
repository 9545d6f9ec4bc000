"""Nobody is asked, and nothing is written, in the wrong place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from consumer.streams.kafka import KafkaStream
from databases.connect import connect
from reconciler import fence, repair
from reconciler import snapshot as snapshots
from reconciler.backfill.run import Filler
from reconciler.scene import Scene, _primary_faults, resolve
from schemas.errors import RefusedWrite, UnavailableError
from schemas.settings import Dsn
from schemas.verdict import Proof, Report, Verdict
from tests.recipes.world import World

GID = "fencepost_test_prepared_while_waiting"


def test_a_writer_that_is_prepared_while_the_fence_waits_has_not_ended(items: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives its virtual transaction id up, and its rows may still be committed at any time."""
    writer = psycopg.connect(items.source)
    writer.execute("INSERT INTO items VALUES (202, 1, %s)", [items.now - timedelta(hours=1)])
    looked = fence._Watch.still_open

    def prepared_after_the_first_look(self: Any) -> list[fence.Transaction]:
        found = looked(self)
        if any(t.pid == writer.info.backend_pid for t in found):
            writer.execute(f"PREPARE TRANSACTION '{GID}'")
            writer.commit()
        return found

    monkeypatch.setattr(fence._Watch, "still_open", prepared_after_the_first_look)
    try:
        report = items.cutover(wait=timedelta(milliseconds=300)).report
    finally:
        writer.close()
        with psycopg.connect(items.source, autocommit=True) as db:
            db.execute(f"ROLLBACK PREPARED '{GID}'")
    assert report.verdict is Verdict.CANNOT_TELL
    (failed,) = [p for p in report.proofs if p.held is False]
    assert failed.name == "earlier_writers_ended"
    assert GID in failed.seen


@pytest.fixture
def narrow_reader(items: World) -> Iterator[str]:
    """A role to whom row-level security shows the first hundred rows only."""
    name = "fencepost_narrow_reader"
    with psycopg.connect(items.source, autocommit=True) as db:
        if not db.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone():
            db.execute(f"CREATE ROLE {name} LOGIN")
        db.execute(f"GRANT SELECT ON items TO {name}")
        db.execute("ALTER TABLE items ENABLE ROW LEVEL SECURITY")
        db.execute(f"CREATE POLICY few ON items FOR SELECT TO {name} USING (id <= 100)")
    yield psycopg.conninfo.make_conninfo(items.source, user=name)
    with psycopg.connect(items.source, autocommit=True) as db:
        db.execute(f"DROP OWNED BY {name}")
        db.execute(f"DROP ROLE {name}")


def test_what_a_crash_left_is_not_taken_back_where_the_source_hides_rows(
    items: World, narrow_reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    items.rows([201, 202])

    def crash(*_: object) -> None:
        raise UnavailableError("crashed")

    with monkeypatch.context() as patched:
        patched.setattr(Filler, "_look_again", crash)
        patched.setattr(Filler, "_save", lambda *_: None)
        with pytest.raises(UnavailableError):
            items.cutover()
    honest, items.source = items.source, narrow_reader
    report = items.cutover().report
    assert report.verdict is Verdict.CANNOT_TELL
    assert any("not finished" in note for note in report.notes)
    assert {"201", "202"} <= items.in_registry()
    items.source = honest
    assert items.cutover().report.verdict is Verdict.CLEAR


def test_a_snapshot_of_another_server_than_the_one_we_met_is_no_snapshot(items: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pooler or a name that moved between the first connection and those of the snapshot; here, another database."""
    items.rows([201])
    true_snapshot = snapshots.snapshot

    def elsewhere(dsn: object, what: str, tables: object, limits: object, **kept: object) -> object:
        if what == "the source":
            with psycopg.connect(items.target) as db:
                db.execute("CREATE TABLE IF NOT EXISTS items (id bigint PRIMARY KEY, project_id int, created_at timestamptz)")
            dsn = items.settings().registry.dsn
        return true_snapshot(dsn, what, tables, limits, **kept)  # type: ignore[arg-type]

    monkeypatch.setattr("reconciler.look.snapshot", elsewhere)
    items.type_extra = {"empty": "allowed"}
    report = items.cutover(without_log=True).report
    assert report.verdict is Verdict.CANNOT_TELL
    assert any(p.name == "snapshot" and p.held is False for p in report.proofs)
    assert "201" not in items.in_registry()


@pytest.mark.parametrize("side", ["source", "registry"])
def test_a_table_that_is_swapped_for_another_of_its_name_during_a_cutover_is_no_clear(
    items: World, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As online migrations do it; the fence knew the writers of the other one."""
    honest = repair.carry_out
    dsn, name = (items.source, "items") if side == "source" else (items.target, "item_registry")

    def swap(*args: Any, **options: Any) -> str:
        told = honest(*args, **options)
        with psycopg.connect(dsn) as db:
            db.execute(f"CREATE TABLE other (LIKE {name} INCLUDING ALL); INSERT INTO other TABLE {name}")
            db.execute(f"ALTER TABLE {name} RENAME TO former; ALTER TABLE other RENAME TO {name}")
        return told

    monkeypatch.setattr("reconciler.cutover.carry_out", swap)
    report = items.cutover().report
    assert report.verdict is Verdict.CANNOT_TELL
    assert f"public.{name} was replaced by another table of its name" in told(report, "snapshot").seen
    assert told(report, "snapshot").held is False


@pytest.mark.parametrize("side", ["the source", "the registry"])
def test_a_name_that_leads_elsewhere_by_the_time_of_the_insert_has_nothing_written(
    items: World, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked there, rows would seem gone; written there, they would be nobody's. Here, the other side's database."""
    items.rows([201])
    twin = items.target if side == "the source" else items.source
    with psycopg.connect(twin) as db:
        if side == "the source":
            db.execute("CREATE TABLE items (id bigint PRIMARY KEY, project_id int, created_at timestamptz)")
        else:
            db.execute("CREATE TABLE item_registry (item_id bigint UNIQUE, state int, created_at timestamptz)")

    def elsewhere(dsn: Dsn, what: str, **options: Any) -> psycopg.Connection[Any]:
        return connect(Dsn(twin) if what == side else dsn, what, **options)

    monkeypatch.setattr("reconciler.repair.connect", elsewhere)
    with pytest.raises(RefusedWrite, match=r"'s database was .* this is"):
        items.cutover()
    assert items.in_registry() == {str(key) for key in range(1, 101)}
    if side == "the registry":
        with psycopg.connect(twin) as db:
            assert db.execute("SELECT count(*) FROM item_registry").fetchone() == (0,)


def test_a_standbys_primary_that_is_another_database_is_told(items: World) -> None:
    with resolve(items.settings(), (), None) as scene, closing(psycopg.connect(items.target, autocommit=True)) as other:
        swapped = Scene(
            settings=scene.settings,
            source=scene.source,
            fence_at=other,
            registry=scene.registry,
            subjects=scene.subjects,
            met=scene.met,
        )
        (fault,) = _primary_faults(swapped)
    assert "not the primary of this standby" in fault


def test_a_topic_made_anew_is_known_where_the_broker_tells_no_ids(items: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the record before each position: with more records than before, no offset shows it (failure mode 34)."""
    monkeypatch.setattr(KafkaStream, "_topic_ids", lambda _, topics: dict.fromkeys(topics))
    before = items.gaps(deletes=True).report
    assert before.verdict is Verdict.CLEAR
    assert "records compared" in told(before, "log_identity").seen
    items.kafka.delete_topic(items.topic)
    items.kafka.create_topic(items.topic, 2)
    items.announce(range(1001, 1301))
    after = items.gaps(deletes=True).report
    assert told(after, "log_identity").held is False
    assert told(after, "log_unbroken").held is False
    assert (after.claims.creates, after.claims.deletes, after.claims.drop_rate) == ("CLEAR", "CANNOT TELL", "incomplete")


def told(report: Report, name: str) -> Proof:
    return next(p for p in report.proofs if p.name == name)
