"""Records of one length are read by their places, and a byte that is out of place is never read over."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from consumer.formats import json_forms, json_layout
from consumer.formats.json import JsonDecoder
from consumer.formats.json_template import learn
from schemas.keys import key_type
from tests.consumer.formats.making import batch, change, decoder, keys
from tests.consumer.formats.test_json_forms import CHANGES, PLAIN, agree, event, lines

ENOUGH = json_layout.MIN_ALIKE * 2


def same_length(what: str, count: int = ENOUGH) -> list[bytes]:
    if what == "plain":
        # In ASCII: a chunk with one broken character is parsed whole.
        values = lines([event(7_000_000 + n, 3 * (10 + n % 5), who=f"abc{n % 7}") for n in range(count)])
        return [value.replace("é".encode(), b"me") for value in values]
    return lines([change("c", after=7_000_000 + n) for n in range(count)], separators=(",", ":"))


def reader(what: str) -> JsonDecoder:
    made = decoder(PLAIN if what == "plain" else CHANGES)
    assert isinstance(made, JsonDecoder)
    return made


def walks(*_: Any) -> None:
    raise AssertionError("a record was walked through")


@pytest.mark.parametrize("what", ["plain", "change"])
def test_records_of_one_length_are_not_walked_through(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = same_length(what)
    assert len({len(value) for value in values}) == 1
    monkeypatch.setattr(json_forms, "Fitting", walks)
    assert [key for _, key in keys(reader(what).decode(batch(values)))] == list(range(7_000_000, 7_000_000 + ENOUGH))


@pytest.mark.parametrize("other", list(b'09"a}, -\\\x00\xe9:'))
@pytest.mark.parametrize("what", ["plain", "change"])
def test_every_byte_of_a_record_is_held_against_the_layout(what: str, other: int) -> None:
    good = same_length(what)
    odd = [bytes([*value[:at], other, *value[at + 1 :]]) for at, value in enumerate(good * 2) if at < len(good[0])]
    assert len(odd) == len(good[0])
    mixed = [value for pair in zip(good * 2, odd, strict=False) for value in pair]
    agree(PLAIN if what == "plain" else CHANGES, good + mixed, learnt=good)


def test_lengths_that_alternate_keep_a_layout_each(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [
        v
        for n in range(ENOUGH)
        for v in lines([{"kind": "job", "event": "created", "at": 1, "payload": {"id": 10**w + n}} for w in (5, 9, 17)])
    ]
    monkeypatch.setattr(json_forms, "Fitting", walks)
    found = [key for _, key in keys(reader("plain").decode(batch(values)))]
    assert sorted(found) == sorted(10**w + n for n in range(ENOUGH) for w in (5, 9, 17))


def test_the_same_length_by_other_places_is_not_mistaken() -> None:
    one = [{"kind": "job", "event": "created", "at": 10 + n % 3, "n": 5, "payload": {"id": 1000 + n}} for n in range(ENOUGH)]
    two = [{"kind": "job", "event": "created", "at": 1 + n % 3, "n": 55, "payload": {"id": 1000 + n}} for n in range(ENOUGH)]
    agree(PLAIN, lines([record for pair in zip(one, two, strict=True) for record in pair]))


@pytest.mark.parametrize("digits", range(1, 20))
def test_a_number_of_any_length_has_its_value(digits: int) -> None:
    values = [b'{"a":%d,"b":"x"}' % (10 ** (digits - 1) + n % 9) for n in range(8)]
    template = learn(values, json.loads(values[0]), (), [], [("a",)])
    found = json_layout.layout(template, values[3])
    if digits > json_layout.MAX_DIGITS:
        assert found is None
        return
    assert found is not None
    joined = b"".join(values) + b"\0" * 64
    end = np.cumsum([len(value) for value in values])
    fits = json_layout.Uniform(found, joined, end - len(values[0]), end)
    assert fits.misfit is None
    found_keys, unsure = fits.leaves(None).key((("a",),), key_type("int"), None)
    assert unsure is None
    assert found_keys.tolist() == [json.loads(value)["a"] for value in values]


@pytest.mark.parametrize("many", [1, 40])
def test_text_that_is_no_utf8_is_not_completed_by_the_next_record(many: int) -> None:
    names = ["éééé", "öööö", "üüüü"]
    records = [event(7_000_000 + n, 3 * (10 + n % 5), who="x") for n in range(ENOUGH)]
    good = lines([{**r, "payload": {**r["payload"], "who": names[n % 3]}} for n, r in enumerate(records)])
    assert len({len(value) for value in good}) == 1

    def told(row: int, text: bytes) -> bytes:
        assert len(text) == 8
        return good[row].replace(names[row % 3].encode(), text)

    mixed = list(good)
    for row in range(20, 20 + 2 * many, 2):  # cut in its last character, and behind it begun in the middle of one
        mixed[row], mixed[row + 1] = told(row, b"a" + "ééé".encode() + b"\xc3"), told(row + 1, b"\xa9" + "éééa".encode())
    mixed[5], mixed[7] = told(5, b'aaaa\\"aa'), told(7, b'aa","a":')
    agree(PLAIN, mixed, learnt=good)


def test_a_number_that_grows_by_a_digit_beside_damage_is_not_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(made: JsonDecoder, first: int, more: list[bytes]) -> list[Any]:
        sound = lines([change("c", after=first + n) for n in range(1000)], separators=(",", ":"))
        return [key for _, key in keys(made.decode(batch([*sound, *([b'{"op":"c"'] * 40), *more])))]

    made = reader("change")
    for n in range(5):  # steps that did nothing for the damaged ones are passed over
        assert len(read(made, 7_000_000 + 1000 * n, [])) == 1000
    opened: list[bytes] = []
    monkeypatch.setattr(JsonDecoder, "_open", lambda _self, value: opened.append(value))
    longer = lines([change("c", after=10_000_000 + n) for n in range(100)], separators=(",", ":"))
    assert read(made, 8_000_000, longer)[-100:] == list(range(10_000_000, 10_000_100))
    assert not set(opened) & set(longer)
