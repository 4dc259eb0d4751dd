"""What only Linux has is used in a few places, and each has another way: tried here with those things taken away."""

import ast
import os
import types
from pathlib import Path

import pytest
from paths import ROOT

from importer.pool import outside
from importer.pool.episode import BadInput
from preference import listeners, work
from preference.errors import UserError
from preference.work import Crash, Workers, in_a_process, parallel_map

ROOMS = ("preference", "importer", "qc_reports", "ml_backend", "release", "robopref", "labeling_config")
ONLY_LINUX = {
    "fcntl", "prctl", "sched_getaffinity", "sched_setaffinity", "posix_fallocate", "posix_fadvise", "copy_file_range",
    "splice", "memfd_create", "eventfd", "pidfd_open", "epoll", "inotify", "setns", "unshare", "getrandom", "O_DIRECT",
    "O_TMPFILE", "PR_SET_PDEATHSIG", "SIGRTMIN", "sigtimedwait", "ensure_running", "RLIMIT_DATA",
}  # fmt: skip
LINUX_FILES = ("/proc/", "/sys/", "/dev/shm", "/etc/os-release")
ANOTHER_WAY = {
    ("preference/work.py", "sched_getaffinity"),
    ("preference/work.py", "ensure_running"),
    ("preference/listeners.py", "/proc/net/tcp"),
    ("preference/listeners.py", "/proc/net/tcp6"),
    ("importer/pool/outside.py", "/proc/self/statm"),
    ("importer/pool/outside.py", "RLIMIT_DATA"),
    ("labeling_config/server.py", "/dev/shm"),  # of the image, which is Linux everywhere
}


def test_nothing_else_of_the_house_needs_linux():
    found = set()
    for file in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            name = (
                node.attr if isinstance(node, ast.Attribute)
                else node.name.split(".")[0] if isinstance(node, ast.alias)
                else node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            )  # fmt: skip
            if name in ONLY_LINUX or (name.startswith(LINUX_FILES) and " " not in name):
                found.add((str(file.relative_to(ROOT)), name))
    assert found - ANOTHER_WAY == set(), "give it another way, and a test below"
    assert len(found) >= 5, "or the search finds nothing"


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """This machine without what Linux alone has."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(work, "sys", types.SimpleNamespace(platform="darwin"))
    monkeypatch.setattr(listeners, "SOCKETS", (tmp_path / "none", tmp_path / "none"))
    monkeypatch.setattr(work, "ensure_running", lambda: pytest.fail("the fork server was used"))
    reading = Path.read_bytes

    def read_bytes(path):
        if str(path).startswith("/proc/"):
            raise FileNotFoundError(path)
        return reading(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)


def test_work_runs_in_processes_and_a_killed_one_is_named(elsewhere):
    assert work._cores() >= 1
    found = dict(parallel_map(_square, [1, 2, 3, -1, -2], workers=Workers(2), description="squares"))
    assert {n: r for n, r in found.items() if isinstance(r, int)} == {1: 1, 2: 4, 3: 9}
    assert isinstance(found[-1], Crash) and isinstance(found[-2], UserError)
    assert in_a_process(_square, 5).result(timeout=60) == 25


def test_a_file_from_outside_is_read_without_the_wall_around_memory(elsewhere, tmp_path):
    with outside.guarded(tmp_path / "good"):
        pass
    with pytest.raises(BadInput, match="damaged"), outside.guarded(tmp_path / "bad"):
        raise ValueError("bytes")


def _square(number):
    if number == -1:
        os._exit(9)
    if number < 0:
        raise UserError("negative")
    return number * number
