"""The rates that are exported, held against sums and binomials that are reckoned another way, over histories at random."""

from __future__ import annotations

import random
from datetime import timedelta
from fractions import Fraction
from math import comb
from pathlib import Path

import psycopg
import pytest

from databases.ledger import Ledger
from reconciler.auditing import standing
from reconciler.auditing.rate import lower_bound
from schemas.burn import label, windows
from schemas.settings import Settings
from tests.consumer.support import settings

EVERY = timedelta(minutes=5)


def tail(failed: int, trials: int, rate: Fraction) -> Fraction:
    """How probable so many failures or more are, exactly."""
    return 1 - sum((comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(failed)), Fraction(0))


@pytest.mark.parametrize("seed", range(40))
def test_a_bound_is_where_so_many_failures_have_five_chances_in_a_hundred(seed: int) -> None:
    rng = random.Random(seed)
    trials = rng.choice([2, 3, 10, 50, 250])
    failed = rng.randint(2, trials)
    bound = Fraction(lower_bound(failed, trials))
    near = Fraction(1, 10**9)
    assert tail(failed, trials, max(Fraction(0), bound - near)) <= Fraction(1, 20) <= tail(failed, trials, bound + near)


@pytest.fixture
def about(ledger_database: str, tmp_path: Path) -> Settings:
    return settings(ledger_database, types={"job": ["jobs"], "upload": ["uploads"]}, audit={"every": "5m"})


def looked(about: Settings, looks: list[tuple[str, float, int, int]]) -> dict[tuple[str, str], float]:
    """The rates told, where each look was so many seconds ago."""
    dsn = about.ledger_dsn.get_secret_value()
    with psycopg.connect(dsn) as db, db.cursor() as cursor:
        cursor.execute("DELETE FROM fencepost.audit_look")
        cursor.executemany(
            "INSERT INTO fencepost.audit_look (data_type, look, trials, failed, creations, at)"
            " VALUES (%s, %s, %s, %s, 0, clock_timestamp() - make_interval(secs => %s))",
            [(name, number, trials, failed, ago) for number, (name, ago, trials, failed) in enumerate(looks)],
        )
    ledger = Ledger.of(about)
    try:
        return standing.read(ledger, about).rate_low
    finally:
        ledger.engine.dispose()


@pytest.mark.parametrize("seed", range(6))
def test_what_is_told_is_the_bound_of_the_sums_of_each_window(about: Settings, seed: int) -> None:
    rng = random.Random(seed)
    looks = []
    for name in ("job", "upload"):
        ago = rng.uniform(0, 1.4) * 300
        for _ in range(rng.randint(1, 1200)):
            trials = rng.choice([0, 1, 5, 300])
            looks.append((name, ago, trials, rng.randint(0, trials) if rng.random() < 0.1 else 0))
            ago += 301 + rng.choice([0.0, 5.0, 3600.0 if rng.random() < 0.01 else 9.0])
    told = looked(about, looks)
    for name in ("job", "upload"):
        mine = [look for look in looks if look[0] == name]
        ends = min(mine[0][1], 150.0)  # seconds ago: with the last look, or half a look ago
        for span in windows(EVERY):
            inside = [look for look in mine if look[1] < ends + span.total_seconds()]
            trials, failed = sum(look[2] for look in inside), sum(look[3] for look in inside)
            assert told[name, label(span)] == pytest.approx(lower_bound(failed, trials)), (name, span)


def test_a_look_that_takes_longer_than_the_last_ends_no_alarm_and_an_audit_that_looks_no_more_does(about: Settings) -> None:
    for ago, stands in ((1.0, True), (299.0, True), (303.0, True), (330.0, True), (460.0, False)):
        told = looked(about, [("job", ago, 100, 50), ("job", ago + 301, 100, 0)])
        assert (told["job", "5m"] > 0.3) is stands, ago


def test_a_tiny_count_is_never_above_a_limit_and_a_true_rate_is_after_two_looks(about: Settings) -> None:
    assert looked(about, [("job", 10.0, 3, 1), ("job", 311.0, 3, 0)])["job", "1h"] == 0
    told = looked(about, [("job", 10.0, 1000, 20), ("job", 311.0, 1000, 0)])
    assert min(told["job", "5m"], told["job", "1h"]) > 14.4 * 0.0001
