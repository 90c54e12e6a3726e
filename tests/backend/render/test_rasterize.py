"""Rasterization and interpolation: against the twin, closed forms and finite differences; and that nothing crashes."""

from __future__ import annotations

import pytest
import torch

from csd_blender.backend.render.cameras import orbit
from csd_blender.backend.render.rasterizer.choose import get_rasterizer
from csd_blender.backend.render.rasterizer.interface import Raster, cover
from csd_blender.backend.render.rasterizer.topology import topology

QUAD = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)


def test_warp_and_its_twin_see_the_same_triangles_also_behind_the_camera(
    warp_rasterizer, torch_rasterizer, generator, soup
):
    clip, triangles = soup(generator)
    fast = warp_rasterizer.rasterize(clip, triangles, (48, 64))
    twin = torch_rasterizer.rasterize(clip, triangles, (48, 64))
    assert torch.equal(fast.triangle, twin.triangle)
    assert (fast.triangle >= 0).any() and len(fast.triangle.unique()) > 10
    torch.testing.assert_close(fast.rast, twin.rast, atol=2e-5, rtol=0)
    values = torch.rand(clip.shape[1], 5, generator=generator)
    a, b = warp_rasterizer.interpolate(values, fast, triangles), torch_rasterizer.interpolate(values, twin, triangles)
    torch.testing.assert_close(a, b, atol=2e-5, rtol=0)


def test_interpolation_on_a_tilted_floor_is_perspective_correct(warp_rasterizer):
    # A floor at height -1 seen by a pinhole at the origin looking along +y: the ray of a pixel meets it in closed form.
    corners = torch.tensor([[-4.0, 1.0], [4.0, 1.0], [4.0, 9.0], [-4.0, 9.0]])
    x, depth = corners.unbind(1)
    clip = torch.stack([x, torch.ones(4), depth * 0.1 - 0.5, depth], 1)[None]  # ndc = (x / depth, 1 / depth)
    size = 64
    raster = warp_rasterizer.rasterize(clip, QUAD, (size, size))
    floor = warp_rasterizer.interpolate(corners, raster, QUAD)
    py, px = torch.meshgrid(*[(2 * torch.arange(size) + 1) / size - 1] * 2, indexing="ij")
    truth = torch.stack([px / py, 1 / py], -1)
    seen = raster.triangle[0] >= 0
    assert 300 < seen.sum() < size * size
    torch.testing.assert_close(floor[0][seen], truth[seen], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_a_closed_mesh_has_neither_cracks_nor_double_hits(warp_rasterizer, seed):
    # Coordinates on a coarse grid put many edges and corners exactly on pixel centers.
    g = torch.Generator().manual_seed(seed)
    n = 12
    at = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, n + 1)] * 2, indexing="xy"), -1)
    jitter = (torch.rand(n + 1, n + 1, 2, generator=g) - 0.5) * 0.12
    jitter[0] = jitter[-1] = 0
    jitter[:, 0] = jitter[:, -1] = 0
    at = at + (jitter * 128).round() / 128
    w = 1 + torch.rand(n + 1, n + 1, 1, generator=g)
    clip = torch.cat([at * w, torch.zeros_like(w), w], -1).view(1, -1, 4)
    i = torch.arange(n)[:, None] * (n + 1) + torch.arange(n)
    a, b, c, d = (x.flatten() for x in (i, i + 1, i + n + 1, i + n + 2))
    faces = torch.cat([torch.stack([a, b, d], 1), torch.stack([a, d, c], 1)]).int()
    assert (cover(warp_rasterizer.rasterize(clip, faces, (64, 64))) == 1).all()
    # Vertices doubled along every seam must stay as tight.
    split = clip[:, faces.long().flatten()]
    separate = torch.arange(split.shape[1], dtype=torch.int32).view(-1, 3)
    assert (cover(warp_rasterizer.rasterize(split, separate, (64, 64))) == 1).all()
    # Each triangle alone: together they cover each pixel whose center is on no edge exactly once.
    hits = torch.zeros(64, 64)
    single = split.view(-1, 3, 4)
    triangle = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    alone = warp_rasterizer.rasterize(single, triangle, (64, 64))
    inside = (alone.rast[..., 3] > 0) & (alone.rast[..., :2].amin(-1) > 0) & (alone.rast[..., :2].sum(-1) < 1)
    hits = inside.float().sum(0)
    assert hits.max() == 1


