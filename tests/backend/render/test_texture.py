"""Texture lookup: against torch's grid_sample and the twin, mip levels, and adjoints."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from csd_blender.backend.render.rasterizer.warp import mip_pyramid


def scene(generator, views: int = 2, size: int = 24):
    uv = torch.rand(views, size, size, 2, generator=generator) * 1.2 - 0.1
    change = torch.randn(views, size, size, 2, 2, generator=generator) * 10 ** (
        -3 + 3 * torch.rand(views, size, size, 1, 1, generator=generator)
    )
    return uv, change


def test_the_first_row_of_a_texture_is_the_top(warp_rasterizer):
    texture = torch.zeros(1, 4, 4, 1)
    texture[0, 0, 1] = 1
    center = torch.tensor([1.5 / 4, 1 - 0.5 / 4]).view(1, 1, 1, 2)
    assert warp_rasterizer.texture(texture, center).item() == 1


def test_bilinear_lookup_equals_grid_sample_with_its_gradients(warp_rasterizer, generator):
    uv, _ = scene(generator)
    texture, weights = torch.rand(2, 16, 12, 3, generator=generator), torch.randn(2, 24, 24, 3, generator=generator)
    results = []
    for ours in (True, False):
        t, p = texture.clone().requires_grad_(), uv.clone().requires_grad_()
        if ours:
            out = warp_rasterizer.texture(t, p)
        else:
            grid = torch.stack([p[..., 0] * 2 - 1, 1 - p[..., 1] * 2], -1)
            out = F.grid_sample(t.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=False).permute(
                0, 2, 3, 1
            )
        (out * weights).sum().backward()
        results.append((out.detach(), t.grad, p.grad))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_repeating_textures_go_on_beyond_the_tile(warp_rasterizer, generator):
    texture = torch.rand(1, 8, 8, 2, generator=generator)
    uv = torch.rand(1, 5, 5, 2, generator=generator)
    here = warp_rasterizer.texture(texture, uv, wrap="repeat")
    far = warp_rasterizer.texture(texture, uv + torch.tensor([3.0, -2.0]), wrap="repeat")
    torch.testing.assert_close(here, far, atol=1e-5, rtol=0)
    edge = warp_rasterizer.texture(texture, torch.tensor([[[[0.0, 1 - 0.5 / 8]]]]), wrap="repeat")
    torch.testing.assert_close(edge[0, 0, 0], (texture[0, 0, 0] + texture[0, 0, 7]) / 2)


@pytest.mark.parametrize("wrap", ["clamp", "repeat"])
def test_mip_lookup_and_its_gradients_agree_with_the_twin_in_double_precision(
    warp_rasterizer, torch_rasterizer, generator, wrap
):
    uv, change = scene(generator)
    texture, weights = torch.rand(1, 32, 32, 3, generator=generator), torch.randn(2, 24, 24, 3, generator=generator)
    results = []
    for rasterizer, dtype in ((warp_rasterizer, torch.float32), (torch_rasterizer, torch.float64)):
        t, p = (x.to(dtype, copy=True).requires_grad_() for x in (texture, uv))
        out = rasterizer.texture(t, p, change.to(dtype), wrap=wrap)
        (out * weights.to(dtype)).sum().backward()
        results.append([x.double() for x in (out.detach(), t.grad, p.grad)])
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().max() < 2e-5 * b.abs().max()


def test_the_adjoint_of_mip_lookup_is_exact(warp_rasterizer, generator):
    # For a linear map A, <A x, y> = <x, A^T y>.
    uv, change = scene(generator)
    x = torch.randn(1, 16, 16, 3, generator=generator, requires_grad=True)
    y = torch.randn(2, 24, 24, 3, generator=generator)
    out = warp_rasterizer.texture(x, uv, change)
    out.backward(y)
    left, right = (out.detach().double() * y).sum(), (x.detach().double() * x.grad).sum()
    assert left.item() == pytest.approx(right.item(), rel=1e-5)


def test_a_fine_checkerboard_turns_gray_when_seen_from_far_away(warp_rasterizer):
    board = (torch.arange(16)[:, None] + torch.arange(16)).remainder(2).float().view(1, 16, 16, 1)
    uv = torch.rand(1, 6, 6, 2)
    far = torch.eye(2).expand(1, 6, 6, 2, 2) / 8  # a pixel is two texels wide
    torch.testing.assert_close(warp_rasterizer.texture(board, uv, far), torch.full((1, 6, 6, 1), 0.5))
    near = torch.eye(2).expand(1, 6, 6, 2, 2) / 64
    torch.testing.assert_close(warp_rasterizer.texture(board, uv, near), warp_rasterizer.texture(board, uv))


def test_a_pyramid_ends_where_a_side_is_odd():
    _, levels = mip_pyramid(torch.zeros(1, 24, 12, 1), True)
    assert levels.tolist() == [[24, 12, 0], [12, 6, 288], [6, 3, 360]]


def test_broken_coordinates_give_black_and_no_gradient(warp_rasterizer):
    texture = torch.ones(1, 4, 4, 1, requires_grad=True)
    uv = torch.tensor([[[[float("nan"), 0.5], [0.5, float("inf")], [1e30, -1e30]]]])
    out = warp_rasterizer.texture(texture, uv, torch.full((1, 1, 3, 2, 2), float("nan")))
    assert out[0, 0, :, 0].tolist() == [0, 0, 1]
    out.sum().backward()
    assert texture.grad.isfinite().all()
