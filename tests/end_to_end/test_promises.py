"""What an operator is promised of reports, history, status, an absent ledger and the quarantine."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import jsonschema

import schemas
from tests.end_to_end.conftest import Items
from tests.end_to_end.installation import event, execute, item, ledger_content, publish, register, registered, rows

REPORT = json.loads((Path(schemas.__file__).parent / "report.schema.json").read_text())


def valid(report: Any) -> None:
    jsonschema.validate(report, REPORT)


def lost(items: Items, *keys: int) -> None:
    """Rows of now that were never announced."""
    execute(items.source, "INSERT INTO items (id) SELECT unnest(%s::bigint[])", list(keys))


def test_a_report_folder_holds_the_whole_report_and_every_gap(items: Items, tmp_path: Path) -> None:
    lost(items, *range(1001, 1201))
    folder = tmp_path / "report"
    done = items.here.run("gaps", "--report", str(folder))
    assert done.code == 3, done
    valid(done.json)
    assert json.loads((folder / "report.json").read_text()) == done.json
    assert len(done.of("item")["gaps"]["keys"]) == 100
    assert set(items.here.gap_lines(folder)["item"]) == {str(key) for key in range(1001, 1201)}
    text = (folder / "report.txt").read_text()
    assert text.splitlines()[1].strip().startswith("GAPS")
    assert done.json["run"] in text


def test_json_may_stand_before_or_after_the_command(items: Items) -> None:
    before, after = items.here.run("--json", "gaps", json=False), items.here.run("gaps", "--json", json=False)
    for done in (before, after):
        assert done.code == 0, done
        valid(done.json)
    assert before.json.keys() == after.json.keys()


def test_a_past_run_reads_as_it_did_and_a_changed_one_is_found_out(items: Items) -> None:
    lost(items, 1001)
    first = items.here.run("gaps")
    second = items.here.run("cutover")
    assert (first.code, second.code) == (3, 0), second
    told = items.here.run("runs").json["runs"]
    assert [(run["run"], run["kind"], run["verdict"]) for run in told] == [
        (second.json["run"], "cutover", "CLEAR"),
        (first.json["run"], "gaps", "GAPS"),
    ]
    assert items.here.run("report", first.json["run"]).json == first.json
    checked = items.here.run("report", "latest", "--verify")
    assert (checked.code, checked.json["intact"], checked.json["links"]) == (0, True, 2)
    csv = items.here.run("report", first.json["run"], "--csv", json=False)
    assert "1001" in csv.out
    execute(items.target, "UPDATE fencepost.run SET report = replace(report, '1001', '1002') WHERE kind = 'gaps'")
    checked = items.here.run("report", "latest", "--verify")
    assert (checked.code, checked.json["intact"]) == (1, False)
    assert first.json["run"] in checked.json["seen"]


def test_recheck_tells_when_a_verdict_no_longer_stands_and_writes_nothing(items: Items) -> None:
    cutover = items.here.run("cutover")
    assert cutover.code == 0, cutover
    before = ledger_content(items.target)
    still = items.here.run("recheck", cutover.json["run"])
    assert still.code == 0, still
    valid(still.json)
    lost(items, 2001)
    no_more = items.here.run("recheck", "latest")
    assert no_more.code == 3, no_more
    assert no_more.of("item")["gaps"]["keys"] == ["2001"]
    assert ledger_content(items.target) == before
    assert 2001 not in registered(items.target)


def test_undo_takes_back_what_a_cutover_inserted_and_nobody_touched(items: Items) -> None:
    lost(items, 1001, 1002)
    cutover = items.here.run("cutover")
    assert cutover.of("item")["backfilled"] == 2, cutover
    execute(items.target, "UPDATE item_registry SET state = 2 WHERE item_id = 1002")
    undone = items.here.run("undo", cutover.json["run"])
    assert undone.code == 0, undone
    assert registered(items.target)[-1] == 1002
    assert 1001 not in registered(items.target)


def test_a_plan_that_was_approved_is_carried_out_and_no_other(items: Items) -> None:
    lost(items, 1001)
    dry = items.here.run("cutover", "--dry-run")
    assert dry.code == 3, dry
    plan = dry.json["plan"]
    lost(items, 1002)
    other = items.here.run("cutover", "--plan", plan)
    assert other.code != 0, other
    assert registered(items.target) == list(range(1, 101))
    execute(items.source, "DELETE FROM items WHERE id = 1002")
    same = items.here.run("cutover", "--plan", plan)
    assert same.code == 0, same
    assert registered(items.target)[-1] == 1001


def test_status_tells_what_is_promised(items: Items) -> None:
    assert items.here.run("track", "--until-end").code == 0
    publish(items.kafka, items.topic, [event(1), event(2)])
    done = items.here.run("status")
    assert done.code == 0, done
    (told,) = done.json["data_types"]
    assert told.keys() >= {"name", "log", "sweep", "safe_since", "estimate_s"}
    assert (told["name"], told["log"]["behind"], told["sweep"]) == ("item", 2, None)
    assert told["log"]["as_of"].endswith("Z")
    assert done.json["holes"] == []
    assert done.json["quarantine"]["open"] == 0
    assert items.here.run("gaps").code == 0
    assert items.here.run("status").json["data_types"][0]["estimate_s"] >= 0


ABSENT = [
    ["status"],
    ["runs"],
    ["report", "latest"],
    ["report", "latest", "--verify"],
    ["recheck", "latest"],
    ["undo", "latest"],
    ["quarantine", "list"],
    ["quarantine", "show", "1"],
    ["quarantine", "resolve", "1", "--accept", "gone"],
    ["check"],
]


def test_an_absent_ledger_is_told_with_0_and_nothing_is_created(items: Items) -> None:
    here = [items.here.with_() for _ in ABSENT]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda h, line: h.run(*line, cold=True), here, ABSENT))
    for line, done in zip(ABSENT, answers, strict=True):
        assert done.code == 0, done
        assert "no ledger" in done.err + done.out or line == ["check"], done
    assert ledger_content(items.target) is None


def test_the_ledger_made_by_hand_is_the_ledger_made_by_the_command(items: Items) -> None:
    script = items.here.run("ledger", "ddl").json["ddl"]
    execute(items.target, script)
    by_hand = columns(items)
    assert items.here.run("ledger", "upgrade").json["changed"] is False
    execute(items.target, "DROP SCHEMA fencepost CASCADE")
    assert items.here.run("ledger", "upgrade", cold=True).json["changed"] is True
    assert columns(items) == by_hand


def columns(items: Items) -> list[tuple[Any, ...]]:
    return rows(
        items.target,
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_schema = 'fencepost' ORDER BY 1, 2",
    )


# -- quarantine -------------------------------------------------------------------------------------------------------


def test_an_accepted_loss_makes_the_drop_rate_complete_again(items: Items) -> None:
    junk = b'{"id": 1.5, "op": "created", "at": "2026-01-01T00:00:00Z"}'
    publish(items.kafka, items.topic, [junk])
    gaps = items.here.run("gaps")
    assert gaps.code == 0, gaps
    assert gaps.json["claims"]["drop_rate"] == "incomplete"
    (record,) = items.here.run("quarantine", "list").json["records"]
    assert (record["topic"], record["partition"], record["offset"]) == (items.topic, 0, 100)
    assert (record["state"], record["size"]) == ("open", len(junk))
    shown = items.here.run("quarantine", "show", str(record["id"])).json
    assert bytes.fromhex(shown["value_hex"]) == junk
    assert items.here.run("status").json["quarantine"]["open"] == 1

    without_reason = items.here.run("quarantine", "resolve", str(record["id"]), "--accept", " ")
    assert without_reason.code == 2, without_reason
    accepted = items.here.run("quarantine", "resolve", str(record["id"]), "--accept", "a test wrote it")
    assert accepted.code == 0, accepted
    assert accepted.json == {"settled": [record["id"]], "failed": {}}
    assert items.here.run("quarantine", "list").json["records"] == []
    again = items.here.run("gaps")
    assert again.json["claims"]["drop_rate"] == "complete"
    assert "1 record" in again.proof("decoded")["seen"]
    assert "a test wrote it" in again.proof("decoded")["seen"]
    assert "1 accepted record" in again.of("item")["drop_rate"]["left_out"][0]
    assert items.here.run("status").json["quarantine"]["open"] == 0


def test_a_record_whose_schema_appears_later_is_read_again(items: Items, tmp_path: Path) -> None:
    folder = tmp_path / "schemas"
    folder.mkdir()
    schema = {
        "type": "record",
        "name": "Item",
        "fields": [{"name": "id", "type": "long"}, {"name": "op", "type": "string"}, {"name": "at", "type": "string"}],
    }
    (folder / "1.avsc").write_text(json.dumps(schema))
    topic = items.kafka.create_topic(f"{items.topic}-avro")
    here = items.here.with_(
        ("data_types/item", item(topic, format="avro")), ("event_log/schemas", str(folder)), ("ledger/schema", "avro")
    )
    publish(items.kafka, topic, [avro(tmp_path, schema, 1, key) for key in range(1, 101)])
    lost(items, 1001)
    publish(items.kafka, topic, [avro(tmp_path, schema, 7, 1001)])  # announced after all, by a schema nobody knows yet
    # Created by that schema too, deleted since by one that is known: the deletion was read first, and is still the last word.
    publish(items.kafka, topic, [avro(tmp_path, schema, 7, 1002), avro(tmp_path, schema, 1, 1002, "deleted")])
    register(items.target, "item", [1002])
    gaps = here.run("gaps")
    assert gaps.code == 3, gaps
    assert gaps.json["claims"]["drop_rate"] == "incomplete"
    record, other = here.run("quarantine", "list").json["records"]
    assert "7" in record["reason"]
    too_early = here.run("quarantine", "resolve", str(record["id"]), "--again")
    assert too_early.code == 1, too_early
    assert list(too_early.json["failed"]) == [str(record["id"])]

    (folder / "7.avsc").write_text(json.dumps(schema))
    resolved = here.run("quarantine", "resolve", str(record["id"]), str(other["id"]), "--again")
    assert resolved.code == 0, resolved
    gaps = here.run("gaps", "--deletes")
    assert gaps.json["claims"]["drop_rate"] == "complete"
    assert gaps.of("item")["gaps"]["by_class"] == {"unapplied_create": 1}
    assert gaps.of("item")["orphans"]["by_class"] == {"unapplied_delete": 1}


def test_a_hole_is_settled_by_name_and_its_rows_stay_unread(items: Items) -> None:
    """Retention overtook a stopped tracker; the loss is accepted, and every later verdict says by whom and why."""
    assert items.here.run("track", "--until-end").code == 0
    lost(items, 1001, 1002)
    publish(items.kafka, items.topic, [event(1001), event(1002), event(7)])
    items.kafka.delete_records(items.topic, {0: 102})
    register(items.target, "item", [1002])  # another path healed it: no drop either, for nobody heard
    gaps = items.here.run("gaps", "--deletes")
    assert gaps.code == 4, gaps
    (hole,) = items.here.run("quarantine", "list").json["holes"]
    assert (hole["id"], hole["kind"], hole["from_offset"], hole["to_offset"]) == ("hole-1", "retention", 100, 102)
    assert items.here.run("quarantine", "show", "hole-1").json == hole
    assert "hole-1" in items.here.run("status", json=False).out

    assert items.here.run("quarantine", "resolve", "hole-1", "--again").code == 1
    assert items.here.run("quarantine", "resolve", "hole-1", "--accept", "").code == 2
    for wrong in ("hole-0", "hole-x", "hole", "-1", "1.5", "hole-99999999999999999999"):
        bad = items.here.run("quarantine", "show", wrong)
        assert (bad.code, bad.out) == (2, ""), bad
    assert items.here.run("quarantine", "show", "hole-2").code == 1
    accepted = items.here.run("quarantine", "resolve", "hole-1", "--accept", "the outage of \x1b[32mMay\nCLEAR")
    assert (accepted.code, accepted.json) == (0, {"settled": ["hole-1"], "failed": {}}), accepted
    assert items.here.run("quarantine", "list").json == {"records": [], "holes": []}

    again = items.here.run("gaps", "--deletes")
    assert again.code == 3, again
    valid(again.json)
    proof = again.proof("log_unbroken")
    assert proof["held"] is True
    assert "hole-1" in proof["seen"]
    assert "@" in proof["seen"]
    assert "the outage of" in proof["seen"]
    told = again.of("item")
    assert told["gaps"]["by_cause"] == {"unread": 1}
    assert (told["gaps"]["by_class"], told["healed_drops"]) == ({"unheard_create": 1}, 0)
    assert (told["drop_rate"]["dropped"], told["drop_rate"]["incomplete"]) == (0, [])
    assert "hole-1" in told["drop_rate"]["left_out"][0]
    (standing,) = items.here.run("status").json["holes"]
    assert (standing["id"], standing["state"]) == ("hole-1", "accepted")
    words = items.here.run("report", "latest", json=False).out
    assert "the outage of" in words
    assert "\x1b" not in words
    assert "\nCLEAR" not in words


def avro(folder: Path, schema: dict[str, Any], number: int, key: int, op: str = "created") -> bytes:
    path = folder / "record"
    with path.open("wb") as out:
        out.write(b"\0" + number.to_bytes(4, "big"))
        fastavro.schemaless_writer(out, schema, {"id": key, "op": op, "at": datetime.now(UTC).isoformat()})
    return path.read_bytes()