def test_gradients_agree_with_the_twin_in_double_precision(warp_rasterizer, torch_rasterizer, generator, soup):
    clip, triangles = soup(generator, faces=24)
    clip[..., 3] = clip[..., 3].abs() + 0.5
    values = torch.rand(2, clip.shape[1], 3, generator=generator)
    weight, depth = torch.randn(2, 32, 40, 3, generator=generator), torch.randn(2, 32, 40, generator=generator)

    def loss(rasterizer, dtype):
        c, v = (x.to(dtype, copy=True).requires_grad_() for x in (clip, values))
        raster = rasterizer.rasterize(c, triangles, (32, 40))
        out = rasterizer.interpolate(v, raster, triangles)
        ((out * weight.to(dtype)).sum() + (raster.rast[..., 2] * depth.to(dtype)).sum()).backward()
        return c.grad, v.grad

    for fast, twin in zip(loss(warp_rasterizer, torch.float32), loss(torch_rasterizer, torch.float64), strict=True):
        assert twin.abs().max() > 0
        assert (fast - twin).abs().max() < 1e-4 * twin.abs().max()


def test_the_twins_gradient_is_that_of_finite_differences(torch_rasterizer, generator):
    clip = torch.tensor([[[-2.0, -2.0, 0.1, 1.0], [5.0, -3.0, 0.3, 1.5], [-2.0, 6.0, -0.2, 1.2]]], dtype=torch.float64)
    triangle = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    weight = torch.randn(1, 8, 8, 3, generator=generator, dtype=torch.float64)

    def loss(c):
        return (torch_rasterizer.rasterize(c, triangle, (8, 8)).rast[..., :3] * weight).sum()

    assert torch.autograd.gradcheck(loss, clip.requires_grad_(), eps=1e-6)


def test_shared_attributes_collect_the_gradients_of_all_views(warp_rasterizer, generator, sphere):
    points, triangles = sphere(6)
    raster = warp_rasterizer.rasterize(orbit(3).clip(points), triangles, (40, 40))
    shared = torch.rand(len(points), 2, generator=generator, requires_grad=True)
    warp_rasterizer.interpolate(shared, raster, triangles).square().sum().backward()
    own = shared.detach().expand(3, -1, -1).clone().requires_grad_()
    warp_rasterizer.interpolate(own, raster, triangles).square().sum().backward()
    torch.testing.assert_close(shared.grad, own.grad.sum(0))


def test_many_views_side_by_side_equal_each_view_alone(warp_rasterizer, sphere):
    points, triangles = sphere(10)
    clip = orbit(5).clip(points)
    together = warp_rasterizer.rasterize(clip, triangles, (96, 96)).rast
    alone = torch.cat([warp_rasterizer.rasterize(view[None], triangles, (96, 96)).rast for view in clip])
    assert torch.equal(together, alone)


def test_a_uv_index_other_than_the_position_index_interpolates_its_own_values(warp_rasterizer):
    clip = torch.tensor([[[-1.0, -1, 0, 1], [1, -1, 0, 1], [1, 1, 0, 1], [-1, 1, 0, 1]]])
    raster = warp_rasterizer.rasterize(clip, QUAD, (4, 4))
    apart = torch.tensor([[0, 1, 2], [3, 4, 5]], dtype=torch.int32)
    out = warp_rasterizer.interpolate(torch.tensor([[0.0]] * 3 + [[1.0]] * 3), raster, apart)
    torch.testing.assert_close(out[..., 0], raster.triangle.float())


