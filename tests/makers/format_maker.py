"""Small datasets in every format but LeRobot v3.0, whose frames carry their own number."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lerobot_maker import CAMERA, FPS, Made, arrays, numbered, write_video
from PIL import Image

from importer.pool import Failure, read_pool
from preference.config import Clips, Dataset, Pool

ENV_ARGS = {
    "env_name": "Lift",
    "type": 1,
    "env_kwargs": {"control_freq": FPS, "robots": ["Panda"], "reward_shaping": False},
}

EPISODES = [Made(rows=50, still=20, done=40), Made(rows=40, still=15, success=False)]


def dataset_at(path: Path, **fields) -> Dataset:
    return Dataset(path=path, name=fields.pop("name", "tiny"), **fields)


def pool_of(path: Path, **fields):
    return read_pool(Pool(dataset=[dataset_at(path, **fields)]), Clips())


def only_failure(path: Path, **fields) -> Failure:
    result = pool_of(path, **fields)
    (failure,) = result.failures
    assert "\n" not in str(failure)
    return failure


def make_lerobot_v2(root: Path, episodes: list[Made], *, listed: int | None = None) -> Path:
    """LeRobot v2.1; `listed` lines in episodes.jsonl, of which only the first have files."""
    (root / "meta").mkdir(parents=True)
    features = {
        CAMERA: {"dtype": "video", "shape": [120, 160, 3], "names": ["height", "width", "channel"]},
        "observation.state": {"dtype": "float32", "shape": [4], "names": [["hand_x", "hand_y", "hand_z", "extra"]]},
        "action": {"dtype": "float32", "shape": [2], "names": None},
    }
    info = {
        "codebase_version": "v2.1", "fps": FPS, "chunks_size": 1000, "features": features,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }  # fmt: skip
    (root / "meta" / "info.json").write_text(json.dumps(info))
    lines = []
    for index in range(max(len(episodes), listed or 0)):
        made = episodes[min(index, len(episodes) - 1)]
        lines.append({"episode_index": index, "tasks": [made.task], "length": made.rows, **made.extra})
        if index < len(episodes):
            _write_v2(root, index, made)
    (root / "meta" / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def _write_v2(root: Path, index: int, made: Made) -> None:
    values = arrays(made, index)
    table = {
        "observation.state": list(values["state"].astype(np.float32)),
        "action": list(values["action"].astype(np.float32)),
        "observation.gripper": values["gripper"].astype(np.float32),
        "next.success": values["success"],
        "timestamp": (np.arange(made.rows) / FPS).astype(np.float32),
        "episode_index": np.full(made.rows, index),
    }
    data = root / "data" / "chunk-000" / f"episode_{index:06d}.parquet"
    data.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: pa.array(column) for name, column in table.items()}), data)
    write_video(v2_video(root, index), made.rows)


def v2_video(root: Path, index: int) -> Path:
    return root / "videos" / "chunk-000" / CAMERA / f"episode_{index:06d}.mp4"


def pictures(rows: int, width: int = 80, height: int = 60) -> np.ndarray:
    return np.stack([numbered(k, width, height) for k in range(rows)])


def make_robomimic(path: Path, episodes: list[Made], *, env_args: dict[str, Any] | None = None) -> Path:
    """robomimic's layout: `data/demo_k` with obs/agentview_image and a wrist camera."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(e.rows for e in episodes)
        data.attrs["env_args"] = json.dumps(ENV_ARGS if env_args is None else env_args)
        for index, made in enumerate(episodes):
            values = arrays(made, index)
            demo = data.create_group(f"demo_{index}")
            demo.attrs["num_samples"] = made.rows
            demo["actions"] = values["action"]
            demo["states"] = values["state"]
            demo["rewards"] = values["success"].astype(float)
            demo["dones"] = values["success"].astype(int)
            obs = demo.create_group("obs")
            obs["robot0_eef_pos"] = values["state"][:, :3]
            finger = 0.04 * (1 - values["gripper"])
            obs["robot0_gripper_qpos"] = np.stack([finger, -finger], axis=1)
            images = pictures(made.rows)
            obs.create_dataset("agentview_image", data=images, chunks=(8, *images.shape[1:]), compression="gzip")
            obs["robot0_eye_in_hand_image"] = images[:, ::2, ::2]
    return path


def make_robosuite(path: Path, episodes: list[Made]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs.update({"env": "Door", "env_info": json.dumps({"control_freq": FPS}), "repository_version": "1.4"})
        for index, made in enumerate(episodes):
            values = arrays(made, index)
            demo = data.create_group(f"demo_{index + 1}")
            clock = np.arange(made.rows)[:, None] / FPS
            demo["states"], demo["actions"] = np.hstack([clock, values["state"]]), values["action"]
            demo.attrs["model_file"] = "<mujoco/>"
    return path


def make_folder(root: Path, episodes: dict[str, Made], *, table: str = "npz", frames: bool = False) -> Path:
    """One folder per episode; `table` is npz, parquet or csv; `frames` = image files instead of a video."""
    for index, (name, made) in enumerate(episodes.items()):
        folder = root / name
        folder.mkdir(parents=True)
        values = arrays(made, index)
        columns = {"action": values["action"], "state": values["state"], "gripper": values["gripper"]}
        columns |= {"ee_pos": values["state"][:, :3], "success": values["success"].astype(float)}
        if table == "npz":
            np.savez(folder / "arrays.npz", **columns)
        else:
            _write_table(folder / f"arrays.{table}", columns)
        meta = {"task_type": made.task, "source": made.source, "fps": FPS, **made.extra}
        (folder / "meta.json").write_text(json.dumps(meta))
        if frames:
            (folder / "front").mkdir()
            for k, image in enumerate(pictures(made.rows)):
                Image.fromarray(image).save(folder / "front" / f"frame_{k}.png")
        else:
            write_video(folder / "front.mp4", made.rows)
    return root


def _write_table(file: Path, columns: dict[str, np.ndarray]) -> None:
    flat = {}
    for name, values in columns.items():
        wide = values.reshape(len(values), -1)
        own = [name] if wide.shape[1] == 1 else [f"{name}_{i}" for i in range(wide.shape[1])]
        flat |= {column: wide[:, i] for i, column in enumerate(own)}
    if file.suffix == ".parquet":
        pq.write_table(pa.table(flat), file)
        return
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(flat)
        writer.writerows(zip(*flat.values(), strict=True))
