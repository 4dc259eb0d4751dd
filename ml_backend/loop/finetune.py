"""`robopref train --finetune`: labels and the pool's frames in, a workspace whose encoder was trained on them out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ml_backend.loop.provenance import ENCODERS, fingerprint, settled_encoder
from ml_backend.loop.train import labelled_pairs
from ml_backend.reward.finetune import ACCUMULATE, finetune, step_count
from preference.errors import ConfigError
from preference.records import Trajectory
from preference.work import console, progress
from preference.workspace import Workspace
from qc_reports.resolve import read_preferences

KEPT = 256
"""Trajectories whose frames stay in memory: 40 frames of 240 x 240 are 7 MB."""


def finetuned(ws: Workspace, *, epochs: int) -> Workspace | None:
    """A workspace whose `reward.weights` are the encoder's, trained on the labels; made where they are not there yet.

    Test pairs are kept out, and validation pairs tell the epochs apart. Killed, it goes on after the last whole epoch.
    None in all processes but the first, when torchrun started several.

    Raises:
        NotReady: nothing is resolved, or too little.
        ConfigError: the model does not look at frames.
    """
    from ml_backend.reward.train import check_labels, pair_keys, split_pairs

    reward = ws.config.reward
    encoder = settled_encoder(reward)
    if encoder is None:
        raise ConfigError(
            "--finetune trains the encoder, and the model sees no frames.", fix="Add frames to reward.inputs."
        )
    preferences = [p for p in read_preferences(ws.preferences) if p.preference is not None]
    trajectories = ws.store.trajectories()
    check_labels([p.preference for p in preferences], reward.min_preferences)
    pairs = labelled_pairs(ws, preferences, trajectories)
    split = split_pairs(pair_keys(preferences), ws.config.seed)
    out = ws.root / ENCODERS / f"{fingerprint(ws, preferences, encoder.digest)}.{epochs}.pt"
    rank = 0
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        with progress("Fine-tuning the encoder", step_count(len(split.train), epochs, ACCUMULATE)) as advance:
            tuned = finetune(
                encoder,
                _reader(ws, trajectories),
                pairs,
                split,
                out,
                reward,
                epochs=epochs,
                seed=ws.config.seed,
                checkpoint_to=out.with_suffix(".checkpoint"),
                on_step=advance,
            )
        rank = tuned.rank
        if rank == 0:
            memory = f", {tuned.peak_memory_mb:.0f} MB at most" if tuned.peak_memory_mb else ""
            console.print(
                f"Epoch {tuned.best_epoch} did best; {tuned.pairs_per_s:.1f} pairs/s{memory}", highlight=False
            )
    if rank:
        return None
    return Workspace(ws.config.model_copy(update={"reward": reward.model_copy(update={"weights": str(out)})}))


def _reader(ws: Workspace, trajectories: Sequence[Trajectory]) -> Callable[[int], np.ndarray]:
    """The clean frames of a trajectory's span, the last few trajectories kept."""
    from functools import lru_cache

    from importer.pool import read_episode
    from importer.pool.video import clean_frames

    reward = ws.config.reward

    @lru_cache(maxsize=KEPT)
    def frames_of(row: int) -> np.ndarray:
        t = trajectories[row]
        episode = read_episode(ws.config.pool, t)
        return clean_frames(episode, t.start_s, t.end_s, reward.sample_fps, reward.max_frames)[0]

    return frames_of
