"""What cannot be read of a dataset is one clear line each, and the others are done."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from format_maker import (
    EPISODES,
    make_folder,
    make_lerobot_v2,
    make_robomimic,
    only_failure,
    pictures,
    pool_of,
    v2_video,
)
from lerobot_maker import Made, write_video

from importer.clips.build import build_clips
from importer.pool import build_pool
from preference.workspace import Workspace


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda root: v2_video(root, 0).unlink(), "the video is missing"),
        (lambda root: (root / "videos").rename(root / "video"), "the folder is called 'video'"),
        (lambda root: cut(v2_video(root, 0)), "cannot be opened as a video"),
        (lambda root: v2_video(root, 0).write_bytes(b""), "cannot be opened as a video"),
        (lambda root: write_video(v2_video(root, 0), 20), "frames reach 1.00 s"),
        (lambda root: write_video(v2_video(root, 0), 90), "4.50 s of video for 2.50 s of rows"),
        (lambda root: (root / "meta" / "episodes.jsonl").write_text(""), "no episodes are listed"),
        (lambda root: (root / "meta" / "episodes.jsonl").write_text("{}\n"), "line 1"),
        (lambda root: (root / "meta" / "episodes.jsonl").unlink(), "the file is missing"),
        (lambda root: edit(root, "episodes.jsonl", lambda text: text * 2), "listed twice"),
        (lambda root: edit(root, "info.json", lambda text: ""), "cannot be read as JSON"),
        (lambda root: edit(root, "info.json", lambda text: text.replace("data/ch", "../data/ch")), "leads out of"),
        (lambda root: rows(root, lambda t: t.slice(0, 0)), "has no rows"),
        (lambda root: rows(root, lambda t: t.drop_columns(["action"])), "the column is missing"),
        (lambda root: rows(root, with_nan), "row 7 of the episode is not finite"),
    ],
)  # fmt: skip
def test_a_broken_lerobot_v2_episode_is_one_clear_line_and_the_others_are_done(tmp_path, break_it, said) -> None:
    root = make_lerobot_v2(tmp_path / "d", EPISODES)
    break_it(root)
    result = pool_of(root)
    assert said in str(result.failures[0]) and all("\n" not in str(f) for f in result.failures)
    if result.failures[0].episode_index == 0 and "folder" not in said and "leads" not in said:
        assert [t.episode_index for t in result.trajectories] == [1]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1500])


def edit(root: Path, name: str, change) -> None:
    file = root / "meta" / name
    file.write_text(change(file.read_text()))


def rows(root: Path, change) -> None:
    file = root / "data" / "chunk-000" / "episode_000000.parquet"
    pq.write_table(change(pq.read_table(file)), file)


def with_nan(table):
    import pyarrow as pa

    values = np.stack(table.column("action").to_pylist()).astype(np.float32)
    values[7, 0] = np.nan
    return table.set_column(table.column_names.index("action"), "action", pa.array(list(values)))


def test_an_episode_of_one_row_is_an_episode_and_a_clip(tmp_path: Path) -> None:
    make_lerobot_v2(tmp_path / "d", [Made(rows=1, still=0)])
    (tmp_path / "robopref.toml").write_text('workers = 1\n[[pool.dataset]]\npath = "d"\n')
    ws = Workspace.open(tmp_path / "robopref.toml")
    result = build_pool(ws)
    (t,) = result.trajectories
    assert result.failures == [] and t.num_frames == 1 and math.isnan(t.smoothness)
    assert build_clips(ws).rendered == 1


def test_a_robot_that_never_acts_is_shown_from_the_start(tmp_path: Path) -> None:
    (t,) = pool_of(make_lerobot_v2(tmp_path / "d", [Made(rows=40, still=40)])).trajectories
    assert t.start_s == 0.0 and t.end_s == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda file: file.__delitem__("data"), "expected a group `data` with demonstrations, found nothing"),
        (lambda file: [file["data"].__delitem__(name) for name in list(file["data"])], "contains no demonstrations"),
        (lambda file: file["data"].attrs.__delitem__("env_args"), "do not give the number of rows per second"),
        (lambda file: file["data/demo_0"].__delitem__("actions"), "actions: the column is missing"),
        (lambda file: replaced(file, "actions", np.zeros((50, 0))), "it has no dimensions"),
        (lambda file: replaced(file, "actions", np.zeros((0, 2))), "the episode has no rows"),
        (lambda file: replaced(file, "actions", np.full((50, 2), np.nan)), "row 0 of the episode is not finite"),
        (lambda file: replaced(file, "actions", np.full((50, 2), b"x")), "expected numbers"),
        (lambda file: replaced(file, "obs/robot0_eef_pos", np.zeros((49, 3))), "it has 49 rows, the action has 50"),
        (lambda file: file["data/demo_0/obs"].__delitem__("agentview_image"), "the images are missing"),
        (lambda file: replaced(file, "obs/agentview_image", pictures(49)), "49 frames for 50 rows"),
        (lambda file: replaced(file, "obs/agentview_image", np.zeros((50, 60, 80, 3), "i2")), "expected (T, H, W, 3)"),
        (lambda file: replaced(file, "obs/agentview_image", np.zeros((50, 60, 80, 7), "u1")), "expected an image"),
        (lambda file: replaced(file, "obs/robot0_gripper_qpos", np.full((50, 2), 3.0)), "expected 0.04 (open) to 0"),
    ],
)  # fmt: skip
def test_a_broken_robomimic_file_is_one_clear_line(tmp_path: Path, break_it, said: str) -> None:
    path = make_robomimic(tmp_path / "d.hdf5", EPISODES)
    with h5py.File(path, "a") as file:
        break_it(file)
    result = pool_of(path)
    assert said in str(result.failures[0]) and all("\n" not in str(f) for f in result.failures)
    if result.failures[0].episode_index == 0 and "rows per second" not in said:
        assert [t.episode_index for t in result.trajectories] == [1]


def replaced(file, name: str, values: np.ndarray) -> None:
    del file[f"data/demo_0/{name}"]
    file[f"data/demo_0/{name}"] = values


@pytest.mark.parametrize(("content", "said"), [(b"", "it is empty"), (b"no hdf5", "cannot be read as HDF5")])
def test_an_empty_or_foreign_hdf5_is_one_clear_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "d.hdf5").write_bytes(content)
    assert said in only_failure(tmp_path / "d.hdf5").reason


def test_an_hdf5_cut_off_is_one_clear_line(tmp_path: Path) -> None:
    path = make_robomimic(tmp_path / "d.hdf5", EPISODES)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cannot be read as HDF5" in only_failure(path).reason


def test_a_folder_of_hdf5_files_says_to_name_one(tmp_path: Path) -> None:
    make_robomimic(tmp_path / "d" / "image.hdf5", EPISODES)
    assert "image.hdf5" in only_failure(tmp_path / "d").reason


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda a: (a / "arrays.npz").unlink(), "expected one array file"),
        (lambda a: np.savez(a / "more.npz", action=np.zeros((60, 2))), "found arrays.npz, more.npz"),
        (lambda a: (a / "arrays.npz").write_bytes(b"PK"), "cannot be read as npz"),
        (lambda a: (a / "arrays.npz").write_bytes(b""), "cannot be read as npz: it is damaged"),
        (lambda a: (a / "arrays.npz").write_text("hi"), "cannot be read as npz: it is damaged"),
        (
            lambda a: np.save((a / "arrays.npz").open("wb"), np.zeros(3)),
            "cannot be read as npz: it is damaged, not an npz",
        ),
        (lambda a: np.savez(a / "arrays.npz", action=np.array([{}], dtype=object)), "expected numbers in T rows"),
        (lambda a: np.savez(a / "arrays.npz", state=np.zeros((60, 2))), "action: the column is missing"),
        (lambda a: np.savez(a / "arrays.npz", action=np.zeros((60, 2)), state=np.zeros((9, 4))), "it has 9 rows"),
        (lambda a: (a / "meta.json").write_text("{"), "cannot be read as JSON"),
        (lambda a: (a / "meta.json").write_text('{"task_type": "x", "fps": "fast"}'), "expected a number above 0"),
        (lambda a: (a / "meta.json").write_text("{}"), "has no task"),
        (lambda a: (a / "front.mp4").unlink(), "'front' is missing; found none"),
    ],
)
def test_a_broken_folder_is_one_clear_line_and_the_others_are_done(tmp_path: Path, break_it, said: str) -> None:
    root = make_folder(tmp_path / "d", {"a": Made(), "b": Made()})
    break_it(root / "a")
    failure = only_failure(root)
    assert said in str(failure) and failure.episode_index == 0


def test_an_episode_without_a_task_is_named_by_its_file(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"a": Made(), "b": Made()})
    (root / "a" / "meta.json").write_text("{}")
    failure = only_failure(root)
    assert (failure.file, failure.field) == (str(root / "a" / "arrays.npz"), "task_type")


@pytest.mark.parametrize("count", [1, 3])
def test_a_folder_without_one_good_episode_says_how_many_were_tried_and_why_the_first_failed(tmp_path, count) -> None:
    make_folder(tmp_path, {f"e{i}": EPISODES[0] for i in range(count)})
    for file in tmp_path.glob("*/*.npz"):
        file.write_bytes(b"no archive")
    failure = only_failure(tmp_path)
    assert failure.file == str(min(tmp_path.glob("*/*.npz"))) and "cannot be read as npz" in failure.reason
    assert failure.reason.startswith("none of 3 episodes could be read; this one: ") == (count == 3)


def test_an_empty_folder_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert "expected a meta/info.json (LeRobot), or folders" in only_failure(tmp_path / "d").reason
    (tmp_path / "f.txt").write_text("x")
    assert "expected a folder or an HDF5 file" in only_failure(tmp_path / "f.txt").reason


def test_a_missing_gripper_is_unknown_and_no_failure(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"a": Made()})
    np.savez(root / "a" / "arrays.npz", action=np.zeros((60, 2)))
    (t,) = pool_of(root).trajectories
    assert math.isnan(t.grasp_stability) and t.success is None and math.isnan(t.path_efficiency)
