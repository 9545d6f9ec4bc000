"""Names from the settings: exact, quoted as in SQL, and never more than a name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import CatalogError
from schemas.names import LONGEST, column_spellings, qualified, table_name


@pytest.mark.parametrize(
    ("text", "schema", "name"),
    [
        ("jobs", None, ("jobs",)),
        ("public.jobs", ("public",), ("jobs",)),
        ("Sales.Orders", ("Sales", "sales"), ("Orders", "orders")),
        ('"Sales"."Orders"', ("Sales",), ("Orders",)),
        ('"a.b".c', ("a.b",), ("c",)),
        ('"say ""hi"""', None, ('say "hi"',)),
        ("job-artifacts; drop table x --", None, ("job-artifacts; drop table x --",)),
        ("Größe.Ünïcode", ("Größe", "größe"), ("Ünïcode", "ünïcode")),
    ],
)
def test_a_name_is_read_as_written_first_and_folded_only_where_it_is_not_quoted(
    text: str, schema: tuple[str, ...] | None, name: tuple[str, ...]
) -> None:
    found_schema, found_name = table_name(text)
    assert (found_schema.spellings if found_schema else None) == schema
    assert found_name.spellings == name


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a part of it is empty"),
        (".jobs", "a part of it is empty"),
        ("public.", "a part of it is empty"),
        ("a.b.c", "it has 3 parts"),
        ('x"; drop table jobs; --', "a double quote stands in the middle"),
        ('"open', "not closed"),
        ('""', "not closed, or hold nothing"),
        ('"x"y', "a double quote stands in the middle"),
        ("a\0b", "NUL"),
        ("x" * 64, "64 bytes long, PostgreSQL holds at most 63"),
        ("ü" * 32, "64 bytes long"),
        ("\ud800", "not valid UTF-8"),
    ],
)
def test_what_is_no_name_is_a_clear_error(text: str, why: str) -> None:
    with pytest.raises(CatalogError, match=why):
        table_name(text)


def test_an_error_shows_a_hostile_name_without_its_control_characters() -> None:
    with pytest.raises(CatalogError) as raised:
        table_name('a\x1b[2J\nCLEAR"')
    assert "\x1b" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_column_is_one_name_whatever_dots_and_quotes_it_holds() -> None:
    assert column_spellings("a.b") == ("a.b",)
    assert column_spellings('"We""ird"') == ('"We""ird"', 'We"ird')
    assert column_spellings("Id") == ("Id", "id")


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)


@given(WORDS, WORDS)
def test_a_name_shown_in_a_message_can_be_pasted_back_into_the_settings(schema: str, name: str) -> None:
    shown = qualified(schema, name)
    if not (schema + name).isprintable():
        return  # shown harmlessly instead
    assert len(schema.encode()) <= LONGEST
    found_schema, found_name = table_name(shown)
    assert found_schema is not None
    assert (found_schema.spellings[0], found_name.spellings[0]) == (schema, name)
