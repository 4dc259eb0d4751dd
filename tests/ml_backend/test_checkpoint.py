"""A training that is killed goes on where it was, and what is no checkpoint of it is refused."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ml_maker import SMALL_REWARD, fit
from paths import MAKERS, ROOT

from preference.errors import DataError, UserError

TRAIN = """
import os, signal, sys
from ml_maker import fit
epochs = iter(range(1, 100))
def killed(_):
    if next(epochs) == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
from pathlib import Path
fit(Path({path!r}), {reliability!r}, on_epoch=killed)
"""


def weights(trained):
    return {name: value.numpy() for name, value in trained.model.state_dict().items()}


@pytest.mark.parametrize("reliability", ["vote", "crowd_bt"])
def test_killed_at_an_epoch_it_ends_with_the_weights_of_an_undisturbed_run(tmp_path, reliability):
    path = tmp_path / "checkpoint.pt"
    script = TRAIN.format(at=4, path=str(path), reliability=reliability)
    root = os.pathsep.join(map(str, (ROOT, MAKERS)))
    run = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": root}, timeout=120)
    assert run.returncode == -signal.SIGKILL
    done = []
    resumed = fit(path, reliability, on_epoch=done.append)
    assert done == [4, 1, 1, 1, 1]
    whole = fit(None, reliability)
    assert resumed.curves == whole.curves
    assert resumed.reliability == whole.reliability
    for name, value in weights(whole).items():
        assert np.array_equal(weights(resumed)[name], value), name


def test_a_finished_training_is_not_begun_again(tmp_path):
    first = fit(tmp_path / "checkpoint.pt")
    done = []
    again = fit(tmp_path / "checkpoint.pt", on_epoch=done.append)
    assert done == [8]
    assert all(np.array_equal(weights(first)[name], value) for name, value in weights(again).items())


def test_the_checkpoint_of_another_configuration_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    fit(path)
    with pytest.raises(DataError, match="another configuration"):
        fit(path, reward=SMALL_REWARD.model_copy(update={"learning_rate": 0.5}))


def test_a_truncated_checkpoint_is_named(tmp_path):
    path = tmp_path / "checkpoint.pt"
    fit(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"checkpoint\.pt is not a checkpoint, or is truncated"):
        fit(path)


def test_a_full_disk_is_one_clear_message_and_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    fit(path)
    before = path.read_bytes()

    def full(self, _):
        with Path("/dev/full").open("wb", buffering=0) as device:
            device.write(b"x")

    monkeypatch.setattr(Path, "write_bytes", full)
    from ml_backend.reward.checkpoint import save

    with pytest.raises(UserError, match="No space left on the disk"):
        save({"key": "x"}, path)
    assert path.read_bytes() == before
