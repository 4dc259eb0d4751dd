"""Make the guidelines' pictures: film strips of pairs from the sample pool that show one rule each.

    python scripts/make_guideline_pictures.py

The pairs are found by measure, so that a changed pool still gives pictures that show what they say.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from PIL import Image

from importer.pool import read_episode, read_pool
from importer.pool.video import clean_frames
from preference.config import Clips, Dataset, Pool
from preference.records import Trajectory

ROOT = Path(__file__).resolve().parent.parent
POOL = Pool(dataset=[Dataset(path=ROOT / "examples" / "pool", name="sample")])
OUT = ROOT / "labeling_config" / "pictures"
FRAMES, SIDE, GAP = 7, 132, 3  # pictures of a strip, their width and height, and the space between, pixels


def strip(trajectory: Trajectory) -> np.ndarray:
    """(SIDE, W, 3) uint8: evenly spaced frames of the span, the first and the last among them."""
    episode = read_episode(POOL, trajectory)
    frames, _ = clean_frames(episode, trajectory.start_s, trajectory.end_s, 1e3, FRAMES)
    small = [np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.LANCZOS)) for frame in frames]
    space = np.full((SIDE, GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([part for one in small for part in (one, space)][:-1], axis=1)


def save(name: str, upper: Trajectory, lower: Trajectory) -> None:
    """Two strips, one above the other."""
    strips = [strip(upper), strip(lower)]
    space = np.full((3 * GAP, strips[0].shape[1], 3), 255, dtype=np.uint8)
    picture = Image.fromarray(np.concatenate([strips[0], space, strips[1]]))
    picture.save(OUT / f"{name}.jpg", quality=82, optimize=True)
    print(f"{name}: {upper.trajectory_id} above {lower.trajectory_id}")


def main() -> None:
    OUT.mkdir(exist_ok=True)
    everything = [t for t in read_pool(POOL, Clips()).trajectories if t.task_type == "drawer-open-v3"]
    done = [t for t in everything if t.success]
    missed = [t for t in everything if not t.success and t.source == "novice"]
    best = max(done, key=lambda t: t.quality)
    save("success", best, min(missed, key=lambda t: t.quality))
    save("direct", max(done, key=lambda t: t.path_efficiency), min(done, key=lambda t: t.path_efficiency))
    save("further", max(missed, key=lambda t: t.quality), min(missed, key=lambda t: t.quality))
    ranked = sorted(done, key=lambda t: t.quality)
    close = min(itertools.pairwise(ranked), key=lambda two: abs(two[0].duration_s - two[1].duration_s))
    save("equal", *close)


if __name__ == "__main__":
    main()
