"""When the log speaks: from the first event time read to the fence, less its holes. Pure.

Outside it an unannounced creation is neither dropped nor not: nobody can say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.events import NO_TIME
from schemas.verdict import Cause

#: A row's time that no clock can place: NULL or infinite.
UNDATED = NO_TIME


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Offsets nobody read, as a span of event times; None is unbounded."""

    from_us: int | None
    to_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What of history the ledger heard, for one data type."""

    start_us: int | None  #: None: no event of this type was ever read
    from_the_beginning: bool  #: every partition was read from its first offset on, without a hole
    trimmed: bool  #: some partition had already lost its beginning to retention
    lost: tuple[Lost, ...] = ()
    unreadable: int = 0  #: records that could not be read, and whose loss may have been accepted since

    @classmethod
    def nothing(cls) -> Coverage:
        return cls(start_us=None, from_the_beginning=False, trimmed=False)

    def causes(self, times_us: npt.NDArray[np.int64], *, after_first_key: npt.NDArray[np.bool_]) -> list[Cause | None]:
        """Per row, why the log cannot speak of it; None where it can, so that its silence means something.

        `after_first_key` says whether the row's key lies above the lowest key ever announced: all there is to place a
        row without a time, and only where the log was read from its beginning.
        """
        if self.start_us is None:
            return [Cause.OUTSIDE_COVERAGE] * len(times_us)
        out = np.full(len(times_us), None, object)
        undated = times_us == UNDATED
        out[undated & ~(after_first_key & self.from_the_beginning)] = Cause.UNKNOWN
        out[~undated & (times_us < self.start_us)] = Cause.BELOW_RETENTION if self.trimmed else Cause.OUTSIDE_COVERAGE
        for hole in self.lost:
            inside = ~undated & (times_us >= self.start_us)
            if hole.from_us is not None:
                inside &= times_us >= hole.from_us
            if hole.to_us is not None:
                inside &= times_us <= hole.to_us
            out[inside] = Cause.UNREAD
        return list(out)
