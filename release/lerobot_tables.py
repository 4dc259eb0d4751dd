"""The tables of a LeRobot dataset with the rewards as more columns: each file in, the same file with them out.

LeRobot's loader wants each feature of info.json as a column of the data, each column declared there, and statistics
for each: per dataset in meta/stats.json, per episode in meta/episodes (v3.0) or meta/episodes_stats.jsonl (v2.1). A
feature of shape [1] has to be a plain number; lists of one number, as some recorders write them, are unwrapped.

robopref_progress.parquet is the model's progress in the layout that LeRobot's reward-aligned cloning reads: `index`,
`episode_index`, `frame_index` and `progress_sparse` in 0 to 1 for each row. LeRobot weights a sample by how much
progress the next chunk of actions brings, and gives weight 1 where it is nan: in episodes that the pool does not have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.compute import call_function

from importer.pool.episode import BadInput
from preference.artifacts import read_json, read_jsonl, replacing

EPISODE = "episode_index"
PROGRESS = "robopref_progress.parquet"
KEYS = ("index", EPISODE, "frame_index")
NEXT, KEPT = "next.reward", "next.reward_source"
"""The column that online and offline RL in LeRobot take rewards from, and where the dataset's own go."""


@dataclass(frozen=True)
class Rewarded:
    """What the model says of one trajectory."""

    rows: np.ndarray
    """(N,) int64, ascending: the rows of the episode that the model looks at."""
    steps: np.ndarray
    """(N,) float64: the reward of each of them; they add up to the trajectory's."""
    outcomes: Mapping[str, np.ndarray] = field(default_factory=dict)
    """`progress` and `success` of each, (N,) in 0 to 1."""

    @property
    def reward(self) -> float:
        return float(self.steps.sum())

    def per_row(self, total: int) -> dict[str, np.ndarray]:
        """`step`, `so_far` and each outcome, (total,) float32, for each row of the episode.

        A step's reward is divided evenly among its rows, up to the next one that the model looks at; rows before the
        trimmed span have none. Outcomes are kept until the next, and the first one before it.
        """
        place = np.searchsorted(self.rows, np.arange(total), side="right") - 1
        counts = np.bincount(place[place >= 0], minlength=len(self.rows))
        step = np.where(place >= 0, (self.steps / np.maximum(counts, 1))[place], 0.0)
        held = {name: values[np.clip(place, 0, None)] for name, values in self.outcomes.items()}
        found = {"step": step, "so_far": np.cumsum(step), **held}
        return {name: values.astype(np.float32) for name, values in found.items()}


