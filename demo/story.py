"""Tell the story: a small world, losses planted in it, three commands that find, mend and prove, and planted against found.

The commands are real ones, run as a user would type them; only the servers are embedded.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from demo import findings, traffic
from demo.broker import Broker
from demo.losses import PLANTED, Creation, Fate, creations
from demo.postgres import Postgres
from demo.processes import interruptible, undisturbed
from demo.telling import Teller
from schemas.errors import Exit, SettingsError
from terminal.layout import WIDTH, counted, number, paint, table, wrapped
from terminal.output import coloured, put, tell
from terminal.say import Say, saying

_FATES = {
    Fate.DROPPED: "never announced: the event was lost, and nobody registered the row",
    Fate.UNAPPLIED: "announced, but the applier lost it",
    Fate.HEALED: "never announced, but registered by another path: no gap, yet a drop",
    Fate.DELETED: "created and deleted again, both announced: no gap",
    Fate.ROLLED_BACK: "announced, then the transaction rolled back: there never was a row, no gap",
}


def tell_story(*, keep: Path | None = None, quiet: bool = False, audit: bool = False) -> int:
    """In `keep`, which is left behind, or in a temporary folder, which is not. `audit`: the other story, of the time between
    cutovers."""
    from demo import watch

    told = watch.run if audit else run
    try:
        if keep is not None:
            return told(_fresh(keep), quiet=quiet, kept=True)
        with _passing() as folder:
            return told(folder, quiet=quiet)
    except KeyboardInterrupt:
        tell("fencepost: the demo was interrupted; its servers are stopped")
        return Exit.FAILED


def run(folder: Path, *, quiet: bool = False, kept: bool = False) -> int:
    """Run the whole demo in a folder. 0 when fencepost found exactly what was planted; raises FencepostError."""
    with interruptible(), ExitStack() as servers:
        stage = _Stage(folder=folder.resolve(), quiet=quiet)
        stage.tell("Between two fence posts nothing may be missing. A small world, with losses planted in it:", "")
        world = stage.build(servers)
        stage.show_planted(world)
        stage.command("fencepost track --until-end", Exit.CLEAR, "First the event log is read into the ledger.")
        stage.command("fencepost quarantine list", Exit.CLEAR, "One record could not be read. It is set aside, and told.")
        stage.command(
            "fencepost gaps --since 72h --report gaps",
            Exit.GAPS,
            "What is missing, and why? This only reads, beside live writers. Exit code 3 says that there are gaps.",
        )
        stage.command(
            "fencepost cutover --since 72h --report cutover",
            Exit.CLEAR,
            "The writers have stopped. Fence, compare, insert what is missing, compare again. Exit code 0 says CLEAR.",
        )
        reports = findings.Reports.read(stage.folder / "gaps", stage.folder / "cutover")
        agreed = stage.show_found(list(findings.compare(stage.server, world, reports)))
    if kept:
        stage.tell("", f"Left in {stage.folder}: fencepost.yaml, avro/, the reports in gaps/ and cutover/.")
    return Exit.CLEAR if agreed else Exit.FAILED


@dataclass(kw_only=True)
class _Stage(Teller):
    """The folder, what is said, and the servers once they run."""

    def build(self, servers: ExitStack) -> dict[str, list[Creation]]:
        """Start the servers and fill them. What has started is stopped when `servers` closes."""
        with saying(quiet=self.quiet) as say:
            say.phase("starting an embedded PostgreSQL")
            self.server = servers.enter_context(Postgres(self.folder / "postgres"))
            say.phase("starting an embedded broker")
            broker = servers.enter_context(Broker())
            now = traffic.now()
            world = {kind.name: creations(kind.name, now) for kind in traffic.KINDS}
            say.phase("creating rows in the source, and their registry rows")
            traffic.make_databases(self.server)
            traffic.fill_source(self.server, world)
            traffic.fill_registry(self.server, world)
            self._announce(broker, world, say)
            self._settings(broker)
        return world

    def _announce(self, broker: Broker, world: Mapping[str, Sequence[Creation]], say: Say) -> None:
        say.phase("announcing them in the event log")
        done, total = 0, sum(map(len, world.values()))
        for kind in traffic.KINDS:
            traffic.announce(broker, kind, world[kind.name])
            done += len(world[kind.name])
            say.advance(done, total)

    def _settings(self, broker: Broker) -> None:
        text = (traffic.HERE / "fencepost.yaml").read_text(encoding="utf-8")
        text = text.replace("SOCKETS", quote(str(self.server.sockets), safe="")).replace("BROKERS", broker.servers)
        (self.folder / "fencepost.yaml").write_text(text, encoding="utf-8")
        (self.folder / "avro").mkdir()
        (self.folder / "avro" / f"{traffic.SCHEMA_ID}.avsc").write_text(traffic.avro_schema(), encoding="utf-8")

    # -- what is said -------------------------------------------------------------------------------------------------

    def show_planted(self, world: Mapping[str, Sequence[Creation]]) -> None:
        head = ["data type", "events in", *(fate.value for fate in _FATES)]
        rows = [
            [kind.name, kind.words, *(number(PLANTED[kind.name].get(fate, 0)) for fate in _FATES)] for kind in traffic.KINDS
        ]
        created = sum(map(len, world.values()))
        self.tell("", f"{counted(created, 'creation')}, and what was planted among them:")
        self.put(*table(head, rows), "")
        for fate, words in _FATES.items():
            self.put(*wrapped(words, first=f"  {fate.value:<12}"))
        self.tell("  and in the middle of the Avro topic, one record that is no Avro at all.")

    def show_found(self, lines: Sequence[findings.Line]) -> bool:
        """The comparison, also when quiet: it is the demo's result."""
        colour = coloured(sys.stdout)
        head = ["planted, and found", "planted", "found"]
        told = table(head, [(line.words, line.planted, line.found) for line in lines])
        marks = ["", *(paint("✓", "green", on=colour) if line.agrees else paint("✗", "red", on=colour) for line in lines)]
        put("\n".join(["", "=" * WIDTH, *(f"{text}  {mark}".rstrip() for text, mark in zip(told, marks, strict=True))]))
        agreed = all(line.agrees for line in lines)
        put("")
        put(
            "Everything that was planted was found, nothing else was, and the registry is whole."
            if agreed
            else "Planted and found differ: this is a bug in fencepost. Please report it with the lines above."
        )
        return agreed


def _fresh(folder: Path) -> Path:
    """An empty folder of that name. Raises SettingsError where something is in it: nothing of a user's is overwritten."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = next(folder.iterdir(), None)
    except OSError as error:
        raise SettingsError(f"cannot use the folder {folder}: {error.strerror}", hint="name another with --keep DIR") from None
    if taken is not None:
        raise SettingsError(f"the folder {folder} is not empty", hint="name another with --keep DIR, or remove it")
    return folder


@contextmanager
def _passing() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fencepost-demo-"))
    folder.chmod(0o711)  # PostgreSQL's user, where that is another one, must walk through
    try:
        yield folder
    finally:
        with undisturbed():
            shutil.rmtree(folder, ignore_errors=True)
