"""Claim: learning a little from the pool's quality (`reward.quality_prior`) makes no number of labels worse, and a
quality that means nothing, or the opposite, changes nothing.

Pools of 200 episodes of four Meta-World tasks (`policies.pool`), two of each, answered by the stochastic teacher in one
and by the one who makes mistakes in the other. A third of the episodes is held out, and accuracy is over pairs of
these, against the true return. The quality is what `robopref pool` computes from such episodes, with success and
without, and never the return; the pairs are stratified by it. Neither these tasks nor these pools had a part in the
design, which was made on faucet-open-v3 and drawer-open-v3 (pools 101 and 102).

Pools and results are kept in the folder: a run that was killed goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from efficiency.course import TEST_PAIRS, answers, fit, stratified_pairs
from efficiency.quality import quality
from policies.pool import pool_of

TASKS = ("coffee-button-v3", "sweep-into-v3", "handle-pull-side-v3", "lever-pull-v3")
TEACHERS = {201: "stochastic", 202: "mistake"}
"""Seed of a pool → who answers about it."""
COUNTS, HELD_OUT = (20, 50, 100, 200), 67
ARMS = ("none", "quality", "motion alone", "meaningless", "reversed")


def course(folder: Path, task: str, seed: int) -> dict[str, list[float]]:
    """Arm → accuracy at each of COUNTS, and `arm, s` → the CPU time of its trainings."""
    from importer.pool.quality import quartiles
    from ml_backend.reward.dataset import Quartiles

    pool, teacher = pool_of(folder, task, seed, pictures=False), TEACHERS[seed]
    rng = np.random.default_rng([seed, *task.encode()])
    order = rng.permutation(len(pool.returns))
    own, held = order[HELD_OUT:], order[:HELD_OUT]
    every = np.column_stack(np.triu_indices(HELD_OUT, 1))
    a, b = every[rng.permutation(len(every))[:TEST_PAIRS]].T
    features, truth, unseen = pool.features(), pool.returns[own], pool.returns[held]
    known, motion = (quality(pool.states, pool.arrived, successes=told)[own] for told in (True, False))
    values = {"quality": known, "motion alone": motion, "meaningless": rng.random(len(own)), "reversed": -known}
    pairs = stratified_pairs(known, COUNTS[-1], rng)
    labels = answers(teacher, truth, pairs, np.random.default_rng([seed, 8, len(teacher)]))
    found: dict[str, list[float]] = {name: [] for arm in ARMS for name in (arm, f"{arm}, s")}
    for count in COUNTS:
        for arm in ARMS:
            order_of = Quartiles(quartiles(values[arm]), np.zeros(len(own), int)) if arm in values else None
            started = time.process_time()
            model = fit([features[i] for i in own], pairs[:count], labels[:count], seed, order_of)
            found[f"{arm}, s"].append(time.process_time() - started)
            rewards = model.score([features[i] for i in held])[0]
            found[arm].append(float(np.mean((rewards[a] > rewards[b]) == (unseen[a] > unseen[b]))))
    return found


def kept(folder: Path, task: str, seed: int) -> dict[str, list[float]]:
    """The same; read where it has been done."""
    from preference.artifacts import replacing

    path = folder / f"quality-prior-{task}-{seed}.json"
    if not path.exists():
        found = course(folder, task, seed)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(found) + "\n")
    return json.loads(path.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(tempfile.gettempdir()) / "robopref-quality-prior"
    parser.add_argument("--folder", type=Path, default=folder, help=f"Pools and results; default: {folder}.")
    parser.add_argument("--quick", action="store_true", help="The first task alone.")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    tasks = TASKS[:1] if asked.quick else TASKS
    courses = [kept(asked.folder, task, seed) for task in tasks for seed in TEACHERS]
    print(f"{'labels':<14}" + "".join(f"{count:>18}" for count in COUNTS))
    figures: dict[str, Any] = {}
    for arm in ARMS:
        values = np.array([one[arm] for one in courses])
        gain = values - np.array([one["none"] for one in courses])
        error = gain.std(axis=0, ddof=1) / np.sqrt(len(gain))
        figures[arm] = {"accuracy": values.mean(axis=0).round(4).tolist(), "gain": gain.mean(axis=0).round(4).tolist(),
                        "error": error.round(4).tolist(),
                        "cpu_s": np.mean([one[f"{arm}, s"] for one in courses], axis=0).round(2).tolist()}  # fmt: skip
        shown = values.mean(axis=0) if arm == "none" else gain.mean(axis=0)
        cells = [f"{v:.3f}" if arm == "none" else f"{v:+.4f} ± {e:.4f}" for v, e in zip(shown, error, strict=True)]
        print(f"{arm:<14}" + "".join(f"{cell:>18}" for cell in cells))
    # what is the wrong way round is not learned from, and the first arm also pays for imports
    for arm in ("reversed", "quality"):
        print(f"{arm + ', CPU s':<14}" + "".join(f"{seconds:>18.2f}" for seconds in figures[arm]["cpu_s"]))
    level = all(g >= -e for arm in ARMS[1:] for g, e in zip(figures[arm]["gain"], figures[arm]["error"], strict=True))
    target = "no quality makes any number of labels worse by more than a standard error"
    print(json.dumps({"name": "quality_prior", "figures": figures, "target": target, "met": level}))
    sys.exit(0 if level else 1)


if __name__ == "__main__":
    main()
