"""Nothing that is told or kept holds a secret or an event: not the reports, not the logs, not one row of the ledger."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import yaml
from psycopg import sql

from tests.end_to_end.conftest import Items
from tests.end_to_end.installation import CANARY, DOOR, Installation, execute, publish, rows

#: What a person would not want to find in somebody's database.
PERSON = "jane.roe@example.org"
NOWHERE = f"postgresql://postgres:{CANARY}@127.0.0.1:9/none"


def everything_kept(dsn: str) -> str:
    """Every row of every ledger in this database, as text, with the bytes that hide in hexadecimal."""
    found = []
    with psycopg.connect(dsn) as db:
        names = db.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'public')"
        ).fetchall()
        for name in names:
            found += [row[0] for row in db.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(*name)))]
    return "\n".join(found)


def shows(text: str, secret: str) -> bool:
    return secret in text or secret.encode().hex() in text


def test_no_error_log_report_or_ledger_row_shows_a_secret(items: Items, tmp_path: Path) -> None:
    """Failure mode S8, over ways to fail that leave something behind."""
    here = items.here.with_(("logs", {"format": "json", "level": "info"}), ("event_log/kafka/sasl.username", "u"))
    execute(items.source, "INSERT INTO items (id) VALUES (1001)")
    folder = tmp_path / "reports"
    broker_away = ("event_log/kafka/bootstrap.servers", "127.0.0.1:9")
    registry = ("event_log/schema_registry", {"url": f"http://u:{CANARY}@127.0.0.1:9", "user": "u", "password": CANARY})
    first = here.run("gaps", "--report", str(folder / "gaps"))
    lines: list[tuple[Installation, list[str]]] = [
        (here.with_(broker_away), ["gaps", "--report", str(folder / "away")]),
        (here.with_(broker_away), ["track", "--until-end"]),
        (here.with_(registry, ("data_types/item/format", "avro")), ["gaps", "--report", str(folder / "avro")]),
        (here.with_(("source/dsn", NOWHERE)), ["cutover", "--report", str(folder / "source")]),
        (here.with_(("source/dsn", NOWHERE)), ["check"]),
        (here.with_(("registry/dsn", f"host=127.0.0.1 port=9 password={CANARY} user=u")), ["recheck", "latest"]),
        (here.with_(), ["status"]),
        (here.with_(), ["cutover", "--report", str(folder / "cutover")]),
    ]
    with ThreadPoolExecutor(4) as pool:  # most of them wait for what never answers
        done = [first, *pool.map(lambda asked: asked[0].run(*asked[1]), lines)]
    # Of a run that inserted something: the registry has to be asked, and is not there.
    nowhere = here.with_(("registry/dsn", NOWHERE), ("ledger/dsn", items.target))
    done.append(nowhere.run("undo", done[-1].json["run"]))
    assert {d.code for d in done} >= {0, 1, 3, 4}, [str(d) for d in done]
    for one in done:  # `run` has looked at stdout and stderr; this is the same for whoever reads only this test
        assert not shows(one.out + one.err, CANARY), one
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in written} == {"report.json", "report.txt", "gaps.jsonl"}
    for path in written:
        assert not shows(path.read_text(), CANARY), path
    kept = everything_kept(items.target)
    assert "failed" in kept, "a run that could not finish is recorded"
    assert not shows(kept, CANARY)


@pytest.mark.parametrize("part", ["source", "registry", "ledger"])
def test_not_even_a_traceback_shows_one(items: Items, part: str) -> None:
    """At debug level a failure is told with its traceback."""
    here = items.here.with_(("logs", {"level": "debug"}), (f"{part}/dsn", NOWHERE))
    settings = here.folder / "fencepost.yaml"
    settings.write_text(yaml.safe_dump(here.settings))
    line = [*DOOR, "gaps", "--config", str(settings)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=90, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert not shows(done.stdout + done.stderr, CANARY)


def test_the_ledger_keeps_keys_and_places_and_no_event(items: Items) -> None:
    """Failure mode S23: what a record says besides key, operation and time is not kept."""
    record = {"id": 1001, "op": "created", "at": "2026-01-01T00:00:00Z", "email": PERSON, "note": PERSON * 100}
    publish(items.kafka, items.topic, [json.dumps(record).encode(), json.dumps(record | {"op": "deleted"}).encode()])
    assert items.here.run("gaps").code == 0
    assert not shows(everything_kept(items.target), PERSON)


def test_a_record_that_cannot_be_read_keeps_its_first_bytes_alone_and_loses_them_when_it_was_read(items: Items) -> None:
    """Failure mode S23: those bytes are kept on purpose, at most a kilobyte, for somebody has to look at them."""
    publish(items.kafka, items.topic, [b'{"id": "x", "filler": "' + b"f" * 2000 + PERSON.encode() + b'"}'])
    assert items.here.run("gaps").code == 0
    assert not shows(everything_kept(items.target), PERSON)
    ((size, kept),) = rows(items.target, "SELECT size, length(value) FROM fencepost.quarantine")
    assert (kept, size > 2000) == (1024, True)
