"""Claims: on 500 Meta-World episodes of one task from five sources, with 1,000 noisy preferences (β = 3 per standard
deviation of the return, 10 % mistakes), the reward model ranks more than 0.90 of noise-free held-out pairs right and
reaches a Spearman correlation over 0.85; more than 0.80 from images and actions, without the simulator's state. It is
ahead of a linear model and of imitation's preference trainer.

All are given the same fragments (each trajectory's span as 32 evenly spaced steps, because imitation compares fragments
of one length only) and labels; 850 pairs to train on and, for those who stop early, 150 to stop
by. imitation 1.0.1 trains its BasicRewardNet, an ensemble of one, for as many epochs; it runs in an environment of its
own (`--peer-python`; made beside the pool where none is named), since it needs other versions of its libraries. The
linear model is a logistic regression on the difference of the trajectories' mean inputs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ml_backend.reward.weights import NETWORK

ROOT = Path(__file__).resolve().parent.parent.parent
TASK, EPISODES, SIZE = "drawer-open-v3", 500, 128
PAIRS, TRAINED, HELD_OUT, EPOCHS, SEEDS = 1_000, 850, 5_000, 50, 3
STEPS = 32
BETA, MISTAKE = 3.0, 0.1
PEER = "imitation==1.0.1"
PEER_PROGRAM = r"""
import json, sys
import gymnasium, numpy as np, torch
from imitation.algorithms import preference_comparisons as pc
from imitation.data.types import TrajectoryWithRew
from imitation.rewards.reward_nets import BasicRewardNet, NormalizedRewardNet
from imitation.util.networks import RunningNorm

given = np.load(sys.argv[1])
epochs, seed = int(sys.argv[2]), int(sys.argv[3])
torch.manual_seed(seed)
torch.set_num_threads(1)
bounds = np.concatenate([[0], np.cumsum(given["lengths"])])
def one(i):
    state, actions = (given[name][bounds[i]:bounds[i + 1]] for name in ("state", "actions"))
    return TrajectoryWithRew(state, actions[:-1], None, True, np.zeros(len(actions) - 1, np.float32))
pool = [one(i) for i in range(len(given["lengths"]))]
box = lambda size: gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
net = BasicRewardNet(box(given["state"].shape[1]), box(given["actions"].shape[1]), normalize_input_layer=RunningNorm)
model = pc.PreferenceModel(net)
trainer = pc.BasicRewardTrainer(model, pc.CrossEntropyRewardLoss(), np.random.default_rng(seed), epochs=epochs, lr=1e-3)
data = pc.PreferenceDataset()
data.push([(pool[a], pool[b]) for a, b in zip(given["a"], given["b"])], given["label"].astype(np.float32))
trainer.train(data)
net.eval()
def total(t):
    done = np.zeros(len(t.acts), bool); done[-1] = True
    return float(net.predict(t.obs[:-1], t.acts, t.obs[1:], done).sum())
