"""`robopref init DATA` asks nothing: it writes what it found, says what is missing, and reads data where they are."""

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from format_maker import make_folder, make_lerobot_v2, make_robomimic, make_robosuite
from hub_maker import REVISION, hub_with
from lerobot_maker import FPS, Made, make_dataset

from importer.pool import read_pool
from importer.pool.inspect import dataset_at, inspect
from importer.pool.overview import overview
from preference.config import Clips
from preference.config_file import load_config
from preference.errors import ConfigError, DataError
from robopref.init import start

EPISODES = [Made(rows=50, still=20, done=40), Made(rows=40, still=15)]


def started(tmp_path, dataset):
    """What `init` found, and the pool that its robopref.toml reads as it is."""
    made = start(tmp_path / "robopref.toml", str(dataset))
    return made, read_pool(load_config(made.path).pool, Clips())


def bare_csv(root):
    """Episodes as a newcomer has them: a video and a table whose columns have names of their own, and nothing else."""
    make_folder(root, {"run 1": EPISODES[0], "run 2": EPISODES[1]}, table="csv")
    for folder in root.iterdir():
        (folder / "meta.json").unlink()
        table = np.genfromtxt(folder / "arrays.csv", delimiter=",", skip_header=1)
        names = "t,x,y,z,cmd_x,cmd_y"
        rows = np.column_stack([np.arange(len(table)) / FPS, table[:, 2:5], table[:, :2]])
        np.savetxt(folder / "arrays.csv", rows, delimiter=",", header=names, comments="")
    return root


@pytest.mark.parametrize("kind", ["v3", "v2", "mimic", "csv"])
def test_what_init_writes_reads_every_episode_without_an_edit(tmp_path, kind):
    root = tmp_path / "my data" / ("d.hdf5" if kind == "mimic" else "d")
    makers = {"v3": make_dataset, "v2": make_lerobot_v2, "mimic": make_robomimic}
    makers[kind](root, EPISODES) if kind in makers else bare_csv(root)
    before = sorted((str(f), f.stat().st_mtime_ns) for f in root.parent.rglob("*"))
    made, pool = started(tmp_path, root)
    assert pool.failures == [] and len(pool.trajectories) == made.overview.episodes == 2
    assert sorted((str(f), f.stat().st_mtime_ns) for f in root.parent.rglob("*")) == before, (
        "the dataset was written to"
    )


def test_a_table_without_an_action_is_explained_and_guessed(tmp_path):
    root = bare_csv(tmp_path / "d")
    found = inspect(dataset_at(root))
    assert 'action = ["cmd_x", "cmd_y"]' in found.toml and 'effector = ["x", "y", "z"]' in found.toml
    assert 'task_type = "d"' in found.toml
    assert any("No column is called `action`" in note for note in found.notes)
    assert any("task_type" in note for note in found.notes)
    (tmp_path / "robopref.toml").write_text(found.toml)
    episodes = read_pool(load_config(tmp_path / "robopref.toml").pool, Clips()).trajectories
    assert {t.task_type for t in episodes} == {"d"} and all(np.isfinite(t.path_efficiency) for t in episodes)


def test_one_episode_and_tables_side_by_side_say_what_folder_is_expected(tmp_path):
    root = bare_csv(tmp_path / "d")
    with pytest.raises(DataError, match="this is a single episode") as caught:
        inspect(dataset_at(root / "run 1"))
    assert str(root) in caught.value.fix
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in (1, 2):
        (root / f"run {number}" / "arrays.csv").rename(flat / f"ep{number}.csv")
    with pytest.raises(DataError, match="2 tables lie side by side") as caught:
        inspect(dataset_at(flat))
    assert "ep1/ and ep2/" in caught.value.fix


