"""Every fault, by one seed: the verdict is right, the registry is the truth, nothing is doubled, no secret is told.

More seeds and longer runs are `make faults` and `make soak`; what they found stands in docs/blind-spots.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import needed
from tests.faults.contract import Fault, kinds
from tests.faults.worlds import Servers, Worlds
from tests.stack.kafka import Kafka
from tests.stack.postgres import Postgres

SEED = 1


@pytest.fixture(scope="module")
def worlds(postgres: Postgres, kafka: Kafka, stand_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    servers = Servers(postgres, kafka, stand_folder)
    made = Worlds(tmp_path_factory.mktemp("worlds"), servers)
    try:
        yield made
    finally:
        made.close()
        servers.stop()


@pytest.mark.parametrize("fault", [fault for fault in kinds() if not fault.slow], ids=lambda fault: fault.name)
def test_the_verdict_is_right_and_the_registry_is_the_truth(worlds: Worlds, fault: Fault) -> None:
    with needed():
        finding = worlds.try_out(fault, SEED)
    assert not finding.problems, "\n".join(finding.problems)
