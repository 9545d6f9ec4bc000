"""Find where reading can go on behind a damaged batch.

librdkafka stands still before a batch that fails its checksum and tells of it twice a second for ever. Where such a batch
ends stands in the very bytes that cannot be trusted, so it is found by asking: a fetch at any offset of a batch brings
the whole batch, so an offset is readable or lies in a damaged one. Pure: who asks is the stream.
"""

from __future__ import annotations

from collections.abc import Callable


def beyond(intact: Callable[[int], bool], at: int, high: int) -> int:
    """An offset that can be read, or `high`, such that the one before it cannot; `at` where that can be read after all.

    Between two damaged batches a sound one may be passed over. The caller's hole covers it: nobody read it.
    """
    if at >= high or intact(at):
        return at
    bad, step = at, 1
    while bad + step < high and not intact(bad + step):
        bad, step = bad + step, step * 2
    good = min(bad + step, high)
    while good - bad > 1:
        middle = (bad + good) // 2
        if intact(middle):
            good = middle
        else:
            bad = middle
    return good
