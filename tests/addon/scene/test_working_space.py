"""Blender counts with other colors than sRGB's where the file says so; previews and edits begin with the same ones."""

import numpy as np
import pytest

from tests.support.blender import bpy, cube, module

working_space = module("addon.scene.working_space")
temporary, base_color = module("addon.scene.preview.temporary"), module("addon.scene.materials.base_color")
SPACES = dict(working_space._TO_REC709)
#: CIE xy of red, green, blue and white, as the standards have them: Rec.709 (D65), Rec.2020 (D65), AP1 (ACES's white).
PRIMARIES = {
    "Linear Rec.709": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), (0.3127, 0.3290)),
    "Linear Rec.2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), (0.3127, 0.3290)),
    "ACEScg": ((0.713, 0.293), (0.165, 0.830), (0.128, 0.044), (0.32168, 0.33767)),
}
BRADFORD = np.array(((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296)))


def xyz(x, y):
    return np.array((x / y, 1.0, (1 - x - y) / y))


def to_xyz(space):
    *corners, white = (xyz(*point) for point in PRIMARIES[space])
    primaries = np.stack(corners, axis=1)
    return primaries * np.linalg.solve(primaries, white)


@pytest.mark.parametrize("space", SPACES)
def test_the_matrices_follow_from_the_standards_primaries(space):
    there, here = (BRADFORD @ xyz(*PRIMARIES[s][3]) for s in ("Linear Rec.709", space))
    adapt = np.linalg.inv(BRADFORD) @ np.diag(there / here) @ BRADFORD
    expected = np.linalg.inv(to_xyz("Linear Rec.709")) @ adapt @ to_xyz(space)
    assert np.allclose(SPACES[space], expected, atol=2e-4)


@pytest.mark.parametrize("space", SPACES)
def test_what_leaves_the_scene_and_what_comes_in_are_each_other_s_inverse(monkeypatch, space):
    monkeypatch.setattr(working_space, "_matrix", lambda: np.array(SPACES[space]))
    colors = np.random.default_rng(0).random((5, 3), np.float32)
    inside = working_space.from_rec709(colors)
    assert not np.allclose(inside, colors, atol=0.02) and np.allclose(
        working_space.to_rec709(inside), colors, atol=1e-5
    )
    pixels = np.concatenate([colors[:4], np.full((4, 1), 0.5, np.float32)], axis=1)
    image = temporary.set_pixels("job/0", 2, 2, pixels.ravel())
    shown = np.array(image.pixels[:]).reshape(4, 4)
    assert np.allclose(shown[:, :3], inside[:4], atol=1e-6) and np.allclose(shown[:, 3], 0.5)
    material = cube().material_slots[0].material
    material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (*inside[0], 1)
    sent = base_color._picture(base_color.base_color(cube(), material)).ravel()
    assert np.array_equal(sent, base_color._bytes(base_color._encoded(colors[0])))


def test_a_file_that_says_nothing_has_the_colors_of_srgb():
    colors = np.ones((2, 3), np.float32)
    assert working_space.to_rec709(colors) is colors and working_space.from_rec709(colors) is colors


@pytest.mark.skipif(not hasattr(bpy.data, "colorspace"), reason="from Blender 5.0 on")
@pytest.mark.parametrize("space", SPACES)
def test_blender_says_which_it_is(space):
    bpy.ops.wm.set_working_color_space(working_space=space)
    assert np.array_equal(working_space._matrix(), SPACES[space])
