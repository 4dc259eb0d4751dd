"""Reading a pool: what comes in, in what order of trust, and what is said of input that cannot be used."""

from __future__ import annotations

import csv
import json
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_maker import CAMERA, FPS, Made, make_dataset, video_path
from paths import SAMPLE_POOL
from scipy.stats import spearmanr

from importer.clips.build import build_clips
from importer.pool import build_pool, read_episode, read_pool
from importer.pool.dataset import open_dataset, trajectory_id
from importer.pool.episode import BadInput
from importer.pool.manifest import COLUMNS, Failure
from preference.config import Clips, Dataset, Pool
from preference.errors import ConfigError, DataError, NotReady, UserError
from preference.work import Workers
from preference.workspace import Workspace

ONE = [Made()]


def dataset_at(path: Path, **fields) -> Dataset:
    return Dataset(path=path, name=fields.pop("name", "tiny"), **fields)


def pool_of(path: Path, **fields):
    return read_pool(Pool(dataset=[dataset_at(path, **fields)]), Clips())


def edit_info(root: Path, **fields) -> None:
    file = root / "meta" / "info.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def edit_parquet(file: Path, change) -> None:
    pq.write_table(pa.Table.from_pylist(change(pq.read_table(file).to_pylist())), file)


def data_file(root: Path) -> Path:
    return root / "data" / "chunk-000" / "file-000.parquet"


def meta_file(root: Path) -> Path:
    return root / "meta" / "episodes" / "chunk-000" / "file-000.parquet"


# -- what is read --------------------------------------------------------------------------------------------------


def test_an_episode_in_the_middle_of_a_file_is_cut_out_exactly(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "d", [Made(rows=40), Made(rows=50, done=30, gripper=np.ones(50)), Made(rows=30)])
    episode = open_dataset(dataset_at(root)).read(1)
    assert episode.actions.shape == (50, 2) and episode.actions.dtype == np.float32
    assert episode.state.shape == (50, 4) and episode.effector.shape == (50, 3)
    assert episode.effector[-1] == pytest.approx([0.19, 0.0, 0.1], abs=1e-6)
    assert episode.time == pytest.approx(np.arange(50) / FPS, abs=1e-5)
    assert episode.fps == pytest.approx(FPS)
    assert episode.gripper.tolist() == [1.0] * 50
    assert np.flatnonzero(episode.success_rows)[0] == 30
    assert episode.video is not None
    assert (episode.video.start_s, episode.video.end_s) == pytest.approx((2.0, 4.5))
    assert (episode.source, episode.environment_id, episode.task_type) == ("expert", "lab", "reach")
    assert episode.true_return == 1.0


def test_what_the_dataset_says_wins_and_robopref_toml_fills_the_gaps(tmp_path: Path) -> None:
    said = make_dataset(tmp_path / "said", ONE)
    silent = make_dataset(tmp_path / "silent", [Made(done=40)], per_episode=())
    names = {"source": "novice", "environment_id": "kitchen", "task_type": "pick"}
    first = open_dataset(dataset_at(said, **names)).read(0)
    assert (first.source, first.environment_id, first.task_type) == ("expert", "lab", "pick")
    second = open_dataset(dataset_at(silent, **names)).read(0)
    assert (second.source, second.environment_id) == ("novice", "kitchen")
    assert second.success is True
    assert second.true_return == pytest.approx(0.1 * np.arange(30).sum(), rel=1e-5)
    assert open_dataset(dataset_at(silent)).read(0).source == "unknown"


def test_missing_gripper_reward_and_success_are_nan_or_unknown_never_zero(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "d", ONE, per_episode=())
    table = pq.read_table(data_file(root))
    pq.write_table(table.drop_columns(["observation.gripper", "next.reward", "next.success"]), data_file(root))
    result = pool_of(root)
    (t,) = result.trajectories
    assert t.success is None and math.isnan(t.grasp_stability) and math.isnan(t.true_return)
    assert result.failures == []


def test_only_the_row_groups_of_the_episode_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_dataset(tmp_path / "d", [Made(rows=50)] * 4, rows_per_group=50)
    read: list[tuple[int, ...]] = []
    original = pq.ParquetFile.iter_batches

    def spy(self, rows, groups=None, *args, **kwargs):
        read.append(groups)
        return original(self, rows, groups, *args, **kwargs)

    opened = open_dataset(dataset_at(root))
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    assert len(opened.read(2).time) == 50
    assert read == [(2,)]


