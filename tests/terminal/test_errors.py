"""A failure is told as its chain of causes: no traceback, no secret, the right exit code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from schemas.errors import FencepostError, SettingsError, UnavailableError
from schemas.settings import Dsn
from terminal import harmless
from terminal.errors import Debug, explain, report_failure


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    harmless.forget_secrets()
    Debug.on = False


class Holder(BaseModel):
    dsn: Dsn


def raised(outer: Exception, inner: BaseException | None = None) -> Exception:
    try:
        raise outer from inner
    except Exception as error:  # noqa: BLE001
        return error


def test_the_chain_reads_from_the_outcome_to_the_cause_and_ends_with_what_to_try() -> None:
    inner = raised(UnavailableError("the broker does not answer", hint="is it up?"), ConnectionRefusedError(111, "Refused"))
    assert explain(FencepostError("x")) == ["fencepost: x"]
    outer = raised(FencepostError("cannot judge jobs", hint="run it again"), inner)
    assert isinstance(outer, FencepostError)
    assert explain(outer) == [
        "fencepost: cannot judge jobs",
        "  because the broker does not answer",
        "  because refused",
        "  try: is it up?",
    ]


def test_a_suppressed_cause_is_not_told() -> None:
    def fail() -> None:
        try:
            raise ValueError("password")
        except ValueError:
            raise SettingsError("no such setting") from None

    with pytest.raises(SettingsError) as told:
        fail()
    assert explain(told.value) == ["fencepost: no such setting"]


def test_a_foreign_cause_is_quoted_only_where_its_secrets_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    error = raised(FencepostError("cannot connect"), RuntimeError("dsn postgresql://u:canary@h/d"))
    assert report_failure(error) == 1
    assert "RuntimeError" in capsys.readouterr().err
    harmless.learn_secrets(Holder(dsn=Dsn("postgresql://u:canary@h/d")))
    report_failure(error)
    err = capsys.readouterr().err
    assert "dsn (hidden)" in err
    assert "canary" not in err


@pytest.mark.parametrize(
    ("error", "code"),
    [(SettingsError("a"), 2), (UnavailableError("a"), 1), (KeyboardInterrupt(), 1), (MemoryError(), 1), (KeyError("a"), 1)],
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_failure(error) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fencepost: ")
    assert "Traceback" not in err


def test_an_unforeseen_error_is_told_by_type_as_a_bug_and_traced_at_debug_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = raised(ZeroDivisionError("with something private"))
    report_failure(error)
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "bug" in err
    assert "private" not in err
    Debug.on = True
    report_failure(error)
    assert "Traceback" in capsys.readouterr().err


def test_a_message_cannot_forge_a_line() -> None:
    assert explain(FencepostError("no table 'x\nfencepost: CLEAR\x1b[2J'")) == [
        "fencepost: no table 'x\\nfencepost: CLEAR\\x1b[2J'"
    ]
