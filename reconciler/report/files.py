"""Write `--report DIR`: report.json, report.txt and a line for every gap, in bounded memory, each file whole or not there.

`report.json` is written last: where it stands, all the others of the same run do too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from schemas.errors import FencepostError, SettingsError
from schemas.verdict import Report

GAPS, TEXT, WHOLE = "gaps.jsonl", "report.txt", "report.json"
_PART = ".part"


def prepare(folder: Path) -> None:
    """Before a long run, see that its report can be written. Raises SettingsError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".fencepost-{os.getpid()}{_PART}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise SettingsError(
            f"cannot write a report into {folder}: {_reason(error)}",
            hint="name a folder you may write with --report DIR",
        ) from None


def write(folder: Path, report: Report, lines: Iterable[Mapping[str, Any]], text: str, whole: str | None = None) -> None:
    """`lines` are consumed as they come; `whole` is the JSON text as it was recorded. Raises FencepostError."""
    try:
        _forget_earlier(folder)
        with ExitStack() as stack:
            files = {t.name: stack.enter_context(_fresh(folder / t.name / GAPS)) for t in report.data_types}
            for line in lines:
                files[line["data_type"]].write(json.dumps(line, ensure_ascii=False, separators=(", ", ": ")) + "\n")
        with _fresh(folder / TEXT) as out:
            out.write(text)
        with _fresh(folder / WHOLE) as out:
            out.write((report.json_text() if whole is None else whole) + "\n")
    except OSError as error:
        raise FencepostError(
            f"cannot write the report into {folder}: {_reason(error)}",
            hint=f"`fencepost report {report.run}` prints what the ledger recorded",
        ) from None


def _forget_earlier(folder: Path) -> None:
    """Take away what an earlier report in this folder wrote, its sign of wholeness first, so that no two runs mix."""
    try:
        names = [str(t["name"]) for t in json.loads((folder / WHOLE).read_text(encoding="utf-8"))["data_types"]]
    except (OSError, ValueError, KeyError, TypeError):
        names = []
    (folder / WHOLE).unlink(missing_ok=True)
    for name in names:
        if name == Path(name).name:  # a plain name, as all of ours are: nothing outside the folder
            (folder / name / GAPS).unlink(missing_ok=True)


@contextmanager
def _fresh(path: Path) -> Iterator[TextIO]:
    """A file that appears under its name when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + _PART)
    try:
        with part.open("w", encoding="utf-8", newline="\n") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
