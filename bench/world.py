"""A source, a registry and a warm ledger of any size, with a known truth, for `fencepost gaps`.

The rows are real. Of the log, the newest events lie in a real topic and were really tracked; the older ones were written
into the ledger by the tracker's own writer, a flush each, as if retention had taken their records since.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import psycopg
import yaml

from bench.events import avro, event_schema, fill
from bench.stand import Stand
from consumer.catch_up import catch_up
from consumer.ledger import append
from consumer.merge import tidy
from consumer.segments import Segment
from databases.ledger import Ledger
from schemas.announced import Announced
from schemas.keys import KeyType, key_type
from schemas.settings import Settings, load
from tests.stack.postgres import Major, Postgres

Kind = Literal["int", "uuid"]
#: One after the other; 1,000 neighbours at a time, a billion apart; anywhere in 62 bits, in no order.
Shape = Literal["dense", "islands", "sparse"]
Column = npt.NDArray[Any]

PARTITIONS = 4
#: Events of one flush, as the tracker's default has it.
FLUSH = 200_000
#: The newest events, at most so many, lie in the topic and are found again there.
TAIL = 20_000
#: The rows spread evenly over these days, the last of them an hour old.
DAYS = 10
_COPY = 500_000
_ISLAND, _APART = 1000, 1_000_000_000
_ODD = 0x1E3779B97F4A7C15
_2000_US = 946_684_800_000_000
_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)


@dataclass(frozen=True, kw_only=True)
class World:
    """`missing` of the rows are not in the registry; the first `dropped` of those were never announced."""

    stand: Stand
    major: Major
    rows: int
    missing: int
    dropped: int
    kind: Kind = "int"
    shape: Shape = "dense"  #: of integers
    now_us: int

    @cached_property
    def folder(self) -> Path:
        return self.stand.room("world")

    @cached_property
    def server(self) -> Postgres:
        return self.stand.postgres(self.major)

    @cached_property
    def topic(self) -> str:
        return self.stand.kafka.create_topic(self.stand.new("topic"), PARTITIONS)

    @cached_property
    def source(self) -> str:
        return self.server.create_database(self.stand.new("source"))

    @cached_property
    def target(self) -> str:
        return self.server.create_database(self.stand.new("target"))

    @cached_property
    def keys(self) -> Column:
        """In the order of their creation."""
        if self.kind == "int":
            places = np.arange(1, self.rows + 1, dtype=np.int64)
            if self.shape == "islands":
                return places // _ISLAND * _APART + places % _ISLAND
            # An odd factor moves every number of 62 bits to a place of its own, in no order.
            return places * _ODD & (1 << 62) - 1 if self.shape == "sparse" else places
        lanes = np.random.default_rng(18).integers(0, 1 << 64, (self.rows, 2), np.uint64)
        lanes[:, 1] |= np.uint64(1)  # in the last byte: a key that ends in zero bytes is another topic
        return lanes.astype(">u8").view("S16").ravel()

    @cached_property
    def times_us(self) -> npt.NDArray[np.int64]:
        hour_us = 3_600_000_000
        return np.linspace(self.now_us - DAYS * 24 * hour_us, self.now_us - hour_us, self.rows).astype(np.int64)

    @cached_property
    def lost(self) -> npt.NDArray[np.int64]:
        """Which rows are missing, by place; unordered, so that the first of them are any."""
        chosen: npt.NDArray[np.int64] = np.random.default_rng(7).choice(self.rows, self.missing, replace=False)
        return chosen

    @cached_property
    def key_type(self) -> KeyType:
        return key_type(self.kind)

    def build(self) -> World:
        self._tables()
        self._ledger()
        return self

    def drop(self) -> None:
        for dsn in (self.source, self.target):
            self.server.drop_database(dsn.rpartition("/")[2])

    # -- rows -------------------------------------------------------------------------------------------------------

    def _tables(self) -> None:
        sql_type = {"int": "bigint", "uuid": "uuid"}[self.kind]
        with psycopg.connect(self.source, autocommit=True) as db:
            db.execute(f"CREATE TABLE items (id {sql_type}, project_id int, created_at timestamptz)")
            self._copy(db, "items (id, project_id, created_at)", np.ones(self.rows, np.bool_))
            db.execute("ALTER TABLE items ADD PRIMARY KEY (id)")
            db.execute("VACUUM (FREEZE, ANALYZE) items")
        registered = np.ones(self.rows, np.bool_)
        registered[self.lost] = False
        with psycopg.connect(self.target, autocommit=True) as db:
            db.execute(
                f"CREATE TABLE item_registry (id bigserial, item_id {sql_type} NOT NULL, state smallint NOT NULL DEFAULT 2,"
                " project_id int, created_at timestamptz)"
            )
            self._copy(db, "item_registry (item_id, project_id, created_at)", registered)
            db.execute("ALTER TABLE item_registry ADD PRIMARY KEY (id)")
            db.execute("CREATE UNIQUE INDEX ON item_registry (item_id)")
            db.execute("VACUUM (FREEZE, ANALYZE) item_registry")
            db.execute("CHECKPOINT")

    def _copy(self, db: psycopg.Connection[Any], into: str, chosen: npt.NDArray[np.bool_]) -> None:
        width = 8 if self.kind == "int" else 16
        row = np.dtype(
            [("fields", ">i2"), ("n0", ">i4"), ("key", ">i8" if self.kind == "int" else "S16"),
             ("n1", ">i4"), ("project", ">i4"), ("n2", ">i4"), ("at", ">i8")]
        )  # fmt: skip
        with db.cursor().copy(f"COPY {into} FROM STDIN (FORMAT binary)") as copy:
            copy.write(_HEAD)
            for low in range(0, self.rows, _COPY):
                part = np.flatnonzero(chosen[low : low + _COPY]) + low
                out = np.zeros(len(part), row)
                out["fields"], out["n0"], out["n1"], out["n2"] = 3, width, 4, 8
                out["key"], out["project"], out["at"] = self.keys[part], part % 100, self.times_us[part] - _2000_US
                copy.write(out.tobytes())
            copy.write(b"\xff\xff")

    # -- the log ------------------------------------------------------------------------------------------------------

    def _ledger(self) -> None:
        announced = np.ones(self.rows, np.bool_)
        announced[self.lost[: self.dropped]] = False
        places = np.flatnonzero(announced)
        settings = self.settings()
        with closing(Ledger.of(settings)) as ledger:
            ledger.upgrade()
            state = catch_up(settings, ledger, {"item": self.key_type})  # the log is new: positions at its start
            tail = max(len(places) - TAIL, len(places) // 2)
            for low in range(0, tail, FLUSH):
                with ledger.begin("write a flush") as db:
                    append(
                        db, state.incarnation, self._segment(places[low : min(low + FLUSH, tail)]), self.key_type, ledger.schema
                    )
            tidy(ledger, state.incarnation, {"item": self.key_type}, settings.ledger.keep)
            fill(self.stand.kafka.bootstrap, self.topic, self._events(places[tail:]), PARTITIONS)
            state = catch_up(settings, ledger, {"item": self.key_type})
            assert state.records == len(places) - tail, state.records
        with psycopg.connect(self.target, autocommit=True) as db:
            db.execute("VACUUM ANALYZE")

    def _segment(self, places: npt.NDArray[np.int64]) -> Segment:
        nothing = self.key_type.empty()
        times = self.times_us[places]
        said = Announced(
            created=self.key_type.keys(self.keys[places]), deleted=nothing, recreated=nothing, unsure=nothing,
            first_us=int(times[0]), last_us=int(times[-1]),
        )  # fmt: skip
        firsts: dict[tuple[str, int], tuple[int, int | None]] = {(self.topic, p): (0, int(times[0])) for p in range(PARTITIONS)}
        return Segment(data_type="item", said=said, creates=len(places), deletes=0, offsets={}, firsts=firsts, newest={})

    def _events(self, places: npt.NDArray[np.int64]) -> Iterator[bytes]:
        schema = 1 if self.kind == "int" else 2
        keys = self.keys[places].tolist()
        for number, (key, at_us) in enumerate(zip(keys, self.times_us[places].tolist(), strict=True)):
            named = key if self.kind == "int" else self.key_type.text(key)
            yield avro(number, named, at_us, schema=schema)

    # -- the command --------------------------------------------------------------------------------------------------

    @cached_property
    def config(self) -> Path:
        schemas = self.folder / "schemas"
        schemas.mkdir()
        for number, key in ((1, "long"), (2, "string")):
            (schemas / f"{number}.avsc").write_text(json.dumps(event_schema(key)))
        plain = {
            "source": {"dsn": self.source},
            "registry": {"dsn": self.target},
            "event_log": {
                "kafka": {"bootstrap.servers": self.stand.kafka.bootstrap, "group.id": self.topic},
                "schemas": str(schemas),
            },
            "fence": {"settle": "0s"},
            "data_types": {"item": {
                "topics": [self.topic], "format": "avro",
                "event": {"key": "model_record_id", "op": "event_name", "create": ["created"], "delete": ["deleted"],
                          "time": "created_at"},
                "source": {"table": "public.items", "key": "id", "created_at": "created_at"},
                "registry": {"table": "public.item_registry", "key": "item_id", "insert": {"state": 0}},
            }},
        }  # fmt: skip
        path = self.folder / "fencepost.yaml"
        path.write_text(yaml.safe_dump(plain))
        return path

    def settings(self) -> Settings:
        return load(self.config, {})
