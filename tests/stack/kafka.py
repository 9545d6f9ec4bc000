"""Apache Kafka as one KRaft node that can be stopped, killed, paused and started again on the same data."""

from __future__ import annotations

import base64
import contextlib
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from tests.stack import jars
from tests.stack.processes import LOOPBACK, Part, Process, StandError, free_port, wait_until

VERSION = jars.pinned("kafka", "kafka.version")
ASK_WITHIN_S = 60.0
#: A test's broker ends before the second compiler's work pays: half of its processor time went there.
_JAVA = ["-XX:TieredStopAtLevel=1"]


class Kafka(Part):
    """A broker on loopback. `bootstrap` is what clients take."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        heap: str = "512m",
        node: int = 1,
        of: Kafka | None = None,
    ) -> None:
        """`of`: the node whose cluster this one joins, under a number of its own."""
        self.folder, self.node = folder, node
        self.cluster: str = of.cluster if of else _uuid()
        self.controller: str = of.controller if of else f"{LOOPBACK}:{free_port()}"
        self.port = free_port()
        self.bootstrap = f"{LOOPBACK}:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "server.properties"
        values = self._settings(alone=of is None) | dict(settings or {})
        config.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        shutil.copytree(_formatted(), folder / "data")
        # Two brokers that share these would pass for one.
        (folder / "data" / "meta.properties").write_text(
            f"version=1\nnode.id={node}\ncluster.id={self.cluster}\ndirectory.id={_uuid()}\n"
        )
        java = [*_JAVA, f"-Xmx{heap}", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        self.process = Process(
            "Kafka", [jars.java(), *java, *_class_path(), "kafka.Kafka", str(config)], log=folder / "kafka.log"
        )
        self._admin: AdminClient | None = None

    def stop(self) -> None:
        self._admin = None  # its thread would fill stderr with refused connections
        super().stop()

    def pause(self) -> None:
        self.process.pause()

    def resume(self) -> None:
        self.process.resume()

    @property
    def admin(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        return self._admin

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Create a topic and return its name, once every partition has a leader."""
        topic = NewTopic(name, partitions, config=dict(config or {}), **self._replicas(partitions))
        self.admin.create_topics([topic], operation_timeout=ASK_WITHIN_S)[name].result(ASK_WITHIN_S)
        wait_until(lambda: self._led(name) == partitions, f"leaders for topic {name}")
        return name

    def _replicas(self, partitions: int) -> dict[str, Any]:
        return {"replication_factor": 1}

    def delete_topic(self, name: str) -> None:
        """Delete a topic, and return once its name is free for a new one."""
        self.admin.delete_topics([name], operation_timeout=ASK_WITHIN_S)[name].result(ASK_WITHIN_S)
        wait_until(lambda: name not in self.topics(), f"topic {name} is gone")

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Move the log start of each partition to the offset given, as retention would."""
        wanted = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
        for done in self.admin.delete_records(wanted).values():
            done.result(ASK_WITHIN_S)

    def configure(self, topic: str, values: Mapping[str, str | None]) -> None:
        """Change settings of a topic; None: as the broker has it."""
        entries = [
            ConfigEntry(
                name,
                value,
                incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET,
            )
            for name, value in values.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        for done in self.admin.incremental_alter_configs([resource]).values():
            done.result(ASK_WITHIN_S)

    def compacted(self, topic: str) -> int:
        """How many partitions of a topic the broker has compacted so far, by what its cleaner writes down."""
        found = self.folder / "data" / "cleaner-offset-checkpoint"
        lines = found.read_text().splitlines() if found.exists() else []
        return sum(line.startswith(f"{topic} ") and not line.endswith(" 0") for line in lines)

    def flip(self, topic: str, value: bytes, partition: int = 0) -> None:
        """Change one bit on the broker's disk, in the one place where this value stands: the disk's fault, not Kafka's."""
        for segment in sorted((self.folder / "data" / f"{topic}-{partition}").glob("*.log")):
            data = segment.read_bytes()
            if value in data:
                with segment.open("r+b") as file:  # in place: the broker holds the file open
                    file.seek(data.index(value))
                    file.write(bytes([value[0] ^ 1]))
                return
        raise StandError(f"{value!r} stands in no segment of {topic}[{partition}]")

    def topics(self) -> set[str]:
        return set(self.admin.list_topics(timeout=ASK_WITHIN_S).topics)

    def _led(self, topic: str) -> int:
        found = self.admin.list_topics(timeout=ASK_WITHIN_S).topics.get(topic)
        return sum(partition.leader >= 0 for partition in found.partitions.values()) if found else 0

    def _answers(self) -> bool:
        # An open port is not yet a broker: ask for itself in the metadata. A client made while the port was closed
        # backs off for seconds, so knock first.
        probe = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 100})
        with contextlib.suppress(KafkaException):
            return bool(probe.list_topics(timeout=2).brokers)
        return False

    def _settings(self, *, alone: bool) -> dict[str, str]:
        return {
            "process.roles": "broker,controller" if alone else "broker",
            "node.id": str(self.node),
            "controller.quorum.voters": f"1@{self.controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.bootstrap}" + (f",CONTROLLER://{self.controller}" if alone else ""),
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
            # A misspelt topic must be an error, not a new topic.
            "auto.create.topics.enable": "false",
            # One node: the defaults want three replicas, and groups and transactions would never start.
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # A killed broker may come back only when the controller has given up its former self: 9 s by default.
            "broker.session.timeout.ms": "1500",
            "broker.heartbeat.interval.ms": "300",
            # Retention and compaction are looked at every second, so that a test can see records go.
            "log.retention.check.interval.ms": "1000",
            "log.cleaner.backoff.ms": "500",
            "log.segment.delete.delay.ms": "500",
            "log.initial.task.delay.ms": "1000",
        }


