"""KafkaSettings: any librdkafka setting but the dangerous ones. Who hands them to a client is `consumer.streams.kafka`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import SecretStr, model_validator

from schemas.data_types import Strict

#: librdkafka settings that would lose events or move offsets behind the ledger's back, and why.
REFUSED_KAFKA: dict[str, str] = {
    "enable.auto.commit": "offsets may only follow what the ledger stored",
    "auto.commit.enable": "offsets may only follow what the ledger stored",
    "enable.auto.offset.store": "offsets may only follow what the ledger stored",
    "auto.commit.interval.ms": "offsets may only follow what the ledger stored",
    "offset.store.method": "offsets may only follow what the ledger stored",
    "auto.offset.reset": "a reset must never be silent; the ledger decides where reading starts",
    "enable.partition.eof": "the tracker sets it",
    "isolation.level": "the tracker sets it: read_committed, as appliers see",
    "allow.auto.create.topics": "a mistyped topic must not come into being empty",
    "group.instance.id": "a static member's partitions stay unread while it is away",
    "plugin.library.paths": "a plug-in runs its own code in the tracker and may change what is read",
    "check.crcs": "the tracker sets it: bytes that changed on the broker's disk must be noticed",
    "api.version.request": "the tracker needs it: a client that guesses the protocol may read uncommitted records",
    "broker.version.fallback": "a client that guesses the protocol may read uncommitted records",
}
#: Saying of these that they are off, or on, is harmless: that is what we want.
_MAY_BE_OFF = {"enable.auto.commit", "auto.commit.enable", "enable.auto.offset.store", "allow.auto.create.topics"}
_MAY_BE_ON = {"enable.partition.eof", "check.crcs", "api.version.request"}
_OFF = {"false", "0", "no", "f", "n"}
_ON = {"true", "1", "yes", "t", "y"}
#: librdkafka settings that bound its memory, and how far they may be raised.
KAFKA_AT_MOST: dict[str, int] = {
    "receive.message.max.bytes": 512 << 20,
    "fetch.max.bytes": 256 << 20,
    "max.partition.fetch.bytes": 256 << 20,
    "fetch.message.max.bytes": 256 << 20,
    "message.max.bytes": 256 << 20,
    "queued.max.messages.kbytes": 1 << 20,
    "queued.min.messages": 1_000_000,
}
_SECRET_NAME = re.compile(
    r"password|passphrase|secret|token(?!\.endpoint)|private|\.pem$|jaas|credential|oauthbearer\.(config|assertion)", re.I
)


class KafkaSettings(Strict):
    """librdkafka settings by their own names, as text; secrets by name are hidden."""

    values: dict[str, str | SecretStr]

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        if set(value) == {"values"} and isinstance(value["values"], Mapping):
            value = value["values"]  # as this model writes itself
        flat: dict[str, object] = {}
        for key, setting in value.items():
            name = str(key)
            if isinstance(setting, SecretStr):
                setting = setting.get_secret_value()
            if not isinstance(setting, str | int | float | bool):
                raise ValueError(f"{name!r} must be one value")
            if name in REFUSED_KAFKA and not _harmless(name, _text(setting).strip().lower()):
                raise ValueError(f"{name!r} cannot be set: {REFUSED_KAFKA[name]}")
            if name in KAFKA_AT_MOST and _number(setting) > KAFKA_AT_MOST[name]:
                raise ValueError(f"{name!r} can be at most {KAFKA_AT_MOST[name]}: more would not bound the client's memory")
            flat[name] = SecretStr(_text(setting)) if _SECRET_NAME.search(name) else _text(setting)
        for needed in ("bootstrap.servers", "group.id"):
            if not flat.get(needed):
                raise ValueError(f"{needed!r} is missing")
        if "@" in _text(flat["bootstrap.servers"]):  # they are named in reports
            raise ValueError("'bootstrap.servers' is host:port alone; credentials go to 'sasl.username' and 'sasl.password'")
        return {"values": flat}

    def plain(self) -> dict[str, str]:
        """For the client's constructor alone: secrets in clear."""
        return {k: v.get_secret_value() if isinstance(v, SecretStr) else v for k, v in self.values.items()}

    @property
    def servers(self) -> str:
        return str(self.values["bootstrap.servers"])


def _harmless(name: str, value: str) -> bool:
    return (name in _MAY_BE_OFF and value in _OFF) or (name in _MAY_BE_ON and value in _ON)


def _number(value: object) -> int:
    """What is no whole number is left to the client, which refuses it by its own words."""
    try:
        return int(_text(value))
    except ValueError:
        return 0


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
