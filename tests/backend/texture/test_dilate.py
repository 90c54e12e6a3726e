"""Between the islands there is paint, of the islands' own colors."""

import pytest
import torch

from csd_blender.backend.texture.dilate import dilate


def islands(size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    albedo, mask = torch.zeros((size, size, 3)), torch.zeros((size, size), dtype=torch.bool)
    albedo[4:20, 4:20] = torch.tensor([1.0, 0.2, 0.0])
    albedo[40:60, 30:50] = torch.tensor([0.0, 0.2, 1.0])
    mask[4:20, 4:20] = mask[40:60, 30:50] = True
    return albedo, mask


def test_painted_texels_stay_and_all_others_are_filled():
    albedo, mask = islands()
    filled = dilate(albedo, mask)
    assert torch.equal(filled[mask], albedo[mask])
    assert torch.allclose(filled[..., 1], torch.tensor(0.2), atol=1e-5)  # what all islands share is everywhere
    assert filled.min() >= 0 and filled.max() <= 1


def test_near_an_island_its_own_color_is_found():
    albedo, mask = islands()
    filled = dilate(albedo, mask)
    assert torch.allclose(filled[20:26, 4:20], albedo[19, 19], atol=1e-5)
    assert torch.allclose(filled[34:40, 30:50], albedo[45, 40], atol=1e-5)


def test_a_limit_in_pixels_is_kept():
    albedo, mask = islands()
    filled = dilate(albedo, mask, pixels=3)
    assert filled[22, 10, 0] == 1 and not filled[23, 10].any() and filled[22, 22, 0] == 1


def test_islands_that_grow_less_are_as_before_where_they_grow_and_everything_is_filled():
    albedo, mask = islands()
    whole, quick = dilate(albedo, mask), dilate(albedo, mask, grow=2)
    near = dilate(torch.ones_like(albedo), mask, pixels=2)[..., 0] > 0
    assert near.sum() > mask.sum() and torch.equal(quick[near], whole[near])
    assert (quick[~near].sum(-1) > 0).all() and not torch.equal(quick, whole)


@pytest.mark.parametrize("size", [1, 7, 64, 100])
def test_any_size_of_texture_is_filled(size):
    albedo, mask = torch.full((size, size, 3), 9.0), torch.zeros((size, size), dtype=torch.bool)
    albedo[size // 2, size // 3] = 0.7
    mask[size // 2, size // 3] = True
    assert torch.allclose(dilate(albedo, mask), torch.tensor(0.7), atol=1e-5)


def test_colors_outside_of_the_mask_never_leak():
    albedo, mask = islands()
    poisoned = albedo.clone()
    poisoned[~mask] = 1e6
    assert torch.allclose(dilate(poisoned, mask), dilate(albedo, mask), atol=1e-5)


def test_an_empty_or_full_mask_changes_nothing():
    albedo = torch.rand((8, 8, 3))
    for value in (True, False):
        assert torch.equal(dilate(albedo, torch.full((8, 8), value)), albedo)


def test_a_neighbor_across_a_corner_counts_half_as_much_as_one_across_a_side():
    albedo, mask = torch.zeros((3, 3, 1)), torch.zeros((3, 3), dtype=torch.bool)
    albedo[0, 1], mask[0, 1] = 0.9, True  # above the middle
    albedo[2, 2], mask[2, 2] = 0.3, True  # across its corner
    assert dilate(albedo, mask, pixels=1)[1, 1, 0].item() == pytest.approx((0.9 + 0.5 * 0.3) / 1.5)
