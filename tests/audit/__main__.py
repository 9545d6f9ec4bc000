"""`python -m tests.audit --minutes 60`: an audit in fast motion, struck at random; at the end everything must be counted.

Struck are the audits (killed, or paused beyond their lease), a tracker beside them, the broker, and the database server that
holds source, registry and ledger.
`make soak` runs it.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.audit.motion import WITHIN_S, Application, Motion
from tests.end_to_end.installation import Installation, fine_items, fresh_databases, item, item_tables, settings
from tests.stack.kafka import Kafka
from tests.stack.postgres import Postgres
from tests.stack.threads import beside


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.audit", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else servers stay behind
    folder = Path(tempfile.mkdtemp(prefix="fencepost-audit-"))
    folder.chmod(0o711)
    try:
        with Postgres(folder / "postgres") as postgres, Kafka(folder / "kafka") as kafka:
            source, target = fresh_databases(postgres)
            topic = kafka.create_topic("items")
            item_tables(source, target)
            fine_items(source, target, kafka, topic, range(1, 101))
            here = Installation(folder, settings(source, target, kafka, {"item": item(topic)}))
            with Motion(here, Application(source, target, kafka, topic, every_s=0.3), target) as motion:
                _struck(motion, postgres, kafka, random.Random(asked.seed), asked.minutes)
                told = motion.totals()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(
        f"all is counted: {told}; {len(motion.application.made)} rows were made, {len(motion.application.lost)} not announced"
    )
    return 0


def _struck(motion: Motion, postgres: Postgres, kafka: Kafka, rng: random.Random, minutes: float) -> None:
    motion.track()
    until = time.monotonic() + minutes * 60
    with beside(motion.application.work, patience_s=WITHIN_S):
        while time.monotonic() < until:
            motion.application.losing = rng.random() < 0.5
            time.sleep(rng.uniform(0, 3))
            which = rng.choice(["audit", "audit", "pause", "both", "tracker", "broker", "database", "stall"])
            print(f"{time.strftime('%H:%M:%S')} {which}", flush=True)
            match which:
                case "broker":
                    kafka.kill()
                    time.sleep(rng.uniform(0, 3))
                    kafka.start(within_s=WITHIN_S)
                case "database":
                    postgres.kill()
                    postgres.start(within_s=WITHIN_S)
                case "tracker":
                    motion.kill("tracker")
                    motion.track()
                case "pause":
                    with motion.standing_still():
                        motion.looks_on()
                case "stall":
                    motion.application.held.set()
                    time.sleep(rng.uniform(1, 4))
                    motion.application.held.clear()
                case _:
                    names = list(motion.audits) if which == "both" else [rng.choice(list(motion.audits))]
                    for name in names:
                        motion.kill(name)
                        motion.begin(name)
            motion.looks_on()
        motion.all_is_counted()


if __name__ == "__main__":
    sys.exit(main())
