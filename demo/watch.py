"""Tell the other story: between cutovers an application loses announcements, an alarm rises, the ids are at hand, it clears.

In fast motion: a look every two seconds instead of every five minutes, and the windows of the drop budget, which are counted
in looks, as much shorter. The audit and the commands are real ones; what is held against the limits is what Prometheus would
scrape, and the limits are those of `fencepost alerts rules`.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import yaml
from psycopg import sql

from demo import traffic
from demo.broker import Broker
from demo.live import Application
from demo.postgres import Postgres
from demo.processes import end, environment, interruptible, undisturbed
from demo.telling import Teller
from schemas.burn import Severity, burns, label
from schemas.errors import Exit, FencepostError
from terminal.layout import WIDTH, number, paint, share
from terminal.output import coloured, put
from terminal.say import saying

KIND = next(kind for kind in traffic.KINDS if kind.name == "lfs_object")
EVERY = timedelta(seconds=2)
BUDGET = 0.0001
#: One row of so many is not announced during the burst.
LOSING = 8
#: Nothing of the story takes so long on any machine that can run it.
PATIENCE_S = 90.0
_SERIES = re.compile(r"^(fencepost_\w+)(?:\{([^}]*)\})? (\S+)$", re.M)


def run(folder: Path, *, quiet: bool = False, kept: bool = False) -> int:
    """0 when the alarm rose, every lost row was counted once, and the alarm cleared; raises FencepostError."""
    with interruptible(), ExitStack() as servers:
        teller = Teller(folder=folder.resolve(), quiet=quiet)
        teller.tell(
            "Between two cutovers. An application creates rows all day and announces each; fencepost audits in the shadow."
            f" In fast motion: a look every {label(EVERY)} instead of every 5 minutes, and all windows as much shorter.",
            "",
        )
        with saying(quiet=quiet) as say:
            say.phase("starting an embedded PostgreSQL")
            server = servers.enter_context(Postgres(teller.folder / "postgres"))
            say.phase("starting an embedded broker")
            broker = servers.enter_context(Broker())
            traffic.make_databases(server)
            port = _free_port()
            _settings(teller.folder, server, broker, port)
            application = servers.enter_context(Application(server, broker, KIND))
            _until(lambda: application.created > 0, application, "the first row")
            say.phase("starting the audit")
            audit = servers.enter_context(_audit(teller.folder))
            watch = _Watch(teller=teller, application=application, audit=audit, port=port)
            watch.begin()
        agreed = _tell(teller, watch, server)
    if kept:
        teller.tell("", f"Left in {teller.folder}: fencepost.yaml and audit.log.")
    return Exit.CLEAR if agreed else Exit.FAILED


def _tell(teller: Teller, watch: _Watch, server: Postgres) -> bool:
    application = watch.application
    teller.tell("", "A quiet day: everything that is created is announced.", "")
    watch.head()
    watch.until(lambda seen: seen.audited >= 400, "the audit judged the first rows")
    teller.tell("", f"A faulty release: one of {LOSING} creations is not announced any more, and so never registered.", "")
    application.losing = LOSING
    watch.head()
    watch.until(lambda seen: seen.paged is not None, "the alarm rises")
    teller.tell("", watch.alarm())
    teller.command(
        f"fencepost gaps --type {KIND.name}",
        Exit.GAPS,
        "Which rows? They are at hand while the faulty release still runs. The interval stands under `drop rate`.",
    )
    application.losing = None
    teller.command(
        "fencepost sweep --backfill",
        Exit.GAPS,
        "The release is taken back. What it left behind is inserted beside the live application: exit code 3, something was"
        " found.",
    )
    teller.tell("", "No more drops, and no gaps: the alarm ends with its short windows.", "")
    watch.head()
    watch.until(
        lambda seen: seen.paged is None and seen.gaps == 0 and seen.dropped >= len(application.lost), "the alarm clears"
    )
    application.__exit__()
    return _show(watch, server)


# -- what Prometheus would see ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One scrape."""

    audited: int
    dropped: int
    gaps: int
    low: Mapping[str, float]  #: window -> lower bound of the drop rate

    @property
    def paged(self) -> tuple[str, str, float] | None:
        """Long window, short window and limit of a pace that is exceeded in both, as `FencepostDropRateFast` asks."""
        for burn in burns(EVERY):
            limit = burn.limit(BUDGET)
            windows = label(burn.long), label(burn.short)
            if burn.severity is Severity.PAGE and all(self.low.get(window, 0) > limit for window in windows):
                return (*windows, limit)
        return None


