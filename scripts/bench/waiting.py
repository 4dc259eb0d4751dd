"""Claim: what finishes and then waits is paid no more than without progress, and nothing is lost by it.

The pools, teachers and labels of `few_labels.py`, whose episodes all take as long; the same with recordings that end
when the task is done, as people's do; and these where they are longer than `reward.max_frames`, so that how long they
took is not seen. `validate` shows the reward each trajectory with the robot standing still at the end for half as long
again, and tells by how many standard deviations it rises; beyond 0.3 the probe fires. The default counts progress over
a horizon (`RewardModel.held`); the other two count it over each trajectory's own steps, as it was at first, and not at
all. Accuracy is that of `few_labels.py`. The form was chosen on eight pools of other tasks.

Pools and results are kept in the folder: a run that was killed goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from few_labels import COUNTS, drawn
from quality_prior import TASKS, TEACHERS

NOW, OWN, WITHOUT = "over the horizon, the default", "over a trajectory's own steps", "no progress"
ARMS = (NOW, OWN, WITHOUT)
KINDS = {"recordings end at success": (True, 64), "the same, seen in 6 steps": (True, 6), "all as long": (False, 64)}
"""Whether they end so, and `reward.max_frames`."""


def measured(folder: Path, task: str, seed: int, kind: tuple[bool, int], count: int) -> dict[str, list[float]]:
    """Arm → accuracy, and the rise by still frames in standard deviations."""
    from ml_backend.reward import train
    from ml_backend.validation.probes import counterfactuals
    from preference.records import Trajectory

    given, found = drawn(folder, task, seed, 0, *kind), {}
    shown = [Trajectory(str(i), "bench", i, "scripted", "bench") for i in range(len(given.features))]
    for arm in ARMS:
        horizon = (lambda *_: ()) if arm == OWN else train._horizon
        with mock.patch.object(train, "_horizon", horizon):
            model = given.train(count, progress_prior=arm != WITHOUT, max_frames=kind[1])
        rewards = model.score(given.features)[0]
        probes = counterfactuals(
            lambda changed, model=model: model.score(changed)[0], given.features, shown, rewards, [],
            np.random.default_rng(0), max_frames=model.spec.max_frames,
        )  # fmt: skip
        accuracy = given.accuracy(model.score(given.unseen)[0])
        found[arm] = [accuracy, probes["still_frames_added"]["mean_change_sd"]]
    return found


def kept(folder: Path, task: str, seed: int, kind: tuple[bool, int], count: int) -> dict[str, list[float]]:
    """The same; read where it has been measured."""
    from preference.artifacts import replacing

    path = folder / f"waiting-{task}-{seed}-{'ends' if kind[0] else 'all'}-{kind[1]}-{count}.json"
    if not path.exists():
        found = measured(folder, task, seed, kind, count)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(found) + "\n")
    return json.loads(path.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(tempfile.gettempdir()) / "robopref-few-labels"
    parser.add_argument("--folder", type=Path, default=folder, help=f"Pools and results; default: {folder}.")
    parser.add_argument("--quick", action="store_true", help="The first task alone.")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    pools = [(task, seed) for task in (TASKS[:1] if asked.quick else TASKS) for seed in TEACHERS]
    figures, met = {}, True
    for kind, made in KINDS.items():
        courses = [[kept(asked.folder, *pool, made, count) for count in COUNTS] for pool in pools]
        values = {arm: np.array([[one[arm] for one in own] for own in courses]) for arm in ARMS}  # pool, count, figure
        print(f"{kind:<34}" + "".join(f"{f'{count} labels':>18}" for count in COUNTS))
        for arm in ARMS:
            accuracy, rise = values[arm].mean(axis=0).T
            fires = (values[arm][..., 1] > 0.3).sum(axis=0)
            print(f"{arm:<34}" + "".join(f"{f'{a:.3f}, {r:+.2f}':>18}" for a, r in zip(accuracy, rise, strict=True)))
            figures[f"{kind}, {arm}"] = {
                "accuracy": accuracy.round(4).tolist(), "rise": rise.round(3).tolist(), "fires": fires.tolist(),
            }  # fmt: skip
        ahead = (values[NOW] - values[OWN])[..., 0]
        gain, error = ahead.mean(axis=0), ahead.std(axis=0, ddof=1) / np.sqrt(len(ahead))
        print(f"{'  ahead of its own steps':<34}" + "".join(f"{f'{g:+.3f} ± {e:.3f}':>18}"
              for g, e in zip(gain, error, strict=True)))  # fmt: skip
        figures[f"{kind}, ahead of own steps"] = {"gain": gain.round(4).tolist(), "error": error.round(4).tolist()}
        rises = {arm: values[arm][..., 1].mean(axis=0) for arm in ARMS}
        met = met and bool(np.all(rises[NOW] <= np.maximum(rises[WITHOUT], 0.0)) and np.all(gain >= -error))
    target = "still frames pay no more than without progress; no number of labels worse by more than a standard error"
    print(json.dumps({"name": "waiting", "figures": figures, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
