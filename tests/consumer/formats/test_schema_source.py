"""The schema registry: an unknown id is the record's fault, a registry that is away is nobody's."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from consumer.formats import decoder_for, schema_source, sparing
from consumer.formats.contract import UnknownSchema
from consumer.formats.schema_source import MAX_ANSWER, FolderSource, RegistrySource, open_source
from schemas.errors import BadRecord, SettingsError, UnavailableError
from schemas.settings import EventLogSettings, SchemaRegistrySettings
from tests.consumer.formats.making import LOG, as_avro, batch, data_type, keys, reasons, route

LONG = {"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}]}
Answer = tuple[int, bytes, dict[str, str]]


@contextmanager
def registry(answer: Callable[[str, Any], Answer]) -> Iterator[tuple[str, list[str]]]:
    """A server on the loopback that answers as told; gives its URL and the paths it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, body, headers = answer(self.path, self.headers)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/apis/ccompat/v7", asked
    finally:
        server.shutdown()
        server.server_close()


def source(url: str, **more: Any) -> RegistrySource:
    total_s, clock = more.pop("total_s", 60.0), more.pop("clock", time.monotonic)
    return RegistrySource(SchemaRegistrySettings.model_validate({"url": url, **more}), total_s=total_s, clock=clock)


def told(body: Any, status: int = 200, **headers: str) -> Callable[[str, Any], Answer]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda _path, _headers: (status, data, headers)


def test_a_schema_is_asked_for_once() -> None:
    with registry(told({"schema": json.dumps(LONG)})) as (url, asked):
        made = source(url)
        assert made.schema(7) == made.schema(7) == (json.dumps(LONG),)
        assert asked == ["/apis/ccompat/v7/schemas/ids/7"]


def test_references_come_before_what_refers_to_them() -> None:
    def answer(path: str, _headers: Any) -> Answer:
        if path.endswith("/schemas/ids/1"):
            references = [{"name": "x.Id", "subject": "ids/é", "version": 3}]
            return 200, json.dumps({"schema": "main", "references": references}).encode(), {}
        return 200, json.dumps({"schema": "part"}).encode(), {}

    with registry(answer) as (url, asked):
        assert source(url).schema(1) == ("part", "main")
        assert asked[1] == "/apis/ccompat/v7/subjects/ids%2F%C3%A9/versions/3"


def test_references_without_end_are_refused() -> None:
    body = {"schema": "main", "references": [{"name": "x", "subject": "s", "version": 1}]}
    with registry(told(body)) as (url, asked), pytest.raises(BadRecord, match="more than"):
        source(url).schema(1)
    assert len(asked) < 100


def test_an_unknown_id_is_the_records_fault_and_not_asked_again_at_once() -> None:
    now = [0.0]
    with registry(told({"error_code": 40403, "message": "hunter2"}, 404)) as (url, asked):
        made = source(url, clock=lambda: now[0])
        for _ in range(3):
            with pytest.raises(BadRecord, match="schema id 9 is unknown to the schema registry at 127"):
                made.schema(9)
        assert len(asked) == 1
        now[0] = 31.0
        with pytest.raises(BadRecord):
            made.schema(9)
        assert len(asked) == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (503, b"{}"),
        (429, b""),
        (401, b""),
        (403, b""),
        (404, b"<html>nothing here"),
        (404, b'{"error_code": 404}'),
        (204, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"schema": 5}'),
        (200, b'{"schema": "x", "schemaType": 5}'),
        (200, b'{"schema": "x", "references": 5}'),
        (200, b'{"schema": "x", "references": {"a": 1}}'),
        (200, b'{"schema": "x", "references": [5]}'),
        (200, b'{"schema": "x", "references": [{"subject": "s"}]}'),
        (200, b'{"schema": "x", "references": [{"subject": "s", "version": 1e999}]}'),
        (200, b'{"schema": "x", "references": [{"subject": "\\ud800", "version": 1}]}'),
        (200, b'{"schema": ' + b"[" * 100_000),
        (200, b'{"schema": ' + b"9" * 5000),
        (200, b"<" + b"x" * MAX_ANSWER),
        (500, b"{" + b"x" * MAX_ANSWER),
        (302, b'{"schema": "x"}'),
        (200, b'{"schema": "' + b"x" * 10),
        (418, b""),
    ],
)
def test_a_registry_that_does_not_answer_as_one_is_away(status: int, body: bytes) -> None:
    with registry(told(body, status)) as (url, _), pytest.raises(UnavailableError, match=r"127\.0\.0\.1"):
        source(url).schema(1)


def test_redirects_are_refused() -> None:
    """Failure mode S6."""
    with registry(told(b"", 302, Location="http://169.254.169.254/")) as (url, asked):
        with pytest.raises(UnavailableError, match="HTTP 302"):
            source(url).schema(1)
        assert len(asked) == 1


