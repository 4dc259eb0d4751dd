"""The reward model of release 0.1.0 at its defaults, from pairs drawn at random: in a process of its own, which
imports a checkout of that release.

Episodes, held-out split, teachers and test pairs are those of the courses. As there, 15 % of the labels are kept to
test on; by that model's own split another 15 % are for stopping.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from efficiency.course import UNIFORM, Course, accuracy, answers, deal, some_pairs
from efficiency.episodes import Episodes

MODEL = Path("ml_backend") / "reward_model.py"
"""A file that later versions do not have."""
PROGRAM = r"""
import sys
import numpy as np
from ml_backend.dataset import Pairs
from ml_backend.features import Features
from ml_backend.reward_model import ModelSpec
from ml_backend.train import split_pairs, train_model
from preference.config import Reward

given, seed = np.load(sys.argv[1]), int(sys.argv[3])
def features(of):
    actions, states = given[of + "_actions"], given[of + "_states"]
    none = np.zeros((actions.shape[1], 0), np.float16)
    return [Features(none, *one) for one in zip(actions, states)]
pairs, labels = given["pairs"], given["labels"]
pool, inputs = features("pool"), ["actions", "state"]
reward = Reward(inputs=inputs)
actions, state = (tuple(f"{kind}{i}" for i in range(getattr(pool[0], kind).shape[1])) for kind in inputs)
spec = ModelSpec("none", "none", 112, 2.0, 64, tuple(inputs), 0, actions, state, reward.temporal, reward.hidden,
                 reward.members, projection=0)
split = split_pairs([" ".join(map(str, sorted(pair))) for pair in pairs.tolist()], seed)
told = Pairs(tuple(map(str, range(len(pairs)))), pairs[:, 0], pairs[:, 1], labels, np.ones(len(pairs)))
model = train_model(pool, told, split, spec, reward, seed=seed).model
np.save(sys.argv[2], model.score(features("held"))[0])
"""


def first_release(
    folder: Path, release: Path, wanted: Iterable[Course], made: dict[str, Episodes], processes: int
) -> dict[Course, float]:
    """Accuracy on the held-out episodes' pairs with `UNIFORM` labels, for each task, teacher and seed of the courses;
    what has been measured is read."""
    cells = list(dict.fromkeys(Course(one.task, one.teacher, "uniform", one.seed) for one in wanted))
    with ThreadPoolExecutor(processes) as threads:
        found = threads.map(lambda cell: measured(folder, release, cell, made[cell.task]), cells)
        return dict(zip(cells, found, strict=True))


def measured(folder: Path, release: Path, cell: Course, made: Episodes) -> float:
    from preference.artifacts import replacing

    path = folder / "first-release" / f"{cell.task}-{cell.teacher}-{cell.seed}.json"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        found = _accuracy(release, cell, made)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"labels": UNIFORM, "accuracy": found}) + "\n")
    return json.loads(path.read_text())["accuracy"]


def _accuracy(release: Path, cell: Course, made: Episodes) -> float:
    rng = np.random.default_rng([cell.seed, *cell.task.encode()])
    pool, held, test = deal(len(made.returns), rng)
    pairs = some_pairs(len(pool), UNIFORM, rng)
    labels = answers(cell.teacher, made.returns[pool], pairs, np.random.default_rng([cell.seed, len(cell.teacher)]))
    with tempfile.TemporaryDirectory() as name:
        given, program, rewards = (Path(name) / file for file in ("given.npz", "program.py", "rewards.npy"))
        seen = {
            f"{of}_{kind}": getattr(made, kind)[rows]
            for of, rows in (("pool", pool), ("held", held))
            for kind in ("actions", "states")
        }
        np.savez(given, pairs=pairs, labels=labels, **seen)
        program.write_text(PROGRAM)
        command = [sys.executable, program, given, rewards, cell.seed]
        environment = os.environ | {"PYTHONPATH": str(release), "OMP_NUM_THREADS": "1"}
        subprocess.run([str(part) for part in command], check=True, env=environment, cwd=name)
        return accuracy(np.load(rewards), made.returns[held], test)
