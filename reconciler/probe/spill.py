"""Key sets sorted into hash buckets, in memory up to a limit and beyond it in a temporary file, so that two tables
without a common order can be compared bucket by bucket.

The file has no name and vanishes with the process. Thread-safe: several readers may add.
"""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Hashable
from itertools import pairwise
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from reconciler.probe.spans import buckets_of
from schemas.errors import UnavailableError
from schemas.keys import ByteKeys, IntKeys, KeySet, KeyType

#: Bytes kept in memory by one spill before it writes.
HELD_BYTES = 8 << 20
#: Bytes of keys a bucket should hold.
BUCKET_BYTES = 1 << 20
MAX_BUCKETS = 4096

Part = npt.NDArray[Any]


class Spill:
    """Keys under tags ("source", "registry", or a ledger's own), to be taken back bucket by bucket."""

    def __init__(self, key_type: KeyType, buckets: int, *, folder: str | None = None) -> None:
        self._key_type, self.buckets, self._folder = key_type, buckets, folder
        self._held: dict[tuple[Hashable, int], list[Part]] = defaultdict(list)
        self._written: dict[tuple[Hashable, int], list[tuple[int, int, str]]] = defaultdict(list)
        self._size = 0
        self._file: BinaryIO | None = None
        self._lock = Lock()

    def add(self, tag: Hashable, keys: KeySet) -> None:
        """Any number of times, keys in any order; a key added twice under a tag is one key."""
        parts = [keys.column()] if isinstance(keys, IntKeys) else list(_classes(keys).values())
        for column in parts:
            if not len(column):
                continue
            numbers = buckets_of(column, self.buckets)
            order = np.argsort(numbers, kind="stable")
            column, numbers = column[order], numbers[order]
            cuts = np.concatenate([[0], np.flatnonzero(np.diff(numbers)) + 1, [len(numbers)]]).tolist()
            with self._lock:
                for low, high in pairwise(cuts):
                    self._held[tag, int(numbers[low])].append(column[low:high])
                self._size += column.nbytes
                if self._size > HELD_BYTES:
                    self._write()

    def take(self, tag: Hashable, bucket: int) -> KeySet:
        """The keys of one bucket. It may be asked for again."""
        with self._lock:
            parts = list(self._held.get((tag, bucket), ()))
            places = list(self._written.get((tag, bucket), ()))
        for at, size, dtype in places:
            assert self._file is not None
            data = os.pread(self._file.fileno(), size, at)
            if len(data) != size:
                raise UnavailableError(f"the temporary file of a compare ended at {at + len(data)}, not {at + size}")
            parts.append(np.frombuffer(data, dtype))
        if not parts:
            return self._key_type.empty()
        if parts[0].dtype.kind == "i":
            return IntKeys.of(np.concatenate(parts))
        widths: dict[int, list[Part]] = defaultdict(list)
        for part in parts:
            widths[part.dtype.itemsize].append(part)
        return ByteKeys({w: a for some in widths.values() for w, a in ByteKeys.of(np.concatenate(some)).classes.items()})

    def _write(self) -> None:
        """Append all that is held; each bucket's share becomes one piece for each width."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="fencepost-", dir=self._folder)  # noqa: SIM115
            at = self._file.seek(0, os.SEEK_END)
            for place, parts in self._held.items():
                for dtype in {part.dtype.str for part in parts}:
                    data = b"".join(part.tobytes() for part in parts if part.dtype.str == dtype)
                    self._file.write(data)
                    self._written[place].append((at, len(data), dtype))
                    at += len(data)
            self._file.flush()
        except OSError as error:
            raise UnavailableError(
                f"cannot write the temporary file of a compare: {error.strerror}",
                hint="set TMPDIR to a folder with room for the keys of both tables",
            ) from error
        self._held.clear()
        self._size = 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _classes(keys: KeySet) -> dict[int, Part]:
    assert isinstance(keys, ByteKeys)
    return keys.classes


def buckets_for(size_bytes: int) -> int:
    """A power of two, so that a bucket holds about BUCKET_BYTES."""
    wanted = max(1, -(-size_bytes // BUCKET_BYTES))
    return int(min(MAX_BUCKETS, 1 << (wanted - 1).bit_length()))