def test_an_av1_video_that_calls_itself_h264_is_read(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "d", ONE, codec="libsvtav1")
    info = json.loads((root / "meta" / "info.json").read_text())
    info["features"][CAMERA]["info"] = {"video.codec": "h264", "video.fps": 30}
    edit_info(root, **info)
    assert open_dataset(dataset_at(root)).read(0).video is not None
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "the encoder left this process real-time"


def test_ids_are_stable_safe_as_file_names_and_ordered() -> None:
    assert trajectory_id("sample", "000012") == "sample-000012"
    assert trajectory_id("Käse / Pick & Place!", "run 3") == "kase-pick-place-run-3"
    assert trajectory_id("../..", "000000") == "dataset-000000"


def test_the_same_pool_gives_the_same_result_twice_and_with_processes(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "d", [Made(rows=30, still=10, jerk=0.001 * i) for i in range(6)])
    config = Pool(dataset=[dataset_at(root)])
    first, second = (read_pool(config, Clips(), Workers(n)) for n in (1, 2))
    assert [str(t) for t in first.trajectories] == [str(t) for t in second.trajectories]


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("expert_demos", '[clips]\nwatermark = "trajectory_id"', True),
        ("expert_demos", '[label_studio]\nclips = "url"\nclips_url = "http://127.0.0.1"', True),
        ("expert_demos", "", False),
        ("kitchen", '[clips]\nwatermark = "trajectory_id"', False),
    ],
)
def test_a_name_that_gives_the_source_away_is_said_where_annotators_see_it(tmp_path, name, settings, said) -> None:
    root = make_dataset(tmp_path / "d", ONE)
    file = tmp_path / "robopref.toml"
    file.write_text(f'{settings}\n[[pool.dataset]]\npath = "{root}"\nname = "{name}"\n')
    notes = build_pool(Workspace.open(file)).notes
    assert any("neutral" in note and "'expert'" in note for note in notes) == said


# -- what cannot be used -------------------------------------------------------------------------------------------


def only_failure(root: Path, **fields) -> Failure:
    result = pool_of(root, **fields)
    (failure,) = result.failures
    assert "\n" not in str(failure)
    return failure


def test_a_missing_video_names_the_file(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "d", ONE)
    video_path(root).unlink()
    failure = only_failure(root)
    assert failure.file.endswith("file-000.mp4") and failure.field == CAMERA and "missing" in failure.reason


