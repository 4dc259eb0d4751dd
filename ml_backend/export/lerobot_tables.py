"""The tables of a LeRobot dataset with two columns more: parquet, info.json and statistics in, the same files out.

LeRobot's loader wants each feature of info.json as a column of the data, each column declared there, and statistics
for each: per dataset in meta/stats.json, per episode in meta/episodes (v3.0) or meta/episodes_stats.jsonl (v2.1).
A feature of shape [1] has to be a plain number; recorders that wrote lists of one number get them unwrapped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from importer.pool.episode import BadInput
from ml_backend.export.rewards import Rewarded

if TYPE_CHECKING:
    import pyarrow as pa

EPISODE = "episode_index"


@dataclass(frozen=True)
class Added:
    """What is added: the rewards of a dataset's episodes, and what its columns are called."""

    column: str
    """The episode's reward, on each of its rows; the reward up to a row is in `COLUMN_so_far`."""
    rewards: Mapping[int, Rewarded]
    """episode_index → its rewards; rows and episodes without have nan."""

    @property
    def so_far(self) -> str:
        return f"{self.column}_so_far"

    @property
    def names(self) -> tuple[str, str]:
        return self.column, self.so_far

    def values(self, episode_index: int, rows: int) -> dict[str, np.ndarray]:
        """Both columns of one episode, (rows,) float32."""
        found = self.rewards.get(episode_index)
        if found is None:
            return {name: np.full(rows, np.nan, np.float32) for name in self.names}
        return {self.column: np.full(rows, found.reward, np.float32), self.so_far: found.per_row(rows)}


def check_free(info: Mapping[str, Any], file: Path, added: Added) -> None:
    """
    Raises:
        BadInput: the dataset has a column of that name already.
    """
    if taken := [name for name in added.names if name in info["features"]]:
        reason = f"the dataset has a feature {taken[0]!r} already"
        raise BadInput(file, "features", reason, fix="Name another column with --column.")


def with_features(info: Mapping[str, Any], added: Added) -> dict[str, Any]:
    """info.json with the added features declared as the others are."""
    feature: dict[str, Any] = {"dtype": "float32", "shape": [1], "names": None}
    rates = {f["fps"] for f in info["features"].values() if "fps" in f}
    if rates:
        feature["fps"] = rates.pop()
    return {**info, "features": {**info["features"], **dict.fromkeys(added.names, feature)}}


def write_data(source: Path, target: Path, info: Mapping[str, Any], added: Added) -> dict[int, int]:
    """Write one data file with the added columns, a row group at a time; returns episode_index → its rows.

    Raises:
        BadInput: the file is broken, has no column `episode_index`, or has a column of the added names.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = {name for name, f in info["features"].items() if list(f.get("shape") or []) == [1]}
    try:
        with pq.ParquetFile(source) as file:
            _check_columns(source, file.schema_arrow.names, added)
            episodes = file.read(columns=[EPISODE]).column(EPISODE).to_numpy()
            columns, counts = _columns(episodes, added)
            codec = file.metadata.row_group(0).column(0).compression.lower() if file.metadata.num_row_groups else "zstd"
            writer, start = None, 0
            try:
                for group in range(file.metadata.num_row_groups):
                    table = _unwrapped(file.read_row_group(group), plain)
                    for name in added.names:
                        table = table.append_column(name, pa.array(columns[name][start : start + len(table)]))
                    start += len(table)
                    codec = "none" if codec == "uncompressed" else codec
                    writer = writer or pq.ParquetWriter(target, table.schema, compression=codec)
                    writer.write_table(table, row_group_size=max(1, len(table)))
            finally:
                if writer:
                    writer.close()
    except (pa.ArrowException, OSError) as error:
        raise BadInput(source, "", f"cannot be read as parquet: {error}") from None
    return counts


def _check_columns(file: Path, names: Iterable[str], added: Added) -> None:
    names = list(names)
    if EPISODE not in names:
        raise BadInput(file, EPISODE, "the column is missing")
    if taken := [name for name in added.names if name in names]:
        raise BadInput(file, taken[0], "the column is there already", fix="Name another column with --column.")


def _columns(episodes: np.ndarray, added: Added) -> tuple[dict[str, np.ndarray], dict[int, int]]:
    """The added columns of a whole file, and how many rows each of its episodes has."""
    columns = {name: np.full(len(episodes), np.nan, np.float32) for name in added.names}
    counts = {}
    for index in np.unique(episodes).tolist():
        rows = np.flatnonzero(episodes == index)
        counts[int(index)] = len(rows)
        for name, values in added.values(int(index), len(rows)).items():
            columns[name][rows] = values
    return columns, counts


def _unwrapped(table: pa.Table, plain: set[str]) -> pa.Table:
    """Lists of one number become the number, where info.json says that one number is what there is."""
    import pyarrow as pa
    from pyarrow.compute import call_function

    for place, field in enumerate(table.schema):
        if field.name in plain and (pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type)):
            table = table.set_column(place, field.name, call_function("list_element", [table.column(place), 0]))
    return table


def statistics(values: np.ndarray, keys: Iterable[str]) -> dict[str, list[Any]]:
    """LeRobot's statistics of one number per row, nan left out; {} where nothing else is left.

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


