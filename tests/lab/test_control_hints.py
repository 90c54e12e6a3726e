"""What the mini model's ControlNet is trained on is what a job shows it."""

from __future__ import annotations

import torch

from csd_blender.backend.render.cameras import orbit
from csd_blender.backend.render.controls import ShownShape, control_pictures
from tools.lab.mini.control.hints import hint_pictures

SIDE = 64


def test_the_laboratory_s_hints_are_the_product_s_control_pictures():
    cameras = orbit(2, elevation=25.0)
    eyes, rays = cameras.positions(), cameras.directions(SIDE)
    along = torch.einsum("bhwi,bi->bhw", rays, eyes)
    room = along**2 - (eyes.square().sum(1) - 0.5)[:, None, None]
    covered = room > 0
    item = covered.nonzero()[:, 0]
    points = eyes[item] + rays[covered] * (-along[covered] - room[covered].sqrt())[:, None]
    shape = ShownShape(covered, points, points / 0.5**0.5)
    shown = control_pictures([("depth", "normal")], shape, cameras, SIDE)

    depth, normals = torch.zeros(covered.shape), torch.zeros(*covered.shape, 3)
    axes = cameras.axes()[item]
    depth[covered] = torch.einsum("nj,nj->n", eyes[item] - points, axes[:, 2])
    normals[covered] = torch.einsum("nij,nj->ni", axes, shape.normals)
    stored = (depth.half(), (normals * 127).round().to(torch.int8), (covered * 255).to(torch.uint8))
    hints = hint_pictures(*stored, torch.zeros(2, dtype=torch.bool))
    torch.testing.assert_close(hints, shown, atol=5e-3, rtol=0)
