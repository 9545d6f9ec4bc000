"""Each proof held, not held and not asked, from what a run showed; and that a failure takes only what needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.fence import Fence, Transaction
from reconciler.identity import Identity, contradiction
from reconciler.proofs import ORDER, Claim, Shown, judge, module, withheld
from reconciler.proofs.shown import Met, Needles, TypeShown
from reconciler.window import Plan
from schemas.log_state import AcceptedRecords, Hole, LogState, PartitionState
from schemas.verdict import Proof, Window

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
LOG_PROOFS = ("log_identity", "log_drained", "decoded", "log_unbroken")


def identity(side: str) -> Identity:
    return Identity(side=side, system="71", timeline=1, database_oid=5, database="app", lsn=0x16B3748, xid=700)


def partition(topic: str, number: int = 0, *, reached: int = 10, stable: int | None = None) -> PartitionState:
    return PartitionState(
        topic=topic, partition=number, topic_id=None, start=0, first_read=0, high=10, stable=stable, reached=reached
    )


def a_type(name: str) -> TypeShown:
    window = Window(strategy="full", since=AT, until=AT, evidence="operator", cannot_see=["imports"])
    return TypeShown(
        name=name,
        topics=(f"t.{name}",),
        empty_allowed=False,
        rows=100,
        registered=100,
        plan=Plan(strategy="full", since_us=0, window=window),
        needles=Needles(pushed=4, newest=3, newest_found=2),
        visible=["no row security"],
        remaining=0,
    )


def a_run(kind: str = "cutover", **changes: object) -> Shown:
    """A run in which everything was shown, of two data types."""
    log = LogState(
        incarnation=1,
        cluster_id="c",
        partitions=(partition("t.jobs"), partition("t.jobs", 1), partition("t.lfs")),
        identity_held=True,
        identity_seen="cluster c, topic ids as recorded",
    )
    values: dict[str, object] = {
        "kind": kind,
        "types": {name: a_type(name) for name in ("jobs", "lfs")},
        "met": [Met(now=identity(side), before=identity(side), contradiction=None) for side in ("source", "registry")],
        "fence": Fence(at=AT, lsn="0/16B3748", listed=3, waited_s=0.5, open_=(), passed_over=()),
        "snapshots": ["the source at 12:00", "the registry at 12:00"],
        "log": log,
        "reread_at": AT,
        "writes": "new sessions are read-only",
    }
    return Shown(**(values | changes))  # type: ignore[arg-type]


def of(shown: Shown, name: str, data_type: str | None = None) -> Proof:
    (found,) = [p for p in judge(shown) if p.name == name and p.data_type in (None, data_type)]
    return found


def taken(shown: Shown, data_type: str = "jobs") -> set[Claim]:
    proofs = judge(shown)
    return {claim for claim in Claim if withheld(shown, proofs, claim, data_type)}


def changed(change: Callable[[Shown], object], kind: str = "cutover") -> Shown:
    shown = a_run(kind)
    change(shown)
    return shown


def log_of(shown: Shown, **changes: object) -> LogState:
    assert shown.log is not None
    return replace(shown.log, **changes)  # type: ignore[arg-type]


def with_log(**changes: object) -> Shown:
    shown = a_run()
    shown.log = log_of(shown, **changes)
    return shown


def older_only(shown: Shown) -> None:
    shown.types["jobs"].needles.latest = 20


def unpublished(shown: Shown) -> None:
    shown.types["jobs"].unannounced = "no publication has it"


# -- the whole --------------------------------------------------------------------------------------------------------


def test_a_cutover_that_showed_everything_holds_every_proof_and_withholds_nothing() -> None:
    proofs = judge(a_run())
    assert [p.name for p in proofs if p.held is not True] == []
    assert [*dict.fromkeys(p.name for p in proofs), "world"] == list(ORDER)
    assert taken(a_run()) == set()


def test_a_recheck_in_another_world_says_nothing_at_all() -> None:
    assert of(a_run("gaps", moved=[]), "world").held is True
    elsewhere = a_run("gaps", moved=["the source table was public.items (oid 1) and is public.items (oid 2)"])
    assert of(elsewhere, "world").seen == "the source table was public.items (oid 1) and is public.items (oid 2)"
    assert taken(elsewhere) == set(Claim)


def test_a_run_that_showed_nothing_holds_nothing() -> None:
    bare = TypeShown(name="jobs", topics=("t.jobs",), empty_allowed=False)
    shown = Shown(kind="cutover", types={"jobs": bare})
    assert {p.name for p in judge(shown) if p.held is not False} == set()
    assert taken(shown) == set(Claim)


def test_a_held_proof_says_what_was_seen_and_a_failed_one_what_to_try() -> None:
    bare = TypeShown(name="jobs", topics=("t.jobs",), empty_allowed=False)
    for proof in [*judge(a_run()), *judge(Shown(kind="cutover", types={"jobs": bare}))]:
        assert proof.seen
        assert (proof.try_ is not None) == (proof.held is False), proof


def test_what_only_a_cutover_asks_is_not_asked_beside_live_writers() -> None:
    shown = a_run("gaps", fence=None, reread_at=None)
    for name in ("earlier_writers_ended", "reread"):
        assert of(shown, name).held is None
        assert module(name).needed_by(shown) == frozenset()
    assert taken(shown) == set()


def test_without_the_log_its_proofs_are_not_asked_and_creations_are_still_judged() -> None:
    shown = a_run(without_log=True, log=None)
    for name in LOG_PROOFS:
        assert of(shown, name).held is None
    assert Claim.CREATES not in taken(shown)


# -- what each failure takes away -------------------------------------------------------------------------------------

EVERYTHING = set(Claim)
EXPLAINED = {Claim.DELETES, Claim.DROP_RATE}
OPEN = Transaction(
    handle="4/17", pid=42, user="app", application="batch", prepared=False, waited_for=True, since=AT - timedelta(hours=1)
)
GID = Transaction(handle="xa-1", pid=None, user="app", application=None, prepared=True, waited_for=True)
HOLE = Hole(topic="t.jobs", partition=0, from_offset=3, to_offset=9, kind="retention", from_us=None, to_us=None, state="open")


BEHIND = (partition("t.jobs", reached=4), partition("t.lfs"))
PINNED = (partition("t.jobs", reached=4, stable=4), partition("t.lfs"))


def _fence(*open_: Transaction) -> Fence:
    return Fence(at=AT, lsn="0/16B3748", listed=3, waited_s=30.0, open_=open_, passed_over=())


@pytest.mark.parametrize(
    ("name", "shown", "seen", "takes"),
    [
        ("identity", a_run(met=[]), "not asked who it is: registry, source", EVERYTHING),
        ("identity", changed(lambda s: s.met.pop()), "not asked who it is: registry", EVERYTHING),
        ("identity", changed(lambda s: setattr(s.met[0], "contradiction", "another server")), "another server", EVERYTHING),
        ("identity", changed(older_only), "not one of the 20 creations of jobs that were announced last", EVERYTHING),
        ("earlier_writers_ended", a_run(fence=None), "no fence was taken", {Claim.CREATES, Claim.DELETES}),
        ("earlier_writers_ended", a_run(fence=_fence(OPEN, GID)), "pid 42", {Claim.CREATES, Claim.DELETES}),
        ("earlier_writers_ended", a_run(fence=_fence(GID)), "prepared transaction 'xa-1'", {Claim.CREATES, Claim.DELETES}),
        ("snapshot", a_run(snapshots=[]), "no snapshot was taken", EVERYTHING),
        ("snapshot", a_run(snapshot_faults=["replay behind"]), "replay behind", EVERYTHING),
        ("visible", changed(lambda s: s.types["jobs"].hidden.append("a policy hides rows")), "a policy hides rows", EVERYTHING),
        ("visible", changed(lambda s: s.types["jobs"].visible.clear()), "not looked at", EVERYTHING),
        ("window", changed(lambda s: setattr(s.types["jobs"], "plan", None)), "no window", EVERYTHING),
        ("control", changed(lambda s: s.types["jobs"].needles.lost.append("7")), "1 of 4 needles did not", EVERYTHING),
        ("control", changed(lambda s: setattr(s.types["jobs"], "rows", 0)), "0 of 0 proves nothing", EVERYTHING),
        ("control", changed(lambda s: setattr(s.types["jobs"].needles, "newest_found", 0)), "none of the 3 newest", EVERYTHING),
        ("control", changed(lambda s: setattr(s.types["jobs"].needles, "pushed", 0)), "no needle could be pushed", EVERYTHING),
        ("reread", a_run(reread_at=None), "was not run again", {Claim.CREATES}),
        ("reread", changed(lambda s: setattr(s.types["jobs"], "remaining", None)), "not run again for jobs", {Claim.CREATES}),
        ("reread", changed(lambda s: setattr(s.types["jobs"], "remaining", 2)), "jobs 2 left", set()),
        ("log_identity", with_log(identity_held=False, identity_seen="another cluster"), "another cluster", EXPLAINED),
        ("log_drained", with_log(partitions=BEHIND), "t.jobs[0] 6 records behind", EXPLAINED),
        ("log_drained", with_log(partitions=PINNED), "held at stable offset 4", EXPLAINED),
        ("log_drained", with_log(partitions=(partition("t.lfs"),)), "no partition was seen of t.jobs", EXPLAINED),
        ("log_drained", a_run(pipeline_fault="the connector stands at 0/1"), "the connector stands at 0/1", EXPLAINED),
        ("log_drained", changed(unpublished), "no publication has it", EXPLAINED),
        ("log_drained", a_run(log=None, log_fault="broker away"), "broker away", EVERYTHING),
        ("decoded", with_log(quarantined={"t.jobs": 2}), "2 records in quarantine", EXPLAINED),
        ("log_unbroken", with_log(holes=(HOLE,)), "t.jobs[0] offsets 3 to 9 (retention)", EXPLAINED),
        ("log_unbroken", with_log(holes=(replace(HOLE, to_offset=None),)), "offsets 3 to ?", EXPLAINED),
    ],
)  # fmt: skip
def test_a_failure_is_told_and_takes_away_only_the_claims_that_need_it(
    name: str, shown: Shown, seen: str, takes: set[Claim]
) -> None:
    proof = of(shown, name, "jobs")
    assert proof.held is False
    assert seen in proof.seen
    assert taken(shown) == takes


def test_a_topic_that_was_made_anew_says_nothing_of_whether_the_source_is_a_copy() -> None:
    anew = replace(HOLE, topic="t.jobs", kind="recreated")
    for shown in (with_log(identity_held=False), with_log(holes=(anew,)), with_log(holes=(replace(anew, state="accepted"),))):
        older_only(shown)
        assert of(shown, "identity").held
    lost = with_log(holes=(HOLE,))
    older_only(lost)
    assert not of(lost, "identity").held


@pytest.mark.parametrize(
    "shown",
    [
        changed(lambda s: s.types["jobs"].hidden.append("a policy")),
        changed(lambda s: setattr(s.types["jobs"], "plan", None)),
        changed(lambda s: setattr(s.types["jobs"], "rows", 0)),
        with_log(quarantined={"t.jobs": 1}),
        with_log(holes=(HOLE,)),
        with_log(partitions=BEHIND),
    ],
    ids=["visible", "window", "control", "decoded", "log_unbroken", "log_drained"],
)
def test_one_data_types_failure_takes_nothing_from_its_neighbour(shown: Shown) -> None:
    assert taken(shown, "jobs") != set()
    assert taken(shown, "lfs") == set()


# -- held all the same, and told --------------------------------------------------------------------------------------


def test_zero_rows_are_enough_where_the_data_type_says_so() -> None:
    shown = a_run()
    shown.types["jobs"] = replace(shown.types["jobs"], rows=0, empty_allowed=True, needles=Needles())
    proof = of(shown, "control", "jobs")
    assert proof.held is True
    assert "empty: allowed" in proof.seen


def test_no_announced_creation_at_all_is_no_contradiction() -> None:
    shown = changed(lambda s: setattr(s.types["jobs"], "needles", Needles(pushed=4)))
    assert of(shown, "control", "jobs").held is True


def test_losses_that_an_operator_accepted_are_held_and_still_told() -> None:
    accepted = replace(HOLE, id=4, state="accepted", reason="told the team", by="ana@here")
    lost = AcceptedRecords(topic="t.jobs", count=3, by="bob@here", reason="a test wrote them")
    shown = with_log(accepted=(lost,), holes=(accepted,))
    assert "3 records of t.jobs were accepted as lost by bob@here: a test wrote them" in of(shown, "decoded", "jobs").seen
    assert "hole-4, t.jobs[0] offsets 3 to 9 (retention), was accepted by ana@here" in of(shown, "log_unbroken", "jobs").seen
    assert "told the team" in of(shown, "log_unbroken", "jobs").seen
    assert taken(shown) == set()


def test_whoever_was_not_waited_for_is_named_with_the_reason() -> None:
    idle = replace(OPEN, waited_for=False, why_not="another database")
    shown = a_run(fence=Fence(at=AT, lsn="0/1", listed=3, waited_s=1.0, open_=(), passed_over=(idle,)))
    proof = of(shown, "earlier_writers_ended")
    assert proof.held is True
    assert "2 open transactions waited for" in proof.seen
    assert "pid 42 (user app, 'batch', open for 3600 s): another database" in proof.seen


def test_the_reread_says_when_it_was_and_whether_writes_are_refused() -> None:
    seen = of(a_run(), "reread").seen
    assert "2026-11-01T12:00:00Z: nothing missing" in seen
    assert "new sessions are read-only" in seen


def test_who_holds_the_stable_offset_is_asked_for_of_that_very_partition() -> None:
    shown = with_log(partitions=(partition("t.jobs", reached=4), partition("t.jobs", 3, reached=4, stable=4)))
    shown.brokers = "kafka:9092"
    command = "kafka-transactions.sh --bootstrap-server kafka:9092 describe-producers --topic t.jobs --partition 3 "
    assert command in (of(shown, "log_drained", "jobs").try_ or "")
    assert of(with_log(partitions=BEHIND), "log_drained", "jobs").try_ == "wait longer with --wait"


def test_what_a_window_cannot_see_is_told() -> None:
    assert "cannot see imports" in of(a_run(), "window", "jobs").seen


# -- identity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"system": "72"}, "another server"),
        ({"database_oid": 6}, "database was app"),
        ({"timeline": 2}, "promoted or restored"),
        ({"lsn": 1}, "went back"),
        ({"xid": 1}, "went back"),
    ],
)
def test_a_server_that_cannot_be_the_recorded_one_is_known(change: dict[str, object], words: str) -> None:
    assert words in (contradiction(identity("source"), replace(identity("source"), **change)) or "")  # type: ignore[arg-type]


def test_a_server_that_only_moved_on_is_the_same() -> None:
    later = replace(identity("source"), lsn=0x16B3749, xid=701)
    assert contradiction(identity("source"), later) is None
    assert contradiction(identity("source"), identity("source")) is None
    assert contradiction(None, later) is None
