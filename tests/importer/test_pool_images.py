"""Images of any kind become frames; a broken one fails its clip and is named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from format_maker import (
    dataset_at,
    make_folder,
    only_failure,
    pictures,
)
from lerobot_maker import Made, number_of
from PIL import Image

from importer.clips.build import build_clips
from importer.pool import build_pool
from importer.pool.dataset import open_dataset
from importer.pool.episode import BadInput
from importer.pool.images import as_rgb
from importer.pool.video import clean_frames
from preference.workspace import Workspace


def test_grey_rgba_float_and_channels_first_images_become_rgb() -> None:
    file = Path("x")
    rgb = pictures(3)[2]
    assert np.array_equal(as_rgb(rgb, file, ""), rgb)
    assert np.array_equal(as_rgb(np.dstack([rgb, rgb[:, :, :1]]), file, ""), rgb)
    assert np.array_equal(as_rgb(rgb.transpose(2, 0, 1), file, ""), rgb)
    assert np.array_equal(as_rgb((rgb / 255.0).astype(np.float32), file, ""), rgb)
    grey = rgb[:, :, 0]
    assert np.array_equal(as_rgb(grey, file, ""), np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.full((4, 4, 3), 200.0, np.float32), "expected float images in 0 to 1, found 200 to 200"),
        (np.full((4, 4, 3), np.nan, np.float32), "expected float images in 0 to 1, found nan"),
        (np.zeros((4, 4, 3), np.uint16), "expected uint8"),
        (np.zeros((6, 4, 5), np.uint8), "expected an image"),
        (np.zeros(16, np.uint8), "expected an image"),
    ],
)
def test_what_is_no_picture_is_said_with_what_was_found(image: np.ndarray, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        as_rgb(image, Path("x"), "")


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_image_files_of_any_mode_become_clean_frames(tmp_path: Path, mode: str) -> None:
    root = make_folder(tmp_path / "d", {"a": Made(rows=20, still=5)}, frames=True)
    for file in (root / "a" / "front").iterdir():
        Image.open(file).convert(mode).save(file)
    frames, found = clean_frames(open_dataset(dataset_at(root)).read(0), 0.0, 1.0, 20.0, 64)
    assert [number_of(frame) for frame in frames] == found.tolist()


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda front: (front / "frame_9.png").write_bytes(b"no image"), "cannot be read as an image"),
        (lambda front: Image.new("RGB", (8, 8)).save(front / "frame_9.png"), "expected 80x60 as before, found 8x8"),
        (lambda front: Image.fromarray(np.zeros((60, 80), np.uint16)).save(front / "frame_9.png"), "expected uint8"),
        (lambda front: (front / "frame_9.png").unlink() or os.mkfifo(front / "frame_9.png"), "expected a regular file"),
    ],
)
def test_a_broken_frame_fails_its_clip_and_names_the_file(tmp_path: Path, break_it, said: str) -> None:
    root = make_folder(tmp_path / "d", {"a": Made(rows=20, still=2), "b": Made(rows=20, still=2)}, frames=True)
    break_it(root / "a" / "front")
    (tmp_path / "robopref.toml").write_text('workers = 1\n[[pool.dataset]]\npath = "d"\n')
    ws = Workspace.open(tmp_path / "robopref.toml")
    assert build_pool(ws).failures == []
    result = build_clips(ws)
    assert result.rendered == 1 and said in result.failures[0].reason
    assert result.failures[0].file.endswith("frame_9.png")
    assert [path.name for path in ws.clips.glob("*.mp4")] == ["d-b.mp4"]


def test_a_missing_frame_is_said_before_anything_is_rendered(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"a": Made(rows=20)}, frames=True)
    (root / "a" / "front" / "frame_3.png").unlink()
    assert "19 images for 20 rows" in only_failure(root).reason
