"""A Python of its own with a LeRobot of its own, kept in pytest's cache: LeRobot's packages conflict with ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

LONGEST_S = 420


def environment(config: pytest.Config, lerobot: str, python: str, *others: str) -> Path:
    """Its interpreter; skips where there is no Python of that version, or the packages cannot be had.

    Args:
        lerobot: As pip takes it, with a version: `lerobot[dataset]==0.6.1`.
        python: `3.12`.
        others: More packages.
    """
    folder = Path(config.cache.mkdir(f"lerobot-{lerobot.rpartition('=')[2]}-python{python}"))
    own, complete = folder / "bin" / "python", folder / "complete"
    with FileLock(f"{folder}.lock"):
        if not complete.exists():
            subprocess.run([interpreter(python, lerobot), "-m", "venv", "--clear", folder], check=True, timeout=120)
            pip(own, lerobot, *others)
            complete.touch()
    return own


def pip(python: Path, *arguments: object) -> None:
    """Skips where LeRobot's 5 GB cannot be had, or not within `LONGEST_S`."""
    command = [str(one) for one in (python, "-m", "pip", "install", "-q", *arguments)]
    try:
        subprocess.run(command, check=True, timeout=LONGEST_S, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        pytest.skip(f"pip did not install {' '.join(map(str, arguments))} within {LONGEST_S} s")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"pip cannot install {' '.join(map(str, arguments))}: {error.stderr[-300:]}")


def interpreter(version: str, needed_by: str) -> str:
    """By its own name or as pyenv keeps it."""
    found = [shutil.which(f"python{version}")]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=True).stdout.strip()
        found += map(str, sorted(Path(root, "versions").glob(f"{version}.*/bin/python")))
    for candidate in filter(None, found):
        if subprocess.run([candidate, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
            return candidate
    pytest.skip(f"{needed_by} needs Python {version}, which is not here; these tests run on {sys.version.split()[0]}")