def test_credentials_are_sent_and_never_shown() -> None:
    seen: list[str] = []

    def answer(_path: str, headers: Any) -> Answer:
        seen.append(headers["Authorization"])
        return 401, b"", {}

    with registry(answer) as (url, _), pytest.raises(UnavailableError) as failure:
        source(url, user="u", password="hunter2").schema(1)
    assert seen == ["Basic dTpodW50ZXIy"]
    assert "hunter2" not in f"{failure.value} {failure.value.hint} {failure.value!r}"


def test_credentials_never_follow_a_redirect_to_another_host() -> None:
    """Failure mode S7."""
    heard: list[str | None] = []

    def stranger(_path: str, headers: Any) -> Answer:
        heard.append(headers["Authorization"])
        return 200, json.dumps({"schema": json.dumps(LONG)}).encode(), {}

    with registry(stranger) as (other, _), registry(told(b"", 307, Location=other)) as (url, asked):
        with pytest.raises(UnavailableError, match="HTTP 307"):
            source(url, user="u", password="hunter2").schema(1)
        assert (heard, len(asked)) == ([], 1)


def test_a_kind_of_null_is_avro_as_it_is_where_none_is_told() -> None:
    with registry(told({"schema": json.dumps(LONG), "schemaType": None, "references": None})) as (url, _):
        assert source(url).schema(1) == (json.dumps(LONG),)


@pytest.mark.parametrize("kind", ["JSON", "PROTOBUF"])
def test_a_schema_of_another_kind_is_the_records_fault(kind: str) -> None:
    with registry(told({"schema": "{}", "schemaType": kind})) as (url, _), pytest.raises(BadRecord, match="no Avro"):
        source(url).schema(1)


def test_a_huge_answer_is_cut_off() -> None:
    with registry(told(b"{" + b"x" * (MAX_ANSWER + 10))) as (url, _), pytest.raises(BadRecord, match="longer than"):
        source(url).schema(1)


def test_nobody_listening_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UnavailableError, match="cannot be reached"):
        source(f"http://127.0.0.1:{port}").schema(1)


