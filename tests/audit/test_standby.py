"""An audit that reads a real standby: the mark is the primary's, and passes nothing that the standby has not shown."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from tests.audit.conftest import made_watch, speak
from tests.recipes.world import World
from tests.stack.kafka import Kafka
from tests.stack.postgres import Postgres
from tests.stack.processes import wait_until

pytestmark = pytest.mark.slow


def test_a_standby_that_lags_hides_rows_but_none_falls_between_two_looks(
    databases: tuple[str, str], kafka: Kafka, topic_name: str, tmp_path: Path, postgres: Postgres
) -> None:
    kafka.create_topic(topic_name, 1)
    source, target = databases
    with closing(World(folder=tmp_path, source=source, target=target, kafka=kafka, topic=topic_name)) as world:
        world.tables()
        world.fine(range(1, 101))
        with postgres.standby() as standby:
            reader = standby.dsn(source.rpartition("/")[2])

            def seen(count: int) -> None:
                def there() -> bool:
                    with psycopg.connect(reader) as db:
                        return db.execute("SELECT count(*) FROM items").fetchone() == (count,)

                wait_until(there, f"the standby shows {count} rows", within_s=60)

            seen(100)
            world.extra = {
                "fence": {"settle": "0s", "skew": "0s"},
                "audit": {"every": "1h", "listen": "127.0.0.1:0"},
                "source": {"dsn": reader, "kind": "standby", "primary": source},
            }
            with made_watch(world) as watch:
                watch.look()
                world.fine(range(101, 111), at=datetime.now(UTC))
                seen(110)
                watch.look(3)
                stood = watch.low_mark()
                assert stood is not None
                assert watch.totals() == {"rows": 10}
                standby.pause_replay()
                # Shown late are a row that is lost, fine ones, and one that was committed late besides.
                with psycopg.connect(source) as late:
                    late.execute("INSERT INTO items (id, project_id, created_at) VALUES (111, 1, now())")
                    world.fine(range(113, 121), at=datetime.now(UTC))
                    world.rows([112], at=datetime.now(UTC))
                    watch.look(2)
                speak(watch, 121)
                watch.look(2)
                assert watch.totals() == {"rows": 10}, "what is not shown is in no count"
                assert watch.low_mark() == stood, "nor is it passed"
                standby.resume_replay()
                seen(121)
                watch.look()
                speak(watch, 122)
                seen(122)
                watch.look(2)
                assert watch.totals() == {"rows": 22, "dropped_create": 2}
