"""Several cameras: which an episode has, what its clip shows, and that one of them may be missing."""

from __future__ import annotations

import json
from pathlib import Path

import av
import h5py
import numpy as np
import pytest
from format_maker import make_folder, make_lerobot_v2, make_robomimic, v2_video
from lerobot_maker import CAMERA, FPS, Made, make_dataset, number_of, write_video

from importer.clips.build import build_clips
from importer.clips.views import grid
from importer.pool import build_pool, read_pool
from importer.pool.dataset import open_dataset
from importer.pool.video import clean_frames
from preference.config import Clips, Columns, Dataset, Pool
from preference.workspace import Workspace

WRIST = "observation.images.wrist"
EPISODES = [Made(rows=40, still=10), Made(rows=30, still=10)]


def two_cameras(root: Path) -> tuple[Path, list[str]]:
    """LeRobot v2.1, whose second camera shows 512 more than the first; episode 1 lacks the first."""
    make_lerobot_v2(root, EPISODES)
    info = json.loads((root / "meta" / "info.json").read_text())
    info["features"][WRIST] = info["features"][CAMERA]
    info["robot_type"] = "so101"
    (root / "meta" / "info.json").write_text(json.dumps(info))
    for index, made in enumerate(EPISODES):
        path = root / "videos" / "chunk-000" / WRIST / f"episode_{index:06d}.mp4"
        write_video(path, made.rows, size=(80, 60))
    v2_video(root, 1).unlink()
    return root, [CAMERA, WRIST]


def made_as(kind: str, root: Path) -> tuple[Path, list[str]]:
    if kind == "lerobot_v2":
        return two_cameras(root)
    if kind == "robomimic":
        make_robomimic(root / "d.hdf5", EPISODES)
        with h5py.File(root / "d.hdf5", "a") as file:
            del file["data/demo_1/obs/agentview_image"]
        return root / "d.hdf5", ["obs/agentview_image", "obs/robot0_eye_in_hand_image"]
    make_folder(root, {"a": EPISODES[0], "b": EPISODES[1]}, frames=True)
    for name, made in zip("ab", EPISODES, strict=True):
        write_video(root / name / "wrist.mp4", made.rows)
    for image in (root / "b" / "front").iterdir():
        image.unlink()
    return root, ["front", "wrist"]


def dataset(path: Path, cameras: list[str], **fields: object) -> Dataset:
    return Dataset(path=path, name="tiny", columns=Columns(camera=cameras), **fields)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", ["lerobot_v2", "robomimic", "folder"])
def test_an_episode_has_the_named_cameras_in_their_order_and_lacks_what_is_missing(tmp_path: Path, kind: str) -> None:
    path, cameras = made_as(kind, tmp_path / "d")
    opened = open_dataset(dataset(path, cameras))
    whole, part = opened.read(0), opened.read(1)
    assert list(whole.views) == list(part.views) == cameras
    assert [view is None for view in part.views.values()] == [True, False]
    assert whole.video is whole.views[cameras[0]] and part.video is part.views[cameras[1]]
    for view in whole.views.values():
        frames, rows = clean_frames(whole, 0.0, 1.5, 5.0, 64, view)
        assert [number_of(frame) for frame in frames] == rows.tolist()
    result = read_pool(Pool(dataset=[dataset(path, cameras)]), Clips())
    assert [t.cameras for t in result.trajectories] == [", ".join(cameras), cameras[1]]
    assert [note for note in result.notes if f"1 of 2 episodes lack the camera {cameras[0]}" in note]
    assert all(file.exists() for index in (0, 1) for file in opened.reader.files(index))


def test_an_episode_without_any_of_its_cameras_or_with_a_broken_one_fails(tmp_path: Path) -> None:
    path, cameras = two_cameras(tmp_path / "d")
    alone = read_pool(Pool(dataset=[dataset(path, cameras[:1])]), Clips())
    assert [(f.episode_index, f.reason) for f in alone.failures] == [(1, "the video is missing")]
    wrist = path / "videos" / "chunk-000" / WRIST
    (wrist / "episode_000001.mp4").unlink()
    (wrist / "episode_000000.mp4").write_bytes((wrist / "episode_000000.mp4").read_bytes()[:2000])
    both = read_pool(Pool(dataset=[dataset(path, cameras)]), Clips())
    assert [f.episode_index for f in both.failures] == [0, 1]
    assert [f.reason for f in both.failures] == ["the file has no video stream", "the video is missing"]


def test_lerobot_v3_takes_an_episode_that_has_no_place_in_a_cameras_video(tmp_path: Path) -> None:
    place = {f"videos/{WRIST}/{key}": 0 for key in ("chunk_index", "file_index")}
    span = {f"videos/{WRIST}/from_timestamp": 0.0, f"videos/{WRIST}/to_timestamp": 2.0}
    root = make_dataset(tmp_path / "d", [Made(rows=40, still=10, extra={**place, **span}), Made(rows=30, still=10)])
    info = json.loads((root / "meta" / "info.json").read_text())
    info["features"][WRIST] = info["features"][CAMERA]
    (root / "meta" / "info.json").write_text(json.dumps(info))
    write_video(root / "videos" / WRIST / "chunk-000" / "file-000.mp4", 40)
    opened = open_dataset(dataset(root, [CAMERA, WRIST]))
    assert [view is None for view in opened.read(0).views.values()] == [False, False]
    assert [view is None for view in opened.read(1).views.values()] == [False, True]
    assert len(opened.reader.files(0)) == 3 and len(opened.reader.files(1)) == 2


