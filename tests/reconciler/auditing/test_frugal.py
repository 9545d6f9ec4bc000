"""The allocator is told to give back what is freed, in a process of its own: it would stay told."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

#: Blocks below the size from which glibc, left alone, gives back: 400 MiB of them, and of each two one is freed. A thread
#: of its own keeps a small block between, so that nothing but a threshold of ours lets the memory go.
KEPT = """
import re, sys
from reconciler.auditing.frugal import give_back
assert not sys.argv[1:] or give_back()
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024
raised = bytearray(31 << 20)
del raised  # from now on glibc keeps blocks of this size, unless it was told
blocks = [bytearray(b"x" * (1 << 20)) for _ in range(200)]
del blocks[:-1]
print(resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator is left as it is")
def test_what_is_freed_below_something_that_stays_is_given_back() -> None:
    def resident(*arguments: str) -> int:
        done = subprocess.run([sys.executable, "-c", KEPT, *arguments], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert resident("told") < 100
    assert resident() > 200, "left alone it is kept: else this test shows nothing"
