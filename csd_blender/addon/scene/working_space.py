"""The colors that Blender counts with: linear Rec.709 unless the file says otherwise, from Blender 5.0 on.

What a job has, and sRGB pictures hold, are colors of Rec.709; numbers of float images and of materials are in the
file's working space.
"""

from __future__ import annotations

import bpy
import numpy as np

#: From a working space to linear Rec.709, by rows. Rec.2020 (ITU-R BT.2087-0, inverted), and ACEScg (AP1, AMPAS
#: S-2014-004, with Bradford's adaptation from its white to D65).
_TO_REC709 = {
    "Linear Rec.2020": ((1.66049, -0.58764, -0.07285), (-0.12455, 1.13290, -0.00835), (-0.01815, -0.10058, 1.11873)),
    "ACEScg": ((1.70505, -0.62179, -0.08326), (-0.13026, 1.14080, -0.01055), (-0.02400, -0.12897, 1.15297)),
}


def to_rec709(colors: np.ndarray) -> np.ndarray:
    """Colors ``[..., 3]`` of the working space as linear Rec.709, which may be outside of [0, 1]."""
    matrix = _matrix()
    return colors if matrix is None else np.float32(colors @ matrix.T)


def from_rec709(colors: np.ndarray) -> np.ndarray:
    """Linear Rec.709 colors ``[..., 3]`` in the working space."""
    matrix = _matrix()
    return colors if matrix is None else np.float32(colors @ np.linalg.inv(matrix).T)


def _matrix() -> np.ndarray | None:
    """None where the working space is Rec.709, or one that nobody here knows."""
    space = getattr(getattr(bpy.data, "colorspace", None), "working_space", "")
    return np.array(_TO_REC709[space]) if space in _TO_REC709 else None
