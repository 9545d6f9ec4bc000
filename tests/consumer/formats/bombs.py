"""Read records made to burst a decoder, each between two sound ones, in a process that may have little memory.

Run by `test_memory`: `python -m tests.consumer.formats.bombs FORMAT` prints a line of JSON that says how it went.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from consumer.formats import Decoder
from consumer.intake import Intake
from consumer.streams.contract import Reading
from schemas.events import RawBatch
from schemas.keys import key_type
from tests.consumer.formats.making import EVENT, TOPIC, Schemas, as_avro, as_json, data_type, decoder, route

#: Above what the process needs once everything is imported.
ALLOWED = 256 << 20
PLACE = (TOPIC, 0)


def varint(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def schema(kind: Any, number: int = 0) -> dict[str, Any]:
    fields = [{"name": "bomb", "type": kind}, {"name": "id", "type": "long"}]
    return {"type": "record", "name": f"R{number}", "fields": fields}


KINDS: list[Any] = [
    "string",
    *({"type": "array", "items": item} for item in ("null", "long", {"type": "record", "name": "E", "fields": []})),
    {"type": "map", "values": "null"},
    {"type": "array", "items": {"type": "array", "items": {"type": "map", "values": ["null", "R5"]}}},
    ["null", {"type": "array", "items": "R6"}],
]
#: Each unfolds to some thousand types; a registry may hold any number of such.
WIDE = [
    schema({"type": "record", "name": "W", "fields": [{"name": f"f{n}", "type": "long"} for n in range(3000)]}, n)
    for n in range(40)
]
COUNTS = [1, 20_000_000, 1 << 40, 1 << 60, (1 << 63) - 1, -1, -20_000_000, -(1 << 60), -(1 << 63)]


def avro_bombs() -> Iterator[bytes]:
    for number in range(1, len(KINDS) + 1):
        frame = b"\0" + number.to_bytes(4, "big")
        for count in COUNTS:
            for size in (b"", varint(1), varint(1 << 62), varint(-1)):
                yield frame + varint(count) + size + varint(5)
                yield frame + (varint(count) + size) * 500
        for branch in (2, 1 << 40, -1):
            yield frame + varint(branch) + varint(5)
        yield frame + varint(1) * 100_000 + b"\0"
        yield frame + b"\x02" * (8 << 20)
        yield frame + b"\0" * (8 << 20)
        yield frame + varint(8 << 20) + b"x" * (8 << 20) + varint(5)
        yield frame + varint(1_000_000) + b"\x02" * 2_000_000
        yield frame + b"\xff" * (1 << 20)
    for number in range(len(KINDS) + 1, len(KINDS) + len(WIDE) + 1):
        yield b"\0" + number.to_bytes(4, "big") + b"\xff" * 30
    for number in range(1000, 30_000):
        yield b"\0" + number.to_bytes(4, "big") + b"\0"


def json_bombs() -> Iterator[bytes]:
    tail = b'"id":7,"id":7,"event":"created","at":1}'  # twice: so that it has to be read with care
    yield b"[" * (8 << 20)
    yield b'{"a":' * (2 << 20)
    yield b"[" * 60 + b"]" * (8 << 20)
    for item in (b"[]", b"{}", b"1", b'""', b"1.5", b'{"a":[]}', b'"\\u0041"'):
        yield b'{"x":[' + item + (b"," + item) * ((14 << 20) // (len(item) + 1)) + b"]," + tail
        yield b'{"x":[' + item + (b"," + item) * 190_000 + b"]," + tail
    yield b'{"x":{' + b",".join(b'"%d":0' % n for n in range(1_400_000)) + b"}," + tail
    yield b"{" + b'"id":7,' * (2 << 20) + tail
    yield b'{"x":"' + b"z" * (15 << 20) + b'",' + tail
    yield b'{"x":"' + b"\\u0041" * (2 << 20) + b'",' + tail
    yield b'{"x":"' + b"z" * (17 << 20) + b'",' + tail
    yield b'{"x":' + b"9" * (8 << 20) + b"," + tail
    yield b'{"x":1e' + b"9" * (8 << 20) + b"," + tail
    yield b'{"id":' + b"[" * (8 << 20)
    yield b'{"id":"' + b"7" * (8 << 20) + b'","event":"created","at":1}'
    yield b'{"id":7,"event":"' + b"c" * (8 << 20) + b'","at":1}'
    for n in range(3000):  # ever new forms, and names
        yield b'{"n%d":%d,"id":7,"id":7,"event":"created","at":1}' % (n, n)


def avro_reader() -> Decoder:
    return decoder(route(data_type("avro", event={"key": "id"})), schemas=Schemas(*map(schema, KINDS, range(1, 9)), *WIDE))


def json_reader() -> Decoder:
    return decoder(route(data_type("json", event=EVENT)))


def main(form: str) -> None:
    made, bombs = (avro_reader(), avro_bombs()) if form == "avro" else (json_reader(), json_bombs())

    def neighbour(n: int) -> bytes:
        if form == "avro":
            return as_avro({"bomb": "x", "id": n}, schema("string"))
        return as_json({"id": n, "event": "created", "at": 1_700_000_000_000})

    intake = Intake(decoders={TOPIC: made}, key_types={"job": key_type("int")})
    intake.begin({PLACE: 0}, {TOPIC: None}, {PLACE: None})
    feed(intake, [neighbour(n) for n in range(100)], 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2 * ALLOWED, taken + 2 * ALLOWED))

    offset, found, refused, bad = 100, 0, 0, 0
    waiting: list[bytes] = []
    for bad, bomb in enumerate(bombs, 1):
        waiting += [neighbour(2 * bad), bomb, neighbour(2 * bad + 1)]
        if sum(map(len, waiting)) > 4 << 20 or len(waiting) > 900:
            events, unreadable = feed(intake, waiting, offset)
            offset, found, refused, waiting = offset + len(waiting), found + events, refused + unreadable, []
    events, unreadable = feed(intake, waiting, offset)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    told = {
        "bombs": bad,
        "neighbours": 2 * bad,
        "events": found + events,
        "refused": refused + unreadable,
        "grown": after - before,
    }
    print(json.dumps(told))


def feed(intake: Intake, values: list[bytes], offset: int) -> tuple[int, int]:
    """Take one batch and flush it; how many events and unreadable records it was."""
    offsets = np.arange(offset, offset + len(values), dtype=np.int64)
    intake.take(Reading(batches=[RawBatch(topic=TOPIC, partition=0, offsets=offsets, values=values)]))
    flush = intake.flush()
    intake.settle(flush)
    return sum(segment.events for segment in flush.segments), len(flush.unreadable)


if __name__ == "__main__":
    main(sys.argv[1])
