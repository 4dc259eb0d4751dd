"""Claim: slow features of the frames (`ml_backend.reward.projection`) make a reward that is no worse than as many
principal components do, from frames alone and with actions and state.

Pools with pictures of 200 episodes of eight Meta-World tasks (`policies.pool`), answered by turns by the stochastic
teacher and by the one who makes mistakes. A third of the episodes is held out, and accuracy is over pairs of these,
against the true return. The model is the product's at its defaults, without the pool's quality. The error is the
standard error over the cells of pool and number of labels.

Pools and results are kept in the folder: a run that was killed goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from efficiency.course import TEST_PAIRS, answers, fit
from policies.pool import EVERY, Pool, check_tasks, pool_of

TASKS = {
    "handle-pull-side-v3": 501, "dial-turn-v3": 501, "window-close-v3": 0, "faucet-open-v3": 0, "plate-slide-v3": 0,
    "button-press-topdown-v3": 0, "door-open-v3": 0, "window-open-v3": 0,
}  # fmt: skip
"""Task → seed of its pool. Only the first two had no part in the design."""
TEACHERS = ("stochastic", "mistake")
"""Who answers, by turns over the tasks."""
COUNTS, DRAWS, HELD_OUT = (50, 150, 500), 1, 1 / 3
INPUTS = {"frames alone": ("frames",), "all inputs": ("frames", "actions", "state")}
PRINCIPAL, SLOW = "principal components", "slow features, the default"


def features(pool: Pool, inputs: tuple[str, ...]) -> list[Any]:
    from ml_backend.reward.features import Features

    parts = {"frames": pool.frames, "actions": pool.actions[:, ::EVERY], "state": pool.states[:, ::EVERY]}
    shown = [part if name in inputs else part[:, :, :0] for name, part in parts.items()]
    return [Features(*one) for one in zip(*shown, strict=True)]


def accuracies(pool: Pool, teacher: str, seed: list[int], count: int) -> dict[str, float]:
    """Inputs and arm → accuracy on pairs of held-out episodes."""
    from ml_backend.reward import projection

    rng = np.random.default_rng([*seed, count])
    order = rng.permutation(len(pool.returns))
    held, own = np.split(order, [round(HELD_OUT * len(order))])
    every = np.column_stack(np.triu_indices(len(own), 1))
    pairs = rng.permuted(every[rng.permutation(len(every))[:count]], axis=1)
    labels = answers(teacher, pool.returns[own], pairs, rng)
    tested = np.column_stack(np.triu_indices(len(held), 1))
    a, b = tested[rng.permutation(len(tested))[:TEST_PAIRS]].T
    truth, found = pool.returns[held], {}
    for name, inputs in INPUTS.items():
        seen = features(pool, inputs)
        mine, unseen = [seen[i] for i in own], [seen[i] for i in held]
        # among no components there is nothing slow to look for: these are then kept as they are
        for arm, components in ((PRINCIPAL, 0), (SLOW, projection.COMPONENTS)):
            with patch.object(projection, "COMPONENTS", components):
                model = fit(mine, pairs, labels, seed[-1])
            rewards = model.score(unseen)[0]
            found[f"{name}, {arm}"] = float(np.mean((rewards[a] > rewards[b]) == (truth[a] > truth[b])))
    return found


def kept(folder: Path, task: str, teacher: str, seed: list[int], count: int) -> dict[str, float]:
    """Read where it has been measured.

    Args:
        seed: Of the pool and of the labels.
    """
    from preference.artifacts import replacing

    path = folder / f"frame-projection-{task}-{teacher}-{seed[0]}-{seed[1]}-{count}.json"
    if not path.exists():
        found = accuracies(pool_of(folder, task, seed[0], pictures=True), teacher, seed, count)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(found) + "\n")
    return json.loads(path.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(tempfile.gettempdir()) / "robopref-frame-projection"
    parser.add_argument("--folder", type=Path, default=folder, help=f"Pools and results; default: {folder}.")
    parser.add_argument("--draws", type=int, default=DRAWS, help=f"Of labels, for each pool; default: {DRAWS}.")
    parser.add_argument("--labels", type=int, nargs="+", default=list(COUNTS), help="How many.")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK", help="Some of them.")
    parser.add_argument("--quick", action="store_true", help="The first task alone, 50 and 150 labels.")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    tasks, counts = (list(TASKS)[:1], list(COUNTS[:2])) if asked.quick else (asked.tasks, asked.labels)
    check_tasks(tasks, pictures=True)
    cells = []
    for task in tasks:
        teacher, draws = TEACHERS[list(TASKS).index(task) % 2], [[TASKS[task], draw] for draw in range(asked.draws)]
        cells.append([[kept(asked.folder, task, teacher, seed, count) for seed in draws] for count in counts])
    print(f"{'labels':<42}" + "".join(f"{count:>8}" for count in counts) + f"{'ahead by':>18}")
    figures, met = {}, True
    for name in INPUTS:
        values = {
            arm: np.array([[np.mean([one[f"{name}, {arm}"] for one in draws]) for draws in row] for row in cells])
            for arm in (PRINCIPAL, SLOW)
        }
        ahead = values[SLOW] - values[PRINCIPAL]
        gain, error = float(ahead.mean()), float(ahead.std(ddof=1) / np.sqrt(ahead.size))
        met = met and gain >= -error
        for arm, value in values.items():
            said = f"{gain:+.3f} ± {error:.3f}" if arm == SLOW else ""
            row = "".join(f"{mean:>8.3f}" for mean in value.mean(axis=0))
            print(f"{f'{name}, {arm}':<42}{row}{said:>18}")
        figures[name] = {
            **{arm: value.mean(axis=0).round(4).tolist() for arm, value in values.items()},
            "ahead by": round(gain, 4), "error": round(error, 4),
            "by task": dict(zip(tasks, ahead.mean(axis=1).round(4).tolist(), strict=True)),
        }  # fmt: skip
    target = "behind principal components by no more than a standard error, from frames alone and from all inputs"
    print(json.dumps({"name": "frame_projection", "quick": asked.quick, "figures": figures, "target": target,
                      "met": met}))  # fmt: skip
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
