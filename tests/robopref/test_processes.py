"""The worker stands back for whoever answers people."""

import subprocess
import sys
from pathlib import Path

import pytest

GROUP = Path("/proc/self/autogroup")
TELL = """
import os, pathlib
from robopref.processes import stand_back
group = lambda: (pathlib.Path('/proc/self/autogroup').read_text().split() or [0])[-1]  # in a control group: empty
before = group()
stand_back()
print(os.nice(0), before, group())
"""


@pytest.mark.skipif(not GROUP.exists(), reason="this kernel does not group processes by session")
@pytest.mark.parametrize("own", [True, False])
def test_the_worker_s_session_stands_back_and_no_other(own):
    """Between sessions, the kernel looks at the group's niceness alone: without it the service would not come first."""
    run = subprocess.run(
        [sys.executable, "-c", TELL], capture_output=True, text=True, timeout=60, start_new_session=own, check=True
    )
    nice, before, after = map(int, run.stdout.split())
    assert nice == 10
    assert after == (10 if own else before)
