"""Apicurio Registry: a schema registry that Confluent's clients and Apicurio's own both talk to.

It keeps its schemas in memory: after `stop` or `kill` they are gone.
"""

from __future__ import annotations

import http
import urllib.request
from pathlib import Path

from tests.stack import jars
from tests.stack.processes import LOOPBACK, Part, Process, free_port

VERSION = jars.pinned("registry", "apicurio.version")


class SchemaRegistry(Part):
    """`url` is for Confluent's clients, `native_url` for Apicurio's converters."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}/apis/ccompat/v7"
        self.native_url = f"http://{LOOPBACK}:{self.port}/apis/registry/v2"
        application = jars.folder("registry", goal=jars.UNPACK) / f"apicurio-registry-app-{VERSION}-runner.jar"
        options = [f"-Dquarkus.http.host={LOOPBACK}", f"-Dquarkus.http.port={self.port}", "-XX:TieredStopAtLevel=1"]
        self.process = Process(
            "the schema registry",
            [jars.java(), "-Xmx400m", "-XX:+UseSerialGC", *options, "-jar", str(application)],
            log=folder / "registry.log",
        )

    def _answers(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/subjects", timeout=2) as reply:
            return bool(reply.status == http.HTTPStatus.OK)
