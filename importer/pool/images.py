"""Frames that are not in a video: image files of a folder, and arrays of numbers as pictures.

`as_rgb` alone knows grey, RGBA, float and channels-first images; it returns all of them as (H, W, 3) uint8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from importer.pool.episode import BadInput
from importer.pool.outside import MOST_PIXELS, check_ordinary, check_pixels, guarded

CHANNELS = (1, 3, 4)
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
"""Pillow would go by the content, whatever a file is called, and start Ghostscript on some."""


def shape_of(shape: Sequence[int], path: Path, field: str) -> tuple[int, int]:
    """Width and height of an image of that shape: (H, W), (H, W, C) or (C, H, W).

    Raises:
        BadInput: it is not an image.
    """
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in CHANNELS):
        height, width = shape[:2]
    elif len(shape) == 3 and shape[0] in CHANNELS:
        height, width = shape[1:]
    else:
        raise BadInput(path, field, f"expected an image, (H, W, 3), found shape {tuple(shape)}")
    check_pixels(width, height, path, field)
    return width, height


def as_rgb(image: np.ndarray, path: Path, field: str) -> np.ndarray:
    """(H, W, 3) uint8: grey is repeated, alpha dropped, a float image in [0, 1] scaled.

    Raises:
        BadInput: another type, or values outside the range of an image of its type.
    """
    shape_of(image.shape, path, field)
    if image.ndim == 2:
        image = image[:, :, None]
    elif image.shape[2] not in CHANNELS:
        image = image.transpose(1, 2, 0)
    image = image[:, :, :3] if image.shape[2] == 4 else image
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    if np.issubdtype(image.dtype, np.floating):
        low, high = float(np.min(image)), float(np.max(image))
        if not (low >= -1e-3 and high <= 1.0 + 1e-3):
            raise BadInput(path, field, f"expected float images in 0 to 1, found {low:.4g} to {high:.4g}")
        image = np.clip(image * 255.0 + 0.5, 0, 255).astype(np.uint8)
    if image.dtype != np.uint8:
        raise BadInput(path, field, f"expected uint8 (0-255) or float (0-1) images, found {image.dtype}")
    return np.ascontiguousarray(image)


@dataclass(frozen=True)
class ImageFiles:
    """A folder with one image file for each row, in the order of their names."""

    path: Path
    files: tuple[Path, ...]
    width: int
    height: int

    @classmethod
    def of(cls, folder: Path, files: Sequence[Path]) -> ImageFiles:
        """
        Raises:
            BadInput: the first file is not an image.
        """
        first = read_image(files[0])
        return cls(folder, tuple(files), first.shape[1], first.shape[0])

    def frames(self, rows: Sequence[int]) -> Iterator[np.ndarray]:
        for row in rows:
            image = read_image(self.files[row])
            if image.shape[:2] != (self.height, self.width):
                found = f"{image.shape[1]}x{image.shape[0]}"
                raise BadInput(self.files[row], "size", f"expected {self.width}x{self.height} as before, found {found}")
            yield image


def read_image(file: Path) -> np.ndarray:
    """(H, W, 3) uint8 of one image file.

    Raises:
        BadInput: it is missing, broken, not an image, or a pipe.
    """
    check_ordinary(file)
    with guarded(file):
        try:
            return decoded(file, file, "")
        except FileNotFoundError:
            raise BadInput(file, "", "the image is missing") from None


def decoded(image: Path | BinaryIO, file: Path, field: str) -> np.ndarray:
    """(H, W, 3) uint8 of an image, which is a file or lies in `file` at `field`.

    Raises:
        FileNotFoundError: it is missing.
        BadInput: it is broken, or not an image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(image, formats=FORMATS) as opened:
            check_pixels(opened.width, opened.height, file, field or "size")
            pixels = opened.convert("RGB") if opened.mode in ("P", "1", "CMYK") else opened
            return as_rgb(np.asarray(pixels), file, field)
    except FileNotFoundError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadInput(file, field or "size", f"expected at most {MOST_PIXELS:,} pixels a frame: {error}") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise BadInput(file, field, f"cannot be read as an image: {error}") from None