def test_a_truncated_video_spares_the_episodes_that_are_still_there(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "d", [Made(rows=60)] * 4)
    path = video_path(root)
    with_index_first(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    result = pool_of(root)
    assert len(result.trajectories) >= 1 and len(result.failures) >= 1
    assert all("truncated" in f.reason for f in result.failures)
    assert {f.episode_index for f in result.failures}.isdisjoint({t.episode_index for t in result.trajectories})


def with_index_first(path: Path) -> None:
    """Rewrite an mp4 with its index before the frames, so that cutting it leaves a file that still opens."""
    import av

    target = path.with_suffix(".new.mp4")
    with av.open(str(path)) as source, av.open(str(target), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    target.replace(path)


def test_a_video_without_its_index_is_said_to_be_cut_off(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "d", ONE)
    video_path(root).write_bytes(video_path(root).read_bytes()[:2000])
    assert "cannot be opened as a video" in only_failure(root).reason


def test_rows_and_video_of_different_length_are_said_but_one_frame_is_nothing(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "d", [Made(), Made()])
    end = f"videos/{CAMERA}/to_timestamp"

    def stretch(seconds: float):
        edit_parquet(meta_file(root), lambda rows: [{**rows[0], end: rows[0][end] + seconds}, rows[1]])
        return pool_of(root)

    assert stretch(1 / FPS).failures == []
    (failure,) = stretch(1.0).failures
    assert failure.field == end and "4.05 s of video and 3.00 s of rows" in failure.reason


@pytest.mark.parametrize("column", ["action", "observation.state"])
def test_nan_names_the_column_and_the_row_and_spares_the_other_episodes(tmp_path: Path, column: str) -> None:
    root = make_dataset(tmp_path / "d", [Made(), Made()])

    def spoil(rows):
        rows[17][column][1] = math.nan
        return rows

    edit_parquet(data_file(root), spoil)
    result = pool_of(root)
    (failure,) = result.failures
    assert (failure.episode_index, failure.field) == (0, column) and "row 17" in failure.reason
    assert [t.episode_index for t in result.trajectories] == [1]


def test_an_episode_without_rows_is_said(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "d", [Made(), Made()])
    edit_parquet(data_file(root), lambda rows: rows[:60])
    failure = only_failure(root)
    assert failure.episode_index == 1 and "has no rows" in failure.reason


def test_an_episode_of_one_row_is_a_trajectory(tmp_path: Path) -> None:
    result = pool_of(make_dataset(tmp_path / "d", [Made(rows=1), Made()]))
    assert [t.num_frames for t in result.trajectories] == [1, 60] and result.failures == []


@pytest.mark.parametrize("template", ["../../etc/{video_key}.mp4", "/etc/{file_index}.mp4"])
def test_a_video_outside_the_dataset_is_refused(tmp_path: Path, template: str) -> None:
    root = make_dataset(tmp_path / "d", ONE)
    edit_info(root, video_path=template)
    failure = only_failure(root)
    assert failure.field == "video_path" and "leads out of" in failure.reason


def test_a_link_out_of_the_dataset_is_refused(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "d", ONE)
    outside = tmp_path / "outside.mp4"
    video_path(root).rename(outside)
    video_path(root).symlink_to(outside)
    assert "leads out of" in only_failure(root).reason


def test_a_gripper_that_is_not_between_0_and_1_is_said_with_what_to_do(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "d", [Made(gripper=np.full(60, 40.0))])
    assert "expected 0 (open) to 1 (closed), found 40" in only_failure(root).reason
    with pytest.raises(DataError, match='"none"'):
        open_dataset(dataset_at(root)).read(0)
    assert pool_of(root, columns={"gripper": "none"}).failures == []


def test_names_of_robopref_toml_that_the_dataset_lacks_are_said(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "d", ONE)
    assert "hand_x" in only_failure(root, columns={"effector": ["a", "b", "c"]}).reason
    assert "there is no video" in only_failure(root, columns={"camera": "wrist"}).reason
    assert only_failure(root, columns={"quality": "stars"}).field == "stars"
    assert only_failure(root, columns={"gripper": "claw"}).field == "claw"


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda root: (root / "meta" / "info.json").unlink(), "missing"),
        (lambda root: (root / "meta" / "info.json").write_text(""), "cannot be read as JSON"),
        (lambda root: (root / "meta" / "info.json").write_text("[]"), "expected an object"),
        (lambda root: edit_info(root, fps=0), "expected a number above 0"),
        (lambda root: edit_info(root, codebase_version="v1.6"), "expected v2.0, v2.1 or v3.0, found 'v1.6'"),
        (lambda root: meta_file(root).write_bytes(b""), "cannot be read as parquet"),
        (lambda root: meta_file(root).unlink(), "no episodes are listed"),
        (lambda root: data_file(root).write_bytes(b"PAR1"), "cannot be read as parquet"),
        (lambda root: data_file(root).unlink(), "data file is missing"),
        (lambda root: edit_parquet(meta_file(root), lambda rows: rows * 2), "listed twice"),
        (lambda root: edit_parquet(meta_file(root), lambda rows: [{**rows[0], "length": 7}]), "metadata says 7"),
        (lambda root: edit_parquet(meta_file(root), lambda rows: [{**rows[0], "tasks": [""]}]), "has no task"),
        (lambda root: edit_parquet(meta_file(root), lambda rows: [{**rows[0], "success": "often"}]), "'often'"),
        (lambda root: edit_info(root, data_path="{nothing}"), "cannot be filled in"),
        (lambda root: edit_info(root, data_path="{chunk_index:09999d}"), "cannot be opened"),
    ],
)
def test_broken_metadata_is_one_clear_line(tmp_path: Path, break_it, said: str) -> None:
    root = make_dataset(tmp_path / "d", ONE)
    break_it(root)
    assert said in str(only_failure(root))


def test_one_bad_dataset_spares_the_others(tmp_path: Path) -> None:
    good = dataset_at(make_dataset(tmp_path / "good", ONE), name="good one")
    missing = dataset_at(tmp_path / "nowhere", name="gone")
    twin = dataset_at(good.path, name="Good-One")
    result = read_pool(Pool(dataset=[good, missing, twin]), Clips())
    assert len(result.trajectories) == 1
    assert {(f.dataset, f.episode_index) for f in result.failures} == {("gone", None), ("Good-One", 0)}


def test_a_bad_input_survives_the_way_out_of_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(BadInput("a.mp4", "video", "is broken", fix="Mend it.")))  # noqa: S301
    assert (str(error), error.file) == ("a.mp4, video: is broken. Mend it.", "a.mp4")


