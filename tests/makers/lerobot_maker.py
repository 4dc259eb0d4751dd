"""A small LeRobot v3.0 dataset whose video frames carry their own number, for the tests of the pool and the clips."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CAMERA = "observation.images.front"
STATE_NAMES = ["hand_x", "hand_y", "hand_z", "extra"]
BITS = 10
FPS = 20


@dataclass
class Made:
    """One episode to write; the robot stands still for `still` rows and then moves along x."""

    rows: int = 60
    still: int = 30
    done: int | None = None
    """Row from which the task counts as done."""
    source: str = "expert"
    task: str = "reach"
    success: bool | None = True
    jerk: float = 0.0
    gripper: np.ndarray | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def make_dataset(
    root: Path,
    episodes: list[Made],
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (160, 120),
    rows_per_group: int | None = None,
    per_episode: tuple[str, ...] = ("source", "success", "environment_id", "return"),
) -> Path:
    """Write the dataset; all episodes share one parquet file and one mp4."""
    table, starts = _rows(episodes)
    data = root / "data" / "chunk-000" / "file-000.parquet"
    data.parent.mkdir(parents=True)
    pq.write_table(table, data, row_group_size=rows_per_group or table.num_rows)
    write_video(video_path(root), sum(e.rows for e in episodes), codec=codec, size=size)
    meta = root / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    meta.parent.mkdir(parents=True)
    pq.write_table(_episodes(episodes, starts, per_episode), meta)
    (root / "meta" / "info.json").write_text(json.dumps(_info(size)))
    return root


def video_path(root: Path) -> Path:
    return root / "videos" / CAMERA / "chunk-000" / "file-000.mp4"


@contextmanager
def _at_its_own_priority() -> Iterator[None]:
    """SVT-AV1, run by root, makes the thread that opens it real-time, and with it every server and browser that a test
    starts later: of two that wait for each other on two cores, none gets on."""
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


def write_video(path: Path, frames: int, *, codec: str = "libx264", size: tuple[int, int] = (160, 120)) -> None:
    """Frame k shows k in binary: ten blocks, white = 1, lowest bit left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    with _at_its_own_priority(), av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = 25
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered(number, width, height), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def numbered(number: int, width: int, height: int) -> np.ndarray:
    image = np.full((height, width, 3), 96, dtype=np.uint8)
    block = width // BITS
    for bit in range(BITS):
        image[height // 3 : height // 2, bit * block : (bit + 1) * block] = 255 * (number >> bit & 1)
    return image


def number_of(image: np.ndarray) -> int:
    """What `numbered` wrote, from an image of any size that shows the whole picture."""
    height, width = image.shape[:2]
    row = image[int(height * 0.42)].mean(axis=-1)
    return sum(int(row[int((bit + 0.5) * width / BITS)] > 128) << bit for bit in range(BITS))


def arrays(episode: Made, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    moving = np.clip(np.arange(episode.rows) - episode.still, 0, None)
    x = 0.01 * moving + episode.jerk * rng.normal(size=episode.rows).cumsum() * (moving > 0)
    state = np.stack([x, 0 * x, 0 * x + 0.1, 0 * x + 7.0], axis=1)
    action = np.stack([0.3 * (moving > 0), 0.5 + 0 * x], axis=1)
    closed = episode.gripper if episode.gripper is not None else (moving > 10).astype(float)
    done = np.arange(episode.rows) >= (episode.rows if episode.done is None else episode.done)
    return {"state": state, "action": action, "gripper": closed, "success": done, "reward": 0.1 * moving}


def _rows(episodes: list[Made]) -> tuple[pa.Table, list[int]]:
    columns: dict[str, list[Any]] = {}
    starts, start = [], 0
    for index, episode in enumerate(episodes):
        made = arrays(episode, index)
        block = {
            "observation.state": list(made["state"].astype(np.float32)),
            "action": list(made["action"].astype(np.float32)),
            "observation.gripper": list(made["gripper"].astype(np.float32)[:, None]),
            "next.reward": list(made["reward"].astype(np.float32)),
            "next.success": list(made["success"]),
            "timestamp": list((np.arange(episode.rows) / FPS).astype(np.float32)),
            "frame_index": list(range(episode.rows)),
            "episode_index": [index] * episode.rows,
            "index": list(range(start, start + episode.rows)),
        }
        for name, values in block.items():
            columns.setdefault(name, []).extend(values)
        starts.append(start)
        start += episode.rows
    return pa.table({name: pa.array(values) for name, values in columns.items()}), starts


def _episodes(episodes: list[Made], starts: list[int], per_episode: tuple[str, ...]) -> pa.Table:
    rows = []
    for index, (episode, start) in enumerate(zip(episodes, starts, strict=True)):
        prefix = f"videos/{CAMERA}"
        row = {
            "episode_index": index,
            "tasks": [episode.task],
            "length": episode.rows,
            "data/chunk_index": 0,
            "data/file_index": 0,
            "dataset_from_index": start,
            "dataset_to_index": start + episode.rows,
            f"{prefix}/chunk_index": 0,
            f"{prefix}/file_index": 0,
            f"{prefix}/from_timestamp": start / FPS,
            f"{prefix}/to_timestamp": (start + episode.rows) / FPS,
        }
        given = {"source": episode.source, "success": episode.success, "environment_id": "lab", "return": float(index)}
        rows.append({**row, **{name: given[name] for name in per_episode}, **episode.extra})
    return pa.Table.from_pylist(rows)


def _info(size: tuple[int, int]) -> dict[str, Any]:
    return {
        "codebase_version": "v3.0",
        "fps": FPS,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            CAMERA: {"dtype": "video", "shape": [size[1], size[0], 3], "names": ["height", "width", "channel"]},
            "observation.state": {"dtype": "float32", "shape": [4], "names": {"axes": STATE_NAMES}},
            "action": {"dtype": "float32", "shape": [2], "names": None},
        },
    }