def write_stats(source: Path, target: Path, counts: Mapping[int, int], added: Added) -> None:
    """meta/stats.json with the added features."""
    stats = _read_json(source)
    keys = next((list(feature) for feature in stats.values() if isinstance(feature, dict)), [])
    whole = [added.values(index, rows) for index, rows in sorted(counts.items())]
    for name in added.names:
        if found := statistics(np.concatenate([part[name] for part in whole]), keys):
            stats[name] = found
    target.write_text(json.dumps(stats, indent=4) + "\n", encoding="utf-8")


def write_episodes(source: Path, target: Path, counts: Mapping[int, int], added: Added) -> None:
    """A file of meta/episodes (v3.0): the reward of each episode, and its statistics where the others have some."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(source)
    except (pa.ArrowException, OSError) as error:
        raise BadInput(source, "", f"cannot be read as parquet: {error}") from None
    _check_columns(source, table.column_names, added)
    keys = list(dict.fromkeys(name.rpartition("/")[2] for name in table.column_names if name.startswith("stats/")))
    indices = table.column(EPISODE).to_pylist()
    rewards = [added.rewards[i].reward if i in added.rewards else None for i in indices]
    table = table.append_column(added.column, pa.array(rewards, pa.float64()))
    own = [added.values(i, counts.get(i, 0)) for i in indices]
    for name in added.names if keys else ():
        rows = [statistics(values[name], keys) for values in own]
        for key in keys:
            kind = pa.list_(pa.int64() if key == "count" else pa.float64())
            table = table.append_column(f"stats/{name}/{key}", pa.array([row.get(key) for row in rows], kind))
    pq.write_table(table, target, compression="zstd")


def write_episode_lines(source: Path, target: Path, added: Added) -> None:
    """meta/episodes.jsonl (v2.x): the reward of each episode that has one."""

    def rewarded(line: dict[str, Any]) -> dict[str, Any]:
        found = added.rewards.get(line[EPISODE])
        return {**line, added.column: found.reward} if found else line

    _write_lines(source, target, rewarded)


def write_episode_stats(source: Path, target: Path, counts: Mapping[int, int], added: Added) -> None:
    """meta/episodes_stats.jsonl (v2.1): an episode without a reward gets no statistics of it, and LeRobot copes."""

    def described(line: dict[str, Any]) -> dict[str, Any]:
        values = added.values(line[EPISODE], counts.get(line[EPISODE], 0))
        keys = next((list(feature) for feature in line["stats"].values()), [])
        found = {name: statistics(values[name], keys) for name in added.names}
        return {**line, "stats": {**line["stats"], **{name: stats for name, stats in found.items() if stats}}}

    _write_lines(source, target, described)


def _write_lines(source: Path, target: Path, change: Any) -> None:
    try:
        lines = [json.loads(text) for text in source.read_text(encoding="utf-8").splitlines() if text.strip()]
        written = [json.dumps(change(line), ensure_ascii=False) + "\n" for line in lines]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(source, "", f"cannot be read as JSON Lines of episodes: {error!r}") from None
    target.write_text("".join(written), encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(path, "", f"cannot be read as JSON: {error}") from None
