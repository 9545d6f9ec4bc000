"""The other story: the alarm rises and clears, every lost row is counted once, and nothing stays behind."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from demo import watch
from demo.watch import Seen
from schemas.burn import Severity, burns, label
from tests.demo.test_story import command, needs_wheel

QUIET = dict.fromkeys((label(w) for b in burns(watch.EVERY) for w in (b.long, b.short)), 0.0)


@needs_wheel
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_alarm_rises_names_the_rows_and_clears(tmp_path: Path) -> None:
    # Settings of a real system in the caller's environment must not reach the demo.
    elsewhere = {
        "FENCEPOST_SOURCE__DSN": "postgresql://nowhere.invalid/prod",
        "PGHOST": "nowhere.invalid",
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        command(tmp_path, "demo", "--audit"),
        env=os.environ | elsewhere | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    story = done.stdout
    quiet, burst = story.split("A faulty release")[:2]
    assert "PAGE" not in quiet
    assert "PAGE" in burst
    assert "FencepostDropRateFast, severity page. At least" in burst
    assert "dropped_create: announced nowhere" in burst
    assert "$ fencepost sweep --backfill" in burst
    assert "PAGE" not in story.rstrip().splitlines()[-6]
    assert (story.count("✓"), "✗" in story) == (3, False)
    assert not list(tmp_path.iterdir())


def seen(**low: float) -> Seen:
    return Seen(audited=0, dropped=0, gaps=0, low=QUIET | low)


def test_the_story_pages_where_the_rules_would() -> None:
    """Both windows of one pace above its limit, and no other pair."""
    assert seen().paged is None
    for burn in burns(watch.EVERY):
        limit, pair = burn.limit(watch.BUDGET), (label(burn.long), label(burn.short))
        both = seen(**dict.fromkeys(pair, limit * 1.01))
        assert (both.paged is not None) == (burn.severity is Severity.PAGE)
        assert seen(**dict.fromkeys(pair, limit)).paged is None
        assert seen(**{pair[0]: 0.5}).paged is None
