"""Nothing that came from outside may repaint a terminal, forge a line, or show a secret."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from schemas.settings import Dsn
from terminal import harmless


class Holder(BaseModel):
    dsn: Dsn | None = None
    more: dict[str, SecretStr] = {}
    plain: str = "shown"


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    harmless.forget_secrets()


@given(st.text())
def test_harmless_text_is_one_line_without_controls(text: str) -> None:
    out = harmless.harmless(text)
    assert out.isprintable()
    assert len(out.splitlines()) <= 1
    out.encode()


@pytest.mark.parametrize("evil", ["\x1b[2J\x1b[32mCLEAR", "a\nCLEAR", "a\rCLEAR", "\x9b31m", "\u202eRAELC", "\ud800"])
def test_an_escape_sequence_is_shown_and_not_obeyed(evil: str) -> None:
    out = harmless.harmless(evil)
    assert out.isascii()
    assert "\\" in out


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:hunter2%2Fsecret@h/db",
        "postgresql://u@h/db?password=hunter2%2Fsecret",
        "host=h user=u password=hunter2/secret",
        "host=h password='hunter2/secret' user=u",
        "postgresql://u:hunter2/secret@h:port/db",
    ],
)
def test_the_password_of_a_connection_string_is_hidden_however_a_driver_quotes_it(dsn: str) -> None:
    harmless.learn_secrets(Holder(dsn=Dsn(dsn)))
    for told in (f"invalid dsn: {dsn}", "password hunter2/secret", "password hunter2%2Fsecret"):
        assert "hunter2" not in harmless.harmless(told)


def test_a_secret_is_hidden_wherever_the_settings_keep_it() -> None:
    harmless.learn_secrets(Holder(more={"sasl.password": SecretStr("canary-1")}))
    assert harmless.harmless("canary-1 and shown") == "(hidden) and shown"


def test_a_secret_within_another_is_hidden_too() -> None:
    harmless.learn_secrets(Holder(more={"a": SecretStr("long-secret-and-more"), "b": SecretStr("long-secret")}))
    assert harmless.harmless("long-secret-and-more long-secret") == "(hidden) (hidden)"


def test_a_very_short_secret_does_not_tear_words_apart() -> None:
    harmless.learn_secrets(Holder(more={"a": SecretStr("ab")}))
    assert harmless.harmless("a table") == "a table"
