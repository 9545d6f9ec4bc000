"""An id that had another row before: what was said of that one is no word on this one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import psycopg

from tests.audit.conftest import speak
from tests.audit.memory import watched


def test_a_row_whose_predecessor_was_announced_is_judged_once_the_log_has_passed_it_and_is_late_when_it_is_told_itself(
    databases_with_ledger: tuple[str, str], tmp_path: Path
) -> None:
    with watched(databases_with_ledger, tmp_path) as watch:
        world = watch.world
        world.fine([101], at=datetime.now(UTC))
        with psycopg.connect(world.source) as source, psycopg.connect(world.target) as target:
            source.execute("DELETE FROM items WHERE id = 101")  # unheard of, and no look has seen it
            target.execute("DELETE FROM item_registry WHERE item_id = 101")
        world.rows([101], at=datetime.now(UTC))
        watch.look(3)
        assert watch.totals() == {}, "the log is silent since: its announcement may be on its way"
        assert watch.exposed()["fencepost_audit_blind", ("item", "log")] == 1
        speak(watch, 102)
        watch.look(3)
        assert watch.totals() == {"rows": 2, "dropped_create": 1}
        assert watch.exposed()["fencepost_audit_blind", ("item", "log")] == 0
        world.announce([101], at=datetime.now(UTC))
        watch.look(2)
        assert watch.totals() == {"rows": 2, "dropped_create": 1, "late": 1}
