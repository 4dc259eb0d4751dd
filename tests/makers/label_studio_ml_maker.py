"""Environments with label-studio-ml 1.0.9 and 2.x, and our folder for it started there as a user would."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from filelock import FileLock
from fresh_environment import make_environment
from packaging.requirements import Requirement
from paths import ROOT

from robopref.child import claim_port

FOLDER = ROOT / "integrations" / "label_studio_ml"
ARCHIVE = next(word for word in (FOLDER / "Dockerfile").read_text().split() if word.endswith(".tar.gz"))
CLONE = ROOT.parent / "shared" / "label-studio-ml-backend"
SOURCE = os.environ.get("LABEL_STUDIO_ML_SOURCE") or str(CLONE if CLONE.is_dir() else ARCHIVE)
"""label-studio-ml 2.x, which is on no package index: a folder, or an address that pip installs from."""


def requirements(name):
    lines = (FOLDER / name).read_text().splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def pip(python, *arguments):
    """pip in an environment, or a skipped test that says what pip said."""
    command = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--timeout", "30", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    if done.returncode:
        said = " ".join(line for line in done.stderr.splitlines() if line.startswith("ERROR"))[:300]
        hint = " Set LABEL_STUDIO_ML_SOURCE to a clone." if arguments[-1] == SOURCE else ""
        pytest.skip(f"pip cannot install {arguments[-1]}: {said}{hint}")


def release_1_0_9(config):
    """The release on the package index, with what requirements-1.0.9.txt names; kept in pytest's cache."""
    folder = Path(config.cache.mkdir(f"label-studio-ml-1.0.9-python3.{sys.version_info.minor}"))
    complete, wanted = folder / "complete", f"{folder}\n{(FOLDER / 'requirements-1.0.9.txt').read_text()}"
    with FileLock(f"{folder}.lock"):
        if not complete.exists() or complete.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True, timeout=120)
            pip(folder / "bin" / "python", "--no-deps", "label-studio-ml==1.0.9")
            pip(folder / "bin" / "python", "-r", FOLDER / "requirements-1.0.9.txt")
            complete.write_text(wanted)
    return folder / "bin"


def source_2(folder):
    """2.x from its source, beside our own Flask 3 and label-studio-sdk."""
    names = [one.name for one in requirements("requirements.txt") if one.name != "gunicorn"]
    python = make_environment(folder / "2.x", *names, dependencies=True)
    if Path(SOURCE).is_dir():  # a copy, as pip builds in place
        shutil.copytree(SOURCE, folder / "source", ignore=shutil.ignore_patterns(".git"))
        pip(python, "--no-deps", folder / "source")
    else:
        pip(python, "--no-deps", SOURCE)
    return python.parent


@contextlib.contextmanager
def started(programs, folder, **settings):
    """`label-studio-ml start`, as a user would, on a free port; stopped by its process group."""
    folder.mkdir(exist_ok=True)
    port, log = claim_port(None, "label-studio-ml"), folder / "log"
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    environment = {**kept, "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder), **settings}
    environment |= {"ROBOPREF_WORK": str(folder / "work"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [programs / "label-studio-ml", "start", FOLDER, "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until_up(client, process, log)
            yield SimpleNamespace(client=client, work=folder / "work", log=log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def wait_until_up(client, process, log):
    for _ in range(600):
        with contextlib.suppress(httpx.TransportError):
            if client.get("/health").status_code in (200, 401):  # 401: it wants a password
                return
        assert process.poll() is None, log.read_text()[-2000:]
        time.sleep(0.1)
    raise AssertionError(log.read_text()[-2000:])