@dataclass(kw_only=True)
class _Watch:
    """The audit's process, and lines about what it tells."""

    teller: Teller
    application: Application
    audit: subprocess.Popen[bytes]
    port: int

    def begin(self) -> None:
        """Wait for the first look."""
        _until(lambda: self._page("readyz") is not None, self.application, "the first look of the audit", self.audit)
        self.began = time.monotonic()

    def head(self) -> None:
        windows = sorted({w for b in burns(EVERY) if b.severity is Severity.PAGE for w in (b.short, b.long)})
        self._windows = [label(window) for window in windows]
        self.teller.put(
            f"  {'':>5}  {'audited':>8}  {'dropped':>8}  {'gaps':>6}   dropped at least, within "
            + "  ".join(f"{window:>7}" for window in self._windows)
        )

    def until(self, true: Callable[[Seen], bool], what: str) -> None:
        """Look every two seconds, tell what was seen, until it is true."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.seen = self.scrape()
            self._line(self.seen)
            if true(self.seen):
                return
            if time.monotonic() > deadline:
                raise FencepostError(f"waited {PATIENCE_S:g} s in vain: {what}")
            self.application.check()
            time.sleep(EVERY.total_seconds())

    def scrape(self) -> Seen:
        text = self._page("metrics")
        if text is None:
            raise FencepostError("the audit does not answer", hint="its words are in audit.log of the demo's folder (--keep)")
        found = {(name, labels): float(value) for name, labels, value in _SERIES.findall(text)}

        def total(name: str, *words: str) -> int:
            return round(sum(v for (n, labels), v in found.items() if n == name and all(w in labels for w in words)))

        low = {
            match[1]: value
            for (name, labels), value in found.items()
            if name == "fencepost_drop_rate_low" and (match := re.search(r'window="([^"]+)"', labels))
        }
        return Seen(
            audited=total("fencepost_rows_audited_total"),
            # A row that the sweep inserts before the audit judges it was dropped all the same: a healed drop.
            dropped=sum(total("fencepost_drops_total", f'class="{name}"') for name in ("dropped_create", "healed_drop")),
            gaps=total("fencepost_gaps_open"),
            low=low,
        )

    def alarm(self) -> str:
        if self.seen.paged is None:
            raise FencepostError("the alarm ended before it could be told")
        long, short, limit = self.seen.paged
        rates = share(self.seen.low[long]), share(self.seen.low[short])
        return (
            f"FencepostDropRateFast, severity page. At least {rates[0]} of the creations within {long} were dropped, and at"
            f" least {rates[1]} within {short}, where {share(limit)} is the limit. The true rate is one of"
            f" {LOSING}, {share(1 / LOSING)}; it lies above such a bound 95 times of 100."
        )

    def _line(self, seen: Seen) -> None:
        on = coloured(sys.stdout)
        rates = "  ".join(f"{share(seen.low.get(window, 0.0)):>7}" for window in self._windows)
        alarm = paint("  PAGE", "red", on=on) if seen.paged else ""
        self.teller.put(
            f"  {time.monotonic() - self.began:>3.0f} s  {number(seen.audited):>8}  {number(seen.dropped):>8}"
            f"  {number(seen.gaps):>6}   {'':<25}{rates}{alarm}"
        )

    def _page(self, name: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{name}", timeout=10) as reply:
                return str(reply.read().decode())
        except OSError:
            return None


# -- the end ----------------------------------------------------------------------------------------------------------


def _show(watch: _Watch, server: Postgres) -> bool:
    """Planted against found, also when quiet: it is the demo's result."""
    on = coloured(sys.stdout)
    lost, seen = len(watch.application.lost), watch.scrape()
    missing = _unregistered(server)
    lines = [
        (f"creations that were not announced: {number(lost)}; counted as dropped, each once: {number(seen.dropped)}",
         seen.dropped == lost),
        (f"rows without a registry row now: {number(missing)}", missing == 0),
        ("the alarm rose, and cleared", seen.paged is None),
    ]  # fmt: skip
    put("\n".join(["", "=" * WIDTH, *(f"{words}  {paint('✓', 'green', on=on) if ok else '✗'}" for words, ok in lines)]))
    agreed = all(ok for _, ok in lines)
    put("" if agreed else "\nPlanted and found differ: this is a bug in fencepost. Please report it with the lines above.")
    return agreed


def _unregistered(server: Postgres) -> int:
    """Counted with our own eyes."""
    sides = (("app", KIND.source, "id"), ("tracking", KIND.registry, KIND.registry_key))
    keys = []
    for database, table, column in sides:
        with server.connect(database) as db:
            query = sql.SQL("SELECT {} FROM {}").format(sql.Identifier(column), sql.Identifier("public", table))
            keys.append({row[0] for row in db.execute(query)})
    return len(keys[0] - keys[1])


# -- the stage --------------------------------------------------------------------------------------------------------


def _settings(folder: Path, server: Postgres, broker: Broker, port: int) -> None:
    """Those of the other story, for one data type, in fast motion."""
    text = (traffic.HERE / "fencepost.yaml").read_text(encoding="utf-8")
    text = text.replace("SOCKETS", quote(str(server.sockets), safe="")).replace("BROKERS", broker.servers)
    settings = yaml.safe_load(text)
    settings["event_log"].pop("schemas")
    settings["data_types"] = {KIND.name: settings["data_types"][KIND.name]}
    settings["fence"] = {"settle": "1s", "skew": "100ms"}
    settings["tracker"] = {"flush_every": "500ms"}
    settings["audit"] = {"every": label(EVERY), "listen": f"127.0.0.1:{port}"}
    settings["alerts"] = {"budget": BUDGET}
    (folder / "fencepost.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


@contextmanager
def _audit(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "audit.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "fencepost", "audit"],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # else Ctrl-C reaches it before the story is told to end
        )
    try:
        yield child
    finally:
        with undisturbed():
            end(child, signal.SIGTERM)


def _until(true: Callable[[], bool], application: Application, what: str, audit: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        application.check()
        if audit is not None and audit.poll() is not None:
            raise FencepostError(f"the audit ended with exit code {audit.returncode} before {what}")
        if time.monotonic() > deadline:
            raise FencepostError(f"waited {PATIENCE_S:g} s in vain: {what}")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
