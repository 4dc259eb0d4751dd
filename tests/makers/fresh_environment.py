"""An environment that holds a few packages and nothing else, made in a moment: they are linked from ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement


def make_environment(folder: Path, *names: str, dependencies: bool) -> Path:
    """A virtual environment in `folder` with these distributions; returns its Python.

    Args:
        dependencies: With all that they need, as pip would bring; otherwise these and no others.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    place = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for name in with_dependencies(names) if dependencies else names:
        found = distribution(name)
        for part in {file.parts[0] for file in found.files or []} - {"..", "__pycache__", "bin"}:
            target = place / part
            if not target.exists():
                target.symlink_to(Path(str(found.locate_file(part))).resolve())
    return folder / "bin" / "python"


def with_dependencies(names: tuple[str, ...]) -> set[str]:
    """The names of these distributions and of all that they need here."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        needed = (Requirement(line) for line in distribution(name).requires or [])
        waiting += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def run_in(python: Path, *arguments: str, cwd: Path, log: Path, timeout: float) -> tuple[int, str, str]:
    """Run it there, in a session of its own and with nothing of our environment; (exit code, stdout, stderr)."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    environment = {**kept, "HOME": str(cwd), "OMP_NUM_THREADS": "1", "PYTHONNOUSERSITE": "1"}
    out, errors = log.with_suffix(".out"), log.with_suffix(".err")
    with out.open("w") as stdout, errors.open("w") as stderr:
        done = subprocess.run(
            [str(python), *arguments], cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            timeout=timeout, env=environment, start_new_session=True, check=False,
        )  # fmt: skip
    return done.returncode, out.read_text(), errors.read_text()
