"""What librdkafka is told: what must be so, what had better be so, and what the settings say. Values only."""

from __future__ import annotations

from schemas.errors import SettingsError
from schemas.settings import KafkaSettings

#: Ours whatever the settings say; `schemas.settings` refuses them there.
_FIXED: dict[str, str | int | bool] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
    "check.crcs": True,
}
#: Better than librdkafka's defaults for us; the settings may differ.
_PREFERRED: dict[str, str | int | bool] = {
    "fetch.queue.backoff.ms": 1,  # the default of 1 s makes a quick reader wait
    "fetch.wait.max.ms": 100,
    "queued.max.messages.kbytes": 16384,
    "session.timeout.ms": 10000,
    "topic.metadata.refresh.interval.ms": 30000,  # how long a new partition may stay unseen
    "reconnect.backoff.max.ms": 2000,
    "socket.connection.setup.timeout.ms": 5000,
}
#: Records waiting in the client, in all partitions together; each costs some 300 bytes beside its own.
_QUEUED_RECORDS = 100_000
#: An admin client warns about settings that only a consumer knows.
_CONSUMER_ONLY = ("group.", "session.", "heartbeat.", "fetch.", "queued.", "max.poll.", "partition.assignment.")


def consumer_values(settings: KafkaSettings, partitions: int) -> dict[str, str | int | bool]:
    """Everything for a consumer, secrets in clear."""
    queued = {"queued.min.messages": max(1000, _QUEUED_RECORDS // max(1, partitions))}
    return _PREFERRED | queued | settings.plain() | _FIXED


def admin_values(settings: KafkaSettings) -> dict[str, str | int | bool]:
    """Everything for an admin client, secrets in clear."""
    return {k: v for k, v in settings.plain().items() if not k.startswith(_CONSUMER_ONLY)}


def refuse_cooperation(settings: KafkaSettings) -> None:
    """Cooperative members keep partitions over a rebalance; we stand anew at the ledger's positions after each one."""
    plain = settings.plain()
    if "cooperative" in plain.get("partition.assignment.strategy", "") or plain.get("group.protocol", "classic") != "classic":
        raise SettingsError(
            "the tracker's group hands partitions over whole: no cooperative assignment, no 'group.protocol'",
            hint="remove 'partition.assignment.strategy' and 'group.protocol' from event_log.kafka",
        )