@pytest.mark.parametrize("drip", [b"", b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
def test_a_registry_that_drips_is_cut_off_in_time(drip: bytes) -> None:
    """Each byte comes in time for a socket's timeout; only a total limit ends it."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(drip)
                while not done.wait(0.05):
                    try:
                        peer.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        started = time.monotonic()
        with pytest.raises(UnavailableError, match="the schema registry at"):
            source(f"http://127.0.0.1:{port}", total_s=0.4).schema(1)
        assert time.monotonic() - started < 60
        done.set()
        thread.join(5)


def test_a_folder_holds_schemas_by_id(tmp_path: Path) -> None:
    (tmp_path / "1.avsc").write_text(json.dumps(LONG))
    (tmp_path / "2.avsc").write_bytes(b"\xff")
    (tmp_path / "3.avsc").mkdir()
    made = FolderSource(tmp_path)
    assert made.schema(1) == (json.dumps(LONG),)
    with pytest.raises(BadRecord, match="unknown to the folder"):
        made.schema(9)
    with pytest.raises(BadRecord, match="UTF-8"):
        made.schema(2)
    with pytest.raises(UnavailableError):
        made.schema(3)


def test_the_settings_choose_the_source(tmp_path: Path) -> None:
    kafka = {"bootstrap.servers": "b", "group.id": "g"}
    assert isinstance(open_source(EventLogSettings.model_validate({"kafka": kafka, "schemas": tmp_path})), FolderSource)
    both = {"kafka": kafka, "schema_registry": {"url": "http://r"}}
    assert isinstance(open_source(EventLogSettings.model_validate(both)), RegistrySource)
    with pytest.raises(SettingsError):
        open_source(LOG)


def test_a_registry_that_is_away_stops_the_batch_and_an_unknown_id_spoils_its_records_only() -> None:
    def answer(path: str, _headers: Any) -> Answer:
        if path.endswith("/9"):
            return 404, b'{"error_code": 40403}', {}
        return 200, json.dumps({"schema": json.dumps(LONG)}).encode(), {}

    declared = data_type("avro", event={"key": "id"})
    values = [as_avro({"id": n}, LONG, 9 if n == 1 else 5) for n in range(3)]
    with registry(answer) as (url, _):
        decoded = decoder_for("t", [route(declared)], LOG, source(url)).decode(batch(values))
    assert ([key for _, key in keys(decoded)], list(reasons(decoded))) == ([0, 2], [102])
    with registry(told(b"", 500)) as (url, _), pytest.raises(UnavailableError):
        decoder_for("t", [route(declared)], LOG, source(url)).decode(batch(values))


def test_what_a_registry_told_of_ever_new_ids_is_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failure modes 84 and S5."""
    monkeypatch.setattr(schema_source, "KEPT_SCHEMAS", 5)
    monkeypatch.setattr(schema_source, "KEPT_UNKNOWN", 5)

    def answer(path: str, _headers: Any) -> Answer:
        if int(path.rpartition("/")[2]) % 2:
            return 404, b'{"error_code": 40403}', {}
        return 200, json.dumps({"schema": path}).encode(), {}

    with registry(answer) as (url, asked):
        made = source(url)
        for number in [*range(40), 38, 39]:
            if number % 2:
                with pytest.raises(UnknownSchema):
                    made.schema(number)
            else:
                assert made.schema(number)[0].endswith(f"/{number}")
        assert (len(made._known), len(made._unknown), len(asked)) == (5, 5, 40)


def known_only(*numbers: int) -> Callable[[str, Any], Answer]:
    def answer(path: str, _headers: Any) -> Answer:
        if int(path.rpartition("/")[2]) in numbers:
            return 200, json.dumps({"schema": json.dumps(LONG)}).encode(), {}
        return 404, b'{"error_code": 40403}', {}

    return answer


def test_a_flood_of_unknown_ids_asks_little_and_a_new_schema_in_its_midst_is_found() -> None:
    """Failure mode 84."""
    chance, now = random.Random(84), [0.0]
    declared = data_type("avro", event={"key": "id"})
    with registry(known_only(5, 6)) as (url, asked):
        made = decoder_for("t", [route(declared)], LOG, source(url, clock=lambda: now[0]))
        reads = 30
        for read in range(reads):
            noise = [b"\0" + chance.randbytes(4) + b"\x0a" for _ in range(300)]
            sound = [as_avro({"id": n}, LONG, 6 if read >= 10 and n % 2 else 5) for n in range(100)]
            mixed = noise + sound
            chance.shuffle(mixed)
            decoded = made.decode(batch(mixed))
            assert sorted(int(str(key)) for _, key in keys(decoded)) == list(range(100))
            assert len(reasons(decoded)) == 300
            now[0] += 0.1
        assert len(asked) <= 2 + (sparing.SAVED_S + now[0]) / sparing.PRICE_S
        assert {f"/apis/ccompat/v7/schemas/ids/{n}" for n in (5, 6)} <= {*asked}


def test_a_schema_named_once_a_read_is_asked_for_when_it_is_named_again() -> None:
    now = [0.0]
    with registry(known_only(7)) as (url, asked):
        made = source(url, clock=lambda: now[0])
        for number in range(1000, 1100):
            with pytest.raises(UnknownSchema):
                made.schema(number)
        with pytest.raises(UnknownSchema, match="schema id 7 was not asked for yet: too many ids before it were unknown to"):
            made.schema(7)
        assert made.schema(7) == (json.dumps(LONG),)
        assert len(asked) == 21


def test_an_id_whose_answer_is_old_keeps_it_while_nothing_can_be_asked() -> None:
    now = [0.0]
    with registry(known_only()) as (url, asked):
        made = source(url, clock=lambda: now[0])
        for number in [*range(1, 61), *range(1, 61)]:
            with pytest.raises(UnknownSchema, match=f"schema id {number} "):
                made.schema(number)
        assert len(asked) == 40
        now[0] = 31.0  # all answers are old, and the allowance is for forty again: those that waited are the first
        for number in range(60, 0, -1):
            with pytest.raises(UnknownSchema, match=f"schema id {number} is unknown to"):
                made.schema(number)
        assert len(asked) == 80


def test_where_an_operator_names_the_records_each_id_is_asked_for() -> None:
    with registry(known_only(7)) as (url, asked):
        settings = EventLogSettings.model_validate(
            {"kafka": {"bootstrap.servers": "b", "group.id": "g"}, "schema_registry": {"url": url}}
        )
        made = open_source(settings, sparing=False)
        for number in range(1000, 1100):
            with pytest.raises(UnknownSchema, match="is unknown"):
                made.schema(number)
        assert made.schema(7) == (json.dumps(LONG),)
        assert len(asked) == 101


def test_a_number_that_no_registry_gives_is_not_asked_for() -> None:
    """Were it answered like an address that the registry does not have, the tracker would wait for ever."""
    with registry(told({"error_code": 404, "message": "HTTP 404 Not Found"}, 404)) as (url, asked):
        for number in (2**31, 2**32 - 1):
            with pytest.raises(UnknownSchema, match=f"schema id {number} is unknown: no registry gives such a number"):
                source(url).schema(number)
        assert not asked
        with pytest.raises(UnavailableError):
            source(url).schema(2**31 - 1)
