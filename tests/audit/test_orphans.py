"""Registry rows whose source row is gone, as looks and sweeps find them: each is counted once, whoever found it."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg

from tests.audit.conftest import Watch, later, speak


def gone(watch: Watch, *keys: int) -> None:
    with psycopg.connect(watch.world.source) as db:
        db.execute("DELETE FROM items WHERE id = ANY(%s)", [list(keys)])


def test_orphans_are_counted_once_whoever_finds_them_and_only_when_they_are_so_twice(watch: Watch) -> None:
    def whole(key: int) -> None:
        """A whole look, and one that judges what it saw."""
        watch.whole_is_due()
        watch.look()
        speak(watch, key)
        watch.look()

    def orphans() -> dict[str, int]:
        return {class_: count for class_, count in watch.totals().items() if class_.endswith("_delete")}

    watch.world.fine(range(101, 111), at=datetime.now(UTC))
    watch.look(2)
    gone(watch, 101, 102)
    watch.world.announce([101], op="deleted", at=later())
    watch.world.registered([300])  # registered before its row is there
    watch.whole_is_due()
    watch.look()
    assert orphans() == {}
    watch.world.rows([300], at=datetime.now(UTC))
    watch.world.announce([300], at=later())
    watch.look()
    assert orphans() == {"unapplied_delete": 1, "dropped_delete": 1}
    watch.look(2)
    whole(301)
    assert orphans() == {"unapplied_delete": 1, "dropped_delete": 1}
    # A sweep finds those again, and one more; so does the next; and another audit goes on.
    gone(watch, 103)
    assert watch.world.sweep().report.data_types[0].orphans.count == 3
    watch.look()
    assert orphans() == {"unapplied_delete": 1, "dropped_delete": 2}
    watch.world.sweep()
    watch.lost()
    watch.look()
    whole(302)
    whole(303)
    assert orphans() == {"unapplied_delete": 1, "dropped_delete": 2}
    told = watch.exposed()
    assert told["fencepost_drops_total", ("item", "dropped_delete")] == 2
    assert told["fencepost_gaps_open", ("item",)] == 0
    assert waiting(watch) == {"dropped_delete": 2, "unapplied_delete": 1}
    with psycopg.connect(watch.world.target) as db:
        db.execute("DELETE FROM item_registry WHERE item_id = 101")
    whole(304)
    assert waiting(watch) == {"dropped_delete": 2}, "what is gone is forgotten"


def waiting(watch: Watch) -> dict[str, int]:
    with psycopg.connect(watch.world.target) as db:
        rows = db.execute("SELECT class, sum(count)::int FROM fencepost.audit_waiting GROUP BY 1").fetchall()
    return {str(class_): count for class_, count in rows}
