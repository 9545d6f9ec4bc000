"""What librdkafka's errors mean to us, and which of its complaints are worth keeping."""

from __future__ import annotations

import logging
from typing import Any

from confluent_kafka import KafkaError

log = logging.getLogger("fencepost.kafka")

REFUSALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError._FATAL,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}
#: A batch that cannot be read: its checksum, its compression, its version, or its size is wrong.
DAMAGED = {
    KafkaError._BAD_MSG,
    KafkaError._BAD_COMPRESSION,
    KafkaError._NOT_IMPLEMENTED,
    KafkaError.INVALID_MSG,
    KafkaError.MSG_SIZE_TOO_LARGE,
}
#: A broker that has just come back, or that leads since a moment, may know less of its partitions than we do.
NOT_YET = {
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError.UNKNOWN_TOPIC_OR_PART,  # its partitions were named by the cluster right before
}
#: How librdkafka says that an answer is over its limit. It drops the connection and asks again, for ever.
TOO_LARGE = "receive.message.max.bytes"
GONE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION}


def complaint(error: Any, before: str) -> str:
    """What to remember of librdkafka's complaints: that all brokers are down tells less than why the last one is."""
    log.info("the broker client complains", extra={"event": "kafka_error", "why": error.str()})
    return before if error.code() == KafkaError._ALL_BROKERS_DOWN and before else str(error.str())
