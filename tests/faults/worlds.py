"""Where faults get their worlds: one that most share, fresh ones for those that spoil theirs, servers apart to be stopped.

A shared world keeps its ledger and its history from fault to fault, as an installation does. A world in which something
went wrong is not used again.
"""

from __future__ import annotations

import random
from pathlib import Path

from tests.faults.contract import Fault
from tests.faults.harness import Finding, try_out
from tests.faults.world import World
from tests.stack.faketime import Clock
from tests.stack.kafka import Cluster, Kafka
from tests.stack.postgres import Postgres


class Servers:
    """One of each that is shared, and one of each that may be stopped, started when a fault asks for it."""

    def __init__(self, postgres: Postgres, kafka: Kafka, folder: Path) -> None:
        self._postgres, self._kafka, self._folder = postgres, kafka, folder
        self._private_postgres: Postgres | None = None
        self._private_kafka: Kafka | None = None
        self._cluster: Cluster | None = None
        self._off: Postgres | None = None
        self.clock: Clock | None = None

    def postgres(self, *, private: bool) -> Postgres:
        if not private:
            return self._postgres
        found = self._private_postgres = self._private_postgres or Postgres(self._folder / "faults-postgres")
        return found if found.process.running else found.start()

    def postgres_with_a_clock(self) -> Postgres:
        """One whose clock `self.clock` sets. Raises MissingPartError."""
        if self._off is None:
            self.clock = Clock(self._folder / "clock")
            self._off = Postgres(self._folder / "faults-clock", env=self.clock.variables)
            self._off.start()
        return self._off

    def kafka(self, *, private: bool) -> Kafka:
        """The private one creates whatever topic is asked for, as many do."""
        if not private:
            return self._kafka
        if self._private_kafka is None:
            self._private_kafka = Kafka(self._folder / "faults-kafka", {"auto.create.topics.enable": "true"})
        return self._private_kafka if self._private_kafka.process.running else self._private_kafka.start()

    def cluster(self) -> Kafka:
        """Three brokers, all of them up."""
        self._cluster = self._cluster or Cluster(self._folder / "faults-cluster")
        return self._cluster.start()

    def stop(self) -> None:
        for server in (self._private_postgres, self._private_kafka, self._cluster, self._off):
            if server is not None:
                server.stop()


class Worlds:
    def __init__(self, folder: Path, servers: Servers) -> None:
        self.folder, self.servers = folder, servers
        self._shared: World | None = None
        self._made: dict[int, tuple[World, list[str]]] = {}
        self._count = 0
        self.kills = 0

    def try_out(self, fault: Fault, seed: int) -> Finding:
        """One fault in a world that is fit for it, by this seed."""
        alone = fault.own or bool(fault.stops)
        world = self._fresh(fault.stops, text_keys=_even(seed, fault)) if alone else self._usual()
        world.rng = random.Random(f"{seed} {fault.name}")
        finding = None
        try:
            finding = try_out(fault, world)
        finally:
            self.kills += world.kills
            world.kills = 0
            if alone:
                self._end(world)
            elif finding is None or finding.problems:
                self._shared = None
        return finding

    def close(self) -> None:
        for world, _ in [*self._made.values()]:
            self._end(world)

    def _usual(self) -> World:
        if self._shared is None:
            self._shared = self._fresh(frozenset())
            self._shared.rng = random.Random(0)
            self._shared.live(80)
        return self._shared

    def _fresh(self, stops: frozenset[str], *, text_keys: bool = False) -> World:
        private = "postgres" in stops
        server = self.servers.postgres_with_a_clock() if "clock" in stops else self.servers.postgres(private=private)
        kafka = self.servers.cluster() if "cluster" in stops else self.servers.kafka(private="kafka" in stops)
        self._count += 1
        names = [f"fault_source_{self._count}", f"fault_target_{self._count}"]
        folder = self.folder / f"world-{self._count}"
        folder.mkdir(parents=True)
        source, target = (server.create_database(name) for name in names)
        world = World(folder, server, source, target, kafka, random.Random(0), text_keys=text_keys)
        world.servers_clock = self.servers.clock
        self._made[id(world)] = world, names
        world.tables()
        return world

    def _end(self, world: World) -> None:
        _, names = self._made.pop(id(world))
        world.close()
        for name in names:
            world.server.drop_database(name)


def _even(seed: int, fault: Fault) -> bool:
    """Half of the worlds that are made for one fault name their parts by words."""
    return random.Random(f"{seed} {fault.name} keys").random() < 0.5
