"""`robopref pool inspect` shows what is there and what was guessed, and its TOML can be pasted as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from format_maker import make_folder, make_lerobot_v2, make_robomimic, make_robosuite, v2_video
from lerobot_maker import CAMERA, FPS, Made, make_dataset

from importer.pool import read_pool
from importer.pool.inspect import dataset_at, inspect
from preference.config import Clips
from preference.config_file import load_config
from preference.errors import DataError

ROBOPREF = Path(sys.executable).with_name("robopref")
EPISODES = [Made(rows=50, still=20, done=40), Made(rows=40, still=15)]


def made_as(kind: str, root: Path) -> Path:
    makers = {"v3": make_dataset, "v2": make_lerobot_v2, "mimic": make_robomimic, "suite": make_robosuite}
    if kind == "folder":
        return make_folder(root / "d", {"one": EPISODES[0]})
    return makers[kind](root / ("d" if kind.startswith("v") else "d.hdf5"), EPISODES)


@pytest.mark.parametrize("kind", ["v3", "v2", "mimic", "suite", "folder"])
def test_the_pasted_lines_read_the_dataset_as_it_was_guessed(tmp_path: Path, kind: str) -> None:
    root = made_as(kind, tmp_path)
    found = inspect(dataset_at(root))
    uncommented = "\n".join(line.removeprefix("# ") for line in found.toml.splitlines() if "success = true" not in line)
    for number, text in enumerate((found.toml, uncommented)):
        path = tmp_path / f"robopref-{number}.toml"
        path.write_text(text)
        result = read_pool(load_config(path).pool, Clips())
        assert result.failures == [] and len(result.trajectories) == found.episodes
    guessed = {role.name: role.place for role in found.roles if role.guessed and role.place}
    assert {"action", "state"} <= set(guessed)


def test_each_role_shows_where_it_is_and_what_the_first_episode_has_there(tmp_path: Path) -> None:
    found = inspect(dataset_at(make_dataset(tmp_path / "d", EPISODES)))
    roles = {role.name: role for role in found.roles}
    assert (found.format, found.episodes, found.fps) == ("LeRobot v3.0", 2, FPS)
    assert (roles["camera"].place, roles["camera"].found) == (CAMERA, f"h264, 160x120, {FPS} frames a second")
    assert (roles["gripper"].place, roles["gripper"].found) == ("observation.gripper", "0 to 1")
    assert roles["effector"].place == "hand_x, hand_y, hand_z" and "travelled" in roles["effector"].found
    assert (roles["success"].place, roles["success"].found) == ("success", "true")
    assert roles["force"].place == "" and "# force = " in found.toml and "not found" in found.toml


def test_what_no_episode_says_is_guessed_although_the_first_episode_is_broken(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"a": EPISODES[0], "b": EPISODES[1]})
    np.savez(root / "a" / "arrays.npz", action=np.full((50, 2), np.nan))
    for meta in root.glob("*/meta.json"):
        meta.unlink()
    found = inspect(dataset_at(root))
    assert found.dataset.task_type == "d" and "correct task_type" in found.notes[0]


def test_a_task_is_not_guessed_for_all_where_only_the_first_episode_does_not_say_it(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"a": EPISODES[0], "b": EPISODES[1]})
    (root / "a" / "meta.json").unlink()
    assert inspect(dataset_at(root)).dataset.task_type == ""


def test_a_gripper_that_was_not_recognized_is_proposed(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"one": EPISODES[0]})
    np.savez(root / "one" / "arrays.npz", action=np.zeros((50, 2)), gripper_width=np.linspace(0, 0.08, 50))
    assert 'perhaps "gripper_width", with gripper_range' in inspect(dataset_at(root)).toml


def test_a_name_in_the_data_writes_no_settings(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"one": EPISODES[0]})
    evil = 'grip"\n[label_studio]\nurl = "http://evil.example"\n# \x7f'
    np.savez(root / "one" / "arrays.npz", **{"action": np.zeros((50, 2)), evil: np.linspace(0, 0.08, 50)})
    path = tmp_path / "robopref.toml"
    path.write_text(inspect(dataset_at(root)).toml, encoding="utf-8")
    assert load_config(path).label_studio.url != "http://evil.example"
    assert "evil.example" in path.read_text(encoding="utf-8"), "the column is proposed, on one line"


def test_a_first_episode_that_is_missing_is_said_and_the_next_is_shown(tmp_path: Path) -> None:
    root = make_lerobot_v2(tmp_path / "d", EPISODES)
    v2_video(root, 0).unlink()
    found = inspect(dataset_at(root))
    assert any("the video is missing" in note for note in found.notes)
    assert {role.name: role.found for role in found.roles}["action"] == "40 rows of 2"


def test_the_command_puts_toml_on_stdout_and_tables_on_stderr(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "d", EPISODES)
    done = subprocess.run([ROBOPREF, "pool", "inspect", root], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[[pool.dataset]]\npath = ") and "What Robopref uses" in done.stderr
    (tmp_path / "robopref.toml").write_text(done.stdout)
    assert load_config(tmp_path / "robopref.toml").pool.dataset[0].path == root.resolve()
    done = subprocess.run([ROBOPREF, "pool", "inspect", root, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["episodes"] == 2
    assert not list(tmp_path.glob("work*")), "inspecting wrote something"


def test_what_is_no_dataset_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not found"):
        dataset_at(tmp_path / "nowhere")
    done = subprocess.run([ROBOPREF, "pool", "inspect", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "there is no episode here" in done.stderr and "Traceback" not in done.stderr
