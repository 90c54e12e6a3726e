"""Preview pictures hold the light that Blender's own color management sees in the same bytes."""

import mathutils
import numpy as np
import pytest

from tests.support.blender import module


def test_bytes_become_the_light_that_blender_makes_of_them():
    ramp = np.arange(256, dtype=np.uint8)
    rgba = np.stack([ramp, ramp, ramp, np.full(256, 255, np.uint8)], 1)
    pixels, width, height = module("addon.scene.preview.pictures").to_linear(rgba.tobytes(), 256, 1)
    assert (width, height) == (256, 1)
    for value, light in zip(ramp.tolist(), pixels.reshape(256, 4).tolist(), strict=True):
        wanted = mathutils.Color([value / 255.0] * 3).from_srgb_to_scene_linear()
        assert light == pytest.approx([*wanted, 1.0], rel=1e-4, abs=2e-6)
