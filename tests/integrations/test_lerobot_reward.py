"""LeRobot's plugin: what it is built of, what a release gives it, and its own tests inside LeRobot 0.6.1."""

import importlib.util
import json
import os
import subprocess

import pytest
from lerobot_environment import environment, pip
from lerobot_plugin_maker import write_model
from paths import ROOT
from safetensors import safe_open

PLUGIN = ROOT / "integrations" / "lerobot_reward_robopref"
LEROBOT = "lerobot[dataset]==0.6.1"
PYTHON = "3.12"


def test_weights_and_description_are_the_same_in_both_files(tmp_path):
    first, second = (write_model(tmp_path / name) for name in ("a", "b"))
    assert first == second and first["type"] == "robopref"
    weights = [tmp_path / name / "reward_model.safetensors" for name in ("a", "b")]
    assert weights[0].read_bytes() == weights[1].read_bytes(), "the same model gives the same bytes"
    with safe_open(weights[0], "pt") as file:
        described = json.loads(file.metadata()["robopref"])
        names = set(file.keys())
    assert described == {name: json.loads(first[name]) for name in ("spec", "contract")}
    assert {"head.output_weight", "head.frame_projection"} <= names and any(n.startswith("encoder.") for n in names)


def test_the_copied_code_is_what_the_model_imports_and_nothing_that_needs_more():
    spec = importlib.util.spec_from_file_location("copy_model", PLUGIN / "copy_model.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    copied = hook.modules(ROOT)
    assert {"ml_backend.reward.model", "ml_backend.reward.encoder", "preference.errors"} <= copied.keys()
    assert not [
        name for name in copied if name.startswith(("ml_backend.loop", "preference.config", "preference.store"))
    ]
    for file in copied.values():
        text = hook.IMPORT.sub(rf"\1{hook.PLACE}.\2", file.read_text())
        assert not hook.IMPORT.search(text)
    with pytest.raises(FileNotFoundError, match="checkout of Robopref"):
        hook.modules(PLUGIN)


@pytest.mark.slow
def test_lerobot_finds_loads_and_runs_it(request, tmp_path):
    python = environment(request.config, LEROBOT, PYTHON, "timm", "pytest", "hatchling")
    pip(python, "--no-deps", "--no-build-isolation", "--force-reinstall", PLUGIN)
    write_model(tmp_path / "release")
    given = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    given |= {"ROBOPREF_RELEASE": str(tmp_path / "release"), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", PLUGIN / "tests"]
    run = subprocess.run(command, env=given, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
