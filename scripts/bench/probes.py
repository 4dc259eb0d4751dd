"""Claims: a reward planted to love length, stillness, a closed or a visible gripper is caught by its probe in at least
95 % of simulated pools, and a clean one is accused of anything in under 5 %.

Pools of 100 trajectories of 13 to 45 seconds, all longer than the 64 steps that the model sees at 5 Hz; actions are
displacements or positions. How long a trajectory takes goes with its quality, as in real pools. A planted reward is
half quality and half the measure, and noise; a clean one is quality and as much noise. How often the gripper is visible
no dataset records; it is given as a measure (`pool.measures`), as a detector would find it.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass

import numpy as np

from ml_backend.reward.features import Features
from ml_backend.validation.probes import correlations, fired, measures
from preference.records import Trajectory

POOLS, SIZE, FPS, MOST = 200, 100, 5, 64
PLANTED = {
    "length": "length", "stillness of effector": "stillness_of_effector", "stillness of state": "stillness_of_state",
    "stillness of actions": "stillness_of_actions", "closed gripper": "closed_gripper",
    "visible gripper": "visible_gripper",
}  # fmt: skip


@dataclass(frozen=True)
class Pool:
    trajectories: list[Trajectory]
    features: list[Features]
    grippers: list[np.ndarray]
    speeds: np.ndarray
    """(N,) of the end effector, m/s."""
    visible: np.ndarray
    """(N,) share of frames in which the gripper is seen."""


def draw(absolute: bool, rng: np.random.Generator) -> Pool:
    trajectories, features, grippers, speeds = [], [], [], []
    for i in range(SIZE):
        quality = rng.normal()
        seconds = float(np.clip(28 - 4 * quality + rng.normal(0, 7), 13, 45))
        speed = 0.1 * float(np.exp(0.5 * rng.normal()))
        full = rng.normal(0, speed / FPS, (int(seconds * FPS), 3)) + speed / FPS * rng.normal(size=3)
        path = np.cumsum(full, axis=0) + rng.normal(0, 0.5, 3)
        rows = np.round(np.linspace(0, len(path) - 1, min(len(path), MOST))).astype(int)
        closed = rng.random(len(path)) < np.clip(0.5 + 0.25 * rng.normal(), 0.02, 0.98)
        actions = (path if absolute else full) + rng.normal(0, 1e-4, full.shape)
        frames = path[rows] @ rng.normal(size=(3, 8)) + rng.normal(0, 0.05, (len(rows), 8))
        features.append(Features(frames.astype(np.float16), actions[rows].astype(np.float32),
                                 path[rows].astype(np.float32)))  # fmt: skip
        trajectories.append(Trajectory(f"t{i}", "d", i, "expert", "push", true_return=quality, end_s=seconds))
        grippers.append(closed[rows].astype(float))
        speeds.append(float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum() / seconds))
    return Pool(trajectories, features, grippers, np.array(speeds), rng.beta(4, 2, SIZE))


def loved(pool: Pool, name: str) -> np.ndarray:
    """What is planted, as the world has it, not as the probe measures it."""
    if name == "length":
        return np.array([t.end_s for t in pool.trajectories])
    if name == "closed gripper":
        return np.array([own.mean() for own in pool.grippers])
    return pool.visible if name == "visible gripper" else -pool.speeds


def measure(absolute: bool, pools: int) -> dict[str, float]:
    caught = dict.fromkeys(PLANTED, 0)
    accused = before = 0
    for seed in range(pools):
        rng = np.random.default_rng([seed, 7])
        pool = draw(absolute, rng)
        found = measures(pool.features, pool.trajectories, pool.grippers, pool.speeds)
        found["visible_gripper"] = np.clip(pool.visible + rng.normal(0, 0.05, SIZE), 0, 1)
        truth, noise = np.array([t.true_return for t in pool.trajectories]), 0.5 * rng.normal(size=SIZE)

        def named(reward: np.ndarray, pool: Pool = pool, found: dict = found) -> list[str]:
            return fired(correlations(reward, pool.trajectories, found))

        accused += bool(named(truth + noise))
        for name, probe in PLANTED.items():
            own = loved(pool, name)
            reward = truth + (own - own.mean()) / own.std() + noise
            caught[name] += probe in named(reward)
            if name == "length":  # as it was: the sampled steps, which are capped
                steps = np.array([len(item) for item in pool.features], float)
                before += bool(fired(correlations(reward, pool.trajectories, {"length": steps})))
    return {name: count / pools for name, count in caught.items()} | {
        "length, by sampled steps (before)": before / pools, "clean, accused": accused / pools}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools", type=int, nargs="?", default=POOLS, help=f"Simulated pools; default: {POOLS:,}.")
    pools = parser.parse_args().pools
    rows = {words: measure(words == "positions", pools) for words in ("displacements", "positions")}
    print(f"{'planted':<36}" + "".join(f"{words:>16}" for words in rows))
    for name in rows["positions"]:
        print(f"{name:<36}" + "".join(f"{row[name]:>16.1%}" for row in rows.values()))
    met = all(row[name] >= 0.95 for row in rows.values() for name in PLANTED)
    met = met and all(row["clean, accused"] < 0.05 for row in rows.values())
    target = "each planted one caught in >= 95 % of pools, a clean one accused in < 5 %"
    print(json.dumps({"name": "probes", "figures": {"pools": pools, "rows": rows}, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
