"""Damaged files, links, pipes and bombs: a reader gives a result or its own error, in little memory and time."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

from paths import ROOT


def test_no_damage_to_a_file_gets_past_its_reader(tmp_path: Path, request) -> None:
    """In a process of its own, whose memory is limited; the seed is new each time, so that every run looks elsewhere.

    `pytest tests/importer/test_fuzz_readers.py --fuzz 2000` looks longer.
    """
    count, seed = request.config.getoption("--fuzz"), secrets.randbelow(10**6)
    maker = ROOT / "tests" / "makers" / "fuzz_maker.py"
    run = subprocess.run(
        [sys.executable, str(maker), str(tmp_path / "files"), str(count), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60 + 5 * count,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{maker.parent}"},
    )
    tried = run.stdout.splitlines()
    assert run.returncode == 0, f"seed {seed}, case: {tried[-1:]}\n{run.stderr[-2000:]}"
    readers = {line.split()[0] for line in tried}
    assert len(readers) >= 12 and len(tried) == len(readers) * count
