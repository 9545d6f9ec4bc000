"""Who is woken: an HTTP server that Alertmanager, or the audit itself, calls. It may be down, and come back on its port."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from tests.stack.processes import LOOPBACK

Told = dict[str, Any]


@dataclass
class Receiver:
    """Up within `with`. `path` is part of its URL; `answer` is the status it gives, `headers` go with it."""

    path: str = "/"
    answer: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    messages: list[Told] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  #: request lines' paths
    port: int = 0

    def __enter__(self) -> Receiver:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}{self.path}"

    @property
    def told(self) -> list[Told]:
        """Every alert of every message, in the order in which they came."""
        return [alert for message in self.messages for alert in message["alerts"]]

    def heard(self, status: str, alert: str = "FencepostDropRateFast") -> list[Told]:
        return [told for told in self.told if (told["status"], told["labels"]["alertname"]) == (status, alert)]

    def up(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(self.path)
                if outer.answer == 200:
                    outer.messages.append(body)
                self.send_response(outer.answer)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Not on the test's stderr."""

        self._server = HTTPServer((LOOPBACK, self.port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def down(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
