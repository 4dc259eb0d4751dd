"""The source LeRobot dataset with rewards: loadable, complete, made once, and the source as it was.

What lerobot's loader needs is checked on the files themselves: every feature of info.json is a column of each data
file with the type that lerobot casts to, and has statistics. docs/release.md says with which versions of the package
itself the exports were loaded.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from export_maker import add_model, make_workspace
from format_maker import make_lerobot_v2, make_robomimic
from lerobot_maker import Made
from paths import SAMPLE_POOL

from preference.config import Clips, Dataset, Pool
from preference.errors import DataError, NotReady, UserError
from release.lerobot import MARKER, best_of_each, export_lerobot, rewards_of
from release.lerobot_tables import Added, Rewarded, check_free

EPISODES = 40
"""The first two files of the sample pool."""


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Checksum and time of every file."""
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = shutil.copytree(SAMPLE_POOL, tmp_path_factory.mktemp("source") / "sample")
    for path in [*root.glob("data/*/*"), *root.glob("videos/*/*/*")]:
        if path.stem > "file-001":
            path.unlink()
    table = root / "meta/episodes/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(table).slice(0, EPISODES), table)
    return root


@pytest.fixture(scope="module")
def ws(source, tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("v3") / "work", Dataset(path=source, name="sample"))


@pytest.fixture(scope="module")
def exported(ws, source, tmp_path_factory):
    before = contents(source)
    result = export_lerobot(ws, tmp_path_factory.mktemp("out") / "rewarded")
    assert contents(source) == before
    return result


@pytest.fixture(scope="module")
def rewards(ws):
    return rewards_of(ws, ws.store.trajectories())


@pytest.fixture
def v2(tmp_path):
    """Three episodes, of which the pool knows the first two; a fourth is listed and has no files."""
    root = make_lerobot_v2(tmp_path / "g1", [Made(rows=60), Made(rows=50, jerk=0.01), Made(rows=40)], listed=4)
    stats = {"min": [0.0], "max": [1.0], "mean": [0.5], "std": [0.1], "count": [60]}
    lines = [json.dumps({"episode_index": i, "stats": {"action": stats}}) + "\n" for i in range(4)]
    (root / "meta" / "episodes_stats.jsonl").write_text("".join(lines))
    ws = make_workspace(tmp_path / "work", Dataset(path=root, name="g1"))
    gone = [t.trajectory_id for t in ws.store.trajectories() if t.episode_index == 2]
    kept = [t for t in ws.store.trajectories() if t.trajectory_id not in gone]
    ws.store.put_trajectories(kept)
    return ws, root


def table_of(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted((folder / "data").glob("*/*.parquet"))])


def fits_lerobot(folder: Path) -> None:
    """Each feature that is no video is a column of every data file, of the type that lerobot casts it to."""
    info = json.loads((folder / "meta" / "info.json").read_text())
    for path in (folder / "data").glob("*/*.parquet"):
        schema = pq.read_schema(path)
        for name, feature in info["features"].items():
            if feature["dtype"] == "video":
                continue
            kind = schema.field(name).type
            if feature["shape"] == [1]:
                assert str(kind) == feature["dtype"].replace("float32", "float"), (path, name, kind)
            else:
                assert pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind), (path, name, kind)


# -- v3.0 --------------------------------------------------------------------------------------------------------------


def test_every_row_has_the_reward_of_its_episode_and_the_reward_so_far(exported, ws, rewards):
    table = table_of(exported.path).to_pydict()
    episodes = np.array(table["episode_index"])
    assert (exported.episodes, exported.without) == (EPISODES, 0)
    for t in ws.store.trajectories():
        rows = episodes == t.episode_index
        own = rewards[t.trajectory_id]
        step, so_far = (np.array(table[f"reward_{name}"])[rows] for name in ("step", "so_far"))
        assert np.array(table["reward"])[rows] == pytest.approx(own.reward, abs=1e-6)
        assert step.sum() == pytest.approx(own.reward, abs=1e-5)
        assert so_far == pytest.approx(np.cumsum(step), abs=1e-5) and np.ptp(step) > 0
        assert so_far[-1] == pytest.approx(own.reward, abs=1e-5)


