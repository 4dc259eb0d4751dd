"""Claims: 1,000 pairs x 50 epochs x 5 members on cached features train in under 60 s on 2 cores, at least 5 times
faster than without the cache and the batches; 10,000 cached trajectories are scored in under 5 s; a pool is encoded at
0.9 of the rate of a bare forward loop or more.

The slow training is measured on a few pairs and multiplied: each step encodes the frames of its pair again, and the
members are trained one after another. Beside it, what the batches bring alone, with cached features. Encoding is of the
sample pool, with ResNet-18 at its native 224 pixels and at the 112 of a random network; its rate counts from the moment
when every process has loaded the network.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

EPISODES, PAIRS, EPOCHS, MEMBERS = 500, 1_000, 50, 5
SCORED = 10_000
STEPS = (20, 65)
SIZES = (512, 4, 39)
"""Of ResNet-18's features, and of Meta-World's actions and state."""
SLOW_PAIRS = 40
SAMPLE = Path(__file__).parent.parent.parent / "examples" / "pool"
START = 8
"""Trajectories after which every process is at work."""


def cache(folder: Path, count: int) -> Any:
    """`count` trajectories on the disk, as `encode_pool` leaves them."""
    from ml_backend.loop.features import FeatureStore
    from ml_backend.reward.features import Features, write_features

    rng, paths = np.random.default_rng(0), {}
    for number in range(count):
        steps = int(rng.integers(*STEPS))
        frames, actions, state = (rng.standard_normal((steps, size), dtype=np.float32) for size in SIZES)
        paths[str(number)] = folder / f"{number}.npy"
        write_features(Features(frames.astype(np.float16), actions, state + number / count), paths[str(number)])
    return FeatureStore(paths, None).sequence(list(paths))


def settings() -> tuple[Any, Any]:
    from ml_backend.reward.model import ModelSpec
    from preference.config import Reward

    reward = Reward(epochs=EPOCHS, patience=EPOCHS, members=MEMBERS)
    actions, state = (tuple(f"{kind}_{i}" for i in range(size)) for kind, size in zip("as", SIZES[1:], strict=True))
    spec = ModelSpec(
        "resnet18", "none", 112, 5.0, 64, ("frames", "actions", "state"), SIZES[0], actions, state, reward.temporal,
        reward.hidden, MEMBERS, projection=16,
    )  # fmt: skip
    return spec, reward


def labelled_pairs() -> Any:
    from ml_backend.reward.dataset import Pairs

    a, b = np.random.default_rng(1).integers(EPISODES, size=(2, PAIRS))
    b = np.where(a == b, (b + 1) % EPISODES, b)
    return Pairs(tuple(f"p{i}" for i in range(PAIRS)), a, b, (a > b).astype(float), np.ones(PAIRS))


def fast(features: Any) -> float:
    """With the success of all episodes known, so progress and success are learned too."""
    from ml_backend.reward.dataset import Known, split_pairs
    from ml_backend.reward.train import train_model

    spec, reward = settings()
    pairs = labelled_pairs()
    start = time.perf_counter()
    known = [Known(number % 2 == 0) for number in range(len(features))]
    trained = train_model(features, pairs, split_pairs(pairs.pair_ids, 0), spec, reward, seed=0, known=known)
    if trained.epochs != EPOCHS:
        raise RuntimeError(f"{trained.epochs} epochs were run")
    return time.perf_counter() - start


def slow(features: Any) -> tuple[float, float]:
    """Seconds of the same training, extrapolated: without cache and batches; with the cache, without batches."""
    import torch

    from ml_backend.reward.encoder import load
    from ml_backend.reward.encoder_weights import resolve_weights
    from ml_backend.reward.features import collate, fit_normalization
    from ml_backend.reward.losses import pair_loss
    from ml_backend.reward.model import RewardModel

    spec, reward = settings()
    pairs, encoder = labelled_pairs(), load(resolve_weights("resnet18", "none"))
    model = RewardModel(replace(spec, members=1), torch.Generator().manual_seed(0))
    model.set_normalization(fit_normalization(features, spec.projection, np.random.default_rng(0)))
    optimizer = torch.optim.Adam(model.parameters(), lr=reward.learning_rate)
    picture = np.random.default_rng(2).integers(0, 256, (STEPS[1], 240, 240, 3), dtype=np.uint8)
    encoding = training = 0.0
    for row in range(SLOW_PAIRS):
        both = [features[pairs.a[row]], features[pairs.b[row]]]
        start = time.perf_counter()
        for item in both:
            encoder.encode(picture[: len(item)])
        middle = time.perf_counter()
        rewards = model(*(torch.from_numpy(array) for array in collate(both)))
        label = torch.tensor([pairs.label[row]], dtype=torch.float32)
        loss = pair_loss(rewards[:, :1] - rewards[:, 1:], label, model.log_nu, "soft", 0.0).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        encoding, training = encoding + middle - start, training + time.perf_counter() - middle
    times = 0.7 * PAIRS * EPOCHS / SLOW_PAIRS
    # the members share what is encoded, which is kinder to the slow side than it need be
    return times * (encoding + MEMBERS * training), times * MEMBERS * training


def scoring(features: Any) -> float:
    import torch

    from ml_backend.reward.features import fit_normalization
    from ml_backend.reward.linear import LinearSteps
    from ml_backend.reward.model import RewardModel
    from ml_backend.reward.outcomes import OUTCOMES

    spec, _ = settings()
    model = RewardModel(spec, torch.Generator().manual_seed(0))
    model.set_normalization(fit_normalization(features[:EPISODES], spec.projection, np.random.default_rng(0)))
    model.add_outcomes(model.new_outcomes(OUTCOMES, torch.Generator().manual_seed(0)))
    model.add_linear(LinearSteps(spec.width, True, spec.members), (1.0, 1.0))
    start = time.perf_counter()
    model.score(features)
    return time.perf_counter() - start


def encoding(folder: Path, native: bool) -> dict[str, Any]:
    """Frames a second of `encode_pool` and of a bare loop of the network over frames in memory, on the same cores."""
    import timm
    import torch

    from importer.pool.build import build_pool
    from ml_backend.loop.features import encode_pool
    from ml_backend.reward.encoder import BATCH, load
    from ml_backend.reward.encoder_weights import resolve_weights
    from ml_backend.reward.features import read_features
    from preference.workspace import Workspace

    weights = "none"
    if native:
        weights = str(folder / "weights.pt")
        torch.save(timm.create_model("resnet18", pretrained=False, num_classes=0).state_dict(), weights)
    text = f'[[pool.dataset]]\npath = "{SAMPLE}"\nname = "sample"\n[reward]\nweights = "{weights}"\n'
    (folder / "robopref.toml").write_text(text)
    ws = Workspace.open(folder / "robopref.toml")
    build_pool(ws)
    begin = time.perf_counter()
    store = encode_pool(ws, ws.store.trajectories())
    whole = time.perf_counter() - begin
    ws.store.close()
    done = sorted((path.stat().st_mtime, len(read_features(path))) for path in store.paths.values())
    frames = sum(steps for _, steps in done)
    sustained = sum(steps for _, steps in done[START:]) / (done[-1][0] - done[START - 1][0])
    encoder = load(resolve_weights("resnet18", weights))
    batch = torch.randint(0, 256, (BATCH, 240, 240, 3), dtype=torch.uint8)
    with torch.inference_mode():
        encoder.module(batch)
        start, loops = time.perf_counter(), 0
        while loops < 5 or time.perf_counter() - start < 5.0:
            encoder.module(batch)
            loops += 1
        bare = loops * BATCH / (time.perf_counter() - start)
    return {
        "pixels": encoder.settings.image_size,
        "frames": frames,
        "bare_fps": bare,
        "sustained_fps": sustained,
        "whole_run_fps": frames / whole,
        "ratio": sustained / bare,
        "runtime": "onnx" if list((ws.features / "onnx").glob("*.onnx")) else "torch",
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        features = cache(folder, SCORED)
        score_s = scoring(features)
        train_s = fast(features[:EPISODES])
        slow_s, unbatched_s = slow(features[:EPISODES])
        rates = []
        for native in (True, False):
            own = folder / f"encoding-{native}"
            own.mkdir()
            rates.append(encoding(own, native))
    print(f"{PAIRS:,} pairs x {EPOCHS} epochs x {MEMBERS} members on cached features: {train_s:8.1f} s")
    print(
        f"the same, neither cached nor batched (extrapolated):   {slow_s:8.0f} s, {slow_s / train_s:.0f} times as long"
    )
    print(f"cached but not batched (extrapolated):       {unbatched_s:8.0f} s, {unbatched_s / train_s:.1f} times")
    print(f"{SCORED:,} cached trajectories scored:                       {score_s:8.1f} s")
    print(f"{'encoding at':>12} {'bare loop':>10} {'sustained':>10} {'with start':>11} {'ratio':>6}  runtime")
    for row in rates:
        print(
            f"{row['pixels']:>9} px {row['bare_fps']:>6.0f} f/s {row['sustained_fps']:>6.0f} f/s "
            f"{row['whole_run_fps']:>7.0f} f/s {row['ratio']:>6.2f}  {row['runtime']}"
        )
    figures = {
        "train_s": train_s,
        "uncached_unbatched_s": slow_s,
        "cached_unbatched_s": unbatched_s,
        "score_s": score_s,
        "encoding": rates,
    }
    met = train_s < 60 and slow_s / train_s >= 5 and score_s < 5 and all(row["ratio"] >= 0.9 for row in rates)
    target = "training under 60 s and 5 times faster; scoring under 5 s; encoding at 0.9 of a bare loop"
    print(json.dumps({"name": "training", "figures": figures, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
