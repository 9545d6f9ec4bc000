"""Whatever is wrong is told in one readable chain with a hint, quickly, and the ledger stays as it was.

Exit 2 where the settings or the question are wrong, also by naming what is not there, 1 where the work could not be done, 4
where it was judged and nobody can tell. Nothing on stdout unless it was judged.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import pytest

from tests.end_to_end import stand_ins
from tests.end_to_end.conftest import Items
from tests.end_to_end.installation import (
    CANARY,
    Done,
    Installation,
    execute,
    fine_items,
    fresh_databases,
    heard,
    item,
    item_tables,
    ledger_content,
    publish,
    secret_dsn,
    settings,
)
from tests.stack.kafka import Kafka
from tests.stack.postgres import Postgres

#: Whoever comes first waits for the others of its pool.
pytestmark = pytest.mark.timeout(400)
#: What is promised is 15 s beyond what the machine takes for a healthy run. Here many commands run at once on machines
#: that are busy with more: four times as long is still far from a command that hangs.
PATIENCE_S = 60.0
NOWHERE = f"postgresql://postgres:{CANARY}@127.0.0.1:9/none"


@pytest.fixture(scope="module")
def shared(postgres: Postgres, kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Items:
    """One installation for all, with a ledger that has something to lose: nothing here may change it."""
    source, target = fresh_databases(postgres)
    topic = kafka.create_topic(f"bad-input-{uuid.uuid4().hex[:8]}")
    item_tables(source, target)
    fine_items(source, target, kafka, topic, range(1, 21))
    here = Installation(tmp_path_factory.mktemp("bad"), settings(source, target, kafka, {"item": item(topic)}))
    assert here.run("gaps").code == 0
    here.healthy_s = here.run("gaps").took_s
    execute(source, "CREATE ROLE nobody_special LOGIN")
    return Items(here, source, target, kafka, topic)


def told(done: Done, code: int, *words: str) -> None:
    """A refusal as it should be."""
    assert done.code == code, done
    assert done.out == "", done
    lines = done.err.removeprefix("fencepost: looking the tables up\n").splitlines()
    assert lines[0].startswith("fencepost: "), done
    assert lines[-1].startswith("  try: "), done
    assert all(line.startswith("  because ") for line in lines[1:-1]), done
    for word in words:
        assert word in done.err, done
    assert done.waited_s < PATIENCE_S, done


@dataclass(frozen=True)
class Wrong:
    """What is changed in the settings, what is asked, and what must come of it."""

    change: tuple[tuple[str, Any], ...]
    code: int
    words: tuple[str, ...]
    line: tuple[str, ...] = ("gaps",)


def wrong(*change: tuple[str, Any], code: int, words: tuple[str, ...], line: tuple[str, ...] = ("gaps",)) -> Wrong:
    return Wrong(change, code, words, line)


ITEM = "data_types/item"
KAFKA = "event_log/kafka"
CASES = {
    "unknown setting": wrong(("data_typos", {"a": CANARY}), code=2, words=("data_typos", "did you mean 'data_types'")),
    "misspelt secret": wrong(("registry/pasword", CANARY), code=2, words=("registry.pasword",)),
    "unset variable": wrong(("source/dsn", "${FENCEPOST_NOT_SET}"), code=2, words=("FENCEPOST_NOT_SET",)),
    "missing secret file": wrong(("source/dsn", "${file:/run/no/such/secret}"), code=2, words=("/run/no/such/secret",)),
    "auto commit": wrong((f"{KAFKA}/enable.auto.commit", True), code=2, words=("enable.auto.commit",)),
    "auto reset": wrong((f"{KAFKA}/auto.offset.reset", "earliest"), code=2, words=("auto.offset.reset",)),
    "no Kafka setting": wrong((f"{KAFKA}/bootstrap.server", "h:1"), code=2, words=("bootstrap.server",)),
    "settle of no time": wrong(("fence/settle", "soon"), code=2, words=("fence.settle",)),
    "unreadable dsn": wrong(("source/dsn", f"postgresql://u:{CANARY}@h:port/d d"), code=2, words=("source",)),
    "window of no time": wrong(code=2, words=("--since", "72h"), line=("gaps", "--since", "yesterday-ish")),
    "negative window": wrong(code=2, words=("--since",), line=("gaps", "--since=-3h")),
    "window that lies ahead": wrong(code=2, words=("--since", "ahead"), line=("gaps", "--since", "2199-01-01T00:00:00Z")),
    "time without a zone": wrong(code=2, words=("--since", "zone"), line=("gaps", "--since", "2026-01-01T00:00:00")),
    "unknown data type": wrong(code=2, words=("'itm'", "'item'"), line=("gaps", "--type", "itm")),
    "unknown option": wrong(code=2, words=("--since-when",), line=("gaps", "--since-when", "1h")),
    "unknown command": wrong(code=2, words=("'gap'", "gaps"), line=("gap",)),
    "report into a file": wrong(code=2, words=("fencepost.yaml",), line=("gaps", "--report", "fencepost.yaml")),
    "missing source table": wrong((f"{ITEM}/source/table", "public.itms"), code=2, words=("public.itms", "the source")),
    "missing registry table": wrong((f"{ITEM}/registry/table", "other.item_registry"), code=2, words=("other.item_registry",)),
    # failure mode S10: a name is only ever one that the catalog has
    "hostile table": wrong((f"{ITEM}/source/table", 'items"; DROP TABLE items; --'), code=2, words=("items",)),
    "missing key column": wrong((f"{ITEM}/source/key", "idd"), code=2, words=("idd",)),
    "missing time column": wrong((f"{ITEM}/source/created_at", "made_at"), code=2, words=("made_at",)),
    "missing registry column": wrong((f"{ITEM}/registry/insert/nope", 1), code=2, words=("nope",), line=("cutover",)),
    "missing accepted column": wrong((f"{ITEM}/registry/accepted", {"stat": [1]}), code=2, words=("stat",)),
    "missing orphans column": wrong((f"{ITEM}/registry/orphans", {"stat": 5}), code=2, words=("stat",)),
    "missing column to insert from": wrong(
        (f"{ITEM}/registry/insert/state", {"source": "stat"}), code=2, words=("public.items", "'stat'"), line=("cutover",)
    ),
    "missing topic": wrong((f"{ITEM}/topics", ["no-such-topic"]), code=2, words=("no-such-topic",)),
    "missing topic, tracked": wrong(
        (f"{ITEM}/topics", ["no-such-topic"]), code=2, words=("no-such-topic",), line=("track", "--until-end")
    ),
    "source away": wrong(("source/dsn", NOWHERE), code=1, words=("the source", "127.0.0.1:9")),
    "registry away": wrong(("registry/dsn", NOWHERE), code=1, words=("the registry", "127.0.0.1:9")),
    "ledger away": wrong(("ledger/dsn", NOWHERE), code=1, words=("the ledger", "127.0.0.1:9")),
    "ledger away, status": wrong(("ledger/dsn", NOWHERE), code=1, words=("the ledger",), line=("status",)),
    "no such run": wrong(code=2, words=("'ZZZZ'", "fencepost runs"), line=("report", "ZZZZ")),
    "no such record": wrong(code=1, words=("4711", "quarantine list"), line=("quarantine", "show", "4711")),
}


#: These are also asked where there is no ledger yet.
EARLY = [(c, w) for c in ("missing key column", "missing topic", "source away") for w in ("gaps", "cutover", "track")]


@dataclass(frozen=True)
class Answers:
    """All cases, asked a few at a time: none may change the ledger, so none is in another's way."""

    before: object
    of: dict[str, Future[Done]]
    early: dict[tuple[str, str], Future[Done]]


