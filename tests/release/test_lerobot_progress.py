"""Progress in LeRobot's layout: a row for each of the dataset's, in its order, nan where the model says nothing."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from export_maker import make_workspace
from lerobot_maker import Made, make_dataset

from ml_backend.reward.model import RewardModel
from preference.config import Dataset
from preference.errors import DataError
from release.lerobot import MARKER, export_lerobot
from release.lerobot_tables import PROGRESS, write_progress


def data_file(folder, number, first, episodes, progress, **more):
    """Rows from `first` on, of `episodes`, two each."""
    rows = np.arange(first, first + 2 * len(episodes))
    columns = {
        "index": rows, "episode_index": np.repeat(episodes, 2), "frame_index": rows % 2,
        "reward_progress": np.array(progress, np.float32), **more,
    }  # fmt: skip
    path = folder / "data" / "chunk-000" / f"file-{number:03d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def test_every_row_of_every_file_is_there_in_order(tmp_path):
    data_file(tmp_path, 1, 4, [2], [np.nan, np.nan])
    data_file(tmp_path, 0, 0, [0, 1], [0.0, 1.0, 0.25, 0.5])
    write_progress(tmp_path, "reward_progress")
    table = pq.read_table(tmp_path / PROGRESS)
    assert table.column_names == ["index", "episode_index", "frame_index", "progress_sparse"]
    assert [str(kind) for kind in table.schema.types] == ["int64", "int64", "int64", "float"]
    assert table.column("index").to_pylist() == [0, 1, 2, 3, 4, 5]
    assert table.column("episode_index").to_pylist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(table.column("progress_sparse"), [0.0, 1.0, 0.25, 0.5, np.nan, np.nan])


def test_rows_that_lerobot_could_not_find_are_one_clear_error(tmp_path):
    path = data_file(tmp_path, 0, 5, [0], [0.0, 1.0])
    with pytest.raises(DataError, match="index: expected 0, 1, 2"):
        write_progress(tmp_path, "reward_progress")
    pq.write_table(pq.read_table(path).drop_columns(["frame_index"]), path)
    with pytest.raises(DataError, match="frame_index: the column is missing"):
        write_progress(tmp_path, "reward_progress")
    assert not (tmp_path / PROGRESS).exists()


def test_an_export_brings_it_where_the_model_knows_progress_and_knows_it_as_its_own(tmp_path):
    make_dataset(tmp_path / "tiny", [Made(rows=40), Made(rows=30)])
    ws = make_workspace(tmp_path / "work", Dataset(path=tmp_path / "tiny", name="tiny"))
    plain = export_lerobot(ws, tmp_path / "plain")
    assert not (plain.path / PROGRESS).exists(), "a model without progress"
    file = ws.models / "rm-0001" / "model.pt"
    model = RewardModel.load(file)
    model.add_outcomes(model.make_outcomes(("progress", "success"), torch.Generator().manual_seed(0)))
    model.save(file)
    made = export_lerobot(ws, tmp_path / "out")
    found = pq.read_table(made.path / PROGRESS)
    rows = pa.concat_tables([pq.read_table(p) for p in sorted((made.path / "data").rglob("*.parquet"))])
    assert found.column("progress_sparse").to_pylist() == rows.column("reward_progress").to_pylist()
    assert found.num_rows == 70 and PROGRESS in json.loads((made.path / MARKER).read_text())["files"]
    assert export_lerobot(ws, tmp_path / "out").unchanged
    (made.path / PROGRESS).unlink()
    assert not export_lerobot(ws, tmp_path / "out").unchanged and (made.path / PROGRESS).is_file()
    ws.store.close()
