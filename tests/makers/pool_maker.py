"""A pool small enough to be trained on in a second or two."""

import shutil
from dataclasses import replace

import numpy as np
from lerobot_maker import Made, make_dataset
from preference_maker import put_preferences
from shared_maker import make_once

from importer.pool.build import build_pool
from preference.records import Annotator, Batch, Certification, Pair, Preference
from preference.workspace import Workspace

# With all parts, so few labels would go to the linear one alone, and most of training would not be tried
CONFIG = """
seed = 3
salt = 3
workers = 1
[[pool.dataset]]
path = "data"
name = "tiny"
[reward]
weights = "none"
encoder = "resnet10t"
sample_fps = 2.0
epochs = 5
hidden = 8
members = 2
parts = ["network"]
min_preferences = 10
"""


def pool_of_eight(run_folder, folder):
    """Eight short trajectories in the database, each said to have a clip, and twenty answered pairs; in `folder`."""
    shutil.copytree(make_once(run_folder, "pool-of-eight", _make), folder, dirs_exist_ok=True)
    return Workspace.open(folder / "robopref.toml")


def trained_pool(run_folder, folder):
    """`pool_of_eight`, closed, with a model of its labels and two certified annotators, who may be asked four pairs."""
    from ml_backend.loop.train import train

    ws = pool_of_eight(run_folder, folder)
    ws.store.put_annotators([Annotator(name, f"{name}@example.org") for name in ("x", "y")])
    ws.store.put_pairs(Batch("calibration-1", "calibration"), [], [])
    for name in ("x", "y"):
        ws.store.put_certification(Certification(name, "calibration-1", 1, 0.9, 0.8, 1.0, True, 40))
    ws.store.set_batch_status("production-001", "accepted", [])
    train(ws)
    ws.store.close()
    with (folder / "robopref.toml").open("a") as file:
        file.write("[active]\nbootstrap = 20\npairs = 4\naudit = 0.25\n")
    return folder


def _make(folder):
    make_dataset(folder / "data", [Made(rows=40 + 4 * i, still=10, jerk=0.01 * i) for i in range(8)])
    (folder / "robopref.toml").write_text(CONFIG)
    ws = Workspace.open(folder / "robopref.toml")
    build_pool(ws)
    ws.store.put_trajectories(replace(t, clip=f"clips/{t.trajectory_id}.mp4") for t in ws.store.trajectories())
    ids = [t.trajectory_id for t in ws.store.trajectories()]
    rng = np.random.default_rng(0)
    keys = [(a, b) for i, a in enumerate(ids) for b in ids[i + 1 :]]
    keys = [keys[i][:: 1 if i % 2 else -1] for i in rng.permutation(len(keys))[:20]]
    pairs = [Pair(f"p{i}", a, b, "reach", "same", "production", "production-001") for i, (a, b) in enumerate(keys)]
    ws.store.put_pairs(Batch("production-001", "production", status="accepted"), pairs, [])
    labels = [float(p.trajectory_a_id < p.trajectory_b_id) if i % 7 else 0.5 for i, p in enumerate(pairs)]
    put_preferences(
        ws,
        [
            Preference(p.pair_id, p.trajectory_a_id, p.trajectory_b_id, label, 3.0, 2, 1.0, ["x", "y"], "unanimous")
            for p, label in zip(pairs, labels, strict=True)
        ],
    )
    ws.store.close()
