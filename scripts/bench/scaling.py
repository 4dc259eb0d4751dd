"""What 1,000 episodes cost in each stage, and how that grows: the figures of docs/scaling.md.

Measured on one core and given in seconds of CPU, which other work on the machine changes little. Rendering, reading and
encoding are measured on episodes of the sample pool (150 rows, 240x240, 7.5 s) and are proportional by construction:
each episode is done by itself. What looks at the whole pool is measured at 10^3, 10^4 and 10^5 trajectories: scoring
(features of all, here the same files again and again), the database, planning a batch, and the pages that people wait
for. Rendering 10^5 clips is this cost times 100, not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from preference.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent.parent
SIZES, EPISODES = (1_000, 10_000, 100_000), 12
GROWTH = 14.0
"""From one size to the next a stage may take this many times as long: ten, and N log N's share."""
LEAST_S = 0.2
"""Below, most of it does not depend on the size."""
CONFIG = """
executor = "processes"
workers = 1
[[pool.dataset]]
path = "{path}"
name = "sample"
[reward]
weights = "none"
"""


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of CPU of this process and of its children that ended, and the result."""
    before = _used()
    made = work()
    return _used() - before, made


def _used() -> float:
    return sum(os.times()[:4])


def per_episode(folder: Path, count: int) -> tuple[dict[str, float], Workspace, Any, Sequence[Any]]:
    """Seconds of CPU, and megabytes, for 1,000 episodes."""
    from importer.clips.build import render_clips
    from importer.pool.build import read_pool
    from ml_backend.loop import features as stage
    from preference.work import HERE
    from preference.workspace import Workspace

    (folder / "robopref.toml").write_text(CONFIG.format(path=ROOT / "examples" / "pool"))
    ws = Workspace.open(folder / "robopref.toml")
    read_s, pool = cpu(lambda: read_pool(ws.config.pool, ws.config.clips, HERE))
    trajectories = pool.trajectories[:: len(pool.trajectories) // count][:count]
    config = ws.config
    render_s, _ = cpu(lambda: render_clips(trajectories, config.pool, config.clips, ws.clips, HERE, salt=1))
    stage.IN_PROCESS = count + 1
    stage.encode_pool(ws, trajectories[:1])  # loads the network
    encode_s, store = cpu(lambda: stage.encode_pool(ws, trajectories))
    sizes = {
        "clips_mb": sum(file.stat().st_size for file in ws.clips.glob("*.mp4")) / 1e3 / count,
        "features_mb": sum(file.stat().st_size for file in store.paths.values()) / 1e3 / count,
    }
    costs = {
        "read_s": 1000 * read_s / len(pool.trajectories),
        "render_s": 1000 * render_s / count,
        "encode_s": 1000 * encode_s / (count - 1),
    }
    return costs | sizes, ws, store, trajectories


def whole_pool(folder: Path, size: int, model: Any, features: Sequence[Path]) -> dict[str, float]:
    """Seconds of CPU of what looks at all `size` trajectories, with as many answers; and the database's size."""
    from importer.pairs.batches import draft
    from ml_backend.reward.features import FeatureFiles
    from ml_backend.service.metrics import status_page
    from preference.workspace import Workspace
    from qc_reports.resolve import resolve

    home = folder / str(size)
    home.mkdir()
    (home / "robopref.toml").write_text("")
    ws = Workspace.open(home / "robopref.toml")
    row: dict[str, float] = {"trajectories": size}
    row["write_s"], _ = cpu(lambda: fill(ws, size))
    row["plan_batch_s"], planned = cpu(lambda: draft(ws))
    row["labels_s"], _ = cpu(lambda: resolve(ws))
    row["status_page_s"], _ = cpu(lambda: status_page(ws))
    row["database_mb"] = sum(file.stat().st_size for file in ws.root.glob("robopref.db*")) / 1e6
    files = FeatureFiles([features[i % len(features)] for i in range(size)])
    row["score_s"], _ = cpu(lambda: model.score(files))
    ws.store.close()
    if len(planned.pairs) < ws.config.pairs.batch // 2:
        raise SystemExit(f"expected a batch of pairs, found {len(planned.pairs)}")
    return row


