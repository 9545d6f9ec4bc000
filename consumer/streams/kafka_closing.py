"""Close a consumer, and wait for that no longer than it may take.

librdkafka 2.16 may lock itself out as a consumer is closed: a request of its broker thread that fails then wants an offset
reset, the queue for that is closed already, and the callback that is told so takes the partition's lock a second time. Seen
most with consumers that have met a damaged batch. `close` never returns then, and with it a tracker would stand still for ever.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

log = logging.getLogger("fencepost.kafka")


def close(consumer: Any, within_s: float) -> None:
    """What has not ended by then is left behind: some threads that do nothing, and a connection that the broker will close.

    Callbacks of the group run meanwhile, in another thread than the caller's, who waits. Raises what the consumer raises.
    """
    failed: list[BaseException] = []

    def work() -> None:
        try:
            consumer.close()
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            failed.append(error)

    worker = threading.Thread(target=work, name="fencepost-kafka-close", daemon=True)
    worker.start()
    worker.join(within_s)
    if worker.is_alive():
        log.warning("a consumer does not close; it is left behind", extra={"event": "close_hangs", "seconds": within_s})
    if failed:
        raise failed[0]
