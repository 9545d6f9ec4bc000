"""A tracker as a process, to be killed: `python -m tests.consumer.track_main DSN BOOTSTRAP TOPIC GROUP [--until-end]`."""

from __future__ import annotations

import json
import logging
import sys

from consumer.cli import run_track
from databases.ledger import Ledger
from tests.consumer.support import KEY_TYPES, settings


def main(dsn: str, bootstrap: str, topic: str, group: str, *flags: str) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    about = settings(
        dsn,
        bootstrap=bootstrap,
        group=group,
        types={"job": [topic]},
        tracker={"flush_records": 500, "flush_every": "20ms"},
    )
    ledger = Ledger.of(about)
    ledger.upgrade()
    summary = run_track(about, ledger, KEY_TYPES, until_end="--until-end" in flags)
    print(json.dumps(summary.json()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
