"""Say how far the work has come: a live bar on a terminal, a plain line now and then elsewhere, nothing when quiet.

All of them take the same three calls (`reconciler.ports.Say`): a new phase, so many units done, held up by whom. They
may come from several threads at once.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from terminal.harmless import harmless
from terminal.output import coloured, is_terminal, tell

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

#: Plain lines about one phase come no more often than this.
LINE_EVERY_S = 5.0


class Say(Protocol):
    """What a recipe may tell its operator."""

    def phase(self, text: str) -> None:
        """A new step has begun."""
        ...

    def advance(self, done: int, total: int | None) -> None:
        """So many units of the step are done, counted from its start."""
        ...

    def waiting(self, text: str) -> None:
        """We are held up: for whom, for how long."""
        ...


class Quiet:
    """Says nothing."""

    def phase(self, text: str) -> None: ...
    def advance(self, done: int, total: int | None) -> None: ...
    def waiting(self, text: str) -> None: ...


class Plain:
    """Lines on stderr, for logs and pipes."""

    def __init__(self, line: Callable[[str], None] = tell, clock: Callable[[], float] = time.monotonic) -> None:
        self._line, self._clock = line, clock
        self._lock = threading.Lock()
        self._text, self._began, self._told, self._waited = "", clock(), clock(), ""

    def phase(self, text: str) -> None:
        with self._lock:
            self._text, self._waited = harmless(text), ""
            self._began = self._told = self._clock()
            self._line(self._text)

    def advance(self, done: int, total: int | None) -> None:
        with self._lock:
            if self._due():
                self._line(f"{self._text}: {progress_words(done, total, self._clock() - self._began)}")

    def waiting(self, text: str) -> None:
        with self._lock:
            words = harmless(text)
            if not self._waited or self._due():
                self._waited = words
                self._told = self._clock()
                self._line(f"waiting {words}")

    def _due(self) -> bool:
        now = self._clock()
        if now - self._told < LINE_EVERY_S:
            return False
        self._told = now
        return True


class Live:
    """A bar with rate and time left, on a terminal; a finished phase leaves one line behind."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        console = Console(stderr=True, no_color=not coloured(sys.stderr), highlight=False, markup=False, emoji=False)
        self._progress: Progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[words]}", markup=False),
            console=console,
            transient=True,
            redirect_stdout=False,
        )
        self._lock = threading.Lock()
        self._task: TaskID | None = None
        self._text, self._done, self._total, self._began = "", 0, 0, time.monotonic()

    def __enter__(self) -> Live:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._finish()
        self._progress.stop()

    def phase(self, text: str) -> None:
        with self._lock:
            self._finish()
            self._text, self._done, self._began = harmless(text), 0, time.monotonic()
            self._task = self._progress.add_task(self._text, total=None, words="")

    def advance(self, done: int, total: int | None) -> None:
        with self._lock:
            self._done = done
            words = progress_words(done, total, time.monotonic() - self._began)
            self._show(completed=done, total=total, words=words)

    def waiting(self, text: str) -> None:
        with self._lock:
            self._show(words=f"waiting {harmless(text)}")

    def _show(self, **fields: object) -> None:
        if self._task is None:
            self._task = self._progress.add_task("", total=None, words="")
        self._progress.update(self._task, **fields)  # type: ignore[arg-type]

    def _finish(self) -> None:
        if self._task is None:
            return
        self._progress.remove_task(self._task)
        self._task = None
        took = time.monotonic() - self._began
        if self._text:
            count = f"{self._done:,} in " if self._done else ""
            self._progress.console.print(f"  {self._text}  ({count}{span_words(took)})", style="dim")


@contextmanager
def saying(*, quiet: bool, line: Callable[[str], None] | None = None) -> Iterator[Say]:
    """The right way to say it, here and now. `line` replaces plain lines, where logs are JSON."""
    if quiet:
        yield Quiet()
    elif line is not None:
        yield Plain(line)
    elif is_terminal(sys.stderr):
        with Live() as live:
            yield live
    else:
        yield Plain(lambda text: tell(f"fencepost: {text}"))


def progress_words(done: int, total: int | None, took_s: float) -> str:
    """`1,200,000 of 3,000,000 (40 %), 350,000/s, 5 s left`."""
    rate = done / took_s if took_s > 0 else 0.0
    words = f"{done:,}" if total is None else f"{done:,} of {total:,} ({_percent(done, total)} %)"
    if rate >= 1:
        words += f", {rate:,.0f}/s"
        if total is not None and total > done:
            words += f", {span_words((total - done) / rate)} left"
    return words


def _percent(done: int, total: int) -> int:
    """Never 100 before the end."""
    return 100 if done >= total else int(done * 100 / total)


def span_words(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
