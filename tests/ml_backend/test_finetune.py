"""The end-to-end path stays alive without a GPU: two steps on a CPU, alone and in two processes under torchrun."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from finetune_maker import SETTINGS, bright_and_dark, bright_pairs, pairs_to_learn_from
from paths import MAKERS, ROOT

from ml_backend.loop import models
from ml_backend.loop import train as stages
from ml_backend.loop.features import OWN_ENCODER
from ml_backend.loop.train import finetuned
from ml_backend.reward.encoder import load
from ml_backend.reward.encoder_weights import resolve_weights
from ml_backend.reward.finetune import finetune, step_count
from preference.config import Finetune, Reward
from preference.errors import ConfigError, DataError
from preference.workspace import Workspace


@pytest.fixture
def ws(labelled_pool):
    config = labelled_pool.config
    return Workspace(config.model_copy(update={"reward": config.reward.model_copy(update={"finetune": recipe(1)})}))


def recipe(epochs, **changed):
    return Finetune(**{"epochs": epochs, "batch_pairs": 4, "learning_rate": 1e-3} | changed)


def test_two_steps_change_the_encoder_and_write_weights_that_it_loads(tmp_path):
    pairs, out = bright_pairs(), tmp_path / "encoder.pt"
    split = pairs_to_learn_from()
    tuned = finetune(SETTINGS, bright_and_dark, pairs, split, out, Reward(finetune=recipe(1)), most_steps=2)
    assert (tuned.steps, tuned.rank) == (2, 0)
    assert tuned.pairs_per_s > 0
    again = load(replace(resolve_weights("resnet10t", str(out)), image_size=32))
    frames = bright_and_dark(0)
    assert not np.allclose(again.encode(frames), load(SETTINGS).encode(frames), atol=1e-3)
    assert all(torch.isfinite(value).all() for value in again.module.state_dict().values())


def test_what_can_be_seen_is_learned(tmp_path):
    tuned = finetune(
        SETTINGS,
        bright_and_dark,
        bright_pairs(),
        pairs_to_learn_from(),
        tmp_path / "e.pt",
        Reward(finetune=recipe(4)),
    )
    assert tuned.steps == step_count(40, recipe(4)) == 40
    assert np.mean(tuned.losses[-5:]) < 0.7 * np.mean(tuned.losses[:2])


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(tmp_path):
    pairs, split = bright_pairs(20), pairs_to_learn_from(np.arange(16), np.arange(16, 20))
    reward = Reward(finetune=recipe(3))
    whole = finetune(SETTINGS, bright_and_dark, pairs, split, tmp_path / "whole.pt", reward)

    seen = []

    def dies_in_the_third_epoch(row):
        seen.append(row)
        if len(seen) > 2 * (32 + 8) + 20:  # both of each pair, in two epochs and a bit
            raise KeyboardInterrupt
        return bright_and_dark(row)

    kept, out = tmp_path / "kept.checkpoint", tmp_path / "whole" / "whole.pt"
    out.parent.mkdir()
    told = {"checkpoint_to": kept}
    with pytest.raises(KeyboardInterrupt):
        finetune(SETTINGS, dies_in_the_third_epoch, pairs, split, out, reward, **told)
    assert kept.exists()
    assert not out.exists()
    with pytest.raises(DataError, match="another configuration"):
        finetune(SETTINGS, bright_and_dark, pairs, split, out, reward.model_copy(update={"slip": 0.2}), **told)
    steps = []
    again = finetune(SETTINGS, bright_and_dark, pairs, split, out, reward, on_step=steps.append, **told)
    assert steps == [8, 1, 1, 1, 1]
    assert again.losses == whole.losses
    assert not kept.exists()
    first, second = (torch.load(path, weights_only=True) for path in (tmp_path / "whole.pt", out))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_it_stops_when_the_validation_pairs_gain_no_more_and_keeps_the_best_epoch(tmp_path):
    """The validation pairs say the opposite of the training pairs: each epoch makes it worse."""
    pairs = bright_pairs(20)
    pairs.label[16:] = 1.0 - pairs.label[16:]
    split = pairs_to_learn_from(np.arange(16), np.arange(16, 20))
    out = tmp_path / "e.pt"
    tuned = finetune(SETTINGS, bright_and_dark, pairs, split, out, Reward(finetune=recipe(20, patience=3)))
    assert tuned.steps == 4 * (tuned.best_epoch + 3) < 80


def test_the_recipe_is_the_protocols_and_can_be_changed(tmp_path, monkeypatch):
    """Adam at 1e-4 with cosine annealing, 64 pairs a step, 50 epochs, a two-layer head."""
    assert Finetune().model_dump() == {
        "learning_rate": 1e-4, "schedule": "cosine", "batch_pairs": 64, "epochs": 50, "patience": 10,
    }  # fmt: skip
    rates, adam = [], torch.optim.Adam

    class Watched(adam):
        def step(self, *args):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args)

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    split = pairs_to_learn_from(np.arange(20))
    for schedule in ("constant", "cosine"):
        told = Reward(finetune=recipe(2, schedule=schedule, batch_pairs=10))
        finetune(SETTINGS, bright_and_dark, bright_pairs(20), split, tmp_path / "e.pt", told)
    assert rates[:4] == [1e-3] * 4
    assert rates[4:] == pytest.approx([1e-3, 0.8536e-3, 0.5e-3, 0.1464e-3], rel=1e-3)


def test_two_processes_take_the_steps_that_one_takes(tmp_path):
    """The mean over a step's pairs does not depend on who computed which of them."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, numpy as np\n"
        f"sys.path[:0] = [{str(ROOT)!r}, {str(MAKERS)!r}]\n"
        "from pathlib import Path\n"
        "from finetune_maker import SETTINGS, bright_and_dark, bright_pairs\n"
        "from finetune_maker import pairs_to_learn_from as split\n"
        "from ml_backend.reward.finetune import finetune\n"
        "from preference.config import Reward\n"
        "parts = split(np.arange(35), np.arange(35, 40))\n"
        "reward = Reward(finetune={'epochs': 1, 'batch_pairs': 4})\n"
        "finetune(SETTINGS, bright_and_dark, bright_pairs(), parts, Path(sys.argv[1]), reward, most_steps=2)\n"
    )
    one, two = tmp_path / "one.pt", tmp_path / "two.pt"
    parts = pairs_to_learn_from(np.arange(35), np.arange(35, 40))
    told = Reward(finetune=Finetune(epochs=1, batch_pairs=4))
    finetune(SETTINGS, bright_and_dark, bright_pairs(), parts, one, told, most_steps=2)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*torchrun, program, two], cwd=tmp_path, timeout=300, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (torch.load(path, weights_only=True) for path in (one, two))
    for name, value in first.items():
        assert torch.allclose(value.float(), second[name].float(), atol=1e-4), name


def test_a_fine_tuned_encoder_travels_with_its_model(ws):
    tuned = finetuned(ws)
    assert tuned is not None
    record = stages.train(tuned)
    folder = ws.root / record.path
    assert (folder / OWN_ENCODER).is_file()
    assert json.loads((folder / "validation.json").read_text())["encoder_saw_labels"] is True
    before = models.score_pool(ws).members
    (tmp,) = (ws.root / "encoders").iterdir()
    changed = tmp.stat().st_mtime_ns
    again = finetuned(ws)
    assert again is not None
    assert stages.train(again).version == record.version
    ranked = [replace(t, quartile=1 + i % 4) for i, t in enumerate(ws.store.trajectories())]
    ws.store.put_trajectories(ranked)
    assert finetuned(ws) is not None, "it learned from labels alone"
    assert tmp.stat().st_mtime_ns == changed
    tmp.unlink()  # what is beside the model is enough
    assert np.array_equal(models.score_pool(ws).members, before)


def test_a_model_without_eyes_has_no_encoder_to_train(ws):
    blind = ws.config.reward.model_copy(update={"inputs": ["actions"]})
    with pytest.raises(ConfigError, match="does not use frames"):
        finetuned(Workspace(ws.config.model_copy(update={"reward": blind})))