def fill(ws: Workspace, size: int) -> None:
    """Trajectories with clips, and a batch with one answer for each of them."""
    from preference.records import Annotator, Assignment, Batch, Certification, Judgment, Pair, Trajectory

    quality = np.random.default_rng(size).random(size).tolist()
    ws.store.put_trajectories(
        Trajectory(f"t{i:06d}", "d", i, "expert", f"task {i % 10}", quartile=1 + int(4 * q), quality=q, fps=20.0,
                   num_frames=150, duration_s=7.5, clip=f"clips/t{i:06d}.mp4")
        for i, q in enumerate(quality)
    )  # fmt: skip
    ws.store.put_annotators(Annotator(who, f"{who}@example.org", added="2026-01-01") for who in ("ann", "bo"))
    ws.store.put_pairs(Batch("calibration-1", "calibration", created_at="2026-01-01"), [], [])
    for who in ("ann", "bo"):
        ws.store.put_certification(Certification(who, "calibration-1", 1, 0.9, 0.8, 1.0, True, 40))
    name = "production-001"
    pairs = [
        Pair(f"p{i}", f"t{i:06d}", f"t{(i + 10) % size:06d}", f"task {i % 10}", "same", "production", name)
        for i in range(size)
    ]
    given = [Assignment(f"x{i}", f"p{i}", "ann", name, i, "A", project_id=1, task_id=i + 1) for i in range(size)]
    ws.store.put_pairs(Batch(name, "production", status="accepted", created_at="2026-01-02"), pairs, given)
    ws.store.put_judgments(
        Judgment(f"x{i}", "ann", f"p{i}", "A" if quality[i] > quality[(i + 10) % size] else "B", 4, 6000,
                 annotation_id=i + 1, task_id=i + 1, created_at="2026-01-03T10:00:00Z")
        for i in range(size)
    )  # fmt: skip


def trained(ws: Workspace, store: Any, trajectories: Sequence[Any]) -> Any:
    """A model of the default settings, after one epoch: what it says is of no interest here."""
    from ml_backend.loop.spec import describe
    from ml_backend.reward.dataset import Pairs, Split
    from ml_backend.reward.train import train_model

    rng, count = np.random.default_rng(0), len(trajectories)
    a = np.repeat(np.arange(count), 4)
    b = (a + rng.integers(1, count, len(a))) % count
    pairs = Pairs(tuple(map(str, range(len(a)))), a, b, rng.choice([0.0, 1.0], len(a)), np.ones(len(a)))
    rows = rng.permutation(len(a))
    split = Split(rows[:-12], rows[-12:-6], rows[-6:])
    reward = ws.config.reward.model_copy(update={"epochs": 1})
    features = store.sequence([t.trajectory_id for t in trajectories])
    return train_model(features, pairs, split, describe(ws, store, trajectories), reward, seed=0).model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="up to 10^4 trajectories")
    sizes = SIZES[:2] if parser.parse_args().quick else SIZES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs, ws, store, trajectories = per_episode(folder, EPISODES)
        for what, value in costs.items():
            print(f"{what:<14} {value:>9.1f} for 1,000 episodes", flush=True)
        model = trained(ws, store, trajectories)
        rows = []
        for size in sizes:
            rows.append(whole_pool(folder, size, model, list(store.paths.values())))
            if len(rows) == 1:
                print("".join(f"{key:>16}" for key in rows[0]))
            print("".join(f"{value:>16.2f}" for value in rows[-1].values()), flush=True)
        ws.store.close()
    growth = {
        key: max(after[key] / max(before[key], LEAST_S) for before, after in pairwise(rows))
        for key in rows[0]
        if key.endswith("_s")
    }
    figures = costs | {f"{key}_{int(row['trajectories'])}": row[key] for row in rows for key in row} | {
        f"{key}_growth": value for key, value in growth.items()
    }  # fmt: skip
    target = f"ten times as many trajectories take at most {GROWTH:g} times as long"
    met = max(growth.values()) <= GROWTH
    print(json.dumps({"name": "scaling", "figures": {k: round(v, 3) for k, v in figures.items()}, "target": target,
                      "met": met}))  # fmt: skip
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
