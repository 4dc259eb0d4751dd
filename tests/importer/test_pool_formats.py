"""Each format gives the same episodes: arrays, labels, and frames that belong to their rows."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from format_maker import (
    ENV_ARGS,
    EPISODES,
    dataset_at,
    make_folder,
    make_lerobot_v2,
    make_robomimic,
    make_robosuite,
    only_failure,
    pool_of,
)
from lerobot_maker import FPS, Made, number_of
from paths import DATA

from importer.clips.build import build_clips
from importer.pool import build_pool, read_episode, read_pool
from importer.pool.dataset import open_dataset
from importer.pool.episode import VideoSpan
from importer.pool.video import clean_frames
from preference.config import Clips, Pool
from preference.config_file import load_config
from preference.errors import ConfigError
from preference.workspace import Workspace

G1 = DATA / "lerobot_v21_g1"


def made_as(kind: str, root: Path) -> Path:
    if kind == "lerobot_v2":
        return make_lerobot_v2(root, EPISODES)
    if kind == "robomimic":
        return make_robomimic(root / "image.hdf5", EPISODES)
    table, _, frames = kind.partition("+")
    return make_folder(root, {"run 1": EPISODES[0], "run 2": EPISODES[1]}, table=table, frames=bool(frames))


KINDS = ["lerobot_v2", "robomimic", "npz", "parquet", "csv+frames"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_arrays_and_the_frames_of_its_rows(tmp_path: Path, kind: str) -> None:
    root = made_as(kind, tmp_path / "d")
    opened = open_dataset(dataset_at(root))
    episode = opened.read(0)
    assert episode.actions.shape == (50, 2) and episode.actions.dtype == np.float32
    assert episode.effector[-1] == pytest.approx([0.29, 0.0, 0.1], abs=1e-6)
    assert episode.state.shape[0] == 50 and episode.state.dtype == np.float32
    assert episode.time == pytest.approx(np.arange(50) / FPS, abs=1e-5) and episode.fps == pytest.approx(FPS)
    assert episode.gripper[0] == pytest.approx(0.0, abs=1e-6) and episode.gripper[-1] == pytest.approx(1.0)
    assert np.flatnonzero(episode.success_rows)[0] == 40 and episode.success is True
    assert opened.read(1).success is False
    frames, rows = clean_frames(episode, 0.5, 2.4, 5.0, 64)
    assert [number_of(frame) for frame in frames] == rows.tolist() and len(rows) > 8


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_becomes_clips_of_the_trimmed_span(tmp_path: Path, kind: str) -> None:
    import av

    root = made_as(kind, tmp_path / "d")
    settings = f'workers = 1\n[[pool.dataset]]\npath = "{root}"\nname = "tiny"\ntask_type = "reach"\n'
    (tmp_path / "robopref.toml").write_text(settings)
    ws = Workspace.open(tmp_path / "robopref.toml")
    assert build_pool(ws).failures == []
    result = build_clips(ws)
    assert (result.rendered, result.failures) == (2, [])
    t = ws.store.trajectories()[0]
    with av.open(str(ws.root / t.clip)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    episode = read_episode(ws.config.pool, t)
    moving = math.ceil((t.end_s - t.start_s) * 15 - 1e-6)
    numbers = np.array([number_of(frame[60:420]) for frame in shown[:moving]])
    assert np.abs(numbers - np.round((t.start_s + np.arange(moving) / 15) * FPS)).max() <= 1
    assert number_of(shown[-1][60:420]) >= len(episode.time) - 2
    assert build_clips(ws).rendered == 0


def test_robomimic_knows_task_rate_gripper_and_sparse_success_from_its_environment(tmp_path: Path) -> None:
    opened = open_dataset(dataset_at(make_robomimic(tmp_path / "image.hdf5", EPISODES)))
    mapping = opened.reader.mapping
    assert mapping.camera == "obs/agentview_image", "the wrist camera is not the primary one"
    assert str(mapping.gripper) == "obs/robot0_gripper_qpos[0]" and mapping.gripper_range == (0.04, 0.0)
    assert (opened.read(0).task_type, str(mapping.success)) == ("Lift", "rewards")
    assert opened.reader.mapping.names()["state"][:4] == ["robot0_eef_pos[0]", "robot0_eef_pos[1]",
        "robot0_eef_pos[2]", "robot0_gripper_qpos[0]"]  # fmt: skip


def test_robosuite_is_measured_and_says_that_it_has_no_images(tmp_path: Path) -> None:
    result = pool_of(make_robosuite(tmp_path / "demo.hdf5", EPISODES))
    assert result.failures == [] and len(result.trajectories) == 2
    assert {(t.trajectory_id, t.task_type) for t in result.trajectories} == {
        ("tiny-000001", "Door"), ("tiny-000002", "Door")
    }  # fmt: skip
    assert all(math.isfinite(t.smoothness) for t in result.trajectories)
    assert any("no images" in note and "robomimic" in note for note in result.notes)


def test_clips_of_a_dataset_without_images_fail_with_that_reason(tmp_path: Path) -> None:
    make_robosuite(tmp_path / "demo.hdf5", EPISODES)
    (tmp_path / "robopref.toml").write_text('workers = 1\n[[pool.dataset]]\npath = "demo.hdf5"\n')
    ws = Workspace.open(tmp_path / "robopref.toml")
    build_pool(ws)
    result = build_clips(ws)
    assert [f.reason for f in result.failures] == ["the dataset has no images"] * 2


@pytest.mark.skipif(not G1.is_dir(), reason="the Unitree G1 dataset (shared/data) is not on this machine")
def test_the_real_g1_dataset_gives_three_clips_and_one_sentence_about_97_missing_files(tmp_path: Path) -> None:
    import subprocess

    text = f'[[pool.dataset]]\npath = "{G1}"\nsource = "expert"\nsuccess = true\n'
    (tmp_path / "robopref.toml").write_text(text)
    robopref = Path(sys.executable).with_name("robopref")
    pool = subprocess.run([robopref, "pool"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert pool.returncode == 1
    (sentence,) = [line for line in pool.stderr.splitlines() if "data file is missing" in line]
    assert "97 episodes" in sentence
    assert len((tmp_path / "work" / "pool" / "failures.csv").read_text().splitlines()) == 98
    clips = subprocess.run([robopref, "clips"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert clips.returncode == 0 and "3 clips rendered" in clips.stdout
    assert len(list((tmp_path / "work" / "clips").glob("*.mp4"))) == 3


# -- several datasets, and what is said about episodes -------------------------------------------------------------


def test_datasets_of_different_formats_form_one_pool(tmp_path: Path) -> None:
    v2 = dataset_at(make_lerobot_v2(tmp_path / "a", EPISODES), name="a", source="expert", task_type="reach")
    hdf5 = dataset_at(make_robomimic(tmp_path / "b.hdf5", EPISODES), name="b", source="novice", task_type="reach")
    plain = dataset_at(make_folder(tmp_path / "c", {"x": EPISODES[0]}), name="c")
    result = read_pool(Pool(dataset=[v2, hdf5, plain]), Clips())
    assert result.failures == []
    assert [(t.trajectory_id, t.source) for t in result.trajectories] == [
        ("a-000000", "expert"), ("a-000001", "expert"), ("b-000000", "novice"), ("b-000001", "novice"),
        ("c-x", "expert"),
    ]  # fmt: skip
    assert {t.task_type for t in result.trajectories} == {"reach"}
    assert {t.quartile for t in result.trajectories} <= {1, 2, 3, 4}


def test_a_sidecar_file_wins_over_the_data_and_the_data_over_the_entry(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"run 1": Made(done=40), "run 2": Made(), "run 3": Made(success=None)})
    (tmp_path / "labels.csv").write_text("episode,success,source,quality\nrun 1,no,novice,0.25\n1,,scripted,\n")
    opened = open_dataset(dataset_at(root, sidecar=str(tmp_path / "labels.csv"), source="ours", environment_id="lab"))
    first, second, third = (opened.read(i) for i in range(3))
    assert (first.success, first.source, first.quality) == (False, "novice", 0.25)
    assert (second.success, second.source) == (False, "scripted")
    assert (third.source, third.environment_id) == ("expert", "lab")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the column is missing; found an empty file"),
        ("name,success\na,1\n", "episode: the column is missing"),
        ("episode,colour\n0,red\n", "expected one of source, success"),
        ("episode,success\nrun 9,1\n", "row 2, episode: there is no such episode: 'run 9'"),
        ("episode,success\n0,1\nrun 1,1\n", "row 3, episode: the episode appears twice"),
        ("episode,success\n0,perhaps\n", "row 2, success: expected true or false, found 'perhaps'"),
        ("episode,quality\n0,high\n", "row 2, quality: expected a number, found 'high'"),
    ],
)
def test_a_wrong_sidecar_names_its_row_and_column(tmp_path: Path, text: str, said: str) -> None:
    root = make_folder(tmp_path / "d", {"run 1": Made()})
    (tmp_path / "labels.csv").write_text(text)
    assert said in str(only_failure(root, sidecar=str(tmp_path / "labels.csv")))


def test_success_for_a_whole_dataset_comes_from_its_entry(tmp_path: Path) -> None:
    root = make_robomimic(tmp_path / "d.hdf5", EPISODES, env_args={"env_name": "Lift", "env_kwargs": {}})
    with h5py.File(root, "a") as file:  # rewards of 0 and 1 would say it
        for demo in file["data"].values():
            demo["rewards"][...] = 0.5
    assert [t.success for t in pool_of(root, fps=20.0).trajectories] == [None, None]
    assert [t.success for t in pool_of(root, fps=20.0, success=True).trajectories] == [True, True]


def test_the_user_says_which_column_is_what(tmp_path: Path) -> None:
    root = make_robomimic(tmp_path / "d.hdf5", EPISODES)
    with h5py.File(root, "a") as file:
        for name in file["data"]:
            rows = len(file[f"data/{name}/actions"])
            file[f"data/{name}/obs/claw"] = np.linspace(100, 0, rows)
            file[f"data/{name}/obs/wrist_ft"] = np.tile([3.0, 4.0, 0.0, 9.0, 9.0, 9.0], (rows, 1))
            file[f"data/{name}"].attrs["operator"] = b"novice"
            file[f"data/{name}"].attrs["stars"] = 4
    columns = {"gripper": "obs/claw", "gripper_range": [100, 0], "force": "obs/wrist_ft", "source": "operator",
               "quality": "stars", "effector": ["states[0]", "states[1]", "states[2]"], "state": ["states"],
               "camera": "obs/robot0_eye_in_hand_image", "success": "dones"}  # fmt: skip
    episode = open_dataset(dataset_at(root, columns=columns)).read(0)
    assert (episode.gripper[0], episode.gripper[-1]) == (0.0, 1.0)
    assert episode.force.tolist() == [5.0] * 50, "of a wrench the forces count, not the torques"
    assert (episode.source, episode.quality, episode.state.shape) == ("novice", 4.0, (50, 4))
    assert episode.effector[-1] == pytest.approx([0.29, 0.0, 0.1])
    assert not isinstance(episode.video, VideoSpan) and episode.video is not None and episode.video.width == 40


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"gripper": "claw"}, "`gripper` names it, but there are"),
        ({"gripper": "state"}, "expected one number a row, found 4"),
        ({"effector": ["state[0]", "state[1]"]}, "expected three names of numbers"),
        ({"effector": ["state[0]", "state[1]", "state[9]"]}, "`effector` names it"),
        ({"source": "operator"}, "`source` names it, but episodes have"),
        ({"camera": "wrist"}, "there is no video 'wrist'; found front"),
        ({"action": "torque"}, "`action` names it"),
        ({"success": "maybe"}, "`success` names it"),
    ],
)
def test_a_column_that_is_not_there_is_said_with_what_there_is(tmp_path: Path, columns: dict, said: str) -> None:
    assert said in only_failure(make_folder(tmp_path / "d", {"a": Made()}), columns=columns).reason


def test_a_gripper_range_of_one_value_is_refused_with_the_settings(tmp_path: Path) -> None:
    text = '[[pool.dataset]]\npath = "x"\ncolumns = { gripper = "g", gripper_range = [1, 1] }\n'
    (tmp_path / "robopref.toml").write_text(text)
    with pytest.raises(ConfigError, match="two different numbers"):
        load_config(tmp_path / "robopref.toml")


# -- names ---------------------------------------------------------------------------------------------------------


def test_ids_of_folders_are_safe_distinct_and_stay_when_folders_come_and_go(tmp_path: Path) -> None:
    names = ["Lauf 1", "Käse & Brot", "任务一", "任务二", "x" * 200]
    root = make_folder(tmp_path / "d", {name: Made(rows=12, still=3) for name in names})
    result = pool_of(root)
    ids = {t.trajectory_id for t in result.trajectories}
    assert result.failures == [] and len(ids) == 5
    assert {"tiny-lauf-1", "tiny-kase-brot"} <= ids
    assert all(set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and len(key) < 90 for key in ids)
    before = next(t for t in result.trajectories if t.trajectory_id == "tiny-lauf-1")
    make_folder(root, {"Aaa": Made(rows=33, still=3)})
    again = read_episode(Pool(dataset=[dataset_at(root)]), before)
    assert len(again.time) == 12, "another episode was read"
    assert {t.trajectory_id for t in pool_of(root).trajectories} == ids | {"tiny-aaa"}


def test_two_episodes_whose_names_give_one_id_are_told_apart_by_a_failure(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"run 1": Made(), "run-1": Made()})
    result = pool_of(root)
    (failure,) = result.failures
    assert len(result.trajectories) == 1
    assert failure.field == "trajectory_id" and "'run-1' gives the id tiny-run-1" in failure.reason


def test_places_may_shift_in_the_database_while_ids_stay(tmp_path: Path) -> None:
    make_folder(tmp_path / "d", {"b": Made(rows=12), "c": Made(rows=12)})
    (tmp_path / "robopref.toml").write_text('workers = 1\n[[pool.dataset]]\npath = "d"\n')
    ws = Workspace.open(tmp_path / "robopref.toml")
    build_pool(ws)
    make_folder(tmp_path / "d", {"a": Made(rows=12)})
    build_pool(ws)
    assert [(t.trajectory_id, t.episode_index) for t in ws.store.trajectories()] == [("d-a", 0), ("d-b", 1), ("d-c", 2)]


def test_the_hugging_face_cache_with_its_links_is_a_dataset_called_like_its_repository(tmp_path: Path) -> None:
    repository = tmp_path / "datasets--someone--kitchen"
    revision = make_lerobot_v2(repository / "snapshots" / "0123abcd", EPISODES)
    (repository / "blobs").mkdir()
    for number, file in enumerate(p for p in sorted(revision.rglob("*")) if p.is_file()):
        file.rename(repository / "blobs" / f"{number:040x}")
        file.symlink_to(repository / "blobs" / f"{number:040x}")
    (tmp_path / "robopref.toml").write_text(f'[[pool.dataset]]\npath = "{revision}"\n')
    config = load_config(tmp_path / "robopref.toml")
    assert config.pool.dataset[0].name == "kitchen"
    assert read_pool(config.pool, Clips()).failures == []


def test_env_args_of_the_maker_are_robomimics() -> None:
    assert json.loads(json.dumps(ENV_ARGS))["env_kwargs"]["control_freq"] == FPS
