"""Accepted textures as files: each image of the .blend has one of its own, in unpacking and in exports."""

import pytest

from tests.support.blender import bpy, cube, module, select
from tests.support.by_hand import HandJob

apply_texture = module("addon.scene.apply_texture")


@pytest.fixture
def two_bricks(monkeypatch, tmp_path):
    """Two cubes with a texture of the same prompt but for a capital letter, red and green, in a saved file."""
    bpy.ops.mesh.primitive_cube_add(location=(4, 0, 0))
    made = []
    for obj, prompt, color in ((cube(), "red brick", (200, 0, 0)), (bpy.context.object, "red Brick", (0, 200, 0))):
        select(obj)
        HandJob(monkeypatch, prompt=prompt).finish(color=color)
        bpy.ops.csd.accept()
        made.append(obj)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    return [obj.material_slots[0].material.node_tree.nodes.active.image for obj in made]


@pytest.mark.parametrize("method", ["USE_LOCAL", "WRITE_LOCAL", "USE_ORIGINAL"])
def test_unpacked_textures_do_not_overwrite_each_other(two_bricks, tmp_path, method):
    bpy.ops.file.unpack_all(method=method)
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    found = {image.name: image for image in bpy.data.images if "csd_prompt" in image}
    colors = {name: tuple(round(v * 255) for v in image.pixels[:3]) for name, image in found.items()}
    assert colors == {"Red brick": (200, 0, 0), "Red Brick": (0, 200, 0)}
    names = {bpy.path.basename(image.filepath).lower() for image in found.values()}
    assert len(names) == 2 and all(name.startswith("red_brick") for name in names)


def test_the_packed_file_has_the_image_s_own_path(two_bricks):
    """Exporters go by it, and materials by the other."""
    for image in two_bricks:
        assert image.packed_files[0].filepath == image.filepath_raw


@pytest.mark.parametrize(("prompt", "file"), [("con", "//Con_.png"), ("lpt1", "//Lpt1_.png"), ("cone", "//Cone.png")])
def test_no_file_gets_a_name_that_windows_does_not_allow(by_hand, prompt, file):
    made = by_hand(prompt=prompt)
    made.finish()
    [done] = made.jobs.accept()
    assert done.image.filepath_raw == file
