"""How well a texture fits the parts of its mesh: measures that know right from wrong, whatever the colors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from csd_blender.job.models.control import wanted_kinds
from tools.lab.compare.on_parts import alignment
from tools.lab.compare.on_parts.alignment import Ground, alignment_tasks, border_share, explained_share, measure, to_lab
from tools.lab.judged.part_meshes import PART_MESHES, part_labels, part_mesh

SIDE = 32


def checked_ground(cells: int = 4) -> Ground:
    """A square of ``cells`` x ``cells`` parts in one view; turns move the texture by half a part."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    size = SIDE // cells
    labels = (rows // size * cells + columns // size).reshape(-1)
    numbers = torch.arange(SIDE * SIDE)
    moved = ((rows + size // 2) % SIDE * SIDE + (columns + size // 2) % SIDE).reshape(-1)
    picture = labels.view(SIDE, SIDE)
    borders = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    for edge in range(size, SIDE, size):
        borders[0, edge - 2 : edge + 1] = borders[0, :, edge - 2 : edge + 1] = True
    assert picture.unique().numel() == cells**2
    nearest = torch.stack([numbers, moved])
    return Ground(labels, nearest, torch.ones(1, SIDE, SIDE, dtype=torch.bool), nearest, borders)


def test_one_color_a_part_fits_and_the_same_shifted_does_not():
    where = checked_ground()
    palette = torch.rand((16, 3), generator=torch.Generator().manual_seed(1))
    right = measure(where, palette[where.labels])
    assert right.border > 0.99 and right.explained > 0.99
    assert right.border_chance < 0.4 and right.explained_chance < 0.7
    shifted = measure(where, palette[where.labels][where.nearest[1]])
    assert shifted.border == right.border_chance and shifted.explained == right.explained_chance


def test_a_plain_texture_fits_nothing_and_noise_is_at_chance():
    where = checked_ground()
    plain = measure(where, torch.full((SIDE * SIDE, 3), 0.4))
    assert (plain.border, plain.explained) == (0.0, 0.0)
    noise = measure(where, torch.rand((SIDE * SIDE, 3), generator=torch.Generator().manual_seed(2)))
    assert abs(noise.border - noise.border_chance) < 0.03 and abs(noise.explained - noise.explained_chance) < 0.03


def test_weak_edges_and_outlines_do_not_count():
    where = checked_ground()
    faint = torch.full((SIDE * SIDE, 3), 0.5)
    faint[where.labels == 5] += 0.02
    assert border_share(where, to_lab(faint)) == 0.0
    hidden = Ground(where.labels, where.nearest, where.covered & (torch.arange(SIDE) < 8), where.seen, where.borders)
    assert border_share(hidden, torch.zeros(int(hidden.covered.sum()), 3)) == 0.0


def test_explained_variance_is_that_between_the_parts():
    labels = torch.tensor([0, 0, 1, 1])
    colors = torch.tensor([[0.0], [2.0], [10.0], [12.0]]).expand(-1, 3)
    assert explained_share(labels, colors) == pytest.approx(100 / 104)


def test_lab_of_known_colors():
    found = to_lab(torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    assert found[0].tolist() == pytest.approx([100, 0, 0], abs=0.1) and found[1].tolist() == pytest.approx([0, 0, 0])
    assert found[2].tolist() == pytest.approx([53.2, 80.1, 67.2], abs=0.2)


@pytest.mark.parametrize(("name", "parts"), [("robot", 6), ("house", 5), ("car", 5), ("snowman", 6)])
def test_every_part_of_a_mesh_is_somewhere_on_it(name, parts):
    labels = part_labels(name, np.float64(part_mesh(name).positions))
    counts = np.bincount(labels, minlength=parts + 1)
    assert len(counts) == parts + 1 and (counts > 10).all() and counts[0] == counts.max()


def test_the_robot_s_eyes_are_in_front_and_a_car_s_wheels_below():
    robot, car = (np.float64(part_mesh(name).positions) for name in ("robot", "car"))
    eyes = robot[part_labels("robot", robot) == 5]
    assert (eyes[:, 1] < -0.3).all() and (eyes[:, 0] > 0.05).any() and (eyes[:, 0] < -0.05).any()
    assert (car[part_labels("car", car) == 3][:, 2] < -0.2).all()


def test_six_meshes_and_four_seeds_and_nets_only_where_there_are_some(tmp_path, monkeypatch):
    monkeypatch.setattr(alignment, "bundled_control", lambda name: None)
    assert len(alignment_tasks(tmp_path)) == 24
    both = alignment_tasks(tmp_path, "/nets/mine", 1.5)
    assert len(both) == 48 and len({task.key for task in both}) == len({task.fingerprint for task in both}) == 48
    assert {task.mesh for task in both} == set(PART_MESHES)
    assert {(wanted_kinds(t.job.control) is None, t.job.control_strength) for t in both} == {(False, 1.0), (True, 1.5)}
