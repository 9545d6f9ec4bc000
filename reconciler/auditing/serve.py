"""`/healthz`, `/readyz` and `/metrics` over plain HTTP: read only, on the address of the settings, loopback by default.

Nothing here changes anything, so the Host header does not matter. A client that does not read is given up.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from reconciler.auditing.exposition import Exposition
from schemas.errors import SettingsError

log = logging.getLogger("fencepost.audit")
PATIENCE_S = 10.0
_WHERE = 'name an address of this machine; without one (":9464") it listens on all of them'
_HINTS = {
    errno.EADDRINUSE: "another audit may run on this machine; give each a port of its own",
    errno.EACCES: "a port below 1024 is not given to everybody",
}


def address(listen: str) -> tuple[str, int]:
    """`127.0.0.1:9464`, `[::1]:9464`, `:9464` (every address). Raises SettingsError."""
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise SettingsError(f"audit.listen {listen!r} names no port", hint='write host and port, such as "127.0.0.1:9464"')
    return host.strip("[]"), int(port)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""
        log.debug("a client went away", extra={"event": "http_client_gone"})


@contextmanager
def serving(
    listen: str, exposition: Exposition, healthy: Callable[[], str | None], ready: Callable[[], str | None]
) -> Iterator[int]:
    """Serve until left; the port. `healthy` and `ready` say what is wrong, or None. Raises SettingsError."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(exposition)

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE_S
        server_version, sys_version = "fencepost", ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                encode, kind = choose_encoder(self.headers.get("Accept", ""))
                self._give(HTTPStatus.OK, encode(registry), kind)
            elif path in ("/healthz", "/readyz"):
                wrong = healthy() if path == "/healthz" else ready()
                status = HTTPStatus.OK if wrong is None else HTTPStatus.SERVICE_UNAVAILABLE
                self._give(status, f"{wrong or 'ok'}\n".encode())
            else:
                self._give(HTTPStatus.NOT_FOUND, b"/metrics, /healthz, /readyz\n")

        def _refuse(self) -> None:
            self._give(HTTPStatus.METHOD_NOT_ALLOWED, b"GET only\n")

        def _give(self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Every scrape is no news."""

    for method in ("HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        setattr(Handler, f"do_{method}", Handler._refuse)
    host, port = address(listen)
    try:
        server = _Server((host, port), Handler) if ":" not in host else _six(host, port, Handler)
    except OSError as error:
        what = f"audit.listen {listen!r} cannot be listened on: {error.strerror or error}"
        raise SettingsError(what, hint=_HINTS.get(error.errno or 0, _WHERE)) from None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="metrics", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _six(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> _Server:
    from socket import AF_INET6

    class Six(_Server):
        address_family = AF_INET6

    return Six((host, port), handler)
