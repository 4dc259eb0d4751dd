"""The force strip below a clip: one scale for all clips of a task type, and a line that moves with time."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest
from format_maker import make_folder
from lerobot_maker import Made

from importer.clips.build import build_clips
from importer.clips.force_strip import LEFT, RIGHT, strip_height
from importer.clips.plan import plan, rounded_up
from importer.pool import build_pool
from preference.workspace import Workspace


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two reaches, one pressing twice as hard as the other, and one without a sensor."""
    folder = tmp_path_factory.mktemp("force")
    root = make_folder(folder / "d", {name: Made(rows=60, still=10) for name in ("soft", "hard", "blind")})
    for name, peak in (("soft", 8.0), ("hard", 16.0)):
        arrays = dict(np.load(root / name / "arrays.npz"))
        force = np.where(np.arange(60) >= 30, peak, 0.0)[:, None] * np.array([0.0, 0.6, 0.8])
        np.savez(root / name / "arrays.npz", **arrays, force=force)
    (folder / "robopref.toml").write_text('workers = 1\n[[pool.dataset]]\npath = "d"\n')
    ws = Workspace.open(folder / "robopref.toml")
    build_pool(ws)
    assert build_clips(ws).failures == []
    return ws


def frames_of(ws: Workspace, name: str) -> list[np.ndarray]:
    with av.open(str(ws.clips / f"d-{name}.mp4")) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def band(frame: np.ndarray) -> np.ndarray:
    """(W,) brightness along the middle of the strip."""
    size = frame.shape[0]
    return frame[size - strip_height(size) // 2].mean(axis=1)


def test_the_clip_keeps_its_size_and_the_strip_lies_below_the_picture(ws: Workspace) -> None:
    frame = frames_of(ws, "soft")[20]
    assert frame.shape == (480, 480, 3) and strip_height(480) == 60
    assert band(frame).max() > 60
    assert frame[395:415, 100:380].mean() < 20, "the picture reaches into the strip"


def test_twice_the_force_is_brighter_on_the_same_scale(ws: Workspace) -> None:
    soft, hard = (band(frames_of(ws, name)[-1]) for name in ("soft", "hard"))
    late, early = int(480 * (LEFT + 0.8 * (RIGHT - LEFT))), int(480 * (LEFT + 0.1 * (RIGHT - LEFT)))
    assert hard[late] > soft[late] + 30
    assert abs(hard[early] - soft[early]) < 10 and soft[late] > soft[early] + 30


def test_an_episode_without_a_sensor_has_an_empty_band_of_the_same_height(ws: Workspace) -> None:
    values = band(frames_of(ws, "blind")[-1])[int(480 * LEFT) + 6 : int(480 * RIGHT) - 12]
    assert values.max() - values.min() < 8 and 30 < values.mean() < 80


def test_a_line_moves_over_the_strip_with_time(ws: Workspace) -> None:
    frames = frames_of(ws, "blind")
    t = next(t for t in ws.store.trajectories() if t.trajectory_id == "d-blind")
    for at in (6, 15, 24):
        place = LEFT * 480 + (RIGHT - LEFT) * 480 * (at / 15) / (t.end_s - t.start_s)
        bright = np.flatnonzero(band(frames[at])[: int(480 * RIGHT)] > 180)
        assert len(bright) and np.abs(bright - place).max() <= 3


def test_peak_force_is_in_the_manifest_and_scales_are_shared_and_round(ws: Workspace) -> None:
    trajectories = ws.store.trajectories()
    peaks = {t.trajectory_id: t.peak_force for t in trajectories}
    assert peaks["d-soft"] == pytest.approx(8.0) and peaks["d-hard"] == pytest.approx(16.0)
    assert np.isnan(peaks["d-blind"])
    jobs, _ = plan(trajectories, ws.config.pool, ws.config.clips, ws.clips, ws.salt)
    assert {job.full_force for job in jobs} == {20.0}
    assert [rounded_up(x) for x in (0.0, 0.011, 1.0, 3.2, 20.0, 51.0)] == [1.0, 0.02, 1.0, 5.0, 20.0, 100.0]
    without, _ = plan([replace(t, peak_force=float("nan")) for t in trajectories], ws.config.pool, ws.config.clips,
                      ws.clips, ws.salt)  # fmt: skip
    assert all(np.isnan(job.full_force) for job in without)
