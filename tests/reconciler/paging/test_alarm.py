"""An alarm from its first sign to its end, and what is sent of it, without a server."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from reconciler.alerts.rules import groups
from reconciler.auditing.standing import Standing
from reconciler.paging import conditions, message
from reconciler.paging.alarm import Alarm, Condition, Place, Status, step
from reconciler.paging.conditions import Heard, Sight
from reconciler.paging.message import AtHand
from reconciler.paging.quiet import SAID_BY, said_already
from tests.reconciler.alerts.support import settings

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PLACE = Place(name="FencepostBlind", data_type="upload", more="reason=log")
WELL, ILL = Condition(value=None, lasts=5 * MINUTE), Condition(value=1.0, lasts=5 * MINUTE)


def told(alarm: Alarm | None) -> Alarm:
    assert alarm is not None
    return replace(alarm, told=True)


def after(*steps: tuple[int, Condition], alarm: Alarm | None = None, place: Place = PLACE) -> Alarm | None:
    for minute, found in steps:
        alarm = step(place, alarm, found, NOW + minute * MINUTE)
    return alarm


def test_nobody_is_told_before_it_lasted_and_then_once() -> None:
    waits = after((0, ILL), (4, ILL))
    assert waits is not None
    assert (waits.status, waits.due) == (Status.PENDING, None)
    fires = after((5, ILL), alarm=waits)
    assert fires is not None
    assert (fires.status, fires.due, fires.started_at) == (Status.FIRING, Status.FIRING, NOW + 5 * MINUTE)
    assert told(fires).due is None
    assert after((6, ILL), (60, ILL), alarm=told(fires)) == told(fires)


def test_what_ended_before_it_lasted_was_never_there() -> None:
    assert after((0, ILL), (4, WELL)) is None
    begun_anew = after((0, ILL), (4, WELL), (5, ILL))
    assert begun_anew is not None
    assert begun_anew.since == NOW + 5 * MINUTE


def test_an_end_is_told_after_the_beginning_even_where_both_are_over() -> None:
    over = after((0, ILL), (5, ILL), (6, WELL), (7, WELL))
    assert over is not None
    assert (over.status, over.due, over.ended_at) == (Status.RESOLVED, Status.FIRING, NOW + 6 * MINUTE)
    assert told(over).due is Status.RESOLVED


def test_an_end_that_nobody_heard_of_never_was() -> None:
    again = after((0, ILL), (5, ILL), (6, WELL), (7, ILL))
    assert again is not None
    assert (again.status, again.started_at, again.ended_at) == (Status.FIRING, NOW + 5 * MINUTE, None)


def test_lag_that_falls_is_of_a_log_that_is_read() -> None:
    def lag(value: float) -> Condition:
        return Condition(value=value, lasts=5 * MINUTE, growing=True)

    falls = after((0, lag(5)), (4, lag(9)), (6, lag(8)), (9, lag(8)))
    assert falls is not None
    assert (falls.status, falls.since) == (Status.PENDING, NOW + 6 * MINUTE)
    stands = after((11, lag(8)), alarm=falls)
    assert stands is not None
    assert stands.status is Status.FIRING
    read = after((12, lag(7)), alarm=told(stands))
    assert read is not None
    assert read.status is Status.RESOLVED


# -- conditions -------------------------------------------------------------------------------------------------------

AT = NOW.timestamp()


def standing() -> Standing:
    s = Standing(positions={("t", 0): (90, round(1e6 * AT))})
    s.judged_until["upload"] = s.sweep_finished["upload"] = AT
    return s


def sight(s: Standing, **more: object) -> Sight:
    usual: dict[str, object] = {"heard": {}, "blind": {}, "ends": {("t", 0): 90}, "skew_s": {"source": 1.0, "registry": -1.0}}
    return Sight(now=AT, standing=s, **(usual | more))  # type: ignore[arg-type]


def ill(seen: Sight, held: tuple[str, ...] = ("upload",)) -> dict[str, float]:
    found = conditions.judged(settings(sweep={"every": "1h"}), held, seen)
    return {f"{place.name} {place.more}".strip(): c.value for place, c in found if c.value is not None}


def burning(s: Standing) -> None:
    s.rate_low |= {("upload", window): 0.01 for window in ("5m", "30m", "1h", "2h", "6h", "24h", "72h")}


def nothing(s: Standing) -> None:
    assert s.judged_until


def one_window(s: Standing) -> None:
    s.rate_low["upload", "1h"] = 0.5


ILLS = {
    "a fast burn, and with it every slower one": (burning, {}, {"FencepostDropRateFast": 0.01, "FencepostDropRateSlow": 0.01}),
    "one window alone": (one_window, {}, {}),
    "no audit": (lambda s: s.judged_until.clear(), {}, {"FencepostNoAudit": AT}),
    "an old look": (lambda s: s.judged_until.update(upload=AT - 3600), {}, {"FencepostNoAudit": 3600.0}),
    "an old sweep": (lambda s: s.sweep_finished.update(upload=AT - 4000), {}, {"FencepostSweepOld": 4000.0}),
    "blind by the ledger's word": (lambda s: s.blind.update(upload={"log"}), {}, {"FencepostBlind reason=log": 1.0}),
    "blind by our own": (nothing, {"blind": {"upload": {"source"}}}, {"FencepostBlind reason=source": 1.0}),
    "a silent log": (nothing, {"heard": {"upload": Heard(rows=21, events=0)}}, {"FencepostLogSilent": 21.0}),
    "a log that speaks": (nothing, {"heard": {"upload": Heard(rows=21, events=1)}}, {}),
    "few rows": (nothing, {"heard": {"upload": Heard(rows=20, events=0)}}, {}),
    "gaps": (lambda s: s.gaps_open.update(upload=7), {}, {"FencepostGapsOpen": 7.0}),
    "holes": (lambda s: setattr(s, "holes", 2), {}, {"FencepostHoleOpen": 2.0}),
    "quarantine": (lambda s: setattr(s, "quarantine", 3), {}, {"FencepostQuarantineOpen": 3.0}),
    "lag": (nothing, {"ends": {("t", 0): 95}}, {"FencepostLogStalled partition=0,topic=t": 5.0}),
    "ends that nobody knows": (nothing, {"ends": {}}, {}),
    "a clock": (nothing, {"skew_s": {"source": -6.0}}, {"FencepostClockSkew side=source": 6.0}),
}


@pytest.mark.parametrize("case", ILLS.values(), ids=ILLS)
def test_conditions_are_those_of_the_rules(case: tuple[object, dict[str, object], dict[str, float]]) -> None:
    worsen, more, wanted = case
    s = standing()
    assert ill(sight(s)) == {}
    worsen(s)  # type: ignore[operator]
    assert ill(sight(s, **more)) == wanted
    assert ill(sight(s, **more), held=()) == {}, "who holds nothing says nothing"


def test_every_alert_of_the_rules_has_its_condition_and_its_wait() -> None:
    all_of = dict(conditions.judged(settings(sweep={"every": "1h"}), ["upload"], sight(standing())))
    rules = {r["alert"]: r for g in groups(settings(sweep={"every": "1h"}))["groups"] for r in g["rules"] if "alert" in r}
    assert {place.name for place in all_of} == set(rules) - {"FencepostDown"}  # a dead audit sends nothing
    for place, found in all_of.items():
        if place.name != "FencepostLogStalled":  # what it looks back at is part of its wait
            assert found.lasts == conditions.alerts(settings(sweep={"every": "1h"}))[place.name].lasts


def test_what_a_settings_file_no_longer_has_is_known_no_more() -> None:
    there = settings("a", "b")
    assert conditions.known(there, Place(name="X", data_type="a"))
    assert conditions.known(there, Place(name="X", data_type="*", more="partition=1,topic=t"))
    assert not conditions.known(there, Place(name="X", data_type="c"))
    assert not conditions.known(there, Place(name="X", data_type="*", more="partition=1,topic=gone"))


# -- messages ---------------------------------------------------------------------------------------------------------


def test_a_message_is_what_alertmanagers_receivers_read_with_the_ids_at_hand() -> None:
    place = Place(name="FencepostDropRateFast", data_type="upload")
    alert = conditions.alerts(settings())[place.name]
    words = message.words(place, alert, 0.0123, "https://wiki/runbooks", AtHand(keys=("7", "9"), run="01J"))
    fires = Alarm(place=place, status=Status.FIRING, since=NOW, started_at=NOW, value=0.0123, words=words)
    found = json.loads(message.body(fires, Status.FIRING))
    (sent,) = found["alerts"]
    assert (found["version"], found["status"], found["groupKey"]) == ("4", "firing", "FencepostDropRateFast/upload")
    assert sent["labels"] == {"alertname": "FencepostDropRateFast", "data_type": "upload", "severity": "page"}
    assert sent["annotations"]["description"].startswith("At least 1.23% of the creations of upload were not announced")
    assert sent["annotations"]["runbook_url"] == "https://wiki/runbooks#fencepostdropratefast"
    assert (sent["keys"], sent["run"], sent["endsAt"]) == (["7", "9"], "01J", "0001-01-01T00:00:00Z")
    over = replace(fires, status=Status.RESOLVED, ended_at=NOW + MINUTE)
    (ended,) = json.loads(message.body(over, Status.RESOLVED))["alerts"]
    assert (ended["status"], ended["endsAt"]) == ("resolved", "2026-11-01T12:01:00Z")
    assert {name: ended[name] for name in ("labels", "startsAt", "fingerprint")} == {
        name: sent[name] for name in ("labels", "startsAt", "fingerprint")
    }


@pytest.mark.parametrize("alert", conditions.alerts(settings(sweep={"every": "1h"})).values(), ids=lambda a: a.name)
def test_no_template_is_left_unfilled(alert: object) -> None:
    labels = {"data_type": "upload", "reason": "log", "side": "source", "topic": "t", "partition": "3", "instance": "a:1"}
    for text in (alert.summary, alert.description):  # type: ignore[attr-defined]
        filled = message.filled(text, labels, 90061.0)
        assert "{{" not in filled
        assert "$" not in filled
    assert message.filled("{{ $value | humanizeDuration }}", {}, 90061.0) == "1d 1h 1m 1s"
    assert message.filled("{{ $value | humanizeDuration }}", {}, 6.2) == "6s"


def an(name: str, more: str = "", *, data_type: str = "upload", ended: int | None = None, begun: int = 0) -> Alarm:
    """That began, and ended, so many minutes later."""
    return Alarm(
        place=Place(name=name, data_type=data_type, more=more),
        status=Status.FIRING if ended is None else Status.RESOLVED,
        since=NOW,
        value=1.0,
        started_at=NOW + begun * MINUTE,
        ended_at=None if ended is None else NOW + ended * MINUTE,
    )


FAST, SLOW = "FencepostDropRateFast", "FencepostDropRateSlow"
BEHIND, STALLED = "FencepostLogBehind", "FencepostLogStalled"


@pytest.mark.parametrize(
    ("alarm", "other", "said"),
    [
        (an(SLOW), an(FAST), True),
        (an(FAST), an(SLOW), False),
        (an(SLOW), an(FAST, data_type="job"), False),
        (an(SLOW), an(FAST, ended=5), False),
        (an(SLOW), replace(an(FAST), status=Status.PENDING, started_at=None), False),
        (an(SLOW, ended=5), an(FAST, ended=5), True),
        (an(SLOW, ended=5), an(FAST), True),
        (an(SLOW, ended=5), an(FAST, ended=4), False),
        (an(SLOW, ended=5), an(FAST, begun=6), False),
        (an(BEHIND, "partition=0,topic=t"), an(STALLED, "partition=0,topic=t"), True),
        (an(BEHIND, "partition=0,topic=t"), an(STALLED, "partition=1,topic=t"), False),
    ],
)
def test_only_what_another_alarm_of_the_same_thing_says_meanwhile_is_said_already(
    alarm: Alarm, other: Alarm, said: bool
) -> None:
    assert said_already(alarm, [alarm, other]) is said


def test_the_webhook_keeps_quiet_of_what_alertmanager_is_told_to_keep_quiet_of() -> None:
    file = Path(__file__).parents[3] / "docker" / "alertmanager.yml"
    theirs = {}
    for rule in yaml.safe_load(file.read_text())["inhibit_rules"]:
        source, target = (re.findall('"(.+)"', rule[side][0])[0] for side in ("source_matchers", "target_matchers"))
        theirs[target, source] = tuple(rule.get("equal", ()))
    down = theirs.pop(("FencepostNoAudit", "FencepostDown"))  # a dead audit sends nothing anyway
    assert down == ()
    assert theirs == {(name, other): equal for name, (other, equal) in SAID_BY.items()}
