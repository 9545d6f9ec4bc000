"""The front door: the command `fencepost`. Reads the command line, hands the work to a recipe, prints the answer.

It alone knows consumer and reconciler both, and hands the one to the other. Recipes are imported when they run, so that
`fencepost --help` is there at once. Exit codes are `schemas.errors.Exit`; stdout is data, stderr is words.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from schemas.errors import CatalogError, Exit, SettingsError, UnavailableError
from terminal import options as o
from terminal.command_line import Asked, Command, CommandLine
from terminal.errors import report_failure
from terminal.output import prepare_streams

if TYPE_CHECKING:
    from databases.ledger import Ledger
    from schemas.keys import Key, KeySet, KeyType
    from schemas.log_state import Located, LogState
    from terminal.desk import Answer, Desk

VERSION = "0.1.0"

ABOUT = """
Proves that every row created at the source reached the target, before you cut over.

fencepost reads the event log, compares the source's tables with the target's registry, names every row that got lost
with its cause, inserts the missing registry rows, compares again, and only then says CLEAR.

Begin with `fencepost check`, then `fencepost gaps`; on the day, `fencepost cutover`. `fencepost demo` shows it all.
"""
AFTER = """
Exit codes: 0 CLEAR, or done; 1 could not finish; 2 wrong usage or settings; 3 GAPS; 4 CANNOT TELL. The result goes to
stdout, words about it to stderr. `fencepost COMMAND --help` tells more.
"""
GROUPS = {
    "quarantine": "List, show and settle what of the log was not read.",
    "alerts": "Make alert rules for Prometheus from the settings.",
    "ledger": "Create or upgrade the ledger, or print its SQL for a DBA.",
}


# -- what is run on a desk: settings, ledger and voice are open -------------------------------------------------------


def check(desk: Desk, ledger: Ledger, **asked: Any) -> Answer:
    """Look before you start: is all there, and as declared?

    Reaches every server and looks at identity, grants, indexes, uniqueness, key types, columns that the insert leaves
    empty, clocks, and how long the event log is kept. Writes nothing.
    """
    from reconciler.cli import run_check

    with closing(_EventLog(desk, ledger)) as log:
        return run_check(desk, asked, log.ends)


def track(desk: Desk, ledger: Ledger, *, until_end: bool = False) -> Answer:
    """Follow the event log into the ledger until stopped.

    Optional: `gaps` and `cutover` read the log themselves. A tracker at work makes them quicker, and keeps what the log
    said after the broker has deleted it. Several trackers share the topics. Ctrl-C and SIGTERM end it cleanly, with 0.
    """
    from consumer.cli import run_track
    from reconciler.cli import key_types
    from terminal.desk import Answer

    with closing(_EventLog(desk, ledger)) as log:
        log.topics(tuple(desk.settings.data_types))
        if until_end and log.away is not None:
            raise log.away
    done = run_track(desk.settings, ledger, key_types(desk, ledger), until_end=until_end, output=desk.say)
    return Answer(plain=done.json(), text=done.text, code=Exit.CLEAR if done.drained or done.stopped else Exit.FAILED)


def gaps(desk: Desk, ledger: Ledger, **asked: Any) -> Answer:
    """Name every row that is not registered, with its cause.

    Safe at any time, beside live writers: source and registry are only read, each under one snapshot. A row that came
    into being a moment ago is looked at twice before it is judged.
    """
    from reconciler.cli import run_gaps

    with closing(_EventLog(desk, ledger)) as log:
        return run_gaps(desk, ledger, asked, log)


def cutover(desk: Desk, ledger: Ledger, **asked: Any) -> Answer:
    """Insert what is missing, compare again, give the verdict.

    Stop the writers first. fencepost waits until every transaction that was open has ended, compares, inserts what is
    missing, compares a second time, and says CLEAR only if nothing is left. `fencepost undo` takes the rows back.
    """
    from reconciler.cli import run_cutover

    with closing(_EventLog(desk, ledger)) as log:
        return run_cutover(desk, ledger, asked, log)


def sweep(desk: Desk, ledger: Ledger, **asked: Any) -> Answer:
    """Compare everything, both ways, in the background.

    Looks for rows without a registry row and registry rows without a row, range by range, one short snapshot a
    range; holds still while the source is busy. What is verified is remembered, so a pass that was killed goes on where
    it was, and `--since auto` knows what is new. With --every it goes on until stopped; Ctrl-C and SIGTERM end it with 0.
    """
    from reconciler.cli import run_sweep

    with closing(_EventLog(desk, ledger)) as log:
        return run_sweep(desk, ledger, asked, log)


def audit(desk: Desk, ledger: Ledger) -> Answer:
    """Watch all day what the log drops, and serve metrics.

    Follows the event log as `track` does, and every `audit.every` compares the rows that are new with registry and log.
    What was lost is counted once and kept for `runs` and `report`. Serves /metrics, /healthz and /readyz on
    `audit.listen`. Several instances share the data types. Ctrl-C and SIGTERM end it, with 0.
    """
    from consumer.cli import stopping, tracking
    from reconciler.cli import run_audit

    with stopping() as stop, closing(_EventLog(desk, ledger)) as log:
        return run_audit(desk, ledger, log, tracking(desk.settings, ledger), stop)


def recheck(desk: Desk, ledger: Ledger, *, run: str) -> Answer:
    """Does a verdict still stand? Compare the tables again.

    Looks for any unregistered key, whatever its date. Writes nothing.
    """
    from reconciler.cli import run_recheck

    return run_recheck(desk, ledger, run)


def undo(desk: Desk, ledger: Ledger, *, run: str) -> Answer:
    """Take back what a cutover inserted.

    Only rows that nobody touched since; the others are told. Orphans that a sweep removed are put back.
    """
    from reconciler.cli import run_undo

    return run_undo(desk, ledger, run)


def status(desk: Desk, ledger: Ledger, *, types: Sequence[str] = ()) -> Answer:
    """Tell how far the log is read, and what a cutover would take.

    Writes nothing.
    """
    from reconciler.cli import run_status

    with closing(_EventLog(desk, ledger)) as log:
        return run_status(desk, ledger, log.ends, list(types))


def runs(desk: Desk, ledger: Ledger, *, limit: int = 20) -> Answer:
    """List earlier runs, the newest first."""
    from reconciler.cli import run_runs

    return run_runs(desk, ledger, limit)


def report(desk: Desk, ledger: Ledger, *, run: str, verify: bool = False, csv: bool = False) -> Answer:
    """Print the report of an earlier run again, as it was recorded."""
    from reconciler.cli import run_report

    return run_report(desk, ledger, run, verify=verify, csv=csv)


def quarantine_list(desk: Desk, ledger: Ledger, **asked: Any) -> Answer:
    """List the records that could not be read, and the holes."""
    return _quarantine("list", desk, ledger, asked)


def quarantine_show(desk: Desk, ledger: Ledger, **asked: Any) -> Answer:
    """Show one: its place in the log, the reason, its bytes."""
    return _quarantine("show", desk, ledger, asked)


def quarantine_resolve(desk: Desk, ledger: Ledger, **asked: Any) -> Answer:
    """Settle them: read records again, or accept the loss.

    Give either --again, once what was wrong is mended, or --accept with a reason, which is recorded with your name and
    printed in every later verdict. A hole can only be accepted; rows of that time stay unread.
    """
    return _quarantine("resolve", desk, ledger, asked)


def alerts_rules(desk: Desk, ledger: Ledger) -> Answer:  # noqa: ARG001 - every command is handed both
    """Print alert rules for Prometheus, made from the settings.

    A drop budget that burns too fast, and everything that would make us blind. Write it into a file that `rule_files` of
    Prometheus names, and scrape `fencepost audit` under the job name `fencepost`. Connects to nothing.
    """
    from reconciler.alerts import rules
    from terminal.desk import Answer

    return Answer(plain=rules.groups(desk.settings), text=lambda: rules.as_yaml(desk.settings))


def upgrade(desk: Desk, ledger: Ledger) -> Answer:  # noqa: ARG001 - every command is handed both
    """Create the ledger, or bring it to this version.

    Commands that write it do so themselves. This one is for whoever grants the rights first.
    """
    from reconciler.cli import run_upgrade

    return run_upgrade(ledger)


def ddl(desk: Desk, ledger: Ledger) -> Answer:  # noqa: ARG001 - every command is handed both
    """Print the SQL that creates the ledger, for a DBA.

    Connects to nothing.
    """
    from reconciler.cli import run_ddl

    return run_ddl(ledger)


# -- where consumer and reconciler meet -------------------------------------------------------------------------------


class _EventLog:
    """What recipes may ask of the event log, over one connection. So the reconciler never imports the consumer. Close it."""

    def __init__(self, desk: Desk, ledger: Ledger) -> None:
        from consumer.session import Streams

        self.desk, self.settings, self.ledger = desk, desk.settings, ledger
        self.streams = Streams(desk.settings)
        self.away: UnavailableError | None = None  #: once it did not answer, a run waits for it no second time
        self.close = self.streams.close

    def topics(self, names: Sequence[str]) -> None:
        from consumer.routes import topics_of

        with closing(self.streams(())) as stream:
            try:
                stream.shape(topics_of(self.settings, names))
            except UnavailableError as error:
                self.away = error

    def follow(self, key_types: Mapping[str, KeyType], *, deadline_s: float) -> LogState:
        """For a service with a tracker of its own: that is followed, and a log that was away is asked again."""
        return self._caught_up(key_types, deadline_s=deadline_s, patient=True)

    def catch_up(self, key_types: Mapping[str, KeyType], *, deadline_s: float) -> LogState:
        if self.away is not None:
            raise self.away
        try:
            return self._caught_up(key_types, deadline_s=deadline_s, say=self.desk.say)
        except UnavailableError as error:
            self.away = error
            raise

    def _caught_up(self, key_types: Mapping[str, KeyType], **how: Any) -> LogState:
        from consumer.catch_up import catch_up

        types, names = self._sharing(key_types), tuple(key_types)
        return catch_up(self.settings, self.ledger, types, names=names, streams=self.streams, **how)

    def locate(self, name: str, key_type: KeyType, keys: KeySet) -> Mapping[Key, Located]:
        from consumer.locate import locate

        return locate(self.settings, self.ledger, self._sharing({name: key_type}), name, keys, streams=self.streams)

    def ends(self) -> Mapping[tuple[str, int], int]:
        from consumer.routes import topics_of

        with closing(self.streams(())) as stream:
            places = stream.shape(topics_of(self.settings)).places()
            return {place: span.high for place, span in stream.spans(places).items()}

    def _sharing(self, key_types: Mapping[str, KeyType]) -> Mapping[str, KeyType]:
        """A topic is read for all data types that share it, whichever were asked for."""
        from consumer.routes import sharing
        from reconciler.catalog import key_types as look_up

        others = [name for name in sharing(self.settings, tuple(key_types)) if name not in key_types]
        try:
            return {**key_types, **look_up(self.settings, others)} if others else key_types
        except CatalogError as error:
            raise UnavailableError("the event log cannot be read for a data type on the same topic") from error


def _quarantine(what: str, desk: Desk, ledger: Ledger, asked: dict[str, Any]) -> Answer:
    from consumer import settling as records
    from reconciler.cli import key_types, no_ledger
    from reconciler.lease import who
    from terminal.desk import Answer

    if what == "resolve" and ("accept" in asked) == ("again" in asked):
        raise SettingsError("say what is to become of them", hint='either --again, or --accept "the reason"')
    if not ledger.exists():
        return no_ledger(desk, {"records": [], "holes": []})
    if what == "list":
        found = records.unsettled(ledger, every=asked.get("every", False))
        return Answer(plain=found.json(), text=found.text)
    if what == "show":
        plain, words = records.shown(ledger, asked["id"])
        return Answer(plain=plain, text=lambda: words)
    reading = "again" in asked and any(isinstance(name, int) for name in asked["ids"])
    types = key_types(desk, ledger) if reading else {}
    done = records.resolve(desk.settings, ledger, types, asked["ids"], accept=asked.get("accept"), by=who())
    code = Exit.FAILED if done.failed else Exit.CLEAR
    return Answer(plain=records.settlement_plain(done), text=lambda: records.settlement_text(done), code=code)


# -- what needs no settings -------------------------------------------------------------------------------------------


def demo(*, keep: Path | None = None, quiet: bool = False, audit: bool = False) -> int:
    """See the whole story on a small world of its own.

    Losses are planted, found, mended and proved gone, on an embedded PostgreSQL and an embedded broker in a folder of
    their own. Nothing else is touched. With --audit the other story: a burst of drops between cutovers, and the alarm.
    """
    from demo.story import tell_story

    return int(tell_story(keep=keep, quiet=quiet, audit=audit) or 0)


COMMANDS = (
    Command(path=("check",), run=check, options=(o.SINCE, o.TYPES, o.REHEARSE)),
    Command(path=("gaps",), run=gaps, options=o.JUDGING),
    Command(path=("cutover",), run=cutover, options=(*o.JUDGING, o.DRY_RUN, o.PLAN, o.MAX_BACKFILL)),
    Command(path=("sweep",), run=sweep, options=o.SWEEPING),
    Command(path=("audit",), run=audit),
    Command(path=("recheck",), run=recheck, options=(o.RUN,)),
    Command(path=("undo",), run=undo, options=(o.RUN,)),
    Command(path=("track",), run=track, options=(o.UNTIL_END,)),
    Command(path=("status",), run=status, options=(o.TYPES,)),
    Command(path=("runs",), run=runs, options=(o.LIMIT,)),
    Command(path=("report",), run=report, options=(o.RUN, o.VERIFY, o.CSV)),
    Command(path=("quarantine", "list"), run=quarantine_list, options=(o.EVERY,)),
    Command(path=("quarantine", "show"), run=quarantine_show, options=(o.ID,)),
    Command(path=("quarantine", "resolve"), run=quarantine_resolve, options=(o.IDS, o.AGAIN, o.ACCEPT)),
    Command(path=("alerts", "rules"), run=alerts_rules),
    Command(path=("ledger", "upgrade"), run=upgrade),
    Command(path=("ledger", "ddl"), run=ddl),
    Command(path=("demo",), run=demo, options=(o.AUDIT, o.KEEP, o.QUIET), shared=()),
)
LINE = CommandLine(name="fencepost", version=VERSION, about=ABOUT, after=AFTER, groups=GROUPS, commands=COMMANDS)
#: They run until they are told to stop, and then have done what they were asked.
SERVICES = (track, audit)


def _serves(asked: Asked) -> bool:
    return asked.command.run in SERVICES or (asked.command.run is sweep and "every" in asked.own)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console command."""
    prepare_streams()
    # SIGTERM is Ctrl-C: a recipe finishes its statement and records where it stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; its exit code."""
    asked: Asked | None = None
    try:
        asked = LINE.read(arguments)
        return _run(asked)
    except SystemExit as done:  # help and version were printed
        return int(done.code or 0)
    except KeyboardInterrupt as stopped:
        return 0 if asked and _serves(asked) else report_failure(stopped)
    except Exception as error:  # noqa: BLE001 - the last door: everything is told here
        return report_failure(error)


def _run(asked: Asked) -> int:
    if asked.command.run is demo:
        return demo(**asked.own, quiet=asked.common.quiet)
    from databases.ledger import Ledger
    from terminal.desk import opened

    with opened(asked.common, service=_serves(asked) and not asked.own.get("until_end")) as desk:
        ledger = Ledger.of(desk.settings)
        try:
            answer: Answer = asked.command.run(desk, ledger, **asked.own)
            desk.hush()
            return answer.given(desk)
        finally:
            ledger.close()


if __name__ == "__main__":
    main()
