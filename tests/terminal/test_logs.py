"""Log lines: a sentence and fields, in text or JSON, that no name can forge."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from schemas.settings import LogSettings
from terminal import logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    for name in ("consumer", "reconciler", "databases", "schemas", "fencepost", "demo", "fencepost.librdkafka"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_a_text_line_has_time_level_sentence_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(LogSettings(), service=True)
    logging.getLogger("fencepost.tracker").info("batch stored", extra={"event": "batch_stored", "ids": 12, "who": "a b"})
    line = capsys.readouterr().err
    assert line.endswith('Z INFO    batch stored  ids=12 who="a b"\n')


def test_a_json_line_holds_the_event_and_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(LogSettings(format="json"), service=True)
    logging.getLogger("consumer").warning("held up", extra={"event": "held_up", "seconds": 1.5, "why": "x\ny"})
    line = json.loads(capsys.readouterr().err)
    assert line.pop("at").endswith("Z")
    assert line == {
        "level": "warning", "logger": "consumer", "message": "held up", "event": "held_up", "seconds": 1.5, "why": "x\\ny"
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["text", "json"])
def test_a_name_can_neither_forge_a_line_nor_repaint_the_screen(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Failure mode S15."""
    logs.set_up(LogSettings(format=kind), service=True)
    logging.getLogger("fencepost").info("read %s", "\x1b[2J", extra={"topic": "t\n2026-01-01T00:00:00Z INFO    CLEAR"})
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_a_command_that_ends_soon_keeps_to_warnings_unless_asked_for_more(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(LogSettings(), service=False)
    logging.getLogger("fencepost").info("calm")
    logging.getLogger("fencepost").warning("stormy")
    logs.set_up(LogSettings(level="debug"), service=False)
    logging.getLogger("fencepost").debug("deep")
    err = capsys.readouterr().err
    assert "calm" not in err
    assert "stormy" in err
    assert "deep" in err


def test_strangers_debug_lines_stay_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(LogSettings(level="debug"), service=True)
    logging.getLogger("sqlalchemy.engine").debug("SELECT with parameters")
    assert capsys.readouterr().err == ""


def test_setting_up_twice_prints_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(LogSettings(), service=True)
    logs.set_up(LogSettings(), service=True)
    logging.getLogger("fencepost").info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_an_exception_is_named_by_its_type_and_traced_only_at_debug(capsys: pytest.CaptureFixture[str]) -> None:
    for level in ("info", "debug"):
        logs.set_up(LogSettings(level=level), service=True)
        try:
            raise RuntimeError("the message may hold anything")
        except RuntimeError:
            logging.getLogger("fencepost").exception("failed")
        err = capsys.readouterr().err
        assert "RuntimeError" in err
        assert ("Traceback" in err) is (level == "debug")
        assert ("may hold anything" in err) is (level == "debug")


def test_a_broker_that_is_away_fills_no_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    logs.set_up(LogSettings(), service=True)
    for attempt in range(500):
        clock[0] += 0.05
        logging.getLogger("fencepost.librdkafka").error("[consumer-%d] refused (after %dms)", attempt % 3, attempt)
        logging.getLogger("fencepost.kafka").info("complains", extra={"event": "kafka_error", "why": f"{attempt}ms"})
        if attempt == 250:
            logging.getLogger("fencepost.librdkafka").error("another broker is away")
            logging.getLogger("fencepost").warning("ours")
            logging.getLogger("fencepost").warning("ours")
    assert [line.split(maxsplit=2)[2] for line in capsys.readouterr().err.splitlines()] == [
        "[consumer-0] refused (after 0ms)",
        "complains  why=0ms",
        "another broker is away",
        "ours",
        "ours",
    ]
    clock[0] += logs.SAID_AGAIN_S
    logging.getLogger("fencepost.librdkafka").error("[consumer-7] refused (after 1ms)")
    assert capsys.readouterr().err.endswith("[consumer-7] refused (after 1ms)  repeated=499\n")