@dataclass(frozen=True)
class Added:
    """The columns that are added, and the rewards of a dataset's episodes."""

    column: str
    """The episode's reward, on each of its rows; `COLUMN_step` is the row's part of it, and so on."""
    rewards: Mapping[int, Rewarded]
    """episode_index → its rewards; rows and episodes without have nan."""
    best: Collection[int] | None = None
    """episode_index of those that are worth learning from; `COLUMN_weight` is 1 there, else 0. None: no such column."""
    outcomes: tuple[str, ...] = ()
    """Those that the model knows: `progress`, `success`."""
    next_reward: bool = False
    """Whether `NEXT` gets each row's part of the reward; the dataset's own column becomes `KEPT`."""

    @property
    def names(self) -> tuple[str, ...]:
        weight = () if self.best is None else ("weight",)
        own = (f"{self.column}_{name}" for name in ("step", "so_far", *self.outcomes, *weight))
        return self.column, *own, *((NEXT,) if self.next_reward else ())

    def part(self, name: str) -> str:
        """What a column of `names` holds: ``, `step`, …, or `NEXT`."""
        return name if name == NEXT and self.next_reward else name.removeprefix(self.column).removeprefix("_")

    def kept(self, name: str) -> str:
        """What a column of the dataset is called in the export; its statistics are `stats/NAME/KEY`."""
        parts = name.split("/")
        if not self.next_reward or NEXT not in (name, *parts[1:2]):
            return name
        return KEPT if name == NEXT else "/".join(["stats", KEPT, *parts[2:]])

    def renamed(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """The same under the names that the export has."""
        return {self.kept(name): value for name, value in features.items()}

    def values(self, episode_index: int, rows: int) -> dict[str, np.ndarray]:
        """The columns of one episode, (rows,) float32."""
        found = self.rewards.get(episode_index)
        said = {} if found is None else {"": np.full(rows, found.reward, np.float32), **found.per_row(rows)}
        if found is not None:
            said[NEXT] = said["step"]
        if self.best is not None:
            said["weight"] = np.full(rows, episode_index in self.best, np.float32)
        unknown = np.full(rows, np.nan, np.float32)
        return {name: said.get(self.part(name), unknown) for name in self.names}

    def feature(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """How info.json declares them."""
        rates = {f["fps"] for f in info["features"].values() if "fps" in f}
        return {"dtype": "float32", "shape": [1], "names": None} | ({"fps": rates.pop()} if rates else {})


def check_free(file: Path, columns: Collection[str], added: Added) -> None:
    """
    Raises:
        BadInput: the dataset has a column of that name already.
    """
    new = [name for name in added.names if added.kept(name) == name]
    new += [KEPT] if added.next_reward and NEXT in columns else []
    if taken := [name for name in new if name in columns]:
        raise BadInput(file, taken[0], "the dataset has this column already.", fix="Name another one with --column.")


def write_table(
    name: Path, source: Path, target: Path, info: Mapping[str, Any], counts: dict[int, int], added: Added
) -> bool:
    """Write `name` with the added columns, if it is one of the files that they change.

    Args:
        counts: episode_index → its rows; filled from the data files, used for statistics.
    """
    if name.parts[0] == "data" and name.suffix == ".parquet":
        counts |= _write_data(source, target, info, added)
    elif name == Path("meta/info.json"):
        features = added.renamed(info["features"]) | dict.fromkeys(added.names, added.feature(info))
        target.write_text(json.dumps({**info, "features": features}, indent=4) + "\n", encoding="utf-8")
    elif name == Path("meta/stats.json"):
        _write_stats(source, target, counts, added)
    elif name.parts[:2] == ("meta", "episodes") and name.suffix == ".parquet":
        _write_episodes(source, target, counts, added)
    elif name == Path("meta/episodes.jsonl"):
        _write_lines(source, target, lambda line: _with_reward(line, added))
    elif name == Path("meta/episodes_stats.jsonl"):
        _write_lines(source, target, lambda line: _with_statistics(line, counts, added))
    else:
        return False
    return True


def _write_data(source: Path, target: Path, info: Mapping[str, Any], added: Added) -> dict[int, int]:
    """A data file; returns episode_index → its rows."""
    table = _read_table(source, added)
    scalars = {name for name, f in added.renamed(info["features"]).items() if list(f.get("shape") or []) == [1]}
    for place, column in enumerate(table.schema):
        if column.name in scalars and (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
            table = table.set_column(place, column.name, call_function("list_element", [table.column(place), 0]))
    episodes = table.column(EPISODE).to_numpy()
    counts = {int(index): int(rows) for index, rows in zip(*np.unique(episodes, return_counts=True), strict=True)}
    columns = {name: np.full(len(episodes), np.nan, np.float32) for name in added.names}
    for index, rows in counts.items():
        for name, values in added.values(index, rows).items():
            columns[name][episodes == index] = values
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    pq.write_table(table, target, compression="zstd")
    return counts


def _write_stats(source: Path, target: Path, counts: Mapping[int, int], added: Added) -> None:
    """meta/stats.json: of the whole dataset."""
    stats = added.renamed(read_json(source))
    keys = next((list(feature) for feature in stats.values() if isinstance(feature, dict)), [])
    episodes = [added.values(index, rows) for index, rows in sorted(counts.items())]
    for name in added.names:
        if found := statistics(np.concatenate([episode[name] for episode in episodes]), keys):
            stats[name] = found
    target.write_text(json.dumps(stats, indent=4) + "\n", encoding="utf-8")


def _write_episodes(source: Path, target: Path, counts: Mapping[int, int], added: Added) -> None:
    """A file of meta/episodes (v3.0): the reward of each episode, and its statistics where the others have some."""
    table = _read_table(source, added)
    keys = list(dict.fromkeys(name.rpartition("/")[2] for name in table.column_names if name.startswith("stats/")))
    indices = table.column(EPISODE).to_pylist()
    rewards = [added.rewards[i].reward if i in added.rewards else None for i in indices]
    table = table.append_column(added.column, pa.array(rewards, pa.float64()))
    episodes = [added.values(i, counts.get(i, 0)) for i in indices]
    for name in added.names if keys else ():
        rows = [statistics(episode[name], keys) for episode in episodes]
        for key in keys:
            kind = pa.list_(pa.int64() if key == "count" else pa.float64())
            table = table.append_column(f"stats/{name}/{key}", pa.array([row.get(key) for row in rows], kind))
    pq.write_table(table, target, compression="zstd")


def _with_reward(line: dict[str, Any], added: Added) -> dict[str, Any]:
    """A line of meta/episodes.jsonl (v2.x)."""
    found = added.rewards.get(line[EPISODE])
    return {**line, added.column: found.reward} if found else line


def _with_statistics(line: dict[str, Any], counts: Mapping[int, int], added: Added) -> dict[str, Any]:
    """A line of meta/episodes_stats.jsonl (v2.1); LeRobot accepts that episodes without a reward have none of it."""
    values = added.values(line[EPISODE], counts.get(line[EPISODE], 0))
    keys = next((list(feature) for feature in line["stats"].values()), [])
    found = {name: stats for name in added.names if (stats := statistics(values[name], keys))}
    return {**line, "stats": {**added.renamed(line["stats"]), **found}}


def statistics(values: np.ndarray, keys: Iterable[str]) -> dict[str, list[Any]]:
    """LeRobot's statistics of one number per row, without nan; {} where nothing else is left.

    Args:
        keys: Those that the dataset's other features have; `q01` is the quantile 0.01.
    """
    values = values[np.isfinite(values)].astype(np.float64)
    if not len(values):
        return {}
    quantiles = [key for key in keys if key[:1] == "q" and key[1:].isdigit()]
    moments = {"min": values.min(), "max": values.max(), "mean": values.mean(), "std": values.std()}
    found = moments | {key: np.quantile(values, int(key[1:]) / 100) for key in quantiles}
    return {key: [round(float(value), 6)] for key, value in found.items()} | {"count": [len(values)]}


def _read_table(path: Path, added: Added) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise BadInput(path, "", f"cannot be read as parquet: {error}") from None
    if EPISODE not in table.column_names:
        raise BadInput(path, EPISODE, "the column is missing")
    check_free(path, table.column_names, added)
    return table.rename_columns([added.kept(name) for name in table.column_names])


def _write_lines(source: Path, target: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    try:
        changed = [change(line) for line in read_jsonl(source)]
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(source, "", f"is not JSON Lines of episodes: {error!r}") from None
    # not `write_jsonl`, which would change nan in the dataset's own figures
    target.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in changed), encoding="utf-8")


def write_progress(folder: Path, column: str) -> None:
    """Write `PROGRESS` into `folder`, a LeRobot dataset whose rows have their progress in `column`.

    Raises:
        BadInput: a data file lacks one of the columns that LeRobot numbers rows by.
    """
    parts = []
    for path in sorted((folder / "data").rglob("*.parquet")):
        if missing := [name for name in KEYS if name not in pq.read_schema(path).names]:
            raise BadInput(path, missing[0], "the column is missing", fix="LeRobot numbers rows by it.")
        parts.append(pq.read_table(path, columns=[*KEYS, column]))
    table = pa.concat_tables(parts).rename_columns([*KEYS, "progress_sparse"]).sort_by("index")
    if table.column("index").to_pylist() != list(range(table.num_rows)):
        raise BadInput(folder / "data", "index", "expected 0, 1, 2, … over all files: LeRobot finds rows by it")
    with replacing(folder / PROGRESS) as temporary:
        pq.write_table(table.cast(_progress_schema(table)), temporary, compression="zstd")


def _progress_schema(table: pa.Table) -> pa.Schema:
    """Whole numbers as int64 and progress as float32, as LeRobot's own scripts write them."""
    kinds = {name: pa.int64() for name in KEYS}
    return pa.schema([(name, kinds.get(name, pa.float32())) for name in table.column_names])
