"""What a recipe asks of the event log: bring the ledger up, and open readers of what it announced.

An event log that cannot be reached at all is told as a failed proof, never as an empty log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from databases.ledger import Ledger
from reconciler.announced import AnnouncedReader, read_coverage
from reconciler.coverage import Coverage
from reconciler.ports import CatchUp, Say
from reconciler.proofs.shown import Shown
from reconciler.scene import Scene, Subject
from reconciler.shelf import Shelf, filling
from schemas.errors import FloodError, UnavailableError


@dataclass(slots=True)
class Logbook:
    """The log's side of one run."""

    scene: Scene
    shown: Shown
    ledger: Ledger
    catch_up: CatchUp | None
    deadline_s: float
    say: Say
    _shelves: dict[str, tuple[object, Shelf]] = field(default_factory=dict)

    def follow(self) -> None:
        """Bring the ledger up to high watermarks taken now."""
        if self.shown.without_log or self.catch_up is None:
            return
        self.say.phase("reading the event log to its end")
        try:
            found = self.catch_up(self.scene.key_types, deadline_s=self.deadline_s)
            before = self.shown.log
            if before is not None and not before.identity_held:  # known by now, and still another than was recorded
                found = replace(found, identity_held=False, identity_seen=before.identity_seen)
            self.shown.log, self.shown.log_fault = found, None
        except (UnavailableError, FloodError) as error:  # a flood is mostly the wrong format for this topic
            self.shown.log_fault = str(error)
            self.shown.log = None

    @property
    def readable(self) -> bool:
        """Whether the ledger says anything that may explain a row in this run."""
        return not self.shown.without_log and self.shown.log is not None

    def readers(self) -> dict[str, AnnouncedReader]:
        """What the log announced up to now; read again only where the ledger has changed since the last call."""
        return {
            s.name: AnnouncedReader(
                self._shelf(s),
                s.key_type,
                ordered=self._one_partition(s.topics),
                settle_us=s.data_type.settle_or(self.scene.settings.fence.settle) // timedelta(microseconds=1),
            )
            for s in self.scene.subjects
        }

    def _shelf(self, subject: Subject) -> Shelf | None:
        if not self.readable:
            return None
        now = filling(self.ledger, subject.name)
        kept = self._shelves.get(subject.name)
        if kept is None or kept[0] != now:
            self._shelves[subject.name] = kept = (now, Shelf(self.ledger, subject.name, subject.key_type))
        return kept[1]

    def coverages(self) -> dict[str, Coverage]:
        ledger = self.ledger if self.readable else None
        return {s.name: read_coverage(ledger, s.name, self.shown.log, s.topics) for s in self.scene.subjects}

    def drained(self, name: str) -> bool:
        """Whether all partitions of a data type were read up to the last watermarks."""
        if self.shown.without_log:
            return True
        if self.shown.log is None:
            return False
        return all(p.drained for p in self.shown.log.of(self.shown.types[name].topics))

    def _one_partition(self, topics: tuple[str, ...]) -> bool:
        return self.shown.log is not None and len(self.shown.log.of(topics)) == 1

    def note(self, coverages: Mapping[str, Coverage]) -> None:
        for name, coverage in coverages.items():
            self.shown.types[name].coverage = coverage
