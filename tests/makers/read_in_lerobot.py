"""Run by LeRobot's own Python, of any version: its dataset class reads an export, its weighter the progress beside it.

`python read_in_lerobot.py EXPORT REWARD`: the folder, and the reward of episode 0. Prints what was read.
"""

import sys
from pathlib import Path

import torch

try:
    from lerobot.rewards.sarm.rabc import RABCWeights
except ModuleNotFoundError:  # before 0.6
    from lerobot.utils.rabc import RABCWeights
from lerobot.datasets.lerobot_dataset import LeRobotDataset


def main(folder: Path, reward: float) -> None:
    dataset = LeRobotDataset("local/export", root=folder, video_backend="pyav")  # torchcodec wants the system's FFmpeg
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=8)))
    assert set(batch["episode_index"].tolist()) == {0}
    torch.testing.assert_close(batch["reward"], torch.full_like(batch["reward"], reward), rtol=1e-4, atol=1e-5)
    assert batch["observation.images.front"].shape[:2] == (8, 3)
    weighter = RABCWeights(folder / "robopref_progress.parquet", chunk_size=4, device=torch.device("cpu"))
    weights, told = weighter.compute_batch_weights(batch)
    assert weights.shape == (8,) and (weights >= 0).all()
    progress = batch["reward_progress"]
    assert ((progress >= 0) & (progress <= 1) | progress.isnan()).all()
    print(len(dataset), dataset.num_episodes, told)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
