"""Every partition was read up to the high watermark that was taken after the fence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.ports import names
from reconciler.proofs.shown import ALL, Claim, Shown
from schemas.log_state import PartitionState
from schemas.verdict import Proof

NAME = "log_drained"


def needed_by(shown: Shown) -> frozenset[Claim]:
    # A log that cannot be reached at all is most often a wrong setting: nothing is judged until --without-log.
    return ALL if shown.log_fault else shown.log_claims


def look(shown: Shown) -> Iterable[Proof]:
    if shown.without_log:
        yield Proof(name=NAME, held=None, seen="not asked: --without-log")
        return
    if shown.log is None:
        yield Proof(
            name=NAME,
            held=False,
            seen=shown.log_fault or "the event log was not read",
            try_="mend the event log's settings, or judge by the rows alone with --without-log",
        )
        return
    for name, told in shown.types.items():
        partitions = shown.log.of(told.topics)
        behind = [p for p in partitions if not p.drained]
        unseen = [topic for topic in told.topics if topic not in {p.topic for p in partitions}]
        if unseen:
            seen = f"no partition was seen of {names(unseen)}"
            yield Proof(name=NAME, data_type=name, held=False, seen=seen, try_="check the names of the topics")
        elif behind:
            words = [_behind(p) for p in behind]
            problems = f" ({names(list(shown.log.problems), 3)})" if shown.log.problems else ""
            yield Proof(
                name=NAME,
                data_type=name,
                held=False,
                seen=f"not read to the end: {names(words)}{problems}",
                try_=_remedy(behind, shown.brokers),
            )
        elif shown.pipeline_fault:
            remedy = shown.pipeline_remedy or "let the pipeline pass the fence"
            yield Proof(name=NAME, data_type=name, held=False, seen=shown.pipeline_fault, try_=remedy)
        elif told.unannounced:
            remedy = "add the table and its partitions to the publication, unfiltered, with insert and delete"
            yield Proof(name=NAME, data_type=name, held=False, seen=told.unannounced, try_=remedy)
        else:
            seen = f"{len(partitions)} partitions read to their high watermarks; pipeline {shown.pipeline}"
            if shown.pipeline_seen:
                seen += f": {shown.pipeline_seen}"
            yield Proof(name=NAME, data_type=name, held=True, seen=seen)


def _behind(p: PartitionState) -> str:
    pinned = f", held at stable offset {p.stable} by an open transaction" if p.stable is not None else ""
    return f"{p.topic}[{p.partition}] {p.behind} records behind{pinned}"


def _remedy(behind: Sequence[PartitionState], brokers: str) -> str:
    """librdkafka has no question for who produces into a partition (DescribeProducers); Kafka's own tool asks it."""
    pinned = next((p for p in behind if p.stable is not None), None)
    if pinned is None:
        return "wait longer with --wait"
    asked = f"--bootstrap-server {brokers} describe-producers --topic {pinned.topic} --partition {pinned.partition}"
    return (
        f"kafka-transactions.sh {asked} names the producer (the one whose CurrentTransactionStartOffset is {pinned.stable}):"
        " let it commit or abort; or wait longer with --wait"
    )
