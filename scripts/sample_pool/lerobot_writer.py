"""Write rollouts as a LeRobot v3.0 dataset: several episodes in each parquet and mp4, found through meta/episodes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sample_pool.rollout import ACTION_NAMES, FPS, STATE_NAMES, Rollout

CAMERA = "observation.images.front"
EPISODES_PER_FILE = 20
"""Keeps each file under 2 MB at the default size, so that a checkout stays light."""
CRF = 30
"""x264's quality; at 240x240 the gripper and the object stay sharp, and an episode takes some 60 kB."""
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


def write_dataset(root: Path, rollouts: Iterable[Rollout], fps: int = FPS) -> int:
    """Write every rollout, one at a time, so that memory holds one file's rows only. Returns their number."""
    writer = _Writer(root, fps)
    for rollout in rollouts:
        writer.add(rollout)
    writer.finish()
    return len(writer.episodes)


@dataclass
class _Writer:
    root: Path
    fps: int
    episodes: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    moments: dict[str, list[np.ndarray]] = field(default_factory=dict)
    pending: list[dict[str, Any]] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    rows: int = 0
    rows_in_file: int = 0
    video: Any = None

    def add(self, rollout: Rollout) -> None:
        index, length = len(self.episodes), len(rollout.actions)
        if rollout.task not in self.tasks:
            self.tasks.append(rollout.task)
        file_index = index // EPISODES_PER_FILE
        row: dict[str, Any] = {
            "episode_index": index,
            "tasks": [rollout.task],
            "length": length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
            "data/chunk_index": 0,
            "data/file_index": file_index,
            "dataset_from_index": self.rows,
            "dataset_to_index": self.rows + length,
            "source": rollout.source,
            "environment_id": f"metaworld/{rollout.task}",
            "success": bool(rollout.success.any()),
            "return": float(rollout.rewards.sum()),
        }
        if len(rollout.frames):
            start = self.rows_in_file / self.fps
            self._add_frames(rollout.frames, file_index)
            row |= {
                f"videos/{CAMERA}/chunk_index": 0,
                f"videos/{CAMERA}/file_index": file_index,
                f"videos/{CAMERA}/from_timestamp": start,
                f"videos/{CAMERA}/to_timestamp": start + length / self.fps,
            }
        self.pending.append(self._columns(rollout, index))
        self.episodes.append(row)
        self.rows += length
        self.rows_in_file += length
        if len(self.episodes) % EPISODES_PER_FILE == 0:
            self._close_files()

    def finish(self) -> None:
        import pandas as pd
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._close_files()
        table = self.root / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
        table.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self.episodes), table)
        names = pd.DataFrame({"task_index": range(len(self.tasks))}, index=pd.Index(self.tasks, name="task"))
        names.to_parquet(self.root / "meta" / "tasks.parquet")
        self._write_json("info.json", self._info())
        self._write_json("stats.json", {name: _stats(np.concatenate(parts)) for name, parts in self.moments.items()})

    def _columns(self, rollout: Rollout, index: int) -> dict[str, Any]:
        length = len(rollout.actions)
        columns = {
            "observation.state": rollout.states,
            "observation.gripper": rollout.gripper.astype(np.float32)[:, None],
            "action": rollout.actions,
            "next.reward": rollout.rewards,
        }
        for name, values in columns.items():
            self.moments.setdefault(name, []).append(values.reshape(length, -1))
        return columns | {
            "next.success": rollout.success,
            "next.done": np.arange(length) == length - 1,
            "timestamp": (np.arange(length) / self.fps).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, index),
            "index": np.arange(self.rows, self.rows + length),
            "task_index": np.full(length, self.tasks.index(rollout.task)),
        }

    def _add_frames(self, frames: np.ndarray, file_index: int) -> None:
        import av

        if self.video is None:
            self.size = (frames.shape[2], frames.shape[1])
            path = self.root / VIDEO_PATH.format(video_key=CAMERA, chunk_index=0, file_index=file_index)
            path.parent.mkdir(parents=True, exist_ok=True)
            container = av.open(str(path), "w")
            stream = container.add_stream("libx264", rate=self.fps)
            stream.width, stream.height = self.size
            stream.pix_fmt = "yuv420p"
            stream.gop_size = 2 * self.fps
            stream.options = {"crf": str(CRF), "preset": "slow"}
            self.video = (container, stream)
        container, stream = self.video
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))

    def _close_files(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.video is not None:
            container, stream = self.video
            container.mux(stream.encode())
            container.close()
            self.video = None
        if self.pending:
            file_index = (len(self.episodes) - 1) // EPISODES_PER_FILE
            path = self.root / DATA_PATH.format(chunk_index=0, file_index=file_index)
            path.parent.mkdir(parents=True, exist_ok=True)
            columns = {name: np.concatenate([part[name] for part in self.pending]) for name in self.pending[0]}
            table = pa.table({name: _as_arrow(values) for name, values in columns.items()})
            pq.write_table(table, path, compression="zstd", row_group_size=len(self.pending[0]["action"]))
        self.pending, self.rows_in_file = [], 0

    def _info(self) -> dict[str, Any]:
        def numbers(names: tuple[str, ...] | None, width: int, kind: str = "float32") -> dict[str, Any]:
            return {"dtype": kind, "shape": [width], "names": list(names) if names else None}

        features: dict[str, Any] = {
            "observation.state": numbers(STATE_NAMES, len(STATE_NAMES)),
            "observation.gripper": numbers(("gripper_closed",), 1),
            "action": numbers(ACTION_NAMES, len(ACTION_NAMES)),
            "next.reward": numbers(None, 1),
            "next.success": numbers(None, 1, "bool"),
            "next.done": numbers(None, 1, "bool"),
            "timestamp": numbers(None, 1),
            **{name: numbers(None, 1, "int64") for name in ("frame_index", "episode_index", "index", "task_index")},
        }
        if self.size[0]:
            width, height = self.size
            features[CAMERA] = {
                "dtype": "video",
                "shape": [height, width, 3],
                "names": ["height", "width", "channels"],
                "info": {"video.fps": self.fps, "video.codec": "h264", "video.pix_fmt": "yuv420p", "has_audio": False},
            }
        return {
            "codebase_version": "v3.0",
            "robot_type": "sawyer",
            "total_episodes": len(self.episodes),
            "total_frames": self.rows,
            "total_tasks": len(self.tasks),
            "chunks_size": 1000,
            "fps": self.fps,
            "splits": {"train": f"0:{len(self.episodes)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self.size[0] else None,
            "features": features,
        }

    def _write_json(self, name: str, content: Any) -> None:
        (self.root / "meta" / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _as_arrow(values: np.ndarray) -> Any:
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _stats(values: np.ndarray) -> dict[str, Any]:
    """Per dimension of (N, D) values."""
    moments = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    return {name: np.asarray(row, float).round(6).tolist() for name, row in moments.items()} | {"count": [len(values)]}
