"""A wire between the command and a PostgreSQL server that a test can listen to, hold and cut.

It reads the client's messages and lets the test act right before a statement reaches the server: the command stands
still meanwhile, so that a phase is hit exactly, without a hook in the product and without a sleep. What the messages
mean is the server's business: they are passed on as they are.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.stack.processes import LOOPBACK

_SSL, _GSS = 80877103, 80877104
Action = Callable[[], None]


class Cut(Exception):
    """Raised by an action: the statement never arrives, and its connection is gone."""


class Unanswered(Exception):
    """Raised by an action: the statement is carried out, but its connection is gone before anything of that is heard."""


@dataclass
class _Wait:
    words: bytes
    left: int
    action: Action


class Tap:
    """Listens on a port of its own and passes on to `port`."""

    def __init__(self, port: int) -> None:
        self.server = port
        self.heard: list[str] = []  #: every statement, in the order they came
        self.errors: list[BaseException] = []
        self._waits: list[_Wait] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Condition()
        self._acting = 0
        self._refusing = self._closed = False
        self._door = socket.create_server((LOOPBACK, 0), backlog=64)
        self.port: int = self._door.getsockname()[1]
        self._listener = threading.Thread(target=self._accept, daemon=True)
        self._listener.start()

    # -- what a test asks for -----------------------------------------------------------------------------------------

    def at(self, words: str, action: Action, *, nth: int = 1) -> None:
        """Before the nth statement from now that holds these words, once: do this, while the command waits."""
        with self._lock:
            self._waits.append(_Wait(words.encode(), nth, action))

    def cut(self) -> None:
        """End every connection that is open, without a goodbye."""
        with self._lock:
            ends = list(self._open)
        for end in ends:
            _end(end)

    def refuse(self) -> None:
        """End every connection, and take no new one until `accept`."""
        self._refusing = True
        self.cut()

    def accept(self) -> None:
        self._refusing = False

    def forget(self) -> list[str]:
        """Wait for nothing any more; the words that never came. Raises what went wrong in an action."""
        with self._lock:
            # An action may outlive the command whose connection it cut.
            assert self._lock.wait_for(lambda: not self._acting, 90), "an action does not come to its end"
            left = [wait.words.decode() for wait in self._waits]
            self._waits.clear()
            self.heard.clear()
            errors, self.errors = self.errors, []
        for error in errors:
            raise error
        return left

    def close(self) -> None:
        self._refusing = self._closed = True
        # A thread that waits in accept() is not woken by close().
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), 1):
            self._listener.join(5)
        self._door.close()
        self.cut()

    # -- the wire -----------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            client, _ = self._door.accept()
            if self._refusing:
                client.close()
                if self._closed:
                    return
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection((LOOPBACK, self.server), 10)
        except OSError:
            _end(client)
            client.close()
            return
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open |= {client, server}
        mute = threading.Event()
        back = threading.Thread(target=_pump, args=(server, client, mute), daemon=True)
        back.start()
        try:
            for kind, message in _messages(client):
                if kind in (b"Q", b"P"):
                    try:
                        self._told(message[5:])
                    except Unanswered:
                        mute.set()
                server.sendall(message)
                if mute.is_set() and kind in (b"Q", b"S"):  # whole: the server does it, and then finds nobody to tell
                    server.shutdown(socket.SHUT_WR)
                    back.join(10)
                    break
        except (OSError, Cut):
            pass
        finally:
            _end(server)
            _end(client)
            back.join(10)
            with self._lock:
                self._open -= {client, server}
            client.close()
            server.close()

    def _told(self, statement: bytes) -> None:
        due = []
        with self._lock:
            self.heard.append(statement.strip(b"\0").decode(errors="replace"))
            for wait in list(self._waits):
                if wait.words in statement:
                    wait.left -= 1
                    if wait.left == 0:
                        self._waits.remove(wait)
                        due.append(wait.action)
            self._acting += bool(due)
        if not due:
            return
        try:
            for action in due:
                action()
        except (Cut, Unanswered):
            raise
        except BaseException as error:  # noqa: BLE001 - raised again in the test, by `forget`
            self.errors.append(error)
        finally:
            with self._lock:
                self._acting -= 1
                self._lock.notify_all()


def _messages(client: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    """What the client says, whole message by whole message, from the first one, which has no type, to the last."""
    stream = client.makefile("rb")
    with contextlib.closing(stream):
        while True:
            head = stream.read(4)
            if len(head) < 4:
                return
            body = stream.read(struct.unpack("!I", head)[0] - 4)
            if len(body) >= 4 and struct.unpack("!I", body[:4])[0] in (_SSL, _GSS):
                client.sendall(b"N")  # as a server without encryption does; the client then goes on in the clear
                continue
            yield b"", head + body
            break
        while len(kind := stream.read(1)) == 1:
            head = stream.read(4)
            if len(head) < 4:
                return
            yield kind, kind + head + stream.read(struct.unpack("!I", head)[0] - 4)


def _pump(source: socket.socket, sink: socket.socket, mute: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if not mute.is_set():
                sink.sendall(data)
    _end(sink)


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
