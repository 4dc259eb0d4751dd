"""The sample pool keeps its promises, and its generator repeats itself."""

import subprocess
import sys

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from paths import ROOT

POOL = ROOT / "examples" / "pool"
CAMERA = "videos/observation.images.front"
SOURCES = {"expert", "novice", "policy_checkpoint_1", "policy_checkpoint_2", "random"}


@pytest.fixture(scope="module")
def episodes():
    return pq.read_table(POOL / "meta" / "episodes" / "chunk-000" / "file-000.parquet").to_pylist()


def test_it_has_two_tasks_five_sources_and_stays_small(episodes):
    assert len(episodes) >= 72
    assert {row["source"] for row in episodes} == SOURCES
    assert len({row["tasks"][0] for row in episodes}) == 2
    assert sum(path.stat().st_size for path in POOL.rglob("*") if path.is_file()) < 10_000_000


def test_every_episode_has_as_many_frames_as_rows(episodes):
    rows = [pq.read_metadata(path).num_rows for path in sorted(POOL.glob("data/*/*.parquet"))]
    frames = []
    for path in sorted(POOL.glob("videos/*/*/*.mp4")):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.codec_context.pix_fmt == "yuv420p"
            assert min(stream.width, stream.height) >= 240
            frames.append(sum(1 for _ in container.decode(stream)))
    assert frames == rows
    for row in episodes:
        spans = row[f"{CAMERA}/to_timestamp"] - row[f"{CAMERA}/from_timestamp"]
        assert round(spans * 20) == row["length"] == row["dataset_to_index"] - row["dataset_from_index"]


def test_all_episodes_are_equally_long_so_that_returns_compare(episodes):
    assert len({row["length"] for row in episodes}) == 1


def test_the_order_tells_nothing_of_the_source(episodes):
    """Within a task the mean place of each source is about the middle."""
    for task in {row["tasks"][0] for row in episodes}:
        rows = [row for row in episodes if row["tasks"][0] == task]
        for source in SOURCES:
            places = [i for i, row in enumerate(rows) if row["source"] == source]
            assert abs(np.mean(places) / len(rows) - 0.5) < 0.2


def test_returns_and_success_are_what_the_rows_say(episodes):
    table = {"episode_index": [], "next.reward": [], "next.success": []}
    for path in sorted(POOL.glob("data/*/*.parquet")):
        for name, values in pq.read_table(path, columns=list(table)).to_pydict().items():
            table[name].extend(values)
    index = np.array(table["episode_index"])
    for row in episodes:
        own = index == row["episode_index"]
        assert np.isclose(np.array(table["next.reward"])[own].sum(), row["return"], rtol=1e-4)
        assert np.array(table["next.success"])[own].any() == row["success"]


def make(out, *options):
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "make_sample_pool.py"), "--out", str(out), *options],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_the_same_seed_makes_the_same_pool(tmp_path):
    pytest.importorskip("metaworld", reason="needs `pip install -e '.[sim]'`")
    for name in ("one", "two"):
        run = make(tmp_path / name, "--no-video", "--episodes", "5", "--tasks", "drawer-open-v3")
        assert run.returncode == 0, run.stderr
    first, second = (pq.read_table(tmp_path / name / "data/chunk-000/file-000.parquet") for name in ("one", "two"))
    assert first.equals(second)
    assert first.num_rows == 5 * 150


def test_a_task_that_does_not_exist_is_one_clear_message(tmp_path):
    pytest.importorskip("metaworld", reason="needs `pip install -e '.[sim]'`")
    run = make(tmp_path / "pool", "--tasks", "fly-to-the-moon-v3")
    assert run.returncode == 1
    assert "fly-to-the-moon-v3" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "pool").exists()
