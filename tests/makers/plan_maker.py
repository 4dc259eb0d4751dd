"""A planned project: trajectories of two tasks, annotators, and their certificates."""

import numpy as np

from importer.calibration import build as calibrate
from importer.pool.quality import quartiles
from preference.records import Certification, Trajectory
from preference.workspace import Workspace

SETTINGS = """
seed = 3
salt = 3
[pairs]
batch = 60
[active]
bootstrap = 60
[calibration]
pairs = 20
training_pairs = 0
[annotators]
expert = "Rosa@lab.example"
people = ["Alice@lab.example", "bo@lab.example", "chidi@lab.example", "dana@lab.example"]
simulated = [{ id = "hasty", teacher = "careless" }]
"""
GOOD = ["alice", "bo", "chidi", "dana"]


def open_workspace(folder, settings=SETTINGS):
    path = folder / "robopref.toml"
    path.write_text(settings)
    return Workspace.open(path)


def trajectories(size=60, clip="clips/x.mp4"):
    rng = np.random.default_rng(0)
    made = []
    for task in ("push", "pick"):
        quality = rng.random(size)
        for value, quartile in zip(quality, quartiles(quality), strict=True):
            made.append(
                Trajectory(
                    f"s-{len(made):06d}", "s", len(made), "expert", task, success=bool(value > 0.5),
                    quality=float(value), quartile=int(quartile), true_return=float(value), clip=clip,
                )
            )  # fmt: skip
    return made


def certify(ws, names=GOOD, passed=True, batch_id="calibration-1"):
    if not ws.store.pairs(batch_id):
        calibrate.build(ws)
    attempt = int(batch_id[-1])
    for name in names:
        kappa = 0.9 if passed else 0.3
        ws.store.put_certification(Certification(name, batch_id, attempt, kappa, 0.2, 1.0, passed, pairs=20))
