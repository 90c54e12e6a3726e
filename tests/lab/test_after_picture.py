"""Objects after one picture, beside the true shapes."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from csd_blender.backend.geometry.marching_tets import marching_tets
from csd_blender.backend.geometry.tet_grid import tet_grid
from csd_blender.backend.pipelines.text_to_3d.output import bare_surface
from csd_blender.backend.render.pictures import turntable_cameras
from csd_blender.backend.render.rasterizer.choose import get_rasterizer
from tools.lab.compare import after_picture
from tools.lab.compare.after_picture import SIZE, THINGS, outlines_of, overlap, picture_tasks, true_thing
from tools.lab.mini.render import Camera


def disc(x, y, radius):
    line = torch.arange(SIZE) + 0.5
    return ((line[None] - x).square() + (line[:, None] - y).square() < radius**2)[None]


def test_outlines_are_compared_wherever_they_stand_and_however_large_they_are():
    one = disc(40, 50, 20)
    assert overlap(one, one) == 1
    assert overlap(one, disc(60, 30, 12)) > 0.95
    square = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    square[:, 20:60, 30:70] = True
    assert overlap(one, square) == pytest.approx(np.pi / 4, abs=0.02)
    assert overlap(torch.zeros_like(one), one) < 0.01


def test_a_thing_and_its_picture_are_the_same_each_time():
    shape, data = true_thing(0)
    again, same = true_thing(0)
    assert data == same and shape.name == again.name == THINGS[0][0]
    rgba = np.asarray(Image.open(io.BytesIO(data)))
    assert rgba.shape == (256, 256, 4) and 0.05 < (rgba[..., 3] > 128).mean() < 0.6


def test_a_mesh_of_the_true_shape_has_its_outlines_and_turned_it_has_not():
    """The turntable's cameras and the tracer's see the same sides: held together by a shape that is not symmetric."""
    shape, _ = true_thing(4)  # a mug, with its handle on one side
    grid = tet_grid(48)
    points = grid.vertices * 1.1
    vertices, triangles = marching_tets(points, shape.distance(points), grid.tets)
    surface = bare_surface(vertices.numpy(), triangles.numpy(), get_rasterizer())
    cameras = turntable_cameras(after_picture.VIEWS)
    found = surface.rasterize(cameras, SIZE).rast[..., 3] > 0

    def seen(turned):
        angles = zip(cameras.azimuth, cameras.elevation, cameras.distance, cameras.fov_y, strict=True)
        return outlines_of(shape, [Camera(float(a) + turned, float(e), float(d), float(f)) for a, e, d, f in angles])

    assert overlap(found, seen(0.0)) > 0.93 > 0.85 > overlap(found, seen(90.0))


def test_a_rehearsal_has_one_object_a_row(tmp_path):
    tasks = picture_tasks(tmp_path, rehearse=True)
    assert [task.key for task in tasks] == ["after the picture 0", "by its words alone 0"]
    assert len({task.fingerprint for task in tasks}) == 2 and len(picture_tasks(tmp_path)) == 2 * len(THINGS)


def test_a_sheet_has_each_picture_beside_four_sides_of_what_was_made(tmp_path):
    tasks = [task for task in picture_tasks(tmp_path) if task.of_picture][:2]
    assert len(tasks) == 2 and not all(task.of_picture for task in picture_tasks(tmp_path))
    for gray, task in enumerate(tasks):
        (task.folder / "result").mkdir(parents=True)
        sides = np.repeat(np.repeat(np.arange(8, dtype=np.uint8).reshape(2, 4) * 20 + gray, 32, 0), 32, 1)
        Image.fromarray(sides).save(task.folder / after_picture.TURNTABLE)
    after_picture.save_sheet(tasks, tmp_path / "sheet.png", side=32)
    found = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    assert found.shape == (32, 320, 3)
    tops = found[16, 16::32, 0]
    assert list(tops[1:5]) == [0, 40, 80, 120] and list(tops[6:]) == [1, 41, 81, 121], "sides 0, 2, 4 and 6"
    assert found[:, :32].std() > 20, "the picture shows something"
