"""Every process of Robopref looks for garbage seldom: a command, and a server or worker that is its child."""

import gc
import os
import subprocess
import sys

import pytest
from cli_maker import robopref
from paths import ROOT

from preference.garbage import NEW_OBJECTS


@pytest.fixture
def pythons_own():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_a_command_looks_seldom(pythons_own, tmp_path):
    assert robopref("status", cwd=tmp_path).returncode == 2
    assert gc.get_threshold() == (NEW_OBJECTS, 10, 10)


def test_a_child_looks_seldom(tmp_path):
    (tmp_path / "told.py").write_text("import gc; print(gc.get_threshold()[0])")
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "robopref.child", str(reading), "told"]
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    said = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, pass_fds=[reading], stdout=subprocess.PIPE)
    os.close(reading)
    os.close(writing)
    assert int(said.stdout) == NEW_OBJECTS