def broken_meshes() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    good = torch.tensor([[[-1.0, -1, 0, 1], [1, -1, 0, 1], [1, 1, 0, 1], [-1, 1, 0, 1]]])
    spoiled = {"nan": float("nan"), "infinity": float("inf"), "huge": 1e38}
    meshes = {}
    for name, value in spoiled.items():
        clip = good.clone()
        clip[0, 0, 0] = value
        meshes[name] = (clip, QUAD)
    behind = good.clone()
    behind[..., 3] = -1
    zero_w = good.clone()
    zero_w[0, :2, 3] = 0
    meshes |= {
        "behind the camera": (behind, QUAD),
        "w of zero": (zero_w, QUAD),
        "all w of zero": (good * torch.tensor([1.0, 1, 1, 0]), QUAD),
        "one point thrice": (good, torch.tensor([[1, 1, 1], [2, 2, 3]], dtype=torch.int32)),
        "no area": (good, torch.tensor([[0, 2, 0], [1, 1, 3]], dtype=torch.int32)),
        "no faces": (good, torch.zeros((0, 3), dtype=torch.int32)),
        "no vertices": (good[:, :0], torch.zeros((0, 3), dtype=torch.int32)),
        "no views": (good[:0], QUAD),
        "beyond the far plane": (good + torch.tensor([0.0, 0, 5, 0]), QUAD),
    }
    return meshes


@pytest.mark.parametrize("name", list(broken_meshes()))
@pytest.mark.parametrize("backend", ["warp", "torch"])
def test_broken_meshes_render_without_crash_or_nan(name, backend):
    rasterizer = get_rasterizer(backend)
    clip, triangles = broken_meshes()[name]
    clip = clip.clone().requires_grad_()
    raster = rasterizer.rasterize(clip, triangles, (8, 12))
    values = torch.rand(clip.shape[1], 3, requires_grad=True)
    color = rasterizer.interpolate(values, raster, triangles)
    out = rasterizer.antialias(color, raster, clip, triangles, topology(triangles))
    assert out.shape == (len(clip), 8, 12, 3)
    assert raster.rast.isfinite().all() and out.isfinite().all()
    if out.requires_grad:
        out.sum().backward()
        if clip.grad is not None and backend == "warp":
            assert clip.grad.isfinite().all()


def test_a_triangle_reaching_behind_the_camera_still_fills_its_part(warp_rasterizer):
    # The ground below a camera: from before its feet to behind its back; it must fill the lower half up to the horizon.
    ground = torch.tensor([[-50.0, -30.0], [50.0, -30.0], [0.0, 60.0]])  # x, depth
    clip = torch.stack([ground[:, 0], torch.ones(3), ground[:, 1] * 0.01, ground[:, 1]], 1)[None]
    seen = cover(warp_rasterizer.rasterize(clip, torch.tensor([[0, 1, 2]], dtype=torch.int32), (32, 32)))[0, :, :, 0]
    assert seen[18:, 8:24].all()
    assert not seen[:16].any()


def test_triangles_naming_missing_vertices_are_refused(warp_rasterizer):
    with pytest.raises(ValueError, match="only 3"):
        warp_rasterizer.rasterize(torch.rand(1, 3, 4), torch.tensor([[0, 1, 3]]), (4, 4))


def test_an_unknown_rasterizer_and_one_not_allowed_are_refused():
    with pytest.raises(ValueError, match="choose auto"):
        get_rasterizer("vulkan")
    with pytest.raises(ValueError, match="non-commercial"):
        get_rasterizer("nvdiffrast")


def test_raster_values_outside_the_mesh_are_zero(warp_rasterizer, sphere):
    points, triangles = sphere(8)
    raster = warp_rasterizer.rasterize(orbit(1).clip(points), triangles, (32, 32))
    empty = raster.triangle < 0
    assert empty.any()
    assert not raster.rast[empty].any()
    assert not warp_rasterizer.interpolate(points + 5, Raster(raster.rast), triangles)[empty].any()