class Cluster(Kafka):
    """Three nodes. A topic lies on the second, which leads it, and the third; the first controls them and is never killed."""

    def __init__(self, folder: Path) -> None:
        # Long enough that a broker which stands still for a moment is still taken for one that is in sync.
        settings = {"broker.session.timeout.ms": "5000"}
        super().__init__(folder / "1", settings, heap="256m")
        self.leader, self.follower = (Kafka(folder / str(n), settings, heap="256m", node=n, of=self) for n in (2, 3))
        self.bootstrap = ",".join([self.bootstrap, self.leader.bootstrap, self.follower.bootstrap])

    def start(self, *, within_s: float = 120.0) -> Self:
        for node in (self.leader, self.follower):
            if node.process.running:
                node.resume()
            else:
                node.process.start()
        if not self.process.running:
            self.process.start()
        self.process.wait_ready(self._answers, within_s=within_s)
        return self

    def stop(self) -> None:
        for node in (self.leader, self.follower):
            node.stop()
        super().stop()

    def led_by(self, topic: str, node: Kafka) -> bool:
        """Whether that node leads every partition."""
        return {p.leader for p in self._partitions(topic)} == {node.node}

    def in_sync(self, topic: str) -> set[int]:
        """Who is in sync in any partition."""
        return {node for p in self._partitions(topic) for node in p.isrs}

    def _partitions(self, topic: str) -> list[Any]:
        """None where a node was asked that stands still: another one is asked the next time."""
        with contextlib.suppress(KafkaException):
            return list(self.admin.list_topics(topic, timeout=3).topics[topic].partitions.values())
        return []

    def _replicas(self, partitions: int) -> dict[str, Any]:
        return {"replica_assignment": [[self.leader.node, self.follower.node]] * partitions}

    def _answers(self) -> bool:
        probe = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 100})
        with contextlib.suppress(KafkaException):
            return len(probe.list_topics(timeout=2).brokers) == len(self.bootstrap.split(","))
        return False


def _formatted() -> Path:
    """What `kafka-storage format` writes, made once per machine: it takes a second of processor time, and a broker gets new
    names anyway."""
    jar_folder = jars.folder("kafka")
    return jars.made_once(jar_folder.with_name(f"{jar_folder.name}-formatted"), _format)


def _format(out: Path) -> None:
    config = out.with_name("server.properties")
    voters = f"1@{LOOPBACK}:1"
    config.write_text(
        f"process.roles=broker,controller\nnode.id=1\nlog.dirs={out}\ncontroller.listener.names=CONTROLLER\n"
        f"controller.quorum.voters={voters}\nlisteners=PLAINTEXT://{LOOPBACK}:2,CONTROLLER://{LOOPBACK}:1\n"
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
    )
    done = subprocess.run(
        [jars.java(), *_JAVA, *_class_path(), "kafka.tools.StorageTool", "format", "-t", _uuid(), "-c", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StandError(f"cannot format Kafka's storage in {out}\n{done.stdout}{done.stderr}")


def _class_path() -> list[str]:
    return ["-cp", jars.class_path("kafka")]


def _uuid() -> str:
    """As Kafka writes them. A leading dash would be no argument."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
