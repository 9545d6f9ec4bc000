"""The command as a process of its own, forked from one in which everything is imported already.

Three quarters of what a short command costs is the import of its modules, and these tests run hundreds. The parent is an
interpreter apart, run from this file: no thread, connection or setting of the test run is in it, and it opens nothing.
A child takes its folder, environment, words and streams from the request, and from there on goes the command's own way:
`fencepost.main`, then the usual end of an interpreter. What a start from nothing does is tested where `cold` is asked.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.stack.processes import wait_until

ROOT = Path(__file__).parents[2]
ROOMS = ("schemas", "databases", "terminal", "consumer", "reconciler")
DOOR = [sys.executable, str(ROOT / "fencepost.py")]
AT_MOST = 1 << 20  #: bytes of one request
STARTS_WITHIN_S = 60.0


# -- for the test -----------------------------------------------------------------------------------------------------


def run(
    words: Sequence[str], *, folder: Path, environment: Mapping[str, str], within_s: float
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of `fencepost WORDS`, nothing on stdin. Raises TimeoutExpired, once the child is dead."""
    request = json.dumps({"words": list(words), "folder": str(folder), "environment": dict(environment)}).encode()
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        Path(os.devnull).open() as nothing,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as parent,
    ):
        parent.connect(_address())
        socket.send_fds(parent, [request], [nothing.fileno(), out.fileno(), err.fileno()])
        pid = int(parent.recv(64) or 0)
        assert pid, "the process that commands are forked from has ended"
        parent.settimeout(within_s)
        try:
            code = parent.recv(64)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            parent.recv(64)
            raise subprocess.TimeoutExpired(list(words), within_s) from None
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(list(words), int(code), out.read(), err.read())


def from_nothing(
    words: Sequence[str], *, folder: Path, environment: Mapping[str, str], within_s: float
) -> subprocess.CompletedProcess[str]:
    """The same by an interpreter of its own."""
    return subprocess.run(
        [*DOOR, *words],
        capture_output=True,
        text=True,
        timeout=within_s,
        stdin=subprocess.DEVNULL,
        cwd=folder,
        env=environment,
        check=False,
    )


_STARTING = threading.Lock()


def _address() -> str:
    with _STARTING:  # tests ask from several threads
        return _started()


@cache
def _started() -> str:
    """Where the parent listens. It ends with this process: its stdin does."""
    address = str(Path(tempfile.mkdtemp(prefix="fencepost-fork-")) / "door")
    one = {"OPENBLAS_NUM_THREADS": "1"}  # a fork takes no threads along
    parent = subprocess.Popen(
        [sys.executable, "-m", __spec__.name, address], stdin=subprocess.PIPE, cwd=ROOT, env=os.environ | one
    )
    atexit.register(parent.communicate)
    wait_until(Path(address).exists, "commands can be forked", within_s=STARTS_WITHIN_S)
    return address


# -- the parent -------------------------------------------------------------------------------------------------------


def serve(address: str) -> list[str] | None:
    """Fork a child for each request. Comes back with its words in a child, with None at the end of the test run."""
    children: dict[int, socket.socket] = {}
    waking, woken = socket.socketpair()
    waking.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address + ".new")
    listener.listen(64)
    os.rename(address + ".new", address)  # noqa: PTH104 - whoever sees it may connect
    with selectors.DefaultSelector() as ready:
        for what in (sys.stdin, listener, woken):
            ready.register(what, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is sys.stdin:
                    Path(address).unlink()
                    Path(address).parent.rmdir()
                    return None
                if key.fileobj is woken:
                    woken.recv(64)
                    _bury(children)
                    continue
                asking, _ = listener.accept()
                request, streams, _, _ = socket.recv_fds(asking, AT_MOST, 3)
                pid = os.fork()
                if pid == 0:
                    for other in (waking, woken, listener, asking, *children.values()):
                        other.close()
                    return _become(json.loads(request), streams)
                for stream in streams:
                    os.close(stream)
                asking.sendall(str(pid).encode())
                children[pid] = asking


def _bury(children: dict[int, socket.socket]) -> None:
    """Tell how each child ended that did."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with children.pop(ended[0]) as asking, contextlib.suppress(OSError):
                asking.sendall(str(os.waitstatus_to_exitcode(ended[1])).encode())


def _become(request: dict[str, Any], streams: list[int]) -> list[str]:
    """Put on what a process started from nothing would have got, and give the words to run."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    words: list[str] = request["words"]
    return words


def import_everything() -> None:
    for room in ROOMS:
        for module in pkgutil.walk_packages(import_module(room).__path__, f"{room}."):
            if ".migrations." not in module.name:  # read by alembic, not imported
                import_module(module.name)


if __name__ == "__main__":
    import fencepost

    import_everything()
    gc.collect()
    gc.freeze()  # else each child copies what it only looks through for garbage
    if (asked := serve(sys.argv[1])) is not None:
        sys.argv = [str(ROOT / "fencepost.py"), *asked]
        fencepost.main()
