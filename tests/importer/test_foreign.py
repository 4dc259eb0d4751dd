"""Formats without a reader are named, with what converts them, instead of read as something else."""

import pytest

from importer.pool.dataset import foreign_format
from importer.pool.inspect import dataset_at, inspect
from preference.errors import DataError


@pytest.mark.parametrize(
    ("file", "name", "fix"),
    [
        ("droid/1.0.0/droid-train.tfrecord-00000-of-00002", "RLDS", "port_droid.py"),
        ("set/default/1.0.0/set-train.array_record-00000-of-00001", "RLDS", "port_droid.py"),
        ("run.bag", "a ROS bag", "mcap convert"),
        ("pusht.zarr/.zgroup", "Zarr", "package zarr"),
    ],
)
def test_a_format_without_a_reader_is_named_with_what_converts_it(tmp_path, file, name, fix):
    path = tmp_path / "data" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x89MCAP0\r\n")
    for place in (tmp_path / "data", path):
        if place == path and path.name == ".zgroup":
            continue
        with pytest.raises(DataError, match=f"this is {name}, which Robopref does not read") as refused:
            inspect(dataset_at(place))
        assert fix in refused.value.fix and str(place) in str(refused.value)


def test_what_is_read_here_is_none_of_them(tmp_path):
    (tmp_path / "episode_0").mkdir()
    (tmp_path / "episode_0" / "data.npz").touch()
    assert foreign_format(tmp_path) is None
