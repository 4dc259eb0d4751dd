"""Score robot trajectories with the released reward model: images and actions in, one number out, higher is better;
or a number for every row, with progress and success.

Needs numpy and onnxruntime, and nothing else. Video files also need PyAV (`av`); LeRobot datasets, which are video and
parquet, also need PyAV and pyarrow.

    from inference import RewardModel
    model = RewardModel.load("reward_model.onnx")
    reward = model.score(images, actions, state, fps=30)        # one trajectory -> float
    reward = model.score(images, actions, state, fps=30, task="open the drawer", robot="so101")  # of several
    rewards = model.score_many([episode, ...])                  # many -> (N,) float64, with a progress bar
    model.rewards(...), model.progress(...), model.success(...) # a number for each row; model.uncertainty(...)
    stream = model.stream()                                     # online: stream.add(image, action, state), row by row
    env = reward_wrapper(env, model, observe)                   # a gymnasium environment with the model's reward
    rewards = model.rewards(images, actions, state, fps=30)     # one -> (T,) float64 that add up to its reward
    dense = model.dense(images, actions, state, fps=30)         # with progress, success, and the spread of each

    python inference.py episode.npz more.npz                    # keys: images, actions, state, fps, start_s, end_s
    python inference.py --video clip.mp4 --actions actions.npy --state state.npy
    python inference.py --lerobot DATASET --episode 3 [--start 0.4 --end 7.2]
    python inference.py --lerobot DATASET --all --json > rewards.jsonl
    python inference.py --lerobot DATASET --all --dense > dense.jsonl
    python inference.py episode.npz --task "open the drawer" --robot so101

Rewards say which of two trajectories of one task people would prefer: P(a over b) = 1 / (1 + exp(r_b - r_a)). Only
their differences within a task mean anything. What the arrays must look like is in INPUT_FORMAT.md.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import time
import warnings
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

PROVIDERS = ("CUDAExecutionProvider", "ROCMExecutionProvider", "CPUExecutionProvider")
"""What ONNX Runtime is to run on, the first that is there."""
ROUNDING = 1e-5
"""Of a column's range: values that are outside by less are inside."""
RANGE_TOLERANCE = 5.0
"""A value further from the trained range than so many of its widths, or of its largest value where that is more, is
taken for another unit, and refused."""


MOST_BYTES = 4 << 30
"""Of an episode in memory: two and a half minutes of 640x480 at 30 frames a second."""
MOST_PIXELS = 4096 * 4096
"""Of one frame; 4K video has half as many."""
MOST_TEXT = 512 << 20
"""Bytes of a list of episodes: those of a million take 200 MB."""
CONTAINERS = {"format_whitelist": "mov,matroska,avi", "protocol_whitelist": "file,pipe"}
"""FFmpeg goes by the content, whatever a file is called: playlists name other files, which it then opens."""
VERSIONS = ("v2.", "v3.")
UNNAMED = ("", "unknown")
"""What datasets call a robot that nobody named."""
OTHER_RATE = 0.1
"""Share by which a video's frame rate may differ from the one that its dataset claims."""
VIDEO_PLACE = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
"""Columns of meta/episodes that say where an episode lies in a camera's videos."""

KEYS = ("images", "actions", "state", "fps", "start_s", "end_s", "task", "robot")
"""What an episode may hold: the arguments of `RewardModel.score`."""


class InputError(ValueError):
    """The input is not what the model was trained on; says what was found and what is expected."""


