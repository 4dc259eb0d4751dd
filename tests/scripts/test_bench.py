"""What all benchmarks have in common."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent.parent / "scripts" / "bench"
PROGRAM = """
import runpy, sys
for path in sys.argv[1:]:
    sys.argv = [path, "--help"]
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    else:
        sys.exit(f"{path} did not end with its help")
"""


def test_every_benchmark_says_what_it_claims_and_takes() -> None:
    """In one process, which imports torch once."""
    scripts = sorted(BENCH.glob("*.py"))
    done = subprocess.run([sys.executable, "-c", PROGRAM, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("usage: ")] == [
        path.name for path in scripts
    ]
