"""JSON read by learnt form, by projection and by parsing: all three say the same of every record, whole or damaged."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from consumer.formats import json_layout
from consumer.formats.json import JsonDecoder
from consumer.formats.json_template import Unfit, form, learn
from tests.consumer.formats.making import EVENT, batch, change, data_type, decoder, examples, keys, reasons, route, told

SETTINGS = settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
PLAIN = route(data_type("json", event=EVENT | {"key": "payload.id"}, match={"kind": "job"}))
CHANGES = route(data_type("debezium-json"))


@pytest.fixture(autouse=True, scope="module", params=["walked", "by layout"])
def alike(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything is held once without layouts, and once with layouts for as few as two records of one length."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_layout, "MIN_ALIKE", 10**6 if request.param == "walked" else 2)
        yield


def reader(one: Any, how: str = "forms") -> JsonDecoder:
    made = decoder(one)
    assert isinstance(made, JsonDecoder)
    if how != "forms":
        made._forms._lessons = 0
    if how == "parser":
        made.fits = False
    return made


def event(key: Any, n: int = 0, **more: Any) -> dict[str, Any]:
    op = ("created", "deleted", "updated")[n % 3]
    at = f"2024-02-{1 + n % 28:02}T10:{n % 60:02}:00.{n:06}+00:00"
    return {"n": n, "kind": "job", "event": op, "payload": {"id": key, "who": "é"}, "at": at, "cost": 1.5 + n, **more}


def lines(records: list[Any], **style: Any) -> list[bytes]:
    return [json.dumps(record, ensure_ascii=False, **style).encode() for record in records]


def agree(one: Any, values: list[bytes], learnt: list[bytes] | None = None) -> None:
    quick = reader(one)
    quick.decode(batch(learnt if learnt is not None else values))
    results = [made.decode(batch(values)) for made in (quick, reader(one, "projection"), reader(one, "parser"))]
    assert told(results[0]) == told(results[1]) == told(results[2])
    assert reasons(results[0]) == reasons(results[1]) == reasons(results[2])
    assert results[0].ignored == results[1].ignored == results[2].ignored


@pytest.mark.parametrize("style", [{}, {"separators": (",", ":")}, {"sort_keys": True}, {"separators": (" , ", " : ")}])
def test_records_of_one_form_are_read_by_it(style: dict[str, Any]) -> None:
    values = lines([event(1000 + n * 37, n) for n in range(300)], **style)
    quick = reader(PLAIN)
    assert len(keys(quick.decode(batch(values)))) == 200
    assert len(quick._forms._templates) == 1
    agree(PLAIN, values)


def test_creations_and_deletions_of_debezium_are_two_forms() -> None:
    records = [change("d", before=n) if n % 5 == 0 else change("c", after=n, ts_ms=1_700_000_000_000 + n) for n in range(200)]
    quick = reader(CHANGES)
    assert len(keys(quick.decode(batch(lines(records))))) == 200
    assert len(quick._forms._templates) == 2
    agree(CHANGES, lines(records))


def test_an_enveloped_form_is_learnt_too() -> None:
    values = lines([{"schema": {"type": "struct"}, "payload": change("c", after=n)} for n in range(50)])
    quick = reader(CHANGES)
    assert len(keys(quick.decode(batch(values)))) == 50
    assert len(quick._forms._templates) == 1
    agree(CHANGES, values)


def test_a_value_that_was_always_the_same_may_change_later() -> None:
    first, later = (lines([event(n, n, kind=kind) for n in range(50)]) for kind in ("job", "other"))
    quick = reader(PLAIN)
    for values, count in ((first, 34), (later, 0), (first, 34), (lines([event(n, n) | {"n": 7} for n in range(50)]), 34)):
        assert len(keys(quick.decode(batch(values)))) == count


ODD = [
    b"012",
    b"-5",
    b"-0",
    b"1.0",
    b"1e3",
    b"9" * 18,
    b"9" * 19,
    b"9" * 20,
    b"9223372036854775807",
    b"9223372036854775808",
    b"1" * 8,
    b"1" * 16,
    b"1" * 17,
    b"0",
    b"00",
    b"",
    b'"12"',
    b"null",
    b"true",
    b"{}",
    b"[1]",
    b"1 ",
    b" 1",
    b"1,1",
    b'1, "id": 2',
    b"1}",
    b'1}, "payload": {"id": 2',
    b"\xff",
    b"1\\u0030",
    b"\t1",
    b"123456789012345678",
    b"1234567890123456",
    b"12345678",
]


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_key_among_a_hundred_of_one_form(odd: bytes) -> None:
    good = lines([event(7_000_000 + n, n) for n in range(100)])
    one = good[51].replace(b"7000051", odd)
    agree(PLAIN, [*good[:51], one, *good[52:]], learnt=good)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"kind"', b'"k\\u0069nd"'),
        (b'"at"', b'"aT"'),
        (b"\xc3\xa9", b"\xc3"),
        (b"\xc3\xa9", b'\\"'),
        (b"\xc3\xa9", b"\x01"),
        (b"\xc3\xa9", b"x" * 2000),
        (b'"kind": "job"', b'"kind": "job", "kind": "job"'),
        (b"}", b"} "),
        (b"}", b""),
        (b"{", b" {"),
        (b"2024-02", b"2024-13"),
        (b"2024-02", b"20240-02"),
        (b"+00:00", b""),
        (b"+00:00", b"Z"),
        (b"+00:00", b"-25:00"),
        (b".0", b".x"),
        (b"1.5", b"1.50"),
        (b"52.5", b"52."),
        (b"52.5", b".5"),
        (b"52.5", b"52.5e1"),
        (b'"event": "created"', b'"event": null'),
        (b'"event": "deleted"', b'"event": "deletedd"'),
    ],
)
@pytest.mark.parametrize("row", [50, 51, 52])
def test_an_odd_record_among_a_hundred_of_one_form(old: bytes, new: bytes, row: int) -> None:
    good = lines([event(7_000_000 + n, n) for n in range(100)])
    agree(PLAIN, [*good[:row], good[row].replace(old, new), *good[row + 1 :]], learnt=good)


@SETTINGS
@given(st.integers(0, 2**32), st.sampled_from(["plain", "change"]))
def test_damaged_records_are_judged_alike(seed: int, what: str) -> None:
    chance = random.Random(seed)
    if what == "plain":
        records = [event(chance.choice([n, 10 ** chance.randrange(19), -n, str(n)]), n) for n in range(60)]
    else:
        records = [change(chance.choice("ccccdu"), after=n, before=chance.choice([None, n, n + 1])) for n in range(60)]
    good = lines(records)
    values = [damaged(value, chance) if chance.random() < 0.3 else value for value in good]
    agree(PLAIN if what == "plain" else CHANGES, values, learnt=good if seed % 2 else values)


def damaged(value: bytes, chance: random.Random) -> bytes:
    body = bytearray(value)
    for _ in range(chance.randrange(1, 3)):
        at = chance.randrange(len(body))
        how = chance.randrange(4)
        if how == 0:
            body[at] = chance.choice(b'0123456789"\\{}[],:. -e\xc3\xa9\x00abc')
        elif how == 1:
            body[at:at] = bytes(chance.choices(b'0123456789"\\{},: nul', k=chance.randrange(1, 4)))
        elif how == 2:
            del body[at : at + chance.randrange(1, 9)]
        else:
            begin = chance.randrange(len(body))
            body[at:at] = body[begin : begin + chance.randrange(1, 40)]
    return bytes(body)


@settings(SETTINGS, max_examples=examples(20))
@given(st.integers(0, 2**32), st.sampled_from(["plain", "change"]), st.sampled_from([0.01, 0.06, 0.11, 0.5, 1.0]))
def test_in_read_after_read_damaged_records_are_judged_as_by_the_parser(seed: int, what: str, share: float) -> None:
    """Whatever was learnt of the reads before: which steps are worth their while, and which forms there are."""
    chance = random.Random(seed)
    one = PLAIN if what == "plain" else CHANGES
    quick, slow = reader(one), reader(one, "parser")
    for read in range(4):
        if what == "plain":
            records = [event(n, n, **({"more": read} if chance.random() < share / 2 else {})) for n in range(400)]
        else:
            records = [change(chance.choice("ccccdu"), after=n, before=chance.choice([None, n])) for n in range(400)]
        spoil = share if read != 2 else share / 10
        values = [damaged(value, chance) if chance.random() < spoil else value for value in lines(records)]
        batches = [batch(values[:150]), batch(values[150:], topic="t")]
        found, wanted = quick.decode(*batches), slow.decode(*batches)
        assert told(found) == told(wanted)
        assert (found.unreadable, found.ignored) == (wanted.unreadable, wanted.ignored)


def test_ever_new_forms_end_the_learning_and_are_parsed() -> None:
    quick = reader(PLAIN)
    for n in range(80):
        values = lines([event(n, n, **{f"extra{n}": n}) for _ in range(40)])
        assert len(keys(quick.decode(batch(values)))) == (40 if n % 3 < 2 else 0)
    assert quick._forms._lessons == 0
    assert len(quick._forms._templates) <= 12


@pytest.mark.parametrize("value", [b'{"id": "a\\"b"}', b'{"id": 1e5}', b'{"a": [' + b"1, " * 300 + b"1]}"])
def test_what_is_no_example(value: bytes) -> None:
    with pytest.raises(Unfit):
        form(value)


def test_a_wanted_number_with_a_sign_or_a_point_is_not_learnt() -> None:
    for text in (b'{"id": -5}', b'{"id": 1.5}'):
        with pytest.raises(Unfit):
            learn([text], json.loads(text), (), (), [("id",)])


@pytest.mark.parametrize(
    "bad", [b"\xff", b'{"kind": "job\xc3", "n": 1}', b'{"kind":\t"job"}', b"", b'{"k\\u0069nd": "job"}', b"nonsense"]
)
@pytest.mark.parametrize("row", [0, 1, 150, 299])
def test_a_bad_record_does_not_send_its_neighbours_to_the_parser(bad: bytes, row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    good = lines([event(7_000_000 + n, 0) for n in range(300)])
    parsed: list[int] = []
    real = JsonDecoder._parsed

    def counting(self: JsonDecoder, gathering: Any, chunk: Any) -> Any:
        parsed.append(len(chunk.values))
        return real(self, gathering, chunk)

    opened: list[bytes] = []
    open_one = JsonDecoder._open

    def opening(self: JsonDecoder, value: bytes) -> Any:
        opened.append(value)
        return open_one(self, value)

    monkeypatch.setattr(JsonDecoder, "_parsed", counting)
    monkeypatch.setattr(JsonDecoder, "_open", opening)
    quick = reader(PLAIN)
    assert len(keys(quick.decode(batch([*good[:row], bad, *good[row:]])))) == 300
    assert sum(parsed) <= 1
    assert set(opened) <= {bad}


def test_forms_of_single_damaged_records_are_not_learnt_and_the_usual_one_is_tried_first() -> None:
    good = lines([event(7_000_000 + n, 0) for n in range(600)])
    # A letter of a name changes: valid JSON, and a form that no other record has.
    names = [(b'"n"', b'"%c"'), (b'"cost"', b'"co%ct"'), (b'"who"', b'"w%co"')]
    values = list(good)
    for number, letter in enumerate(b"abdefgijklm"):
        old, new = names[number % 3]
        values[10 + 20 * number] = values[10 + 20 * number].replace(old, new % letter)
    quick = reader(PLAIN)
    for _ in range(3):
        assert len(keys(quick.decode(batch(values)))) == 600
    assert len(quick._forms._templates) == 1
    other = lines([{"kind": "job", "event": "created", "at": 1, "payload": {"id": n}} for n in range(900)])
    for _ in range(3):
        quick.decode(batch([*other, *good[:50]]))
    assert len(quick._forms._templates) == 2
    assert quick._forms._templates[0].template.examples[0] in other


BROKEN = [
    b"", b"[", b"{", b"[1", b'{"a":[1', b'{"a":[', b"[1 2]", b"[1,]", b'{"a" 1}', b'{"a":1 "b":2}', b'{"a":tru}', b"nul",
    b"[1}", b"{]", b"1.", b"-", b"[" * 8000, b'{"a":' * 1000, b"[" * 65 + b"]" * 65, b"[1]]", b"1 1",
]  # fmt: skip


@pytest.mark.timeout(30)
@pytest.mark.parametrize("value", BROKEN)
def test_bytes_that_are_no_json_are_no_form_and_their_scan_ends(value: bytes) -> None:
    with pytest.raises(Unfit):
        form(value)


@pytest.mark.timeout(60)
@SETTINGS
@given(st.lists(st.sampled_from([*b'{}[],:"1.e-tfn \\\xe9', b"true", b'"a":', b"null"]), max_size=30))
def test_a_scan_ends_on_any_bytes(pieces: list[int | bytes]) -> None:
    value = b"".join(bytes([piece]) if isinstance(piece, int) else piece for piece in pieces)
    try:
        form(value)
    except (Unfit, UnicodeError):
        return
    with suppress(UnicodeDecodeError):  # what is no UTF-8 is never taken for an example: `json_forms` sees to that
        json.loads(value)  # what has a form is JSON


@pytest.mark.timeout(60)
@pytest.mark.parametrize("bad", BROKEN[1:6] + BROKEN[16:19])
def test_broken_records_among_those_that_are_sampled_hang_nothing(bad: bytes) -> None:
    """Examples are sampled from what does not fit: hostile records come with the form's own."""
    good = lines([event(7_000_000 + n, 0) for n in range(64)])
    mixed = [value for one in good for value in (one, bad)]
    assert len(keys(reader(PLAIN).decode(batch(mixed)))) == 64
