"""Data reaches stdout whole, or the exit code says that it did not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import FencepostError
from terminal import output

ROOT = Path(output.__file__).parent.parent
RUN = "import sys; sys.path.insert(0, sys.argv[1])\nfrom terminal.output import put, put_all, tell\n"


def python(code: str, **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN + code, str(ROOT)], stderr=subprocess.PIPE, **options)  # type: ignore[call-overload, no-any-return]


def test_a_full_disk_is_an_error_and_not_a_silence() -> None:
    with Path("/dev/full").open("wb") as full, python("put('x' * 100)", stdout=full) as child:
        _, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert b"cannot write the result to stdout: No space left on device" in err


def test_streams_that_were_closed_lead_nowhere_and_their_numbers_to_no_file_of_ours() -> None:
    code = "import os; from terminal.output import prepare_streams; prepare_streams(); put('x'); tell('y')\n"
    code += "sys.exit(os.open(os.devnull, os.O_RDONLY))"
    closed = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", RUN + code, str(ROOT)]
    assert subprocess.run(closed, timeout=60, check=False).returncode == 3


def test_a_reader_that_went_away_ends_the_work_quietly() -> None:
    with python("put_all(str(n) * 100 for n in range(100000)); sys.exit(3)", stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.read(10)
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(timeout=60) == 3, "the verdict's exit code stands"


def test_words_that_nobody_reads_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, _: str) -> int:
            raise BrokenPipeError

        def fileno(self) -> int:
            raise OSError

    monkeypatch.setattr(sys, "stderr", Gone())
    output.tell("hello")


def test_an_answer_ends_with_one_newline(capsys: pytest.CaptureFixture[str]) -> None:
    output.put("a")
    output.put("b\n")
    output.put_json({"k": "é"})
    assert capsys.readouterr().out == 'a\nb\n{"k": "é"}\n'


def test_an_error_while_writing_is_one_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

        def fileno(self) -> int:
            raise OSError

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(FencepostError, match="No space left"):
        output.put("a")


def test_no_color_is_obeyed_and_a_pipe_gets_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen:
        def __init__(self, there: bool) -> None:
            self.there = there

        def isatty(self) -> bool:
            return self.there

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.coloured(Screen(True))  # type: ignore[arg-type]
    assert not output.coloured(Screen(False))  # type: ignore[arg-type]
    monkeypatch.setenv("NO_COLOR", "1")
    assert not output.coloured(Screen(True))  # type: ignore[arg-type]