# -- the manifest and the stage ------------------------------------------------------------------------------------


def workspace(tmp_path: Path, *datasets: Path) -> Workspace:
    text = 'work = "work"\nworkers = 1\n'
    text += "".join(f'[[pool.dataset]]\npath = "{path}"\n' for path in datasets)
    (tmp_path / "robopref.toml").write_text(text)
    return Workspace.open(tmp_path / "robopref.toml")


def test_the_stage_writes_manifest_picture_failures_and_rows(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "tiny", [Made(rows=40 + i, still=20, success=bool(i % 2)) for i in range(5)])
    edit_parquet(data_file(root), lambda rows: [r for r in rows if r["episode_index"] != 3])
    ws = workspace(tmp_path, root)
    result = build_pool(ws)
    assert len(result.trajectories) == 4 and len(result.failures) == 1
    assert [str(t) for t in ws.store.trajectories()] == [str(t) for t in result.trajectories]
    with ws.manifest.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["trajectory_id"] for row in rows] == [t.trajectory_id for t in result.trajectories]
    assert [float(row["quality"]) for row in rows] == [t.quality for t in result.trajectories]
    assert tuple(rows[0]) == COLUMNS
    assert ws.manifest.with_name("pool.png").stat().st_size > 10_000
    with ws.manifest.with_name("failures.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["episode_index"] == "3" and row["file"].endswith(".parquet") and "no rows" in row["reason"]
    before = ws.manifest.read_bytes()
    build_pool(ws)
    assert ws.manifest.read_bytes() == before


def test_a_trajectory_that_left_the_pool_keeps_its_row_but_is_not_ranked(tmp_path: Path) -> None:
    first, second = (make_dataset(tmp_path / name, [Made(rows=30, still=9)] * 4) for name in ("one", "two"))
    build_pool(workspace(tmp_path, first, second))
    ws = workspace(tmp_path, first)
    build_pool(ws)
    ranked = {t.dataset: t.quartile for t in ws.store.trajectories()}
    assert ranked["two"] == 0 and ranked["one"] > 0
    assert {t.dataset for t in ws.store.trajectories() if t.in_pool} == {"one"}
    assert ",two," not in ws.manifest.read_text()


def test_no_dataset_and_no_good_episode_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no dataset is configured"):
        build_pool(workspace(tmp_path))
    with pytest.raises(ConfigError, match=r"robopref\.toml: pool\.dataset\[0\]\.path: .*nowhere does not exist"):
        build_pool(workspace(tmp_path, tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"No episode could be read\. The first failure: .*empty"):
        build_pool(workspace(tmp_path, tmp_path / "empty"))
    with pytest.raises(NotReady):
        build_clips(workspace(tmp_path, tmp_path / "nowhere"))


def test_a_dataset_that_is_no_longer_configured_is_said(tmp_path: Path) -> None:
    (t,) = pool_of(make_dataset(tmp_path / "d", ONE)).trajectories
    with pytest.raises(DataError, match="no dataset 'tiny'"):
        read_episode(Pool(), t)


@pytest.mark.skipif(not (SAMPLE_POOL / "meta").is_dir(), reason="examples/pool is not made yet")
def test_the_sample_pool_is_read_without_a_failure() -> None:
    result = pool_of(SAMPLE_POOL, name="sample")
    assert result.failures == [] and len(result.trajectories) >= 72
    assert {t.quartile for t in result.trajectories} == {1, 2, 3, 4}
    assert all(math.isfinite(t.smoothness) and math.isfinite(t.true_return) for t in result.trajectories)
    assert {"expert", "novice", "random"} <= {t.source for t in result.trajectories}


@pytest.mark.skipif(not (SAMPLE_POOL / "meta").is_dir(), reason="examples/pool is not made yet")
def test_on_the_sample_pool_quality_follows_the_simulators_return() -> None:
    """Gold items are pairs from distant quartiles: the score may order few of them against the simulator."""
    trajectories = pool_of(SAMPLE_POOL, name="sample").trajectories
    for task in {t.task_type for t in trajectories}:
        group = [t for t in trajectories if t.task_type == task]
        assert spearmanr([t.quality for t in group], [t.true_return for t in group]).statistic > 0.7
        distant = [(a, b) for a in group for b in group if a.quartile - b.quartile >= 2]
        wrong = sum(a.true_return < b.true_return for a, b in distant)
        assert wrong / len(distant) < 0.05
