"""The claim `deletes`: registry rows whose source row is gone.

Judged over the whole key range whatever the window, without the scope and whatever the state. The registry is read first
and the source after it: a row created and registered in between is then in the source, never an orphan. Between running
writers an orphan must be seen twice, `settle` apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from reconciler import replay
from reconciler.announced import AnnouncedReader
from reconciler.classify import classify_orphans
from reconciler.compare import surplus
from reconciler.judge import located_in_log
from reconciler.look import same_servers, subjects_in
from reconciler.ports import Locate, Say
from reconciler.probe import Reader, present
from reconciler.proofs.shown import Shown
from reconciler.scene import Scene, Subject
from reconciler.snapshot import Limits, snapshot
from schemas.events import Op
from schemas.keys import KeySet
from schemas.verdict import OrphanClass, utc


@dataclass(slots=True)
class OrphansFound:
    """One data type's orphans by class; `in_flight` are those not seen twice."""

    by_class: dict[OrphanClass, KeySet]
    in_flight: KeySet
    removed: int = 0

    @property
    def count(self) -> int:
        return sum(len(keys) for keys in self.by_class.values())


def standing(scene: Scene, shown: Shown, readers: Mapping[str, AnnouncedReader], say: Say) -> dict[str, KeySet]:
    """Those that are orphans, and still are when looked at again."""
    found = find(scene, shown, readers, say)
    return again(scene, shown, found, say) if any(map(len, found.values())) else found


def find(scene: Scene, shown: Shown, readers: Mapping[str, AnnouncedReader], say: Say) -> dict[str, KeySet]:
    """Registry rows without a source row, by data type, in two snapshots taken in that order."""
    return _pass(scene, shown, say, None, readers)


def again(scene: Scene, shown: Shown, found: Mapping[str, KeySet], say: Say) -> dict[str, KeySet]:
    """Those that are still orphans in two later snapshots."""
    return _pass(scene, shown, say, found, {})


def _pass(
    scene: Scene,
    shown: Shown,
    say: Say,
    known: Mapping[str, KeySet] | None,
    readers: Mapping[str, AnnouncedReader],
) -> dict[str, KeySet]:
    s = scene.settings.source
    limits, kept = Limits.of(s), scene.kept
    with ExitStack() as stack:
        registry = stack.enter_context(
            snapshot(scene.settings.registry.dsn, "the registry", scene.registry_tables, limits, kept=kept)
        )
        # Between the two: what was registered before the first has its row on the primary by now.
        replay.follow(scene, shown, say)
        source = stack.enter_context(snapshot(s.rows, "the source", scene.source_tables, limits, kept=kept))
        same_servers(scene, shown, source=source, registry=registry)
        shown.snapshots.append(f"for deletes: the registry at {utc(registry.at)} first, the source after it")
        out = {}
        for subject in subjects_in(scene, shown, source, registry):
            say.phase(f"looking for registry rows of {subject.name} without a source row")
            if subject.source.hidden or subject.registry.hidden:
                out[subject.name] = subject.key_type.empty()
            elif known is None:
                out[subject.name] = surplus(subject, source, registry, readers[subject.name], say)
            else:
                keys = known[subject.name]
                if len(keys):
                    keys = present(Reader(registry.first, subject.registry.table), keys)
                    keys = keys - present(Reader(source.first, subject.source.table), keys)
                out[subject.name] = keys
        return out


def judge(subject: Subject, orphans: KeySet, in_flight: KeySet, reader: AnnouncedReader, locate: Locate | None) -> OrphansFound:
    """Where the order of a creation and a deletion is unknown, the log is asked; the row is gone and a deletion was
    announced, so in doubt it is that one."""
    words = reader.of(orphans).words
    unsure = words.unsure & orphans
    located = located_in_log(subject, locate, unsure)
    recreated = subject.key_type.of([key for key, event in located.items() if event.sure and event.op is Op.CREATE])
    deleted = words.deleted | (unsure - recreated)
    return OrphansFound(by_class=classify_orphans(orphans, deleted), in_flight=in_flight)


def lines(subject: Subject, found: OrphansFound) -> Iterator[dict[str, Any]]:
    """A line an orphan, for `gaps.jsonl`."""
    for orphan_class, keys in found.by_class.items():
        for key in keys:
            yield {
                "data_type": subject.name,
                "key": subject.key_type.text(key),
                "class": orphan_class.value,
                "cause": "unapplied" if orphan_class is OrphanClass.UNAPPLIED_DELETE else "never_announced",
                "created_at": None,
                "evidence": {"topics": list(subject.topics)},
            }