def test_init_says_what_there_is_and_what_good_pairs_lack(tmp_path):
    root = make_lerobot_v2(tmp_path / "d", [Made(rows=30), Made(rows=30)])
    info = json.loads((root / "meta" / "info.json").read_text())
    (root / "meta" / "info.json").write_text(json.dumps({**info, "robot_type": "so100"}))
    lines = [json.loads(line) for line in (root / "meta" / "episodes.jsonl").read_text().splitlines()]
    told = [{**line, "source": "expert"} for line in lines]
    (root / "meta" / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    found = overview(dataset_at(root))
    assert (found.robot, found.sources, found.success) == ("so100", {"expert": 2}, {"failed": 2})
    assert any("expert-only pool gives pairs that are hard to judge" in line for line in found.missing)
    assert any(line.startswith("There are only 2 readable episodes") and "500" in line for line in found.missing)
    assert "fewer than 4 readable episodes: 'reach' (2)." in found.missing[0]
    run = subprocess.run(
        [sys.executable, "-m", "robopref", "init", root], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    for said in ("so100", "expert (2)", "failed (2)", "hard to judge", "robopref pool", "robopref clips"):
        assert said in run.stdout


def test_a_wrist_camera_is_primary_only_where_there_is_no_other(tmp_path):
    path = make_robomimic(tmp_path / "d.hdf5", EPISODES)
    assert "wrist" not in " ".join(overview(dataset_at(path)).missing)
    with h5py.File(path, "a") as file:
        for demo in file["data"].values():
            del demo["obs/agentview_image"]
    assert any("only view is from the wrist" in line for line in overview(dataset_at(path)).missing)
    root = make_lerobot_v2(tmp_path / "l", EPISODES)
    text = (root / "meta" / "info.json").read_text()
    info = json.loads(text)
    key, video = next((k, v) for k, v in info["features"].items() if v["dtype"] == "video")
    info["features"] = {"observation.images.wrist": video, **info["features"]}
    (root / "meta" / "info.json").write_text(json.dumps(info))
    assert f'\ncamera = "{key}"' in inspect(dataset_at(root)).toml


def test_success_is_found_though_the_first_demonstrations_fail_and_dense_rewards_are_not_taken_for_it(tmp_path):
    episodes = [Made(rows=30), Made(rows=30), Made(rows=30, done=20)]
    plain = {"env_name": "Lift", "env_kwargs": {"control_freq": 20}}
    path = make_robomimic(tmp_path / "d.hdf5", episodes, env_args=plain)
    assert overview(dataset_at(path)).success == {"failed": 2, "succeeded": 1}
    with h5py.File(path, "a") as file:
        file["data/demo_2/rewards"][...] = np.linspace(0, 1, 30)
    assert overview(dataset_at(path)).success == {"unknown": 3}


def test_a_mistake_is_one_clear_line_and_writes_nothing(tmp_path):
    root = make_lerobot_v2(tmp_path / "kitchen", EPISODES)
    blind = make_robosuite(tmp_path / "states.hdf5", EPISODES)
    (tmp_path / "empty").mkdir()
    for dataset, said in [
        (tmp_path / "kitchn", f"Did you mean {root}"),
        (blind, "there is nothing to see in this dataset"),
        (tmp_path / "empty", "there is no episode here"),
    ]:
        with pytest.raises(DataError) as caught:
            start(tmp_path / "robopref.toml", str(dataset))
        assert said in str(caught.value)
    assert not (tmp_path / "robopref.toml").exists()
    start(tmp_path / "robopref.toml", str(root))
    with pytest.raises(ConfigError, match="already exists"):
        start(tmp_path / "robopref.toml", str(root))


HERE = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}


def init_of(tmp_path, name, **environment):
    return subprocess.run(
        [sys.executable, "-m", "robopref", "init", name], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**os.environ, **HERE, "HF_HOME": str(tmp_path / "hub"), **environment}, check=False,
    )  # fmt: skip


def test_a_dataset_of_the_hub_is_fetched_and_read_through_the_links_of_its_cache(tmp_path):
    pytest.importorskip("huggingface_hub", reason="pip install 'robopref[ml]'")
    root = make_lerobot_v2(tmp_path / "d", EPISODES)
    with hub_with("lab/kitchen", root) as address:
        missing = init_of(tmp_path, "lab/kitchn", HF_ENDPOINT=address)
        run = init_of(tmp_path, "lab/kitchen", HF_ENDPOINT=address)
        assert run.returncode == 0, run.stderr
    assert "no dataset of that name on the Hugging Face hub" in missing.stderr and "Traceback" not in missing.stderr
    config = load_config(tmp_path / "robopref.toml")
    assert config.pool.dataset[0].name == "kitchen" and config.pool.dataset[0].path.name == REVISION
    assert any(file.is_symlink() for file in config.pool.dataset[0].path.rglob("*"))
    pool = read_pool(config.pool, Clips())
    assert len(pool.trajectories) == 2 and pool.failures == []


def test_a_hub_that_cannot_be_reached_is_one_sentence(tmp_path):
    pytest.importorskip("huggingface_hub", reason="pip install 'robopref[ml]'")
    run = init_of(tmp_path, "lab/kitchen", HF_ENDPOINT="http://127.0.0.1:1")
    assert run.returncode == 1 and "the Hugging Face hub cannot be reached" in run.stderr
    assert "Traceback" not in run.stderr and not (tmp_path / "robopref.toml").exists()


def test_an_hdf5_file_and_a_folder_inside_a_revision_are_read_and_other_links_are_not(tmp_path):
    repository = tmp_path / "datasets--lab--mix"
    revision, blobs = repository / "snapshots" / REVISION, repository / "blobs"
    revision.mkdir(parents=True)
    blobs.mkdir()
    make_robomimic(tmp_path / "demo.hdf5", EPISODES).rename(blobs / ("a" * 40))
    (revision / "demo.hdf5").symlink_to(f"../../blobs/{'a' * 40}")
    assert overview(dataset_at(revision / "demo.hdf5")).episodes == 2
    inner = make_lerobot_v2(revision / "set", EPISODES)
    data = inner / "data" / "chunk-000" / "episode_000000.parquet"
    data.rename(blobs / ("b" * 40))
    data.symlink_to(blobs / ("b" * 40))
    assert overview(dataset_at(inner)).read == 2
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    assert overview(dataset_at(inner)).read == 1, "blobs itself is a link, so it may lead anywhere"