np.save(sys.argv[4], np.array([total(t) for t in pool]))
"""


def noisy_pairs(truth: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, b, label of `PAIRS` different pairs, by the noisy teacher with mistakes."""
    rng = np.random.default_rng(seed)
    keys = rng.permutation(len(truth) * (len(truth) - 1) // 2)[:PAIRS]
    a, b = (side[keys] for side in np.triu_indices(len(truth), 1))
    swap = rng.random(PAIRS) < 0.5
    a, b = np.where(swap, b, a), np.where(swap, a, b)
    right = rng.random(PAIRS) < 1 / (1 + np.exp(-BETA * (truth[a] - truth[b]) / truth.std()))
    return a, b, np.where(rng.random(PAIRS) < MISTAKE, ~right, right).astype(float)


def judge(rewards: np.ndarray, truth: np.ndarray, a: np.ndarray, b: np.ndarray, seed: int) -> tuple[float, float]:
    """Accuracy on noise-free pairs that were not asked, and Spearman's correlation over the pool."""
    from scipy.stats import spearmanr

    rng = np.random.default_rng([seed, 1])
    asked = {frozenset(pair) for pair in zip(a.tolist(), b.tolist(), strict=True)}
    drawn = rng.integers(len(truth), size=(2 * HELD_OUT, 2)).tolist()
    kept = np.array([(i, j) for i, j in drawn if i != j and frozenset((i, j)) not in asked][:HELD_OUT])
    first, second = kept.T
    right = (rewards[first] > rewards[second]) == (truth[first] > truth[second])
    statistic: Any = spearmanr(rewards, truth)
    return float(right.mean()), float(statistic.statistic)


def fragments(store: Any, ids: list[str]) -> list[Any]:
    from ml_backend.reward.features import Features

    found = []
    for name in ids:
        item = store[name]
        rows = np.linspace(0, len(item) - 1, STEPS).round().astype(int)
        found.append(Features(item.frames[rows], item.actions[rows], item.state[rows]))
    return found


def ours(ws: Any, store: Any, features: Any, inputs: tuple[str, ...], a: Any, b: Any, label: Any, seed: int) -> Any:
    """Rewards by the reward model with the default settings, looking at `inputs` alone."""
    from dataclasses import replace

    from ml_backend.loop.features import describe
    from ml_backend.reward.dataset import Pairs, Split
    from ml_backend.reward.train import train_model

    trajectories = [t for t in ws.store.trajectories() if t.trajectory_id in store]
    spec = replace(describe(ws, store, trajectories), inputs=inputs)
    pairs = Pairs(tuple(f"p{i}" for i in range(PAIRS)), a, b, label, np.ones(PAIRS))
    split = Split(np.arange(TRAINED), np.arange(TRAINED, PAIRS), np.arange(0))
    reward = ws.config.reward.model_copy(update={"epochs": EPOCHS, "patience": EPOCHS})
    return train_model(features, pairs, split, spec, reward, seed=seed).model.score(features)[0]


def linear(features: Any, a: np.ndarray, b: np.ndarray, label: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    x = np.array([np.concatenate([item.actions.mean(axis=0), item.state.mean(axis=0)]) for item in features])
    x = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 1e-9, x.std(axis=0), 1.0)
    inputs, said = (x[a] - x[b])[:TRAINED], label[:TRAINED]
    choices = [LogisticRegression(C=10.0**power, fit_intercept=False, max_iter=2_000) for power in range(-3, 3)]
    best = max(choices, key=lambda one: float(cross_val_score(one, inputs, said, scoring="neg_log_loss").mean()))
    return x @ best.fit(inputs, said).coef_[0]


def imitation(python: Path, features: Any, a: Any, b: Any, label: Any, seed: int, folder: Path) -> np.ndarray:
    given, out, program = folder / "given.npz", folder / "rewards.npy", folder / "peer.py"
    items = list(features)
    columns = {}
    for name in ("state", "actions"):
        columns[name] = np.concatenate([np.asarray(getattr(item, name), np.float32) for item in items])
    train = {"a": a[:TRAINED], "b": b[:TRAINED], "label": label[:TRAINED]}
    np.savez(given, lengths=[len(item) for item in items], **columns, **train)
    program.write_text(PEER_PROGRAM)
    subprocess.run([python, program, given, str(EPOCHS), str(seed), out], check=True, stdout=subprocess.DEVNULL)
    return np.load(out)


def peer_python(named: str, folder: Path) -> Path | None:
    """An interpreter that has imitation; None where it cannot be installed."""
    if named:
        return Path(named)
    python = folder / "peer" / "bin" / "python"
    if not python.exists():
        print(f"Installing {PEER} into an environment of its own ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder / "peer"], check=True)
        if subprocess.run([python, "-m", "pip", "install", "-q", PEER], check=False).returncode:
            print(f"{PEER} cannot be installed here; it is left out.", file=sys.stderr)
            return None
    return python


def prepare(folder: Path, encoder: str) -> tuple[Any, Any]:
    """The pool (made where it is not there), read, and its features."""
    from importer.pool.build import build_pool
    from ml_backend.loop.features import encode_pool
    from preference.workspace import Workspace

    data = folder / "pool"
    if not (data / "meta" / "info.json").exists():
        program = [sys.executable, ROOT / "scripts" / "make_sample_pool.py", "--tasks", TASK]
        subprocess.run([*program, "--episodes", str(EPISODES), "--size", str(SIZE), "--out", data], check=True)
    text = f'[[pool.dataset]]\npath = "{data}"\nname = "bench"\n[reward]\nencoder = "{encoder}"\n'
    (folder / "robopref.toml").write_text(text)
    ws = Workspace.open(folder / "robopref.toml")
    build_pool(ws)
    return ws, encode_pool(ws, ws.store.trajectories())


def run(folder: Path, encoder: str, python: Path | None) -> dict[str, list[tuple[float, float]]]:
    ws, store = prepare(folder, encoder)
    trajectories = [t for t in ws.store.trajectories() if t.trajectory_id in store]
    features = fragments(store, [t.trajectory_id for t in trajectories])
    truth = np.array([t.true_return for t in trajectories])
    weights = store.encoder.shown if store.encoder else "none"
    blind = f"frames ({encoder}, {weights}), actions"
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(SEEDS):
        a, b, label = noisy_pairs(truth, seed)
        rewards = {
            "frames, actions, state": ours(ws, store, features, ("frames", "actions", "state"), a, b, label, seed),
            "actions, state": ours(ws, store, features, ("actions", "state"), a, b, label, seed),
            blind: ours(ws, store, features, ("frames", "actions"), a, b, label, seed),
            "linear": linear(features, a, b, label),
        }
        if python is not None:
            rewards["imitation"] = imitation(python, features, a, b, label, seed, folder)
        for name, values in rewards.items():
            found.setdefault(name, []).append(judge(values, truth, a, b, seed))
    ws.store.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="Keeps pool and features for the next run; default: thrown away.")
    parser.add_argument("--peer-python", default="", help="An interpreter that has imitation.")
    parser.add_argument("--encoder", default=NETWORK, help="timm's name; with ImageNet weights where they can be had.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = asked.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        found = run(folder.resolve(), asked.encoder, peer_python(asked.peer_python, folder.resolve()))
    print(f"{'':<50}{'accuracy':>10}{'spearman':>10}   each seed's accuracy")
    figures = {}
    for label, rows in found.items():
        accuracy, spearman = np.mean(rows, axis=0)
        each = " ".join(f"{value:.3f}" for value, _ in rows)
        print(f"{label:<50}{accuracy:>10.3f}{spearman:>10.3f}   {each}")
        figures[label] = {"accuracy": round(float(accuracy), 4), "spearman": round(float(spearman), 4)}
    best = figures["frames, actions, state"]
    blind = next(figures[label] for label in figures if label.startswith("frames ("))
    peers = [figures[label]["accuracy"] for label in ("linear", "imitation") if label in figures]
    met = best["accuracy"] > max(0.90, *peers) and best["spearman"] > 0.85 and blind["accuracy"] > 0.80
    target = "accuracy > 0.90 and ahead of the peers, Spearman > 0.85; without the simulator's state > 0.80"
    print(json.dumps({"name": "reward", "figures": figures, "target": target, "met": bool(met)}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