def absent(case: str, command: str) -> str:
    return f"absent_{case.replace(' ', '_')}_{command}"


@pytest.fixture(scope="module")
def answers(shared: Items) -> Iterator[Answers]:
    def ask(case: Wrong) -> Done:
        return shared.here.with_(*case.change).run(*case.line)

    def ask_early(case: str, command: str) -> Done:
        line = [command, "--until-end"] if command == "track" else [command]
        return shared.here.with_(*CASES[case].change, ("ledger/schema", absent(case, command))).run(*line)

    before = ledger_content(shared.target)
    with ThreadPoolExecutor(3) as pool:
        found = {name: pool.submit(ask, case) for name, case in CASES.items()}
        yield Answers(before, found, {pair: pool.submit(ask_early, *pair) for pair in EARLY})


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_told_with_a_hint_and_the_ledger_stays_as_it_was(shared: Items, answers: Answers, name: str) -> None:
    told(answers.of[name].result(), CASES[name].code, *CASES[name].words)
    assert answers.before is not None
    assert ledger_content(shared.target) == answers.before


@pytest.mark.parametrize(("case", "command"), EARLY)
def test_what_is_wrong_creates_no_ledger(shared: Items, answers: Answers, case: str, command: str) -> None:
    told(answers.early[case, command].result(), CASES[case].code)
    assert ledger_content(shared.target, absent(case, command)) is None


