"""Children of the test run: started in a process group of their own, waited for with a deadline, ended by their own id.

Knows nothing of what runs in them; `kafka.py`, `registry.py`, `postgres.py` and `connect.py` do.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

LOOPBACK = "127.0.0.1"
PORTS_FROM = 15_000
POLL_EVERY_S = 0.05
LOG_TAIL_LINES = 25


class MissingPartError(Exception):
    """A part of the stand is not to be had on this machine; tests that need it are skipped, or fail where CI=true."""

    def __init__(self, part: str, why: str) -> None:
        super().__init__(f"{part}: {why}")
        self.part = part


class StandError(Exception):
    """A part is there but did not do what it was asked to."""


def free_port() -> int:
    """A loopback port that nobody listens on, and that is ours until this process ends, whoever listens there meanwhile.

    Below those that the kernel gives to whoever connects: of those, one may be gone before the server is up, or while it is
    down to be started again; and who connects to one that is closed may be connected to himself.
    """
    lowest_of_kernel = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(1000):
        port = secrets.choice(range(PORTS_FROM, lowest_of_kernel))
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0fencepost-port-{port}")  # an abstract name: one process on this machine has it, and no file is left
            with socket.socket() as probe:
                probe.bind((LOOPBACK, port))
        except OSError:
            claim.close()
            continue
        claim.detach()  # kept open, so that the name stays ours
        return port
    raise StandError("no port is free")


def wait_until(true: Callable[[], bool], what: str, *, within_s: float = 60.0) -> None:
    """Ask until the answer is yes. A refused connection is a no; any other exception is a failure of the test.

    The limit is for what never comes: make it far longer than the slowest machine needs.
    """
    deadline = time.monotonic() + within_s
    while True:
        with contextlib.suppress(OSError):
            if true():
                return
        if time.monotonic() >= deadline:
            raise StandError(f"waited {within_s:g} s in vain: {what}")
        time.sleep(POLL_EVERY_S)


def listening(port: int) -> bool:
    """Whether something accepts connections there; for `wait_until`."""
    with socket.create_connection((LOOPBACK, port), 0.5):
        return True


class Process:
    """One child with its log file. Start again after `stop` or `kill` as often as you like."""

    def __init__(
        self,
        name: str,
        args: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        run_as: str | None = None,
    ) -> None:
        self.name = name
        self.args = list(args)
        self.log = log
        self.env = dict(env or {})
        self.stop_signal = stop_signal
        self.run_as = run_as
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        if self._child is None:
            raise StandError(f"{self.name} was never started")
        return self._child.pid

    def start(self) -> None:
        if self.running:
            raise StandError(f"{self.name} is already running as process {self.pid}")
        with self.log.open("ab") as out:
            self._child = subprocess.Popen(
                [*_wrapped(self.run_as, dies_by=self.stop_signal), *self.args],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | self.env,
                start_new_session=True,  # else Ctrl-C reaches the servers before the tests that still use them
            )

    def wait_ready(self, ready: Callable[[], bool], *, within_s: float = 120.0) -> None:
        """Wait for `ready`, but give up at once, with the log's end, when the child is gone."""

        def ready_or_dead() -> bool:
            return not self.running or ready()

        try:
            wait_until(ready_or_dead, f"{self.name} did not come up", within_s=within_s)
        except StandError as error:
            raise StandError(f"{error}\n{self.log_tail()}") from error
        if not self.running:
            raise StandError(f"{self.name} ended while starting, with code {self._exit_code()}\n{self.log_tail()}")

    def stop(self, *, within_s: float = 10.0) -> None:
        """Ask it to end; kill it when it does not. Stopping what does not run is fine."""
        if self._child is None:
            return
        if self.running:
            # A stopped process (SIGSTOP) would never see the request.
            self._signal(signal.SIGCONT)
            self._child.send_signal(self.stop_signal)
        try:
            self._child.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._end_group()

    def kill(self) -> None:
        """SIGKILL to the whole group, as a power cut would: no goodbye, no flush."""
        if self._child is not None:
            self._end_group()
            self._child.wait(30)

    def pause(self) -> None:
        """Freeze it: connections stay open and nobody answers. `resume` thaws."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        try:
            text = self.log.read_text(errors="replace")
        except OSError as error:
            return f"(no log: {error})"
        return "\n".join([f"--- end of {self.log} ---", *text.splitlines()[-lines:]])

    def _signal(self, which: signal.Signals) -> None:
        if self.running:
            os.killpg(self.pid, which)

    def _end_group(self) -> None:
        # The child leads its session, so its group id is its pid and no other process can be hit; once the group is
        # empty the id may be given away, but only after the leader was reaped, and we are the ones who reap it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _exit_code(self) -> int | None:
        return self._child.poll() if self._child else None


class Part:
    """What all servers of the stand share: one `Process`, and a context that ends it."""

    process: Process

    def start(self, *, within_s: float = 120.0) -> Self:
        self.process.start()
        self.process.wait_ready(self._answers, within_s=within_s)
        return self

    def stop(self) -> None:
        self.process.stop()

    def kill(self) -> None:
        self.process.kill()

    def restart(self) -> Self:
        """Start again on the same data and ports, whether it was stopped, killed or still runs."""
        self.stop()
        return self.start()

    def _answers(self) -> bool:
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()


def as_user(user: str | None) -> list[str]:
    """The words before a command that run it as another user; none for ourselves."""
    return [_setpriv(), *_drop_to(user), "--"] if user else []


def _wrapped(user: str | None, *, dies_by: signal.Signals) -> list[str]:
    """Run as `user`, and have the kernel end the child when the test run dies without a word (SIGKILL, out of memory).

    Linux ties this to the thread that starts the child, not to the process: a child started in a short-lived thread
    would be killed when that thread ends. So only the main thread may ask for it. A change of user forgets the wish:
    both must be one call.
    """
    if threading.current_thread() is not threading.main_thread() or shutil.which("setpriv") is None:
        return as_user(user)
    return [_setpriv(), *(_drop_to(user) if user else []), "--pdeathsig", dies_by.name.removeprefix("SIG"), "--"]


def _drop_to(user: str) -> list[str]:
    return ["--reuid", user, "--regid", str(pwd.getpwnam(user).pw_gid), "--clear-groups"]


def _setpriv() -> str:
    found = shutil.which("setpriv")
    if found is None:
        raise MissingPartError("setpriv", "no `setpriv` on the PATH (util-linux): a server that refuses root needs it")
    return found
