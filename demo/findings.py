"""Hold what fencepost found against what was planted, key by key, and look at the registry with our own eyes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import sql

from demo.losses import Creation, Fate, keys_of
from demo.postgres import Postgres
from demo.traffic import KINDS
from schemas.verdict import GapClass, Verdict

Keys = Mapping[str, set[str]]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the comparison."""

    words: str
    planted: str
    found: str
    agrees: bool


@dataclass(frozen=True, kw_only=True)
class Reports:
    """What the two judging commands left in their report folders."""

    gaps: dict[str, Any]
    gap_keys: dict[str, dict[str, set[str]]]  #: class -> data type -> keys
    cutover: dict[str, Any]

    @classmethod
    def read(cls, gaps: Path, cutover: Path) -> Reports:
        first, last = (json.loads((f / "report.json").read_text(encoding="utf-8")) for f in (gaps, cutover))
        by_class: dict[str, dict[str, set[str]]] = {}
        for told in first["data_types"]:
            for line in (gaps / told["name"] / "gaps.jsonl").read_text(encoding="utf-8").splitlines():
                gap = json.loads(line)
                by_class.setdefault(gap["class"], {}).setdefault(gap["data_type"], set()).add(gap["key"])
        return cls(gaps=first, gap_keys=by_class, cutover=last)


def compare(server: Postgres, world: Mapping[str, Sequence[Creation]], reports: Reports) -> Iterator[Line]:
    """Every planted loss against what was found of it; last, whether the registry is whole."""
    gap_classes = {GapClass.DROPPED_CREATE: Fate.DROPPED, GapClass.UNAPPLIED_CREATE: Fate.UNAPPLIED}
    words = {
        GapClass.DROPPED_CREATE: "never announced, so never registered (dropped_create)",
        GapClass.UNAPPLIED_CREATE: "announced, but lost by the applier (unapplied_create)",
    }
    for gap_class, fate in gap_classes.items():
        yield _keys(words[gap_class], keys_of(world, fate), reports.gap_keys.get(gap_class, {}))
    others = {c: keys for c, keys in reports.gap_keys.items() if c not in gap_classes}
    yield _keys("gaps of any other class", {}, _together(others))
    healed = sum(told["healed_drops"] for told in reports.gaps["data_types"])
    yield _count("never announced, registered by another path (healed_drops)", _size(keys_of(world, Fate.HEALED)), healed)
    registered = _registered(server)
    reported = _together(reports.gap_keys)
    for fate, about in (
        (Fate.DELETED, "created and deleted again: no gap, not registered"),
        (Fate.ROLLED_BACK, "announced, then rolled back: no gap, not registered"),
    ):
        wrong = {name: reported.get(name, set()) | registered[name] for name in registered}
        planted = keys_of(world, fate)
        yield _keys(about, planted, {name: keys - wrong[name] for name, keys in planted.items()})
    yield _count("records that nobody can read (quarantine)", 1, _quarantined(server))
    yield _said("verdict of `gaps`", Verdict.GAPS, reports.gaps["verdict"])
    missing = keys_of(world, *(fate for fate in Fate if fate.missing))
    yield _count(
        "registry rows inserted by `cutover`",
        _size(missing),
        sum(told["backfilled"] for told in reports.cutover["data_types"]),
    )
    yield _said("verdict of `cutover`", Verdict.CLEAR, reports.cutover["verdict"])
    yield _keys("registered now: exactly the rows that exist", keys_of(world, *(f for f in Fate if f.exists)), registered)


def _keys(words: str, planted: Keys, found: Keys) -> Line:
    same = {name: keys for name, keys in planted.items() if keys} == {name: keys for name, keys in found.items() if keys}
    count = f"{_size(found):,}"
    if not same and _size(found) == _size(planted):
        count += " others"
    return Line(words=words, planted=f"{_size(planted):,}", found=count, agrees=same)


def _count(words: str, planted: int, found: int) -> Line:
    return Line(words=words, planted=f"{planted:,}", found=f"{found:,}", agrees=planted == found)


def _said(words: str, wanted: str, said: str) -> Line:
    return Line(words=words, planted=str(wanted), found=said, agrees=wanted == said)


def _size(keys: Keys) -> int:
    return sum(map(len, keys.values()))


def _together(classes: Mapping[str, Keys]) -> dict[str, set[str]]:
    out: dict[str, set[str]] = {}
    for by_type in classes.values():
        for name, keys in by_type.items():
            out.setdefault(name, set()).update(keys)
    return out


def _registered(server: Postgres) -> dict[str, set[str]]:
    out = {}
    with server.connect("tracking") as db:
        for kind in KINDS:
            query = sql.SQL("SELECT {}::text FROM {}").format(
                sql.Identifier(kind.registry_key), sql.Identifier("public", kind.registry)
            )
            out[kind.name] = {row[0] for row in db.execute(query)}
    return out


def _quarantined(server: Postgres) -> int:
    with server.connect("tracking") as db:
        row = db.execute("SELECT count(*) FROM fencepost.quarantine WHERE state = 'open'").fetchone()
        return int(row[0]) if row else 0