@pytest.mark.parametrize("part", ["source", "registry"])
def test_a_table_that_may_not_be_read_is_refused_with_the_grant_to_give(shared: Items, part: str) -> None:
    dsn = {"source": shared.source, "registry": shared.target}[part].replace("postgres@", "nobody_special@")
    before = ledger_content(shared.target)
    done = shared.here.with_((f"{part}/dsn", dsn)).run("gaps")
    told(done, 1, f"the {part}", "GRANT SELECT")
    assert ledger_content(shared.target) == before


def test_a_registry_that_may_not_be_written_is_refused_before_anything_is_inserted(items: Items) -> None:
    execute(items.source, "INSERT INTO items (id) VALUES (200)")
    execute(items.target, "DO $$ BEGIN CREATE ROLE only_reads LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    execute(items.target, "GRANT SELECT ON item_registry TO only_reads")
    dsn = items.target.replace("postgres@", "only_reads@")
    done = items.here.with_(("registry/dsn", dsn)).run("cutover")
    assert done.code in (1, 3), done
    assert "permission denied" in done.err + done.out or "INSERT" in done.err + done.out
    if done.out:
        assert done.of("item")["backfilled"] == 0


def test_a_wrong_password_is_told_without_showing_it(own_postgres: Callable[..., Postgres], shared: Items) -> None:
    server = own_postgres()
    with server.connect() as db:
        db.execute("CREATE ROLE locked LOGIN PASSWORD 'the right one'")
    hba = server.data / "pg_hba.conf"
    hba.write_text("host all locked 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
    with server.connect() as db:
        db.execute("SELECT pg_reload_conf()")
    dsn = server.dsn(user="locked").replace("locked@", f"locked:{CANARY}@")
    for part in ("source", "registry", "ledger"):
        done = shared.here.with_((f"{part}/dsn", dsn)).run("gaps")
        told(done, 1, f"the {part}", "password authentication failed")


# -- servers that are away, or there and no help: most of them only wait, so they are asked at once -------------------

DATABASES = [(part, how) for part in ("source", "registry", "ledger") for how in ("silent", "nonsense")]
BROKERS = ["unknown", "silent", "nonsense"]
REGISTRIES = ["away", "silent", "page", "redirect", "nonsense", "broken", "dripping"]


@contextmanager
def no_help(how: str) -> Iterator[str]:
    """The address of something that is no help."""
    answers = {
        "page": stand_ins.PAGE,
        "redirect": stand_ins.REDIRECT,
        "nonsense": stand_ins.NONSENSE,
        "broken": stand_ins.BROKEN,
    }
    if how == "away":
        yield "127.0.0.1:9"
    elif how == "unknown":
        yield "no-such-host.invalid:9092"
    elif how == "silent":
        with stand_ins.silent() as port:
            yield f"127.0.0.1:{port}"
    else:
        with stand_ins.answering(answers.get(how, stand_ins.PAGE), drip=how == "dripping") as port:
            yield f"127.0.0.1:{port}"


@dataclass(frozen=True)
class Asked:
    """What became of a `gaps` whose servers were no help; `schema` is a ledger of its own."""

    done: Done
    address: str
    schema: str


@pytest.fixture(scope="module")
def helpless(shared: Items, avro_items: Items) -> Iterator[dict[tuple[str, str], Future[Asked]]]:
    def ask(part: str, how: str) -> Asked:
        schema = f"{part}_{how}"
        with no_help(how) as address:
            changes = {
                "broker": (f"{KAFKA}/bootstrap.servers", address),
                "schema_registry": (
                    "event_log/schema_registry",
                    {"url": f"http://{address}", "user": "u", "password": CANARY},
                ),
            }
            change = changes.get(part, (f"{part}/dsn", f"postgresql://postgres:{CANARY}@{address}/none"))
            world = avro_items if part == "schema_registry" else shared
            return Asked(world.here.with_(change, ("ledger/schema", schema)).run("gaps"), address, schema)

    wanted = [*DATABASES, *(("broker", how) for how in BROKERS), *(("schema_registry", how) for how in REGISTRIES)]
    with ThreadPoolExecutor(4) as pool:
        yield {case: pool.submit(ask, *case) for case in wanted}


@pytest.mark.parametrize(("part", "how"), DATABASES)
def test_a_database_that_says_nothing_or_nonsense_is_given_up(
    shared: Items, helpless: dict[tuple[str, str], Future[Asked]], part: str, how: str
) -> None:
    asked = helpless[part, how].result()
    told(asked.done, 1, f"the {part}", asked.address)
    assert ledger_content(shared.target, asked.schema) is None


@pytest.mark.parametrize("how", BROKERS)
def test_rows_are_compared_but_nobody_can_tell_while_the_broker_is_no_help(
    shared: Items, helpless: dict[tuple[str, str], Future[Asked]], how: str
) -> None:
    asked = helpless["broker", how].result()
    cannot_tell(asked.done, asked.address)
    assert heard(shared.target, asked.schema) == {}


def test_what_was_heard_before_stays_while_the_broker_is_away(shared: Items) -> None:
    before = heard(shared.target)
    assert before["segment"][0] == 1
    away = shared.here.with_((f"{KAFKA}/bootstrap.servers", "127.0.0.1:9"))
    cannot_tell(away.run("gaps"), "127.0.0.1:9")
    assert away.run("gaps", "--without-log").code == 0
    told(away.run("track", "--until-end"), 1, "127.0.0.1:9")
    assert heard(shared.target) == before


def cannot_tell(done: Done, address: str) -> None:
    assert done.code == 4, done
    assert done.waited_s < PATIENCE_S, done
    assert done.json["verdict"] == "CANNOT TELL"
    proof = done.proof("log_drained")
    assert proof["held"] is False
    assert address in proof["seen"]
    assert "--without-log" in proof["try"]
    assert done.of("item")["rows"] == 20, "the rows are compared all the same"


SCHEMA = {"type": "record", "name": "Item", "fields": [{"name": "id", "type": "long"}, {"name": "op", "type": "string"}]}


def avro(tmp_path: Path, number: int, key: int) -> bytes:
    path = tmp_path / f"record-{number}-{key}"
    with path.open("wb") as out:
        out.write(b"\0" + number.to_bytes(4, "big"))
        fastavro.schemaless_writer(out, SCHEMA, {"id": key, "op": "created"})
    return path.read_bytes()


@pytest.fixture(scope="module")
def avro_items(shared: Items, tmp_path_factory: pytest.TempPathFactory) -> Items:
    """The same rows, announced in Avro: three records nobody has read yet."""
    topic = shared.kafka.create_topic(f"{shared.topic}-avro")
    publish(shared.kafka, topic, [avro(tmp_path_factory.mktemp("avro"), 1, key) for key in (1, 2, 3)])
    shape = {"key": "id", "op": "op", "create": ["created"]}
    here = shared.here.with_((ITEM, item(topic, format="avro", event=shape)))
    return Items(here, shared.source, shared.target, shared.kafka, topic)


@pytest.mark.parametrize("how", REGISTRIES)
def test_a_schema_registry_that_is_no_help_makes_no_record_unreadable(
    avro_items: Items, helpless: dict[tuple[str, str], Future[Asked]], how: str
) -> None:
    asked = helpless["schema_registry", how].result()
    cannot_tell(asked.done, asked.address)
    assert "schema registry" in asked.done.proof("log_drained")["seen"]
    assert not {"quarantine", "segment"} & heard(avro_items.target, asked.schema).keys()


def test_what_a_registry_could_not_tell_is_read_once_it_can(avro_items: Items, tmp_path: Path) -> None:
    (tmp_path / "1.avsc").write_text(json.dumps(SCHEMA))
    schema = "registry_back"
    away = ("event_log/schema_registry", {"url": "http://127.0.0.1:9"})
    assert avro_items.here.with_(away, ("ledger/schema", schema)).run("gaps").code == 4
    here = avro_items.here.with_(("event_log/schemas", str(tmp_path)), ("ledger/schema", schema))
    done = here.run("gaps")
    assert done.code == 0, done
    assert done.of("item")["announced"] == 3


def test_every_server_away_at_once_is_told_by_check_without_giving_up(shared: Items) -> None:
    dead = [(f"{part}/dsn", NOWHERE) for part in ("source", "registry", "ledger")]
    done = shared.here.with_(*dead, (f"{KAFKA}/bootstrap.servers", "127.0.0.1:9")).run("check")
    assert done.code == 1, done
    assert done.waited_s < PATIENCE_S, done
    failed = [f["seen"] for f in done.json["findings"] if f["level"] == "fail"]
    for what in ("the source", "the registry", "the ledger", "the event log"):
        assert any(what in seen for seen in failed), done


def test_secret_dsns_of_this_file_really_hold_a_secret() -> None:
    assert CANARY in secret_dsn("postgresql://postgres@h/d")
