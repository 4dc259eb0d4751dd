"""An export in the hands of LeRobot itself: its dataset class and its weighter read it, before 0.6 and since."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch
from export_maker import make_workspace
from lerobot_environment import environment
from paths import ROOT, SAMPLE_POOL

from ml_backend.reward.model import RewardModel
from preference.config import Dataset
from release.lerobot import export_lerobot


@pytest.fixture
def exported(tmp_path):
    """An export of the sample pool with progress, and the reward of its first episode."""
    ws = make_workspace(tmp_path / "work", Dataset(path=SAMPLE_POOL, name="sample"))
    file = ws.models / "rm-0001" / "model.pt"
    model = RewardModel.load(file)
    model.add_outcomes(model.make_outcomes(("progress", "success"), torch.Generator().manual_seed(0)))
    model.save(file)
    made = export_lerobot(ws, tmp_path / "out").path
    first = (ws.models / "rm-0001" / "rewards.csv").read_text().splitlines()[1]
    return made, float(first.split(",")[1])


@pytest.mark.slow
@pytest.mark.parametrize(("lerobot", "python"), [("lerobot==0.4.4", "3.11"), ("lerobot[dataset]==0.6.1", "3.12")])
def test_lerobot_reads_the_export_and_its_progress(request, exported, tmp_path, lerobot, python):
    more = ["timm", "pytest", "hatchling"] if python == "3.12" else []
    own = environment(request.config, lerobot, python, *more)  # 0.6.1 is shared with the plugin's tests
    folder, reward = exported
    given = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    given |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HOME": str(tmp_path / "hf")}
    script = ROOT / "tests" / "makers" / "read_in_lerobot.py"
    run = subprocess.run(
        [str(own), str(script), str(folder), str(reward)],
        env=given, cwd=Path(tmp_path), capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    assert run.stdout.strip().splitlines()[-1].startswith("18000 120 {")
