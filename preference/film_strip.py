"""A few frames side by side as one small JPEG inside a page: frames go in, a data address comes out."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import numpy as np

HEIGHT = 96
"""Pixels; enough to see where gripper and object are, and some 2 kB a frame."""


def film_strip(frames: Iterable[np.ndarray], height: int = HEIGHT) -> str:
    """`data:image/jpeg;base64,…` of the frames from left to right.

    Args:
        frames: (H, W, 3) uint8 RGB each, of one shape; at least one.
        height: Of the strip, in pixels; the frames keep their proportions.
    """
    from PIL import Image

    small = []
    for frame in frames:
        image = Image.fromarray(frame)
        image.thumbnail((10 * height, height))
        small.append(np.asarray(image))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(small, axis=1)).save(buffer, "JPEG", quality=75)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
