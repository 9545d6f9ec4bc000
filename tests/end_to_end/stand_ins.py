"""Servers that are there and are no help: silent, talking nonsense, sending elsewhere, dripping."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.stack.processes import LOOPBACK

REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/elsewhere\r\nContent-Length: 0\r\n\r\n"
NONSENSE = b"\x00\xff\x13 this is no server you know\r\n\r\n" * 20
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 21\r\n\r\n<html>Welcome!</html>"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def silent() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.create_server((LOOPBACK, 0), backlog=64) as server:
        yield server.getsockname()[1]


@contextmanager
def answering(answer: bytes, *, drip: bool = False) -> Iterator[int]:
    """A port where everything is answered by the same bytes; `drip`: one at a time, so that it never ends."""
    over = threading.Event()

    def serve(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.recv(65536)
            for at in range(len(answer)) if drip else ():
                client.sendall(answer[at : at + 1])
                if over.wait(0.5):
                    return
            if not drip:
                client.sendall(answer)

    def accept(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                if over.is_set():
                    client.close()
                    return
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        listener = threading.Thread(target=accept, args=(server,), daemon=True)
        listener.start()
        try:
            yield port
        finally:
            over.set()
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 1):
                listener.join(5)