def test_the_steps_of_an_episode_sum_to_its_reward_by_the_model(ws, rewards):
    from ml_backend.loop.features import encode_pool
    from ml_backend.reward.model import RewardModel

    model = RewardModel.load(ws.models / "rm-0001" / "model.pt")
    pool = ws.store.trajectories()
    store = encode_pool(ws, pool).placed(model.spec.layout, pool)
    scored = model.score([store[name] for name in rewards])[0]
    assert [own.reward for own in rewards.values()] == pytest.approx(scored, abs=1e-5)


def test_a_steps_reward_is_shared_by_its_rows_and_its_progress_kept_until_the_next():
    own = Rewarded(np.array([2, 4]), np.array([1.0, 3.0]), {"progress": np.array([0.25, 0.5])})
    found = own.per_row(7)
    assert found["step"].tolist() == [0, 0, 0.5, 0.5, 1, 1, 1] and found["so_far"][-1] == own.reward == 4.0
    assert found["progress"].tolist() == [0.25, 0.25, 0.25, 0.25, 0.5, 0.5, 0.5]


def test_info_data_and_statistics_belong_together_as_lerobot_wants_them(exported, source):
    fits_lerobot(exported.path)
    info, stats = (json.loads((exported.path / "meta" / f"{name}.json").read_text()) for name in ("info", "stats"))
    before = json.loads((source / "meta" / "info.json").read_text())
    added = {"dtype": "float32", "shape": [1], "names": None}
    assert info["features"] == {
        **before["features"],
        **dict.fromkeys(("reward", "reward_step", "reward_so_far"), added),
    }
    assert {k: v for k, v in info.items() if k != "features"} == {k: v for k, v in before.items() if k != "features"}
    values = np.array(table_of(exported.path)["reward"])
    assert stats["reward"]["mean"][0] == pytest.approx(values.mean(), abs=1e-5)
    assert stats["reward"]["count"] == [len(values)]
    assert stats["action"] == json.loads((source / "meta" / "stats.json").read_text())["action"]


