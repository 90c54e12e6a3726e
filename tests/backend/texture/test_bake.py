"""The baked texture shows the field, on the islands and across their borders."""

import numpy as np
import pytest
import torch

from csd_blender.backend.fields.texture_field import TextureField
from csd_blender.backend.geometry.mesh import Mesh, normalize
from csd_blender.backend.texture.bake import bake
from csd_blender.backend.texture.dilate import dilate
from csd_blender.backend.texture.project import project_unwrap
from csd_blender.backend.texture.uv_kernels import claim, coverage_counts
from tests.support.seams import bilinear, border_samples, mip
from tools.lab.demo_meshes import demo_mesh

SIZE = 512


def waves(points: torch.Tensor) -> torch.Tensor:
    """A smooth field that uses the whole range of colors: about three waves across the object."""
    return 0.5 + 0.5 * torch.sin(points * 9.0 + torch.tensor([0.0, 1.0, 2.0]))


def arrays(mesh: Mesh) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(normalize(mesh.positions)[0]), torch.from_numpy(mesh.triangles)


def square(uv_low: float = 0.0, uv_high: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A square of two triangles in the XY plane, x and y running from -1 to 1 with u and v."""
    points = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    return points, triangles, ((points[:, :2] + 1) / 2 * (uv_high - uv_low) + uv_low)[triangles.long()]


@pytest.fixture(scope="module", params=["mug", "knot", "rock"])
def baked(request):
    """A mesh with UVs (the rock's are made by projection), its UVs, the baked texture, its mask, and dilated."""
    mesh = demo_mesh(request.param)
    uv = mesh.uv if mesh.uv is not None else project_unwrap(mesh.positions, mesh.triangles, 4 / SIZE)
    points, triangles = arrays(mesh)
    albedo, mask = bake(waves, points, triangles, torch.from_numpy(uv), SIZE)
    return Mesh(points.numpy(), mesh.triangles), uv, albedo, mask, dilate(albedo, mask)


def seam_errors(mesh: Mesh, uv: np.ndarray, texture: torch.Tensor, level: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Difference of the two sides of each border, and of one side from the field itself: ``[N]`` each."""
    points, one, two = border_samples(mesh, uv)
    image = mip(texture, level)
    first, second = bilinear(image, one), bilinear(image, two)
    truth = waves(torch.from_numpy(np.float32(points)))
    return (first - second).abs().amax(dim=1), (first - truth).abs().amax(dim=1)


def test_texel_centers_get_the_color_of_their_point():
    points, triangles, uv = square()
    albedo, mask = bake(lambda p: p * 0.5 + 0.5, points, triangles, uv, 8, supersample=1)
    centers = (torch.arange(8) + 0.5) / 8
    assert mask.all()
    assert torch.allclose(albedo[..., 0], centers.expand(8, 8), atol=1e-6)  # u grows to the right
    assert torch.allclose(albedo[..., 1], centers.flip(0)[:, None].expand(8, 8), atol=1e-6)  # row 0 is v = 1


def test_supersampling_averages_inside_of_the_texel():
    points, triangles, uv = square()
    albedo, _ = bake(lambda p: (p > 0.125).float(), points, triangles, uv, 8, supersample=4)
    assert albedo[0, 4, 0] == pytest.approx(0.5) and albedo[0, 3, 0] == 0 and albedo[0, 5, 0] == 1


def test_a_linear_field_goes_on_linearly_around_the_island():
    points, triangles, uv = square(0.25, 0.75)
    albedo, mask = bake(lambda p: p, points, triangles, uv, 32, supersample=1)
    inside = mask.clone()
    inside[8:24, 8:24] = False
    assert inside.any() and mask[8:24, 8:24].all() and not mask[0].any()
    u = (torch.arange(32) + 0.5) / 32
    expected = (u - 0.5) * 4
    rows, columns = mask.nonzero().T
    assert torch.allclose(albedo[rows, columns, 0], expected[columns], atol=1e-5)


def test_every_texel_that_bilinear_filtering_touches_is_baked(baked):
    mesh, uv, _, mask, _ = baked
    touched = bilinear(mask[..., None].expand(-1, -1, 3).float(), uv.reshape(-1, 2))
    assert touched.min() > 0.999


def test_colors_agree_across_uv_borders(baked):
    mesh, uv, _, _, texture = baked
    across, truth = seam_errors(mesh, uv, texture)
    assert len(across) > 500
    assert across.quantile(0.99) < 0.01 and truth.quantile(0.99) < 0.01  # the field itself spans 0 to 1


def test_colors_agree_across_uv_borders_one_mip_level_down(baked):
    mesh, uv, _, _, texture = baked
    across, truth = seam_errors(mesh, uv, texture, level=1)
    assert across.quantile(0.95) < 0.04 and truth.quantile(0.95) < 0.05


def test_without_baked_margins_and_dilation_the_borders_show(baked):
    """The seam test can fail: cut off what lies outside of the islands and it does."""
    mesh, uv, albedo, mask, _ = baked
    strict = claim(torch.from_numpy(uv) * SIZE, SIZE, 0.0).flip(0) >= 0
    across, truth = seam_errors(mesh, uv, albedo * strict[..., None])
    assert truth.quantile(0.99) > 0.1


def test_with_a_broken_dilation_the_next_mip_levels_show_it(baked):
    mesh, uv, albedo, mask, texture = baked
    _, good = seam_errors(mesh, uv, texture, level=3)
    _, broken = seam_errors(mesh, uv, albedo * mask[..., None], level=3)
    assert broken.mean() > 1.15 * good.mean()


def test_baking_in_small_pieces_gives_the_same(baked):
    mesh, uv, albedo, mask, _ = baked
    again, mask_again = bake(waves, *arrays(mesh), torch.from_numpy(uv), SIZE, chunk=10_000)
    assert torch.equal(again, albedo) and torch.equal(mask, mask_again)


def test_a_real_field_is_baked_truly():
    mesh = demo_mesh("mug")
    points, triangles = arrays(mesh)
    field = TextureField(finest_resolution=32, levels=3)
    with torch.no_grad():
        field.table.normal_(generator=torch.Generator().manual_seed(0))
    albedo, mask = bake(field, points, triangles, torch.from_numpy(mesh.uv), SIZE)
    texture = dilate(albedo, mask)
    middle = bilinear(texture, mesh.uv.mean(axis=1))
    with torch.no_grad():
        truth = field(points[triangles.long()].mean(dim=1))
    assert (middle - truth).abs().quantile(0.99) < 0.02


def test_uvs_outside_of_the_tile_repeat():
    points, triangles, uv = square()
    inside, _ = bake(waves, points, triangles, uv, 32)
    shifted, _ = bake(waves, points, triangles, uv + torch.tensor([3.0, -2.0]), 32)
    assert torch.allclose(inside, shifted, atol=1e-4)


def test_slivers_and_faces_without_area_do_no_harm():
    points, triangles, uv = square(0.2, 0.8)
    points = torch.cat([points, points[2:3] + 1e-6])
    triangles = torch.cat([triangles, torch.tensor([[1, 2, 4], [0, 0, 0]], dtype=torch.int32)])
    uv = torch.cat([uv, torch.tensor([[[0.8, 0.2], [0.8, 0.8], [0.8 + 1e-7, 0.8]], [[0.0, 0], [0, 0], [0, 0]]])])
    albedo, mask = bake(lambda p: p, points, triangles, uv, 64)
    assert albedo.abs().max() < 1.2 and not mask[-1, 0]


def test_a_part_without_paintable_faces_bakes_to_nothing():
    points, triangles, uv = square()
    albedo, mask = bake(waves, points, triangles, torch.zeros_like(uv), 16)
    assert not mask.any() and not albedo.any()


def test_a_texture_baked_in_parts_is_that_of_one_go():
    points, triangles, uv = square()
    assert torch.equal(bake(waves, points, triangles, uv, 64, chunk=256)[0], bake(waves, points, triangles, uv, 64)[0])


def test_faces_that_share_an_edge_never_count_twice_and_never_leave_a_gap():
    uv = torch.from_numpy(demo_mesh("knot").uv) * 256
    assert coverage_counts(uv, 256).max() == 1
    counts = coverage_counts(square()[2] * 33, 33)  # centers on the diagonal belong to neither
    owner = claim(square()[2] * 33, 33, 0.0)
    assert counts.max() == 1 and (owner >= 0).all()
