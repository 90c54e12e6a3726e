"""A field that begins as a surface's own colors: exact where nothing changed, and free to change everywhere."""

from __future__ import annotations

import pytest
import torch

from csd_blender.backend.fields.painted_field import PaintedField, colors_at, face_weights
from csd_blender.backend.fields.texture_field import TextureField
from csd_blender.backend.texture.bake import bake
from csd_blender.backend.texture.uv_kernels import coverage_counts

SIZE = 32
POINTS = torch.tensor([[-0.5, 0.0, -0.5], [0.5, 0.0, -0.5], [0.5, 0.0, 0.5], [-0.5, 0.0, 0.5]])
TRIANGLES = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
UV = torch.tensor([[[0.05, 0.05], [0.95, 0.05], [0.95, 0.95]], [[0.05, 0.05], [0.95, 0.95], [0.05, 0.95]]])


def checks(size: int = SIZE) -> torch.Tensor:
    """Black and white, with a red third: the hardest edges and the purest colors."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    picture = ((x // 3 + y // 3) % 2).float()[..., None].repeat(1, 1, 3)
    picture[: size // 3, :, 1:] = 0
    return picture


def field(pictures=None, picture=(0, 0), uv=UV, **more) -> PaintedField:
    changes = TextureField(levels=3, finest_resolution=32)
    corners = POINTS[TRIANGLES.long()]
    return PaintedField(changes, corners, uv, torch.tensor(picture), pictures or [checks()], **more)


def test_baked_to_its_own_map_and_size_it_is_the_start_to_the_last_bit():
    start = checks()
    baked, _ = bake(field([start]), POINTS, TRIANGLES, UV, SIZE, faces=torch.arange(2))
    inside = (coverage_counts(UV * SIZE, SIZE) > 0).flip(0)
    assert inside.float().mean() > 0.7
    assert torch.equal((baked[inside] * 255).round(), (start[inside] * 255).round())


def test_a_part_s_faces_keep_their_numbers_in_the_surface():
    red, blue = torch.tensor([[[1.0, 0, 0]]]), torch.tensor([[[0, 0, 1.0]]])
    painted = field([red, blue], (0, 1))
    baked, mask = bake(painted, POINTS, TRIANGLES[1:], UV[1:], SIZE, faces=torch.tensor([1]))
    torch.testing.assert_close(baked[mask], blue[0].expand(int(mask.sum()), 3))


def test_uvs_repeat_and_pictures_of_several_sizes_are_told_apart():
    painted = field([checks(), checks(8)], (0, 1), UV + 3.0)
    there = field([checks(), checks(8)], (0, 1))
    points, face = torch.rand(200, 3) - 0.5, torch.randint(2, (200,))
    torch.testing.assert_close(painted.start(points, face), there.start(points, face), atol=1e-4, rtol=0)


def test_pure_colors_can_be_led_to_any_other_and_back():
    painted = field([torch.tensor([[[1.0, 0.0, 0.0]]])])
    points, face = POINTS[:3], torch.tensor([0, 0, 0])
    optimizer = torch.optim.Adam(painted.parameters(), lr=0.1, betas=(0.9, 0.99))
    for wanted in ([0.0, 0.0, 1.0], [1.0, 0.0, 0.0]):
        for _ in range(150):
            optimizer.zero_grad()
            # always the same way on, as a score that is never content
            ((0.5 - torch.tensor(wanted)) * painted.at(points, face)).sum().backward()
            optimizer.step()
        torch.testing.assert_close(painted.at(points, face)[0], torch.tensor(wanted), atol=0.02, rtol=0)


def test_only_the_changes_are_in_a_checkpoint():
    painted = field(tint=torch.ones(2, 3, 3))
    assert list(painted.state_dict()) == ["changes.table"] and len(list(painted.parameters())) == 1


def test_corner_colors_are_multiplied():
    tint = torch.zeros(2, 3, 3)
    tint[0, 1] = 1.0
    painted = field([torch.ones(1, 1, 3)], tint=tint)
    found = painted.start(POINTS[[0, 1]] * 0.5 + POINTS[[1, 1]] * 0.5, torch.tensor([0, 0]))
    torch.testing.assert_close(found, torch.tensor([[0.5] * 3, [1.0] * 3]))


def test_corner_colors_of_a_gltf_file_are_multiplied_and_blended_in_linear_light():
    """Half way from black to white is half the light, 0.735 as sRGB; on a picture of half the light a quarter."""
    tint = torch.zeros(2, 3, 3)
    tint[0, 1] = 1.0
    place, face = POINTS[[0]] * 0.5 + POINTS[[1]] * 0.5, torch.tensor([0])
    for light, wanted in ((1.0, 0.7354), (0.7354, 0.5371)):
        painted = field([torch.full((1, 1, 3), light)], tint=tint, tint_linear=True)
        torch.testing.assert_close(painted.start(place, face), torch.full((1, 3), wanted), atol=2e-4, rtol=0)
    white = field([checks()], tint=torch.ones(2, 3, 3), tint_linear=True)
    points, face = torch.rand(200, 3) - 0.5, torch.randint(2, (200,))
    torch.testing.assert_close(white.start(points, face), field().start(points, face), atol=2e-6, rtol=0)


def test_pictures_of_a_step_average_what_is_finer_than_their_pixels():
    """Checks of one texel are gray from afar, whatever the place; the result sees each of them."""
    fine = (torch.arange(64)[:, None] + torch.arange(64)[None]).remainder(2).float()[..., None].repeat(1, 1, 3)
    painted = field([fine], pixel=0.2)
    points, face = torch.rand(300, 3) * 0.4, torch.zeros(300, dtype=torch.long)
    assert (painted.start(points, face) - 0.5).abs().max() < 0.02
    assert (painted.start(points, face, exact=True) - 0.5).abs().max() > 0.3


@pytest.mark.parametrize("place", [(0.2, 0.3, 0.5), (1.0, 0.0, 0.0), (0.0, 0.5, 0.5)])
def test_weights_are_those_of_the_place_and_none_is_negative(place):
    corners = torch.rand(1, 3, 3, generator=torch.Generator().manual_seed(3))
    point = torch.einsum("k,kc->c", torch.tensor(place), corners[0])[None]
    torch.testing.assert_close(face_weights(corners, point)[0], torch.tensor(place), atol=1e-5, rtol=0)
    outside = corners[0, 0] * 2 - corners[0, 1]
    assert face_weights(corners, outside[None]).min() >= 0
    assert torch.isfinite(face_weights(torch.zeros(1, 3, 3), point)).all(), "a face without area"


def test_other_fields_are_asked_by_the_position_alone():
    plain = TextureField(levels=1)
    assert torch.equal(colors_at(plain, POINTS, torch.zeros(4, dtype=torch.long)), plain(POINTS))
