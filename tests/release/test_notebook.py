"""The release's notebook trains what the release was trained with, or says that it does not."""

import contextlib
import json
import runpy

import numpy as np
import pyarrow as pa
import pytest
import torch
from ml_maker import crowd, features
from paths import ROOT
from pyarrow import parquet

from ml_backend.reward import losses
from ml_backend.reward.dataset import split_pairs
from ml_backend.reward.layers import temporal_layer

NOTEBOOK = ROOT / "release" / "templates" / "reproduce.py"
SETTINGS = {
    "seed": 1, "inputs": ["actions", "state"], "projection": 0, "temporal": "mean", "hidden": 8, "members": 2,
    "ties": "soft", "margin": 0.3, "slip": 0.1, "reliability": "vote", "learning_rate": 0.02, "weight_decay": 1e-3,
    "batch_pairs": 64, "epochs": 12, "patience": 12, "parts": ["network"], "encoder_saw_labels": False, "outcomes": [],
    "weak_pairs": {}, "linear": 0.0, "linear_in": ["inputs"], "progress_expected": [5.0, 3.3],
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What a release's notebook reads, of a pool whose reward is known; one annotator of four answers the opposite."""
    folder = tmp_path_factory.mktemp("release")
    made, truth = features(count=30, frame_size=4)
    pairs, names = crowd(truth, rights=(0.98, 0.95, 0.9, 0.05), count=240)
    split = split_pairs(pairs.pair_ids, 0)
    part = {i: name for name in ("train", "validation", "test") for i in getattr(split, name).tolist()}
    rows = [
        {"pair_id": pairs.pair_ids[i], "trajectory_a_id": f"t{a}", "trajectory_b_id": f"t{b}", "split": part[i],
         "preference": float(pairs.label[i]), "confidence_mean": 3.0}
        for i, (a, b) in enumerate(zip(pairs.a, pairs.b, strict=True))
    ]  # fmt: skip
    (folder / "preferences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = pairs.judgments
    said = [
        {**{k: rows[i][k] for k in ("pair_id", "trajectory_a_id", "trajectory_b_id")},
         "annotator_id": names[found.annotator[j]], "preference": {1.0: "A", 0.0: "B", 0.5: "equal"}[found.label[j]],
         "confidence": 3, "is_duplicate": False}
        for i in range(len(pairs)) for j in range(found.start[i], found.start[i + 1])
    ]  # fmt: skip
    parquet.write_table(pa.Table.from_pylist(said), folder / "judgments.parquet")
    np.savez(
        folder / "features.npz",
        trajectory_ids=np.array([f"t{i}" for i in range(len(made))]),
        offsets=np.cumsum([0, *map(len, made)]),
        **{name: np.concatenate([getattr(item, name) for item in made]) for name in ("frames", "actions", "state")},
        frame_mean=np.arange(4.0),
        frame_projection=np.eye(4)[:, 1:3],
        progress=0.5 + np.tanh(truth) / 2,
    )
    np.save(folder / "truth.npy", truth)
    lines = [f"t{i},{value}" for i, value in enumerate(truth)]
    (folder / "rewards.csv").write_text("\n".join(["trajectory_id,reward", *lines]))
    (folder / "validation.json").write_text(json.dumps({"ranking_accuracy": {"low": 0.5, "high": 1.0}}))
    return folder


@pytest.fixture
def run(files, capsys):
    def run(**changes):
        (files / "training.json").write_text(json.dumps(SETTINGS | changes))
        with contextlib.chdir(files):
            found = runpy.run_path(str(NOTEBOOK))
        return found, capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    "changes",
    [
        {"temporal": "mean"},
        {"temporal": "conv1d", "ties": "margin"},
        {"temporal": "transformer", "ties": "davidson"},
        {"temporal": "transformer", "reliability": "crowd_bt"},
    ],
    ids=lambda changes: " ".join(changes.values()),
)
def test_it_trains_what_the_release_was_trained_with(files, run, changes):
    found, told = run(**changes)
    with torch.no_grad():
        rewards = sum(member(found["inputs"], found["mask"]) for member in found["members"])
    assert torch.equal(rewards, found["reward"])
    assert np.corrcoef(rewards.numpy(), np.load(files / "truth.npy"))[0, 1] > 0.8
    assert found["result"]["trained_alike"] and "NOT TRAINED" not in told
    kinds = {"mean": "NoneType", "conv1d": "Convolution", "transformer": "Attention"}
    assert type(found["members"][0].temporal).__name__ == kinds[changes["temporal"]]
    if changes.get("reliability"):
        right = torch.stack([member.log_odds for member in found["members"]]).mean(0).sigmoid()
        assert right[0] > 0.8 and right[3] < right[0] - 0.3, "who answers the opposite is found out"


def test_a_reward_with_a_linear_part_gets_one_here_too(files, run):
    found, told = run(temporal="mean", linear=0.9, epochs=1)
    truth = np.load(files / "truth.npy")
    assert np.corrcoef(found["reward"].numpy(), truth)[0, 1] > 0.8, "the network of one epoch would not"
    assert abs(float(found["reward"].std()) - 1.0) < 0.2, "both parts are of one size"
    assert found["result"]["trained_alike"] and "NOT TRAINED" not in told


@pytest.mark.parametrize("columns", [["progress"], ["inputs", "progress"]])
def test_progress_counts_as_much_as_labels_say_of_what_is_expected(run, columns):
    found, _ = run(temporal="mean", linear=1.0, epochs=1, linear_in=columns)
    assert found["basis"].shape[1] == (11 if "inputs" in columns else 1)
    assert found["best"][-1] > 4.0 and found["result"]["trained_alike"], "labels say the same as progress"
    firm, _ = run(temporal="mean", linear=1.0, epochs=1, linear_in=columns, progress_expected=[-2.0, 0.001])
    assert abs(float(firm["best"][-1]) + 2.0) < 0.1, "what is told firmly stays"


def test_it_sees_of_a_frame_what_the_model_sees(files, run):
    found, _ = run(inputs=["frames"], epochs=1)
    with np.load(files / "features.npz") as file:
        frames = file["frames"].astype(float)
    assert np.allclose(found["steps"], (frames[:, 1:3] - [1.0, 2.0]).clip(-5, 5))
    found["data"]["frames"][0] = np.nan
    assert not found["projected"](found["data"]["frames"])[0].any(), "a missing camera is the mean"


def test_it_says_what_it_does_not_train(run):
    found, told = run(parts=["linear", "network"], outcomes=["progress"], encoder_saw_labels=True, epochs=1,
                      weak_pairs={"pairs": 200, "labels": 10.0, "contradicted": 0.2})  # fmt: skip
    assert not found["result"]["trained_alike"]
    assert "NOT TRAINED HERE: the released reward's part on summaries (linear)" in told
    assert "NOT TRAINED HERE: what the released model learned from the pool's quality" in told
    assert "NOT TRAINED HERE: the encoder" in told and "NOT TRAINED HERE: progress" in told


def test_its_network_and_losses_are_the_models(run):
    """The same weights give the same values, where steps are missing too."""
    found, _ = run(ties="davidson", temporal="transformer", epochs=1)
    theirs = temporal_layer("transformer", 5, 8, 1, torch.Generator().manual_seed(0))
    ours = found["Attention"](5, 8)
    with torch.no_grad():
        for name in ("enter", "attend", "merge", "widen", "narrow"):
            getattr(ours, name).weight.copy_(getattr(theirs, name)[0].T)
    steps, mask = torch.randn(3, 6, 5), torch.ones(3, 6, dtype=torch.bool)
    mask[1, 4:] = False
    assert torch.allclose(ours(steps, mask.float().unsqueeze(2))[mask], theirs(steps, mask)[0][mask], atol=1e-5)
    x, label, nu = torch.randn(9), torch.tensor([1.0, 0.0, 0.5] * 3), torch.tensor(0.3)
    for ties in ("soft", "davidson", "margin", "drop"):
        found["settings"]["ties"] = ties
        shared = (x.unsqueeze(0), label, nu.reshape(1), ties, 0.3)
        assert torch.allclose(found["slipped_loss"](x, label, nu), losses.slipped_loss(*shared, 0.1)[0], atol=1e-5)
        odds = torch.linspace(-1, 2, 9)
        wanted = losses.crowd_loss(*shared, odds.unsqueeze(0))[0]
        assert torch.allclose(found["crowd_loss"](x, label, nu, odds), wanted, atol=1e-5)
