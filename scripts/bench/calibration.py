"""Claim: the temperature of the cross-validated fold models makes the final model's probabilities calibrated: measured
on 4,000 pairs that it was not trained on, its expected calibration error is under 0.05 on average from 200 labels on.

The temperature is fitted to models that were trained on four fifths of the final one's pairs, in units of each one's
own spread of rewards, and is then applied to that one, so this is to be checked. Simulated pools: 80 trajectories of
8 actions and 12 state values, a reward that is partly linear and partly not, people who answer by Bradley-Terry (three
to the standard deviation of the return); the default product but for frames. One label in ten is a slip, as
`reward.slip` assumes, and then none is, as of pairs that several people and an adjudicator resolved.
Beside it, what one sees: the errors on the test pairs and of all pairs by cross-validation, and what a perfectly
calibrated model would show on so many.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys

import numpy as np

from ml_backend.reward.dataset import Pairs, pair_folds, split_pairs
from ml_backend.reward.features import Features
from ml_backend.reward.model import ModelSpec
from ml_backend.reward.train import PARTS, train_model
from ml_backend.validation.accuracy import compared, fit_folds
from ml_backend.validation.temperature import calibrated, calibration, temperature, temperature_and_slip, temperatures
from preference.config import Reward

LABELS, SLIPS, FROM, SEEDS, POOL, FRESH, MOST = (100, 200, 400), (0.1, 0.0), 200, 6, 80, 4000, 0.05
ACTIONS, STATE = 8, 12


def draw_pool(rng: np.random.Generator) -> tuple[list[Features], np.ndarray]:
    """Trajectories, and their returns in units of a standard deviation."""
    direction, other = rng.normal(size=(2, STATE))
    features, returns = [], []
    for _ in range(POOL):
        steps = int(rng.integers(8, 24))
        state = np.cumsum(rng.normal(0, 0.2, (steps, STATE)), axis=0) + rng.normal(size=STATE)
        actions = np.diff(state, axis=0, append=state[-1:])[:, :ACTIONS] + rng.normal(0, 0.1, (steps, ACTIONS))
        features.append(
            Features(np.zeros((steps, 0), np.float16), actions.astype(np.float32), state.astype(np.float32))
        )
        returns.append(float(np.mean(state @ direction + np.tanh(state @ other))))
    found = np.array(returns)
    return features, (found - found.mean()) / found.std()


def ask(returns: np.ndarray, count: int, slip: float, rng: np.random.Generator) -> Pairs:
    a = rng.integers(POOL, size=count)
    b = (a + rng.integers(1, POOL, size=count)) % POOL
    first = slip + (1 - 2 * slip) / (1 + np.exp(-3.0 * (returns[a] - returns[b])))
    label = (rng.random(count) < first).astype(float)
    return Pairs(tuple(f"p{i}" for i in range(count)), a, b, label, np.ones(count))


def measure(labels: int, slip: float, seed: int, reward: Reward) -> dict[str, float]:
    rng = np.random.default_rng([seed, labels])
    features, returns = draw_pool(rng)
    pairs, fresh = ask(returns, labels, slip, rng), ask(returns, FRESH, slip, rng)
    spec = ModelSpec(
        encoder="none", weights="none", image_size=0, sample_fps=reward.sample_fps, max_frames=reward.max_frames,
        inputs=("actions", "state"), frame_size=0, action_names=tuple(f"a{i}" for i in range(ACTIONS)),
        state_names=tuple(f"s{i}" for i in range(STATE)), temporal=reward.temporal, hidden=reward.hidden,
        members=reward.members, projection=0,
    )  # fmt: skip
    split = split_pairs(pairs.pair_ids, seed)
    fitted = np.setdiff1d(np.arange(labels), split.test)
    folds = pair_folds(fitted, rng)
    differences = np.full(labels, np.nan)
    for fold, own in zip(folds, fit_folds(features, pairs, spec, reward, folds, [seed] * len(folds)), strict=True):
        differences[fold.test] = own
    rewards, _ = train_model(features, pairs, split, spec, reward, seed=seed).model.score(features)
    differences *= float(rewards[compared(pairs)].std())
    test = pairs.take(split.test)
    differences[split.test] = rewards[test.a] - rewards[test.b]
    tasks = np.full(labels, "")
    divided = temperatures(differences[fitted], pairs.label[fitted], tasks[fitted], reward)
    cooled, slips = calibrated(differences, pairs.label, tasks, [*folds, split], reward)
    crossed, on_test = (
        calibration(cooled, pairs.label, slips),
        calibration(cooled[split.test], test.label, slips[split.test]),
    )
    x = rewards[fresh.a] - rewards[fresh.b]
    best, best_slip = temperature_and_slip(x, fresh.label, reward.slip)
    return {
        "temperature": divided.shared, "best temperature": best, "slip": divided.slip,
        "final": calibration(x / divided.shared, fresh.label, divided.slip)["error"],
        "slip as assumed": calibration(x / temperature(differences[fitted], pairs.label[fitted], reward.slip),
                                       fresh.label, reward.slip)["error"],
        "without temperature": calibration(x, fresh.label, divided.slip)["error"],
        "at its best": calibration(x / best, fresh.label, best_slip)["error"],
        "cross-validated": crossed["error"], "its floor": crossed["floor"],
        "test pairs": on_test["error"], "their floor": on_test["floor"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=int, nargs="?", default=SEEDS, help=f"Pools a row; default: {SEEDS}.")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=Reward().parts, help="Of the reward.")
    asked = parser.parse_args()
    reward, seeds = Reward(inputs=["actions", "state"], parts=asked.parts), asked.seeds
    rows = []
    for slip, labels in itertools.product(SLIPS, LABELS):
        found = [measure(labels, slip, seed, reward) for seed in range(seeds)]
        row = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
        rows.append({"labels": labels, "slips": slip, **row})
        error = float(np.std([one["final"] for one in found], ddof=1)) / seeds**0.5 if seeds > 1 else float("nan")
        rows[-1]["standard error of final"] = error
        print(
            f"{labels} labels, {slip:.0%} slips: "
            + ", ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()),
            flush=True,
        )
    met = all(row["final"] < MOST for row in rows if row["labels"] >= FROM)
    target = (
        f"the final model's calibration error on {FRESH:,} fresh pairs is under {MOST} on average from {FROM} labels on"
    )
    print(json.dumps({"name": "calibration", "figures": {"seeds": seeds, "rows": rows}, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
