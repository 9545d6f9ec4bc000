"""Open what every command needs before it starts: the settings, the log lines, the voice to say progress with.

Loading the settings takes a moment, so it happens here and not when the command line is read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.errors import Exit, FencepostError
from schemas.settings import Settings, load
from terminal import logs
from terminal.errors import Debug
from terminal.harmless import learn_secrets
from terminal.options import Common
from terminal.output import coloured, put, put_all, put_json
from terminal.say import Say, saying


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Where a command works."""

    common: Common
    settings: Settings
    say: Say
    now: datetime
    hush: Callable[[], None] = lambda: None  #: progress ends here, for the answer comes next

    @property
    def colour(self) -> bool:
        return coloured(sys.stdout)


@contextmanager
def opened(common: Common, *, service: bool = False) -> Iterator[Desk]:
    """Raises SettingsError."""
    settings = load(common.settings_file())
    learn_secrets(settings)
    Debug.on = settings.logs.level == "debug"
    logs.set_up(settings.logs, service=service, quiet=common.quiet)
    line = logs.log_line if settings.logs.format == "json" else None
    with ExitStack() as voice:
        say = voice.enter_context(saying(quiet=common.quiet, line=line))
        yield Desk(common=common, settings=settings, say=say, now=datetime.now(UTC), hush=voice.close)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command has to say: data, the same in words, its exit code, and what went wrong beside it."""

    plain: object = None
    text: Callable[[], str] | None = None
    stream: Iterable[str] | None = None  #: instead of both: text too long to be held, such as CSV
    code: int = Exit.CLEAR
    failure: FencepostError | None = None  #: told after the answer; its exit code wins

    def given(self, desk: Desk) -> int:
        """Print it, once."""
        if self.stream is not None:
            put_all(self.stream)
        elif desk.common.json:
            put(self.plain) if isinstance(self.plain, str) else put_json(self.plain)
        elif self.text is not None:
            put(self.text())
        if self.failure is not None:
            raise self.failure
        return int(self.code)