def test_each_episodes_reward_stands_in_the_episodes_table(exported, ws, rewards):
    rows = pq.read_table(exported.path / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    by_index = {t.episode_index: rewards[t.trajectory_id].reward for t in ws.store.trajectories()}
    assert {row["episode_index"]: row["reward"] for row in rows} == pytest.approx(by_index)
    assert rows[0]["source"]


def test_nothing_else_is_changed_and_videos_take_no_space(exported, source):
    new, old = contents(exported.path), contents(source)
    assert set(new) == {*old, MARKER}
    before, after = table_of(source).to_pydict(), table_of(exported.path).to_pydict()
    unwrapped = {"observation.gripper": [value for (value,) in before["observation.gripper"]]}
    assert {k: v for k, v in after.items() if not k.startswith("reward")} == {**before, **unwrapped}
    video = "videos/observation.images.front/chunk-000/file-001.mp4"
    assert (exported.path / video).samefile(source / video)
    assert exported.linked == 4 and exported.copied == 0


def test_made_again_it_stays_and_a_new_model_makes_it_anew(ws, exported, rewards):
    first = contents(exported.path)
    again = export_lerobot(ws, exported.path)
    assert again.unchanged and contents(exported.path) == first
    add_model(ws, "rm-0002", seed=2)
    try:
        other = export_lerobot(ws, exported.path)
        assert not other.unchanged and other.model == "rm-0002"
        assert contents(exported.path) != first
    finally:
        for record in ws.store.model_versions():
            ws.store.put_model_version(
                type(record).from_dict({**record.to_dict(), "active": record.version == "rm-0001"})
            )


def test_with_copy_no_file_is_shared_with_the_source(ws, source, tmp_path):
    made = export_lerobot(ws, tmp_path / "copied", copy=True)
    assert made.linked == 0 and made.copied == 4
    assert set(contents(made.path)) == {*contents(source), MARKER}
    assert not [p for p in made.path.rglob("*") if p.is_file() and p.stat().st_nlink > 1]


def test_statistics_are_those_that_the_dataset_keeps_per_episode_quantiles_included(tmp_path, ws, source):
    root = shutil.copytree(source, tmp_path / "with-stats")
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    for key in ("min", "max", "mean", "std", "q01", "q99", "count"):
        kind = pa.list_(pa.int64() if key == "count" else pa.float64())
        table = table.append_column(f"stats/action/{key}", pa.array([[1]] * len(table), kind))
    pq.write_table(table, path)
    ws.config.pool.dataset = [Dataset(path=root, name="sample")]
    try:
        made = export_lerobot(ws, tmp_path / "out")
    finally:
        ws.config.pool.dataset = [Dataset(path=source, name="sample")]
    row = pq.read_table(made.path / "meta/episodes/chunk-000/file-000.parquet").to_pylist()[3]
    values = np.array(table_of(made.path)["reward_so_far"])[np.array(table_of(made.path)["episode_index"]) == 3]
    assert row["stats/reward_so_far/q99"][0] == pytest.approx(np.quantile(values, 0.99), abs=1e-5)
    assert row["stats/reward_so_far/count"] == [len(values)]
    assert row["stats/reward/std"] == pytest.approx([0.0], abs=1e-5)


# -- the best ones -----------------------------------------------------------------------------------------------------


def test_the_best_share_is_of_each_task_and_at_least_one_of_it():
    rewards, tasks = [3.0, 1.0, 2.0, 0.0, -5.0, -4.0], ["push"] * 4 + ["pull"] * 2
    assert best_of_each(rewards, tasks, 0.5).tolist() == [True, False, True, False, False, True]
    assert best_of_each(rewards, tasks, 0.01).tolist() == [True, False, False, False, False, True]
    assert best_of_each(rewards, tasks, 1.0).all()


def test_with_best_the_episodes_to_learn_from_have_weight_1_and_are_listed(ws, rewards, tmp_path):
    made = export_lerobot(ws, tmp_path / "out", best=0.3)
    fits_lerobot(made.path)
    trajectories = ws.store.trajectories()
    expected = set()
    for task in {t.task_type for t in trajectories}:
        own = sorted((t for t in trajectories if t.task_type == task), key=lambda t: -rewards[t.trajectory_id].reward)
        expected |= {t.episode_index for t in own[: round(0.3 * len(own))]}
    table = table_of(made.path).to_pydict()
    weights = dict(zip(table["episode_index"], table["reward_weight"], strict=True))
    assert {index for index, weight in weights.items() if weight == 1.0} == expected
    assert set(weights.values()) == {0.0, 1.0}
    marker = json.loads((made.path / MARKER).read_text())
    assert (marker["best"], made.best) == (sorted(expected), len(expected))
    assert set(marker["columns"]) == {"reward", "reward_step", "reward_so_far", "reward_weight"}
    assert export_lerobot(ws, made.path, best=0.3).unchanged
    assert export_lerobot(ws, made.path, best=0.5).best > made.best


def test_an_episode_without_a_reward_is_not_among_the_best_and_v21_has_the_weights_too(v2, tmp_path):
    values = Added("reward", {}, best={1}).values(0, 3)
    assert np.isnan(values["reward"]).all() and values["reward_weight"].tolist() == [0.0, 0.0, 0.0]
    made = export_lerobot(v2[0], tmp_path / "out", best=1.0)
    fits_lerobot(made.path)
    assert made.best == made.episodes
    assert (np.array(table_of(made.path)["reward_weight"]) == 1.0).all()


@pytest.mark.parametrize("share", [0.0, -0.3, 1.5, float("nan")])
def test_what_is_no_share_is_refused(ws, tmp_path, share):
    with pytest.raises(UserError, match=r"--best: expected a share above 0 and up to 1, found"):
        export_lerobot(ws, tmp_path / "out", best=share)
    assert not (tmp_path / "out").exists()


# -- v2.1 --------------------------------------------------------------------------------------------------------------


def test_a_v21_dataset_gets_rewards_in_its_own_files_and_none_where_the_pool_has_none(v2, tmp_path):
    ws, _root = v2
    made = export_lerobot(ws, tmp_path / "out")
    fits_lerobot(made.path)
    own = {t.episode_index: r for t in ws.store.trajectories() for r in [rewards_of(ws, [t])[t.trajectory_id].reward]}
    lines = [json.loads(text) for text in (made.path / "meta/episodes.jsonl").read_text().splitlines()]
    assert {line["episode_index"]: line.get("reward") for line in lines} == {**dict.fromkeys(range(4)), **own}
    stats = [json.loads(text)["stats"] for text in (made.path / "meta/episodes_stats.jsonl").read_text().splitlines()]
    assert [len(line) for line in stats] == [4 if i in own else 1 for i in range(4)]
    assert stats[1]["reward"]["mean"] == pytest.approx([own[1]], abs=1e-5)
    for index in range(3):
        values = np.array(pq.read_table(made.path / f"data/chunk-000/episode_{index:06d}.parquet")["reward"])
        assert np.allclose(values, own[index], atol=1e-6) if index in own else np.isnan(values).all()
    assert (made.episodes, made.without) == (len(own), 4 - len(own))


def test_read_as_a_pool_the_added_columns_do_not_pass_for_the_simulators_reward(v2, tmp_path):
    from importer.pool import read_pool

    made = export_lerobot(v2[0], tmp_path / "out")
    found = read_pool(Pool(dataset=[Dataset(path=made.path, name="again")]), Clips()).trajectories
    assert len(found) == 3 and all(np.isnan(t.true_return) for t in found)


def test_next_reward_is_the_learned_one_and_the_datasets_own_is_kept(v2, tmp_path):
    """On a v2.1 dataset, whose third episode the pool does not know."""
    from importer.pool import read_pool

    ws, root = v2
    lines = (root / "meta" / "episodes_stats.jsonl").read_text().splitlines()
    stats = {"min": [0.0], "max": [9.0], "mean": [4.0], "std": [1.0], "count": [60]}
    told = [json.loads(line) | {"stats": {"action": stats, "next.reward": stats}} for line in lines]
    (root / "meta" / "episodes_stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    info = json.loads((root / "meta" / "info.json").read_text())
    info["features"]["next.reward"] = {"dtype": "float32", "shape": [1], "names": None}
    (root / "meta" / "info.json").write_text(json.dumps(info))
    for path in (root / "data").glob("*/*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.append_column("next.reward", pa.array(np.arange(len(table), dtype=np.float32))), path)
    before = contents(root)
    made = export_lerobot(ws, tmp_path / "out", next_reward=True)
    assert contents(root) == before and made.columns[-1] == "next.reward"
    for path in sorted((made.path / "data").glob("*/*.parquet")):
        table, own = pq.read_table(path), pq.read_table(root / path.relative_to(made.path))
        assert table.column("next.reward").equals(table.column("reward_step")) or path.stem.endswith("2")
        assert table.column("next.reward_source").to_pylist() == own.column("next.reward").to_pylist()
        assert len(set(table.column_names)) == len(table.column_names)
    info, theirs = (json.loads((folder / "meta" / "info.json").read_text())["features"] for folder in (made.path, root))
    assert info["next.reward_source"] == theirs["next.reward"]
    assert (info["next.reward"]["dtype"], info["next.reward"]["shape"]) == ("float32", [1])
    fits_lerobot(made.path)
    found = [
        json.loads(line)["stats"] for line in (made.path / "meta" / "episodes_stats.jsonl").read_text().splitlines()
    ]
    assert found[0]["next.reward_source"] == stats and found[0]["next.reward"] == found[0]["reward_step"]
    again = contents(made.path)
    assert export_lerobot(ws, tmp_path / "out", next_reward=True).unchanged and contents(made.path) == again
    assert "next.reward_source" not in export_lerobot(ws, tmp_path / "plain").columns
    pools = [
        read_pool(Pool(dataset=[Dataset(path=place, name="g1")]), Clips()).trajectories for place in (root, made.path)
    ]
    first, second = ([t.true_return for t in pool] for pool in pools)
    assert second == pytest.approx(first, nan_ok=True), "read as a pool, the simulator's reward is the dataset's own"


def test_next_reward_of_v30_has_its_statistics_in_both_tables(ws, source, tmp_path):
    made = export_lerobot(ws, tmp_path / "out", next_reward=True)
    fits_lerobot(made.path)
    stats, own = (json.loads((folder / "meta" / "stats.json").read_text()) for folder in (made.path, source))
    assert stats["next.reward_source"] == own["next.reward"] and stats["next.reward"] == stats["reward_step"]
    columns = pq.read_schema(made.path / "meta/episodes/chunk-000/file-000.parquet").names
    theirs = pq.read_schema(source / "meta/episodes/chunk-000/file-000.parquet").names
    assert {name.replace("next.reward", "next.reward_source") for name in theirs if "next.reward" in name} <= {*columns}
    columns_of_both = pq.read_schema(next((made.path / "data").glob("*/*.parquet"))).names
    with pytest.raises(UserError, match="both name"):
        export_lerobot(ws, tmp_path / "other", column="next.reward", next_reward=True)
    with pytest.raises(DataError, match=r"next\.reward_source: the dataset has this column already"):
        check_free(made.path, columns_of_both, Added("other", {}, next_reward=True))


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_folder_with_anything_else_in_it_is_left_alone(ws, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds thesis\.tex, which is not part of this export"):
        export_lerobot(ws, tmp_path)
    made = export_lerobot(ws, tmp_path / "mine")
    (made.path / "notes.txt").write_text("my own")
    with pytest.raises(UserError, match=r"holds notes\.txt"):
        export_lerobot(ws, made.path)
    assert (made.path / "notes.txt").read_text() == "my own"


def test_the_export_of_another_dataset_is_not_replaced(v2, ws, tmp_path):
    export_lerobot(v2[0], tmp_path / "out")
    with pytest.raises(UserError, match="holds the export of 'g1'"):
        export_lerobot(ws, tmp_path / "out")


def test_the_source_itself_is_no_place_for_it(ws, source):
    for place in (source, source / "rewarded", source.parent):
        with pytest.raises(UserError, match="overlap"):
            export_lerobot(ws, place)


def test_a_column_that_the_dataset_has_already_is_not_overwritten(ws, tmp_path):
    with pytest.raises(DataError, match=r"next\.reward: the dataset has this column already\. .*--column"):
        export_lerobot(ws, tmp_path / "out", column="next.reward")
    assert not (tmp_path / "out").exists()
    made = export_lerobot(ws, tmp_path / "out", column="people.reward")
    assert made.columns == ["people.reward", "people.reward_step", "people.reward_so_far"]


def test_what_is_no_lerobot_dataset_is_said_so(tmp_path):
    path = make_robomimic(tmp_path / "lift.hdf5", [Made(rows=40), Made(rows=50)])
    ws = make_workspace(tmp_path / "work", Dataset(path=path, name="lift"))
    with pytest.raises(UserError, match=r"is robomimic.*rewards\.csv"):
        export_lerobot(ws, tmp_path / "out")


def test_of_several_datasets_one_has_to_be_named(ws, source, tmp_path):
    ws.config.pool.dataset = [Dataset(path=source, name="sample"), Dataset(path=source, name="other")]
    try:
        with pytest.raises(UserError, match=r"2 datasets: sample, other.*--dataset"):
            export_lerobot(ws, tmp_path / "out")
        with pytest.raises(UserError, match="no dataset named 'kitchen'"):
            export_lerobot(ws, tmp_path / "out", dataset="kitchen")
    finally:
        ws.config.pool.dataset = [Dataset(path=source, name="sample")]


def test_without_a_model_it_says_which_stage_comes_first(v2, tmp_path):
    ws, _root = v2
    record = ws.store.active_model()
    ws.store.put_model_version(type(record).from_dict({**record.to_dict(), "active": False}))
    with pytest.raises(NotReady, match="robopref train"):
        export_lerobot(ws, tmp_path / "out")


def test_a_broken_data_file_is_named_and_nothing_is_left_behind(v2, tmp_path):
    ws, root = v2
    export_lerobot(ws, tmp_path / "out")
    (root / "data/chunk-000/episode_000002.parquet").write_bytes(b"PAR1 and no more")
    before = contents(tmp_path / "out")
    with pytest.raises(DataError, match=r"episode_000002\.parquet.*cannot be read as parquet"):
        export_lerobot(ws, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g1", "out", "work"]
