"""One error tree, split by what the caller can do about it.

Every message says what failed, on which thing, what came and what was wanted; `hint` says what to try.
The command line prints the chain of causes and exits with `exit_code`; nothing here knows about printing.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command (design §8). A crash of Python exits 1 and Typer exits 2, so verdicts have their own."""

    CLEAR = 0  #: CLEAR, or done
    FAILED = 1  #: could not finish
    USAGE = 2  #: usage or settings
    GAPS = 3  #: gaps were found
    CANNOT_TELL = 4  #: a needed proof failed


class FencepostError(Exception):
    """Any failure this program foresees."""

    exit_code: Exit = Exit.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class SettingsError(FencepostError):
    """The settings file, the environment or the command line asks for something impossible."""

    exit_code = Exit.USAGE


class UnavailableError(FencepostError):
    """A broker, database or schema registry is away or refuses us; nothing was lost, another try may succeed."""


class LedgerAway(UnavailableError):
    """It is the ledger that is away, or refuses us: source and registry may answer."""


class CatalogError(FencepostError):
    """A table, column, index or grant that the settings name is not what the database has."""


class NamedInVain(CatalogError):
    """The settings name a table or column that the database has not, or cannot have. As a missing topic, an error of theirs."""

    exit_code = Exit.USAGE


class MisfitError(CatalogError):
    """The settings compare a column with a value that it cannot be compared with."""

    exit_code = Exit.USAGE


class LedgerError(FencepostError):
    """The ledger is absent, of another version, or moved by somebody else."""


class PositionMoved(LedgerError):
    """Another tracker moved a position we were about to move: the whole flush is thrown away."""


class FloodError(FencepostError):
    """A flood of undecodable records (`quarantine.limit`); the tracker stops instead of filling the ledger."""


class BadRecord(FencepostError):
    """This record will never be readable as it is; set it aside and go on."""


class BadKey(BadRecord):
    """A key of the wrong type, out of range, or missing. Never coerced."""


class RefusedWrite(FencepostError):
    """A write that a guard forbids: no unique index, a lost lease, a plan that changed, a cap."""


class RefusedRows(RefusedWrite):
    """The registry's own rules forbid rows of one data type: they stay missing, and everything else can be judged."""


class RowRefused(RefusedRows):
    """One of the rows is forbidden by what it holds; others may not be."""


class SomeRefused(RefusedRows):
    """A few rows were refused, each by itself; all others were inserted."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on; a cause suppressed by `from None` is left out."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__
