"""Pictures to PNG files in memory, so that they can be put in their place in one piece."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def png_bytes(picture: np.ndarray) -> bytes:
    """uint8 ``[H, W, 3]`` (sRGB, row 0 = top) as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()