class RewardModel:
    """The released reward model. Make it with `RewardModel.load`."""

    def __init__(self, session: Any, contract: Mapping[str, Any], strict: bool = False) -> None:
        self.session = session
        self.contract = contract
        self.inputs = set(contract["inputs"])
        self.strict = strict
        self.clipped: dict[str, float] = {}
        """Column → share of the rows that were clipped to the range of training, in the latest call."""

    @classmethod
    def load(
        cls,
        path: str | Path = Path(__file__).parent,
        threads: int = 0,
        providers: Iterable[str] | None = None,
        strict: bool = False,
    ) -> RewardModel:
        """The model in `path`: reward_model.onnx, or the release's folder.

        Args:
            threads: 0 = one per core.
            providers: Of ONNX Runtime, such as `["CUDAExecutionProvider"]`; default: a GPU where there is one.
            strict: Refuse actions and state beyond the range of training instead of clipping them.
        """
        import onnxruntime

        path = Path(path)
        path = path / "reward_model.onnx" if path.is_dir() else path
        if not path.is_file():
            raise InputError(f"{path} does not exist; expected the release's reward_model.onnx.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        available = onnxruntime.get_available_providers()
        wanted = list(providers or (name for name in PROVIDERS if name in available))
        if missing := [name for name in wanted if name not in available]:
            raise InputError(f"this onnxruntime has no {missing[0]}; it has {', '.join(available)}.")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
            metadata = session.get_modelmeta().custom_metadata_map
            contract = json.loads(metadata["robopref"]) if "robopref" in metadata else None
        except Exception as error:  # ONNX Runtime's errors have no class in common
            why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise InputError(
                f"{path} cannot be loaded ({why}). If it has a few hundred bytes, it is a Git LFS pointer: run "
                "`git lfs pull`."
            ) from None
        if contract is None:
            raise InputError(f"{path} is no Robopref reward model: it carries no description of its input.")
        return cls(session, contract, strict)

    def score(
        self,
        images: Any,
        actions: Any,
        state: Any = None,
        fps: float | None = None,
        start_s: float = 0.0,
        end_s: float = float("inf"),
        task: str = "",
        robot: str = "",
    ) -> float | np.ndarray:
        """The reward of one trajectory, or of a batch of equally long ones.

        Args:
            images: (T, H, W, 3) RGB, uint8 in 0-255 or float in 0-1; any H and W. A batch: (B, T, H, W, 3).
                None where the model does not look at images. Of a model with several cameras, a mapping of their names
                to such arrays, in which some may be missing; an array alone is the first camera's.
            actions: (T, A) or (B, T, A), as recorded: not normalized.
            state: (T, S) or (B, T, S), where the model uses it.
            fps: Rows per second of the arrays. The model then looks at rows at the rate that it was trained at;
                None means that the rows already come at that rate.
            start_s, end_s: The span to score, in seconds from the first row; needs `fps`.
            task: Which of the model's task types, in any case and punctuation; where it knows several and is told
                none, or one that it does not know, the reward is what its tasks share, and a warning says so.
            robot: Which of the model's robots; needed only where the arrays' sizes do not tell.

        Returns:
            A float; for a batch (B,) float64.
        """
        return self._run(images, actions, state, (fps, start_s, end_s), (task, robot))[0]["reward"]

    def spread(self, images: Any, actions: Any, state: Any = None, **sampling: Any) -> float | np.ndarray:
        """How far the ensemble's members disagree about the reward (standard deviation); arguments as for `score`."""
        rate = (sampling.get("fps"), sampling.get("start_s", 0.0), sampling.get("end_s", float("inf")))
        return self._run(images, actions, state, rate, _kind(sampling))[0]["spread"]

    def rewards(self, images: Any, actions: Any, state: Any = None, **sampling: Any) -> np.ndarray:
        """Each row's part of the reward, (T,) or (B, T) float64: over the rows they add up to `score`. Arguments as for
        `score`."""
        return self.dense(images, actions, state, **sampling)["rewards"]

    def progress(self, images: Any, actions: Any, state: Any = None, **sampling: Any) -> np.ndarray:
        """How far the task is at each row, from 0 to 1, (T,) or (B, T); arguments as for `score`."""
        return self._outcome("progress", images, actions, state, sampling)

    def success(self, images: Any, actions: Any, state: Any = None, **sampling: Any) -> np.ndarray:
        """The probability that the task has been done by each row, (T,) or (B, T); arguments as for `score`."""
        return self._outcome("success", images, actions, state, sampling)

    def uncertainty(self, images: Any, actions: Any, state: Any = None, **sampling: Any) -> dict[str, np.ndarray]:
        """How far the ensemble's members disagree about each row's `rewards`, `progress` and `success` (standard
        deviations); arguments as for `score`. `spread` has that of the whole trajectory's reward."""
        found = self.dense(images, actions, state, **sampling)
        return {name.removesuffix("_spread"): v for name, v in found.items() if name.endswith("_spread")}

    def stream(self, window: int = 3, **kind: str) -> Stream:
        """For one row at a time, at the model's rate (`contract["sample_fps"]`); `task` and `robot` as for `score`."""
        return Stream(self, window, **kind)

    def _outcome(self, name: str, images: Any, actions: Any, state: Any, sampling: Mapping[str, Any]) -> np.ndarray:
        found = self.dense(images, actions, state, **sampling)
        if name not in found:
            raise InputError(
                f"this model has not learned {name}: too few of its trajectories say whether they succeeded."
            )
        return found[name]

    def dense(self, images: Any, actions: Any, state: Any = None, **sampling: Any) -> dict[str, np.ndarray]:
        """What the model says of every row, each (T,) or (B, T) float64. Arguments as for `score`.

        Returns:
            `rewards`, and where the model has learned them `progress` in 0 to 1 and `success`, the probability that the
            task has been done by then; `rewards_spread` and so on are standard deviations over the ensemble. The model
            looks at some rows only: the reward of one is shared evenly with those up to the next, progress and success
            are kept until then. Rows outside the span have reward 0.
        """
        rate = (sampling.get("fps"), sampling.get("start_s", 0.0), sampling.get("end_s", float("inf")))
        found, rows, total = self._run(images, actions, state, rate, _kind(sampling))
        fps, end_s = rate[0], rate[2]
        end = total if fps is None or not np.isfinite(end_s) else min(total, int(np.floor(end_s * fps + 1e-6)) + 1)
        end = max(end, int(rows[-1]) + 1)  # the last row looked at may be the next one after the span
        kept = {name: value for name, value in found.items() if name not in ("reward", "spread")}
        if not kept:
            raise InputError("this release is of an earlier version, whose model gives one number per trajectory.")
        shared = {name: name.startswith("rewards") for name in kept}
        return {name: per_row(np.asarray(v), rows, total, end if shared[name] else None) for name, v in kept.items()}

    def score_many(self, episodes: Iterable[Mapping[str, Any]], progress: bool = True, batch: int = 1) -> np.ndarray:
        """(N,) rewards of episodes of any lengths; each a mapping with images, actions and perhaps state and fps.

        Args:
            batch: Episodes that are run together, which pays on a GPU; shorter ones are padded and masked.
        """
        rewards: list[float] = []
        waiting: list[dict[str, np.ndarray]] = []
        episodes = list(episodes)
        bar = Progress(len(episodes), shown=progress)
        for number, episode in enumerate(episodes):
            try:
                given = {"state": None, "fps": None, "start_s": 0.0, "end_s": float("inf")} | _known(episode)
                rate = (given["fps"], given["start_s"], given["end_s"])
                arrays = (given["images"], given["actions"], given["state"])
                feeds = self._feeds(*arrays, rate, _kind(given))[0]
            except InputError as error:
                raise InputError(f"Episode {number}: {error}") from None
            if waiting and (len(waiting) == batch or _sizes(waiting[0]) != _sizes(feeds)):
                rewards += self._together(waiting)
                waiting = []
            waiting.append(feeds)
            bar.advance()
        rewards += self._together(waiting) if waiting else []
        return np.asarray(rewards, dtype=np.float64)

    def _together(self, several: list[dict[str, np.ndarray]]) -> list[float]:
        """Rewards of episodes whose rows have the same sizes, as one batch."""
        longest = max(feeds["mask"].shape[1] for feeds in several)

        def padded(name: str, values: np.ndarray) -> np.ndarray:
            if name in ("task", "views"):  # one for each episode
                return values
            return np.pad(values, [(0, 0), (0, longest - values.shape[1])] + [(0, 0)] * (values.ndim - 2))

        batch = {name: np.concatenate([padded(name, feeds[name]) for feeds in several]) for name in several[0]}
        return self.session.run(["reward"], batch)[0].astype(np.float64).tolist()

    def _clipped(self, name: str, values: np.ndarray) -> np.ndarray:
        """(B, T, size) within the range of training: a new policy goes where those before it did not, and what a model
        says of there is a guess."""
        expected = self.contract[name]
        low, high = np.asarray(expected["low"], np.float32), np.asarray(expected["high"], np.float32)
        slack = ROUNDING * (high - low)
        outside = ((values < low - slack) | (values > high + slack)) & (high > low)
        if not outside.any():
            return values
        shares = outside.mean(axis=(0, 1))
        found = {expected["names"][i]: float(shares[i]) for i in np.flatnonzero(shares)}
        self.clipped |= found
        told = ", ".join(f"{column} in {share:.0%} of the rows" for column, share in found.items())
        if self.strict:
            raise InputError(f"{name} leave the range of training: {told}. Without strict=True they are clipped to it.")
        warnings.warn(f"{name} leave the range of training and are clipped to it: {told}.", stacklevel=5)
        return np.where(outside, np.clip(values, low, high), values)

    def _run(
        self, images: Any, actions: Any, state: Any, rate: tuple, kind: tuple[str, str]
    ) -> tuple[dict[str, Any], np.ndarray, int]:
        """Every output by its name, the rows that the model looked at, and how many there are."""
        feeds, rows, total, batched = self._feeds(images, actions, state, rate, kind)
        names = [node.name for node in self.session.get_outputs()]
        found = {}
        for name, value in zip(names, self.session.run(None, feeds), strict=True):
            value = value.astype(np.float64)
            found[name] = value if batched else float(value[0]) if value.ndim == 1 else value[0]
        return found, rows, total

    def _feeds(
        self, images: Any, actions: Any, state: Any, rate: tuple, kind: tuple[str, str]
    ) -> tuple[dict[str, np.ndarray], np.ndarray, int, bool]:
        """What the graph takes, checked and sampled; the rows sampled, of how many, and whether it was a batch."""
        feeds: dict[str, np.ndarray] = {}
        cameras = self.contract.get("cameras") or []
        there: list[bool] = []
        if "frames" in self.inputs:
            views = [None if view is None and cameras else check_images(view) for view in views_of(images, cameras)]
            there = [view is not None for view in views]
            first = next(view for view in views if view is not None)
            batched = first.ndim == 5
            leading = first.shape[:2] if batched else (1, *first.shape[:1])
            for number, view in enumerate(views):
                if view is None:
                    view = np.zeros((*leading, 8, 8, 3), np.uint8)
                view = view if view.ndim == 5 else view[None]
                if view.shape[:2] != leading:
                    raise InputError(
                        f"camera {cameras[number]} has shape {view.shape[1:]}; expected {leading[1]} rows."
                    )
                feeds["frames" if number == 0 else f"frames_{number + 1}"] = view
        else:
            first = np.asarray(actions if "actions" in self.inputs else state)
            batched = first.ndim == 3
            leading = first.shape[:2] if batched else (1, *first.shape[:1])
        robot = self._robot(kind[1], actions, state)
        for name, values in (("actions", actions), ("state", state)):
            if name in self.inputs:
                feeds[name] = self._placed(values, name, robot, leading, batched)
        rows = sample_rows(leading[1], *rate, self.contract["sample_fps"], self.contract["max_frames"])
        feeds = {name: np.ascontiguousarray(values[:, rows]) for name, values in feeds.items()}
        self.clipped = {}
        feeds |= {name: self._clipped(name, feeds[name]) for name in ("actions", "state") if name in feeds}
        feeds["mask"] = np.ones((leading[0], len(rows)), dtype=bool)
        if cameras and there:
            feeds["views"] = np.tile(np.array(there), (leading[0], 1))
        if self.contract.get("task_columns"):
            feeds["task"] = np.full(leading[0], self._task(kind[0]), np.int64)
        elif kind[0]:
            self._task(kind[0])
        return feeds, rows, leading[1], batched

    def horizon(self, task: str | None = "") -> int:
        """Rows over which progress counts: a shorter episode is rewarded as if it stayed at its end until then. 0 where
        progress does not count, the longest where the model does not know the task."""
        rows = self.contract.get("horizon") or [0]
        number = known_task(str(task or ""), self.contract["task_types"]) if len(rows) > 1 else 0
        return rows[number] if number >= 0 else max(rows)

    def _task(self, task: str) -> int:
        """Its number; -1, with a warning, where the model does not know it."""
        known = self.contract["task_types"]
        if (number := known_task(str(task), known)) >= 0:
            return number
        said = f"task {str(task)!r} is not one that this model knows" if task else "no task is given"
        warnings.warn(
            f"{said}: the reward is what its tasks share, which nobody's answers have tested. It knows "
            f"{', '.join(map(repr, known))}.",
            stacklevel=5,
        )
        return -1

    def _robot(self, robot: str, actions: Any, state: Any) -> int:
        """Its number among the model's robots."""
        known = self.contract.get("robots") or []
        if len(known) < 2:
            return 0
        sizes = {"actions": _width(actions), "state": _width(state)}
        fits = [
            number
            for number, one in enumerate(known)
            if (not robot or one["name"] == str(robot))
            and all(sizes[name] in (0, one[name]) for name in sizes if name in self.inputs)
        ]
        if len(fits) != 1:
            found = f"{robot or 'a robot'} with {sizes['actions']} actions and {sizes['state']} state values"
            listed = "; ".join(f"{one['name']}: {one['actions']} actions, {one['state']} state values" for one in known)
            said = "it knows only" if not fits else "name one of them with robot="
            raise InputError(f"found {found}; {said} {listed}.")
        return fits[0]

    def _placed(self, values: Any, name: str, robot: int, leading: tuple[int, ...], batched: bool) -> np.ndarray:
        """A robot's values in their columns, nan in those of the other robots, and everywhere where it has none."""
        robots, whole = self.contract.get("robots") or [], self.contract[name]
        if len(robots) < 2:
            return check_rows(values, name, whole, leading, batched)
        begin = sum(one[name] for one in robots[:robot])
        own = slice(begin, begin + robots[robot][name])
        out = np.full((*leading, whole["size"]), np.nan, np.float32)
        if values is not None and robots[robot][name]:
            part = {key: whole[key][own] for key in ("names", "low", "high")} | {"size": robots[robot][name]}
            out[..., own] = check_rows(values, name, part, leading, batched)
        return out


class Stream:
    """Rows as they happen, for online reinforcement learning: `add` each, and get what the model says of it.

    The model sees the latest `window` rows, so neither memory nor time grows with the episode. A trajectory's reward is
    a mean over its rows: the mean of what `add` gives follows it, and is the same where a row counts by itself
    (temporal layer `mean`); with neighbours, `add` cannot know the next row yet. Where progress counts, this holds for
    episodes of `RewardModel.horizon(task)` rows: a shorter one is rewarded as if it stayed at its end until then. So
    where reaching the goal ends an episode, give the last row's reward for the rows that are left, as `reward_wrapper`
    does. A model with parts on whole trajectories (`linear`, `kernel`) is refused.
    """

    def __init__(self, model: RewardModel, window: int, **kind: str) -> None:
        if window < 1:
            raise InputError(f"window is {window}; expected 1 row or more.")
        if not model.contract.get("additive", True):
            raise InputError(
                "no stream is possible: a part of this model's reward is about a trajectory's end and its course as a "
                "whole, which no row knows. Score whole trajectories with `rewards`, or use a model of the network "
                "alone."
            )
        self.model, self.kind = model, kind
        # beyond the horizon a row's progress would not count
        self.rows: deque[tuple[Any, Any, Any]] = deque(maxlen=min([window, *model.contract.get("horizon", [])]))

    def reset(self) -> None:
        """A new episode begins."""
        self.rows.clear()

    def add(self, image: Any, action: Any, state: Any = None) -> dict[str, float]:
        """`reward` of this row, where the model has learned them `progress` and `success`, and the `_spread` of each.

        Args:
            image: (H, W, 3), or a mapping of cameras to such arrays, as for `RewardModel.score`; None where the model
                does not look at images.
            action: (A,), what the robot was told in this state.
            state: (S,), where the model uses it.
        """
        self.rows.append((image, action, state))
        stacked = [_stacked(column) for column in zip(*self.rows, strict=True)]
        found = self.model.dense(*stacked, **self.kind)
        last = {name.replace("rewards", "reward"): float(values[-1]) for name, values in found.items()}
        # parts of the window's mean, so a row alone is as many times larger
        return {name: v * len(self.rows) if name.startswith("reward") else v for name, v in last.items()}


def _stacked(rows: Sequence[Any]) -> Any:
    """Rows as one array, or one for each camera that all of them have."""
    if isinstance(rows[0], Mapping):
        shared = [name for name in rows[0] if all(row.get(name) is not None for row in rows)]
        return {name: np.stack([row[name] for row in rows]) for name in shared}
    return None if rows[0] is None else np.stack(rows)


def reward_wrapper(
    env: Any, model: RewardModel, observe: Callable[[Any], tuple], every: int = 1, window: int = 3, **kind: str
) -> Any:
    """A gymnasium environment with the model's reward in place of its own, which stays in info["env_reward"].

    Args:
        observe: An observation of the environment → (image or None, state or None), as the model was trained on them.
        every: Steps of the environment for one row of the model: its rate over `contract["sample_fps"]`. Between two
            rows the reward is that of the row before.
        window, kind: As in `RewardModel.stream`; `kind` is `task` and `robot`, where the model knows several.

    Where the environment ends an episode (`terminated`, not `truncated`) before the model's horizon, its last step also
    gets the last row's reward for each step that is left: without a discount, finishing pays no less than waiting at
    the goal until the horizon. A fall that ends the episode is paid the same way. Let the environment truncate at the
    horizon, since steps after it are rewarded, too. info["robopref"] has everything that `Stream.add` gives.
    """
    import gymnasium

    horizon = model.horizon(kind.get("task", "")) * every

    class Rewarded(gymnasium.Wrapper):
        def __init__(self) -> None:
            super().__init__(env)
            self.stream, self.steps = model.stream(window, **kind), 0
            self.observation: Any = None
            self.said: dict[str, float] = {}

        def reset(self, **options: Any) -> tuple[Any, dict]:
            self.stream.reset()
            self.steps = 0
            self.observation, info = self.env.reset(**options)
            return self.observation, info

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
            if self.steps % every == 0:  # the action belongs to the observation before it, as in the data
                image, state = observe(self.observation)
                self.said = self.stream.add(image, action, state)
            self.steps += 1
            self.observation, own, terminated, truncated, info = self.env.step(action)
            told = {**info, "env_reward": own, "robopref": self.said}
            counted = 1 + (max(horizon - self.steps, 0) if terminated else 0)
            return self.observation, self.said["reward"] * counted, terminated, truncated, told

    return Rewarded()


def _kind(sampling: Mapping[str, Any]) -> tuple[str, str]:
    return sampling.get("task", ""), sampling.get("robot", "")


def views_of(images: Any, cameras: list[str]) -> list[Any]:
    """What there is of each camera, None where one is missing."""
    if not isinstance(images, Mapping) and not (images is None and cameras):
        return [images, *[None] * (len(cameras) - 1)]
    images = images or {}
    if strange := [name for name in images if name not in cameras]:
        raise InputError(f"there is no camera {strange[0]!r}; expected some of {', '.join(cameras) or 'one array'}.")
    if all(images.get(name) is None for name in cameras):
        raise InputError(f"there is no picture; expected some of {', '.join(cameras)}.")
    return [images.get(name) for name in cameras]


def _width(values: Any) -> int:
    return 0 if values is None else int(np.shape(values)[-1]) if np.ndim(values) else 0


def sample_rows(
    total: int, fps: float | None, start_s: float, end_s: float, sample_fps: float, max_frames: int
) -> np.ndarray:
    """Which of `total` rows the model looks at: those nearest to the ticks of `sample_fps` in the span, each once.

    A span with more than `max_frames` ticks is sampled more thinly, as in training.
    """
    if fps is None:
        return np.arange(total)
    if not np.isfinite(fps) or fps <= 0:
        raise InputError(f"fps is {fps!r}; expected rows per second, greater than 0.")
    time_s = np.arange(total) / fps
    last = min(float(end_s), float(time_s[-1]))
    if not 0.0 <= start_s <= last:
        raise InputError(f"the span {start_s:g}-{end_s:g} s holds no row; the trajectory lasts {time_s[-1]:g} s.")
    count = int(np.floor((last - start_s) * sample_fps + 1e-9)) + 1
    ticks = start_s + np.arange(count) / sample_fps
    if count > max_frames:
        ticks = np.linspace(start_s, last, max_frames)
    if total == 1:
        return np.zeros(1, dtype=np.int64)
    right = np.clip(np.searchsorted(time_s, ticks), 1, total - 1)
    left_is_nearer = ticks - time_s[right - 1] <= time_s[right] - ticks
    return np.unique(np.where(left_is_nearer, right - 1, right))


def per_row(values: np.ndarray, rows: np.ndarray, total: int, end: int | None = None) -> np.ndarray:
    """Values of the rows that the model looked at, (..., S), for all `total` rows, (..., total).

    Each is kept until the next of those rows, and the first one before it. With `end` each is divided evenly among its
    rows instead, of which the last is `end` − 1, and the rows outside have 0.
    """
    place = np.searchsorted(rows, np.arange(total), side="right") - 1
    if end is None:
        return values[..., np.clip(place, 0, None)]
    inside = (place >= 0) & (np.arange(total) < end)
    counts = np.bincount(place[inside], minlength=len(rows))
    return np.where(inside, (values / counts)[..., place], 0.0)


def check_images(images: Any) -> np.ndarray:
    """`images` as uint8 (T, H, W, 3) or (B, T, H, W, 3)."""
    images = np.asarray(images)
    if images.ndim not in (4, 5) or images.shape[-1] != 3 or 0 in images.shape:
        hint = ""
        if images.ndim in (4, 5) and images.shape[-3] == 3:
            hint = " The channels seem to stand before height and width: move them to the end."
        raise InputError(f"images have shape {images.shape}; expected (T, H, W, 3) or (B, T, H, W, 3), RGB.{hint}")
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise InputError(f"images have dtype {images.dtype}; expected uint8 in 0-255 or float in 0-1.")
    low, high = float(images.min()), float(images.max())
    if not (low >= 0.0 and high <= 1.0):  # also refuses nan
        raise InputError(f"float images range from {low:g} to {high:g}; expected 0-1. For 0-255 pass uint8.")
    return np.rint(images * 255.0).astype(np.uint8)


def check_rows(
    values: Any, name: str, expected: Mapping[str, Any], leading: tuple[int, ...], batched: bool
) -> np.ndarray:
    """`values` as float32 (B, T, size), in step with the images and in the units of training."""
    size = expected["size"]
    layout = ", ".join(expected["names"])
    if values is None:
        raise InputError(f"{name} are missing; this model needs {size} numbers a row: {layout}.")
    values = np.asarray(values)
    values = values if batched else values[None]
    shape = (*leading, size)
    if values.shape != shape:
        found, wanted = (values.shape, shape) if batched else (values.shape[1:], shape[1:])
        raise InputError(f"{name} have shape {found}; expected {wanted}: one row per image, with {layout}.")
    if not (np.issubdtype(values.dtype, np.number) and not np.iscomplexobj(values)):
        raise InputError(f"{name} have dtype {values.dtype}; expected float32.")
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{name} hold nan or infinity.")
    low, high = np.asarray(expected["low"], np.float32), np.asarray(expected["high"], np.float32)
    # the model ignores a column that never changed in training; a narrow one may well be elsewhere in a new scene
    slack = RANGE_TOLERANCE * np.maximum(high - low, np.maximum(np.abs(low), np.abs(high)))
    outside = ((values < low - slack) | (values > high + slack)) & (high > low)
    if outside.any():
        column = int(np.argwhere(outside)[0][-1])
        found = values[..., column]
        raise InputError(
            f"{name} column {column} ({expected['names'][column]}) ranges from {found.min():g} to {found.max():g}; "
            f"in training it was {low[column]:g} to {high[column]:g}. Pass values as recorded, in the same units."
        )
    return values


class Progress:
    """A line on stderr with count, rate and time left."""

    def __init__(self, total: int, shown: bool = True) -> None:
        self.total, self.done, self.start = total, 0, time.monotonic()
        self.shown = shown and total > 1
        self.moving = sys.stderr.isatty()

    def advance(self) -> None:
        self.done += 1
        if not self.shown or (not self.moving and self.done < self.total):
            return
        rate = self.done / max(time.monotonic() - self.start, 1e-9)
        filled = 30 * self.done // self.total
        line = f"[{'#' * filled}{'.' * (30 - filled)}] {self.done}/{self.total}  {rate:.1f}/s"
        line += f"  {(self.total - self.done) / rate:.0f} s left "
        end = "\n" if self.done == self.total else ""
        print(("\r" if self.moving else "") + line, end=end, file=sys.stderr, flush=True)


def _sizes(feeds: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Of one row of each input."""
    return {name: values.shape[2:] for name, values in feeds.items()}


def _known(episode: Mapping[str, Any]) -> dict[str, Any]:
    missing = {"images", "actions"} - set(episode)
    if missing:
        raise InputError(
            f"there is no {' and no '.join(sorted(missing))}; found {', '.join(sorted(episode)) or 'nothing'}."
        )
    return {name: episode[name] for name in KEYS if name in episode}


# -- files -------------------------------------------------------------------------------------------------------------


UNREADABLE = (OSError, EOFError, RuntimeError, TypeError, ValueError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What numpy says of a file that is none of its own; an encrypted one is a RuntimeError."""


def _why(error: Exception) -> str:
    """Without numpy's advice to load unsafely what may be no array at all."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it is no such file, is damaged, or holds other things than numbers"


def load_npz(path: Path) -> dict[str, Any]:
    """An episode from an npz with images, actions and, where given, state, fps, start_s and end_s."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no ordinary file.")
    try:
        with np.load(path, allow_pickle=False) as file:
            # a member unpacks to the size that the zip lists, whatever its own header claims
            size = sum(
                member.file_size for member in file.zip.infolist() if member.filename.removesuffix(".npy") in KEYS
            )
            if size > MOST_BYTES:
                raise InputError(f"it holds {size:,} bytes; expected at most {MOST_BYTES:,}.")
            episode = {name: file[name] for name in _known(dict.fromkeys(file.files))}
        words = {name: str(episode.pop(name)) for name in ("task", "robot") if name in episode}
        numbers = {name: float(episode.pop(name)) for name in ("fps", "start_s", "end_s") if name in episode}
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read as npz: {_why(error)}.") from None
    return {**episode, **numbers, **words}


def read_video(path: Path, start_s: float = 0.0, end_s: float = float("inf")) -> tuple[np.ndarray, float]:
    """The frames between two times of a video, (T, H, W, 3) uint8 RGB, and its frames per second."""
    try:
        import av
    except ImportError:
        raise InputError("Reading video needs PyAV: pip install av. Or pass images in an npz.") from None
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    try:
        with av.open(str(path), options=CONTAINERS) as container:
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise InputError(f"{path} cannot be decoded: its codec is unknown.")
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
            size = stream.codec_context.width * stream.codec_context.height * 3
            fps = float(stream.average_rate or 0)
            if start_s > 0:
                container.seek(int(start_s / stream.time_base), stream=stream, backward=True)
            half = 0.5 / fps if fps else 0.0
            frames = []
            for frame in container.decode(stream):
                if frame.time is None or frame.time < start_s - half:
                    continue
                if frame.time >= end_s - half:
                    break
                frames.append(frame.to_ndarray(format="rgb24"))
                if len(frames) * size > MOST_BYTES:
                    raise InputError(
                        f"{path}: the span has more than {MOST_BYTES:,} bytes of frames; name a shorter one."
                    )
    except InputError:
        raise
    except (av.FFmpegError, IndexError, ValueError, MemoryError) as error:
        raise InputError(f"{path} cannot be decoded: {error}.") from None
    if not frames:
        raise InputError(f"{path} has no frame between {start_s:g} and {end_s:g} s.")
    return np.stack(frames), fps


def load_lerobot(
    root: Path,
    episode: int,
    columns: Mapping[str, Any],
    camera: str = "",
    start_s: float = 0.0,
    end_s: float = float("inf"),
    task_types: Iterable[str] = (),
    robot: str = "",
) -> dict[str, Any]:
    """An episode of a LeRobot dataset, v2.0 to v3.0: frames, actions and state, and its task if it is one of these.

    Args:
        columns: Which of the dataset's columns these are, `contract["columns"]`; of a model that knows several robots,
            those of each.
        camera: Video key; default: the one that the model was trained on, or the only one.
        start_s: Where the span begins, in seconds from the episode's first frame.
        end_s: Where it ends.
        task_types: Those that the model knows.
        robot: Which of the model's robots; default: the one that the dataset names, or whose columns it has.
    """
    info = _read_info(root)
    features = info["features"]
    columns = _of_robot(root, info, columns, robot)
    cameras = [name for name, feature in features.items() if feature.get("dtype") == "video"]
    known = columns.get("cameras", [])  # of a model that looks through several
    if camera and known and camera not in known:
        raise InputError(f"the model has no camera {camera!r}; it has {', '.join(known)}.")
    several = [name for name in known if name in cameras and camera in ("", name)]
    if known and not several:
        raise InputError(f"{root}: none of its cameras is one of the model's, {', '.join(known)}.")
    camera = camera or (several or (cameras if len(cameras) == 1 else [columns["camera"]]))[0]
    if camera not in cameras:
        raise InputError(f"{root}: there is no camera {camera!r}; expected one of {', '.join(cameras) or 'none'}.")
    wanted = [column for name in ("actions", "state") for column, _ in columns[name]]
    if missing := [name for name in wanted if name not in features]:
        raise InputError(f"{root}: there is no column {missing[0]!r}; the model was trained on {', '.join(wanted)}.")
    fps = float(info["fps"])
    v3 = str(info.get("codebase_version", "")).startswith("v3")
    pictures: dict[str, np.ndarray] = {}
    table: dict[str, list] = {}
    task = ""
    for name in several or [camera]:
        if v3:
            data, video, offset, end, task = _places_v3(root, info, episode, several or [camera], name)
        else:
            where = {"episode_chunk": episode // _chunks_size(root, info), "episode_index": episode}
            data, offset, end = _place(root, info, "data_path", where), 0.0, float("inf")
            video = _place(root, info, "video_path", {"video_key": name, **where})
            task = _task_v2(root, episode) if len(list(task_types)) > 1 else ""
        if not table:
            table = _read_parquet(data, wanted, [("episode_index", "=", episode)])
            if not table[wanted[0]]:
                raise InputError(f"{data} has no row of episode {episode}.")
        if not several or video.is_file():  # of several cameras some may be missing
            shown = columns.get("views", {}).get(name, name)  # as the model calls it
            images, rate = read_video(video, offset, min(end, offset + len(table[wanted[0]]) / fps))
            if rate and abs(rate - fps) > OTHER_RATE * fps:
                raise InputError(
                    f"{video} has {rate:g} frames a second; {root / 'meta' / 'info.json'} says fps {fps:g}."
                )
            pictures[shown] = images
    rows = min([len(table[wanted[0]]), *(len(images) for images in pictures.values())])
    pictures = {name: images[:rows] for name, images in pictures.items()}
    images = pictures if several else next(iter(pictures.values()))
    loaded: dict[str, Any] = {"images": images, "fps": fps, "start_s": start_s, "end_s": end_s}
    loaded |= {"task": task} if known_task(task, list(task_types)) >= 0 else {}
    loaded |= {"robot": columns["robot"]} if "robot" in columns else {}
    for name in ("actions", "state"):
        parts = [
            _numbers(root, column, table[column][:rows], numbers, columns.get("widths", {}).get(column))
            for column, numbers in columns[name]
        ]
        if parts:
            loaded[name] = np.concatenate(parts, axis=1)
    return loaded


def _of_robot(root: Path, info: Mapping[str, Any], columns: Mapping[str, Any], robot: str) -> Mapping[str, Any]:
    """The columns of the robot whose dataset this is: of its name, where one is given or in meta/info.json, and with
    columns of the same widths."""
    known = columns.get("robots", [])
    features, said = info["features"], robot or str(info.get("robot_type") or "")
    if not known:
        own = columns.get("type", "")
        if own not in UNNAMED and said not in (*UNNAMED, own):
            raise InputError(
                f"{root}: found the robot {said}; the model knows {own}. If that is the same, add --robot {own}."
            )
        return columns
    fits = [
        one
        for one in known
        if (said in ("", one["robot"]) or not one["type"])
        and all(_numbers_of(features.get(column)) == width for column, width in one["widths"].items())
    ]
    fits = [one for one in fits if said and said == one["robot"]] or fits
    if len(fits) == 1:
        return fits[0]
    listed = "; ".join(f"{one['robot']}: {_listed(one['widths'])}" for one in known)
    columns_here = {c: _numbers_of(features.get(c)) for one in known for c in one["widths"] if c in features}
    raise InputError(
        f"{root}: found {said or 'a robot without a name'} with {_listed(columns_here)}; the model knows {listed}. "
        "If it is one of these, name that with --robot."
    )


def _listed(widths: Mapping[str, int]) -> str:
    return ", ".join(f"{column} of {width}" for column, width in widths.items()) or "none of its columns"


def _numbers_of(feature: Any) -> int:
    """How many numbers a row of a column has, as info.json says it; 0 where it does not."""
    shape = feature.get("shape") if feature else None
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        return 0
    return int(np.prod(shape, dtype=object))


def _numbers(
    root: Path, column: str, values: Sequence[Any], numbers: Sequence[int], width: int | None = None
) -> np.ndarray:
    """(T, len(numbers)) those of a column's numbers that the model was trained on, where it had `width` of them."""
    try:
        found = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    except (TypeError, ValueError):
        raise InputError(f"{root}, {column}: expected as many numbers in each row.") from None
    least = max(numbers, default=-1) + 1
    if found.shape[1] < least or width not in (None, found.shape[1]):
        expected = f"{least} or more" if width is None else width
        raise InputError(
            f"{root}, {column}: found {found.shape[1]} numbers a row; the model was trained on {expected}. Is it "
            "another robot's dataset?"
        )
    return found[:, numbers]


def lerobot_episodes(root: Path) -> list[int]:
    """The indices of all episodes that a LeRobot dataset lists."""
    listed = root / "meta" / "episodes.jsonl"
    if listed.is_file():
        lines = _read(root, listed).splitlines()
        try:
            return [int(json.loads(line)["episode_index"]) for line in lines if line]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{listed}: expected an object with episode_index on each line: {error!r}.") from None
    return [index for table in _episode_tables(root, ["episode_index"]) for index in table["episode_index"]]


def known_task(said: str, known: Sequence[str]) -> int:
    """Its place among the model's task types, where case and punctuation are no difference if only one has the same
    words; -1 where there is none."""
    if said in known:
        return known.index(said)
    words = re.findall(r"\w+", said.casefold())
    alike = [place for place, task in enumerate(known) if words and re.findall(r"\w+", task.casefold()) == words]
    return alike[0] if len(alike) == 1 else -1


def _chunks_size(root: Path, info: Mapping[str, Any]) -> int:
    size = info.get("chunks_size", 1000)
    if type(size) is not int or size < 1:
        raise InputError(f"{root}: chunks_size of meta/info.json is {size!r}; expected a whole number above 0.")
    return size


def _task_v2(root: Path, episode: int) -> str:
    """The task of an episode of v2; empty where its line has none."""
    listed = root / "meta" / "episodes.jsonl"
    try:
        written = listed.stat().st_mtime_ns
    except OSError:
        written = 0
    return _tasks_v2(root, listed, written).get(episode, "")


@lru_cache(maxsize=1)
def _tasks_v2(root: Path, listed: Path, _written: int) -> dict[int, str]:
    """Episode → its task; the file is read once for all episodes of a dataset."""
    tasks: dict[int, str] = {}
    for line in _read(root, listed).splitlines():
        try:
            found = json.loads(line)
            tasks.setdefault(int(found["episode_index"]), _first(found.get("tasks")))
        except (KeyError, TypeError, ValueError, RecursionError, AttributeError, OverflowError):
            continue
    return tasks


def _first(tasks: Any) -> str:
    return tasks if isinstance(tasks, str) else str(tasks[0]) if isinstance(tasks, list) and tasks else ""


def _places_v3(
    root: Path, info: Mapping[str, Any], episode: int, cameras: Sequence[str], camera: str
) -> tuple[Path, Path, float, float, str]:
    """Data file, video file, where in the video the episode begins and ends, and its task.

    Args:
        cameras: All that are asked for of this dataset, `camera` among them.
    """
    try:
        written = tuple((path, path.stat().st_mtime_ns) for path in _episode_files(root))
    except OSError as error:
        raise InputError(f"{root}: meta/episodes cannot be read: {error}.") from None
    row = _rows_v3(root, tuple(cameras), written).get(episode)
    if row is None:
        raise InputError(f"{root}: meta/episodes knows no episode {episode}.")
    at = 2 + len(VIDEO_PLACE) * list(cameras).index(camera)
    chunk, file, video_chunk, video_file, begin, end = *row[:2], *row[at : at + len(VIDEO_PLACE)]
    data = _place(root, info, "data_path", {"chunk_index": chunk, "file_index": file})
    place = {"video_key": camera, "chunk_index": video_chunk, "file_index": video_file}
    return data, _place(root, info, "video_path", place), begin, end, _first(row[-1])


@lru_cache(maxsize=1)
def _rows_v3(root: Path, cameras: tuple[str, ...], _written: Any) -> dict[int, tuple[Any, ...]]:
    """Episode → chunk and file of its data, the VIDEO_PLACE of each camera, its tasks; the tables are read once for all
    episodes of a dataset."""
    wanted = ["data/chunk_index", "data/file_index"]
    wanted += [f"videos/{camera}/{name}" for camera in cameras for name in VIDEO_PLACE]
    rows: dict[int, tuple[Any, ...]] = {}
    for table in _episode_tables(root, ["episode_index", *wanted], also="tasks"):
        tasks = table.get("tasks", [""] * len(table["episode_index"]))
        for episode, *row in zip(table["episode_index"], *(table[name] for name in wanted), tasks, strict=True):
            if type(episode) is int:
                rows.setdefault(episode, tuple(row))
    return rows


def _episode_files(root: Path) -> list[Path]:
    return [_inside(root, path) for path in sorted((root / "meta" / "episodes").rglob("*.parquet"))]


def _episode_tables(root: Path, columns: list[str], also: str = "") -> Iterable[dict[str, list]]:
    return (_read_parquet(path, columns, also=also) for path in _episode_files(root))


def _read_info(root: Path) -> dict[str, Any]:
    path = root / "meta" / "info.json"
    try:
        info = json.loads(_read(root, path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    features = info.get("features") if isinstance(info, dict) else None
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise InputError(f"{path}: expected an object with features.")
    fps = info.get("fps")
    if not isinstance(fps, (int, float)) or not 0 < fps < 1e6:
        raise InputError(f"{path}: expected fps, a number above 0, found {fps!r}.")
    version = info.get("codebase_version")
    if not str(version).startswith(VERSIONS):
        raise InputError(f"{path}: expected codebase_version v2.0 to v3.0, found {version!r}.")
    return info


def _read(root: Path, path: Path) -> str:
    try:
        if _inside(root, path).stat().st_size > MOST_TEXT:
            raise InputError(f"{path}: expected at most {MOST_TEXT:,} bytes.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None


def _place(root: Path, info: Mapping[str, Any], template: str, numbers: Mapping[str, Any]) -> Path:
    """The file that a template of info.json names."""
    try:
        return _inside(root, root / str(info[template]).format(**numbers))
    except (KeyError, ValueError, IndexError, AttributeError, MemoryError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{root}: {template} of meta/info.json cannot be filled in: {error!r}.") from None


def _inside(root: Path, path: Path) -> Path:
    """`path`, which may not lead out of the dataset, except that a Hugging Face cache links into its own `blobs`."""
    blobs = [root.parent.parent / "blobs"] if root.parent.name == "snapshots" else []
    try:
        found = path.resolve()
        if not any(found.is_relative_to(folder.resolve()) for folder in (root, *blobs)):
            raise InputError(f"{path} leads out of {root}.")
        if found.exists() and not found.is_file():
            raise InputError(f"{path} is no ordinary file.")
    except (OSError, RuntimeError) as error:  # a name longer than any file may have; a link that leads to itself
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{root}: a file that meta/info.json names cannot be opened: {why}.") from None
    return path


def _read_parquet(path: Path, columns: list[str], filters: Any = None, also: str = "") -> dict[str, list]:
    """The `columns`, and `also` where the file has it."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise InputError("Reading a LeRobot dataset needs pyarrow: pip install pyarrow. Or pass an npz.") from None
    try:
        rows = parquet.read_metadata(path).num_rows
        columns = columns + [also] * (also in parquet.read_schema(path).names)
        if rows * len(columns) * 8 > MOST_BYTES:
            raise InputError(f"{path}: expected at most {MOST_BYTES:,} bytes, found {rows:,} x {len(columns)} values.")
        return parquet.read_table(path, columns=columns, filters=filters).to_pydict()
    except InputError:
        raise
    except (OSError, ValueError, KeyError, MemoryError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None


# -- the command line --------------------------------------------------------------------------------------------------


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Score robot trajectories with the released reward model.")
    parser.add_argument("npz", nargs="*", type=Path, help="npz files, or folders of them: images, actions, state, fps")
    parser.add_argument(
        "--model", type=Path, default=Path(__file__).parent, help="default: reward_model.onnx beside this"
    )
    parser.add_argument("--video", type=Path, help="a video of one trajectory")
    parser.add_argument("--actions", type=Path, help="its actions, a .npy of (T, A), one row per frame")
    parser.add_argument("--state", type=Path, help="its state, a .npy of (T, S)")
    parser.add_argument("--lerobot", type=Path, help="folder of a LeRobot dataset, v2.0 to v3.0")
    parser.add_argument("--episode", type=int, action="append", help="episode to score; may be given more than once")
    parser.add_argument("--all", action="store_true", help="score every episode of the LeRobot dataset")
    parser.add_argument("--camera", default="", help="video key of the LeRobot dataset; default: as trained")
    parser.add_argument("--start", type=float, default=0.0, help="where the span begins, in seconds")
    parser.add_argument("--end", type=float, default=float("inf"), help="where the span ends, in seconds")
    parser.add_argument("--fps", type=float, help="frames per second of the npz, where it has none")
    parser.add_argument("--task", default="", help="which of the model's task types; default: what the file says")
    parser.add_argument("--robot", default="", help="which of the model's robots, where sizes do not tell")
    parser.add_argument("--threads", type=int, default=0, help="0 = one per core")
    parser.add_argument("--json", action="store_true", help="one JSON object per line in place of text")
    parser.add_argument("--dense", action="store_true", help="with a number for every row; implies --json")
    parsed = parser.parse_args(arguments)
    chosen = [bool(parsed.npz), parsed.video is not None, parsed.lerobot is not None]
    if sum(chosen) != 1:
        parser.error("name npz files, or --video with --actions, or --lerobot with --episode")
    if parsed.video is not None and parsed.actions is None:
        parser.error("--video needs --actions")
    if parsed.lerobot is not None and bool(parsed.episode) == parsed.all:
        parser.error("--lerobot needs --episode or --all")
    return parsed


def episodes_of(
    parsed: argparse.Namespace, columns: Mapping[str, Any], task_types: Iterable[str] = ()
) -> list[tuple[str, Any]]:
    """(name, loader) of each episode that the command line names; nothing is read yet."""
    if parsed.lerobot is not None:
        rest = (columns, parsed.camera, parsed.start, parsed.end, task_types, parsed.robot)
        return [
            (f"episode {index}", lambda index=index: load_lerobot(parsed.lerobot, index, *rest))
            for index in (lerobot_episodes(parsed.lerobot) if parsed.all else parsed.episode)
        ]
    if parsed.video is not None:
        return [(parsed.video.name, lambda: _video_episode(parsed))]
    paths = [q for p in parsed.npz for q in (sorted(p.glob("*.npz")) if p.is_dir() else [p])]
    if not paths:
        raise InputError(f"There is no npz file in {', '.join(str(p) for p in parsed.npz)}.")
    defaults = {"fps": parsed.fps, "start_s": parsed.start, "end_s": parsed.end}
    return [(path.name, lambda path=path: {**defaults, **load_npz(path)}) for path in paths]


def _video_episode(parsed: argparse.Namespace) -> dict[str, Any]:
    images, fps = read_video(parsed.video)
    episode = {"images": images, "fps": parsed.fps or fps or None, "start_s": parsed.start, "end_s": parsed.end}
    for name, path in (("actions", parsed.actions), ("state", parsed.state)):
        if path is not None:
            try:
                episode[name] = np.lib.format.read_array(io.BytesIO(path.read_bytes()), allow_pickle=False)
            except UNREADABLE as error:
                raise InputError(f"{path} cannot be read as npy: {_why(error)}.") from None
    return episode


def _scored(model: RewardModel, name: str, episode: Mapping[str, Any], parsed: argparse.Namespace) -> str:
    if parsed.dense:
        dense = model.dense(**episode)
        rows = {key: np.round(values, 6).tolist() for key, values in dense.items()}
        return json.dumps({"episode": name, "reward": float(dense["rewards"].sum()), **rows})
    reward = model.score(**episode)
    return json.dumps({"episode": name, "reward": reward}) if parsed.json else f"{reward:+.4f}  {name}"


def main(arguments: list[str] | None = None) -> int:
    parsed = parse_arguments(arguments)
    try:
        model = RewardModel.load(parsed.model, parsed.threads)
        episodes = episodes_of(parsed, model.contract["columns"], model.contract["task_types"])
        bar = Progress(len(episodes))
        for name, load in episodes:
            try:
                given = {key: value for key, value in (("task", parsed.task), ("robot", parsed.robot)) if value}
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    line = _scored(model, name, _known(load()) | given, parsed)
            except InputError as error:
                raise InputError(f"{name}: {error}") from None
            for warning in said:
                print(f"Warning: {name}: {warning.message}", file=sys.stderr)
            print(line, flush=True)
            bar.advance()
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