def test_the_type_of_the_robot_comes_from_the_data_and_the_settings_may_correct_it(tmp_path: Path) -> None:
    path, cameras = two_cameras(tmp_path / "a")
    assert [t.robot for t in read_pool(Pool(dataset=[dataset(path, cameras)]), Clips()).trajectories] == ["so101"] * 2
    said = dataset(path, cameras, robot="arm")
    assert {t.robot for t in read_pool(Pool(dataset=[said]), Clips()).trajectories} == {"arm"}
    (tmp_path / "said.csv").write_text("episode,robot\n1,other\n")
    said = dataset(path, cameras, sidecar=str(tmp_path / "said.csv"))
    assert [t.robot for t in read_pool(Pool(dataset=[said]), Clips()).trajectories] == ["so101", "other"]
    demos = make_robomimic(tmp_path / "b" / "d.hdf5", EPISODES)
    assert read_pool(Pool(dataset=[Dataset(path=demos, name="b")]), Clips()).trajectories[0].robot == "Panda"
    own = {"a": Made(rows=30, extra={"robot_type": "x"}), "b": Made(rows=30, extra={"robot_type": "y"})}
    folder = make_folder(tmp_path / "c", own)
    assert [t.robot for t in read_pool(Pool(dataset=[Dataset(path=folder, name="c")]), Clips()).trajectories] == [
        "x",
        "y",
    ]


def test_one_camera_is_written_as_text_so_that_what_was_made_before_is_found_again() -> None:
    assert Columns().model_dump()["camera"] == ""
    assert Columns(camera="front").model_dump()["camera"] == "front"  # pyright: ignore[reportArgumentType]
    assert Columns(camera=["front", "wrist"]).model_dump()["camera"] == ["front", "wrist"]
    with pytest.raises(ValueError, match="each camera once"):
        Columns(camera=["front", "front"])


@pytest.mark.parametrize(
    ("count", "aspect", "shape"),
    [(1, 4 / 3, (480, 480)), (2, 4 / 3, (480, 240)), (2, 0.5, (240, 480)), (3, 1.0, (240, 240))],
)
def test_the_grid_makes_pictures_as_large_as_they_can_be(count: int, aspect: float, shape: tuple[int, int]) -> None:
    cells = grid(count, aspect, 480, 480)
    assert {(cell.width, cell.height) for cell in cells} == {shape} and len({(c.x, c.y) for c in cells}) == count


@pytest.mark.parametrize("kind", ["lerobot_v2", "robomimic", "folder"])
def test_a_second_camera_that_no_clip_shows_renders_no_clip_again(tmp_path: Path, kind: str) -> None:
    path, cameras = made_as(kind, tmp_path / "d")

    def rendered(named: list[str], shown: str = "primary") -> tuple[int, int]:
        text = f'work = "w"\nworkers = 1\nsalt = 5\n[clips]\ncameras = "{shown}"\n[[pool.dataset]]\n'
        text += f'path = "{path}"\nname = "tiny"\ntask_type = "reach"\ncolumns.camera = {json.dumps(named)}\n'
        (tmp_path / "robopref.toml").write_text(text)
        ws = Workspace.open(tmp_path / "robopref.toml")
        build_pool(ws)
        found = build_clips(ws)
        ws.store.close()
        return found.rendered, found.kept

    assert rendered([]) == (1, 0), "episode 1 lacks the first camera"
    assert rendered(cameras[:1]) == (0, 1), "that is the one that is shown anyway"
    assert rendered(cameras) == (1, 1), "the second camera stands in where the first is missing"
    assert rendered(cameras[::-1]) == (1, 1), "the other one is shown now, which episode 1 has shown before"
    assert rendered(cameras, "grid") == (2, 0)


def middle(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][8]


@pytest.mark.parametrize("kind", ["lerobot_v2", "robomimic", "folder"])
def test_a_clip_shows_the_primary_camera_or_all_in_a_grid(tmp_path: Path, kind: str) -> None:
    path, cameras = made_as(kind, tmp_path / "d")
    found = {}
    for shown in ("primary", "grid"):
        text = f'work = "{shown}"\nworkers = 1\nsalt = 5\n[clips]\ncameras = "{shown}"\n[[pool.dataset]]\n'
        text += f'path = "{path}"\nname = "tiny"\ntask_type = "reach"\ncolumns.camera = {json.dumps(cameras)}\n'
        (tmp_path / "robopref.toml").write_text(text)
        ws = Workspace.open(tmp_path / "robopref.toml")
        build_pool(ws)
        assert build_clips(ws).failures == []
        found[shown] = [middle(ws.root / t.clip) for t in ws.store.trajectories()]
        starts = [t.start_s for t in ws.store.trajectories()]
        ws.store.close()
    row = round((starts[0] + 8 / 15) * FPS)
    upper, lower = found["grid"][0][:240, 80:400], found["grid"][0][240:, 80:400]
    assert abs(number_of(upper) - row) <= 1 and abs(number_of(lower) - row) <= 1, "both cameras, one above the other"
    assert abs(number_of(found["primary"][0][60:420]) - row) <= 1
    assert found["grid"][1][60:200].max() < 60, "the place of the camera that is missing stays black"
    assert found["primary"][1][100:380].mean() > 60, (
        "the first camera that the episode has stands in for the primary one"
    )
