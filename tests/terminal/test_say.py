"""Progress: a line now and then, never a flood, nothing when quiet."""

from __future__ import annotations

import io
import sys

import pytest

from terminal.say import LINE_EVERY_S, Live, Plain, Quiet, progress_words, saying, span_words


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_plain_lines_come_at_most_every_few_seconds(clock: Clock) -> None:
    lines: list[str] = []
    say = Plain(lines.append, clock)
    say.phase("comparing jobs")
    for done in range(1000):
        clock.now += LINE_EVERY_S / 100
        say.advance(done * 1000, 1_000_000)
    assert lines[0] == "comparing jobs"
    assert 9 <= len(lines) - 1 <= 10
    assert "of 1,000,000" in lines[1]


def test_a_new_phase_and_a_first_wait_are_told_at_once(clock: Clock) -> None:
    lines: list[str] = []
    say = Plain(lines.append, clock)
    say.phase("fence")
    say.waiting("for pid 4711")
    say.waiting("for pid 4711")
    clock.now += LINE_EVERY_S
    say.waiting("for pid 4711, 5 s now")
    say.phase("comparing")
    assert lines == ["fence", "waiting for pid 4711", "waiting for pid 4711, 5 s now", "comparing"]


def test_names_in_progress_are_made_harmless(clock: Clock) -> None:
    lines: list[str] = []
    Plain(lines.append, clock).phase("reading \x1b[2Jtopic\nCLEAR")
    assert lines == ["reading \\x1b[2Jtopic\\nCLEAR"]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with saying(quiet=True) as say:
        say.phase("x")
        say.advance(1, 2)
        say.waiting("y")
    assert isinstance(say, Quiet)
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with saying(quiet=False) as say:
        say.phase("comparing")
    assert capsys.readouterr() == ("", "fencepost: comparing\n")


def test_a_live_bar_keeps_to_stderr_and_leaves_a_line_per_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with saying(quiet=False) as say:
        assert isinstance(say, Live)
        say.advance(1, None)
        say.phase("comparing [bold]jobs[/bold]")
        say.advance(500, 1000)
        say.waiting("for pid 7")
    assert "comparing [bold]jobs[/bold]  (500 in" in screen.getvalue()


@pytest.mark.parametrize(
    ("done", "total", "took_s", "words"),
    [
        (0, None, 0.0, "0"),
        (10, None, 0.0, "10"),
        (1_200_000, 3_000_000, 4.0, "1,200,000 of 3,000,000 (40 %), 300,000/s, 6.0 s left"),
        (999_999, 1_000_000, 1000.0, "999,999 of 1,000,000 (99 %), 1,000/s, 0.0 s left"),
        (5, 5, 1.0, "5 of 5 (100 %), 5/s"),
        (0, 0, 1.0, "0 of 0 (100 %)"),
    ],
)
def test_progress_in_words(done: int, total: int | None, took_s: float, words: str) -> None:
    assert progress_words(done, total, took_s) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (7500, "2 h 5 min")]
)
def test_spans_in_words(seconds: float, words: str) -> None:
    assert span_words(seconds) == words
