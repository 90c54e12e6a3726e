"""What pictures of a ring tell of a shape: outlines, holes, the hull that they bound, and a field fitted to it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from csd_blender.backend.pipelines.text_to_3d import warm_rings
from csd_blender.backend.pipelines.text_to_3d.coarse import ray_step, start_coarse
from csd_blender.backend.pipelines.text_to_3d.warm_rings import backgrounds, fit, hull, make_ring, ring_cameras
from csd_blender.backend.render.cameras import orbit
from csd_blender.backend.render.volume.render import render_volume
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.spec.cameras import SceneCameras

SIZE = 48
RANGES = SceneCameras(distance=(2.3, 2.9), fov_y=(40.0, 50.0))


class Torus:
    """Red where x is positive, else blue; around the y axis, so that one looks through it from the front."""

    def distance(self, p):
        return torch.stack([p[:, [0, 2]].norm(dim=1) - 0.55, p[:, 1]], dim=1).norm(dim=1) - 0.2

    def density(self, p):
        return torch.where(self.distance(p) < 0, 80.0, 0.0)

    def __call__(self, p):
        return self.density(p), torch.where(p[:, :1] > 0, torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9]))


def sloping(size):
    """A background that changes from left to right and from top to bottom, another one in each picture."""
    line = torch.linspace(0, 1, size)
    across, down = line.expand(4, 3, size, size), line[:, None].expand(4, 3, size, size)
    tint = torch.tensor([[0.1, 0.5, 0.2], [0.2, 0.4, 0.3], [0.6, 0.6, 0.1], [0.1, 0.1, 0.1]])[:, :, None, None]
    return (tint + 0.3 * across + 0.1 * down).clamp(0, 1)


def pictured(field, cameras, size=SIZE):
    """The field before such backgrounds, marched in small steps with nothing left out."""
    behind = sloping(size)
    points = (
        cameras.positions()[:, None, None, None]
        + torch.linspace(1.2, 4.0, 160)[None, None, None, :, None] * cameras.directions(size)[:, :, :, None]
    )
    hit = (field.distance(points.view(-1, 3)) < 0).view(points.shape[:-1])
    first = hit.float().argmax(-1)
    where = points.gather(3, first[..., None, None].expand(*first.shape, 1, 3))[..., 0, :]
    color = field(where.view(-1, 3))[1].view(*first.shape, 3).permute(0, 3, 1, 2)
    return torch.where(hit.any(-1)[:, None], color, behind), hit.any(-1)


@pytest.fixture(scope="module")
def rings():
    made = []
    for number in range(2):
        cameras = ring_cameras(RANGES, number)
        made.append(make_ring(cameras, pictured(Torus(), cameras)[0]))
    return made


def test_a_slope_is_found_behind_a_thing_that_reaches_an_edge():
    behind = sloping(SIZE)
    pictures = behind.clone()
    pictures[:, :, 12:40, 12:] = torch.tensor([0.9, 0.0, 0.4])[:, None, None]  # to the right edge
    torch.testing.assert_close(backgrounds(pictures), behind, atol=0.02, rtol=0)


def test_a_ring_is_shown_where_it_is_and_looked_through_where_it_is_not(rings):
    cameras = ring_cameras(RANGES, 0)
    truth = pictured(Torus(), cameras)[1]
    shown = rings[0].shown[:, 0] > 0
    gaps = rings[0].gaps[:, 0] > 0
    assert torch.equal(shown & ~gaps, truth), "what is not in the background's color is the thing"
    assert gaps[0].any() and gaps[2].any() and not gaps[1].any(), "one looks through from the front and from behind"


def test_the_hull_holds_the_thing_and_has_its_hole(rings):
    points = torch.rand((60000, 3), generator=torch.Generator().manual_seed(0)) * 2 - 1
    inside, truth = hull(rings, points) > 0.5, Torus().distance(points) < 0
    pixel = 2.6 * 2 * math.tan(math.radians(22.5)) / SIZE
    assert inside[Torus().distance(points) < -pixel].all(), "nothing is lost of what is not at its rim"
    assert (inside & truth).sum() > 0.6 * (inside | truth).sum()
    middle = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.15, 0.05]])
    assert (hull(rings, middle) < 0.5).all()
    one_sees_through = [rings[0], rings[1]]
    one_sees_through[0] = make_ring(rings[0].cameras, rings[0].pictures)
    one_sees_through[0].gaps[2] = 0
    one_sees_through[1].gaps.zero_()
    assert (hull(one_sees_through, middle) > 0.5).all(), "a spot in one picture is no hole"


def test_a_side_that_one_picture_alone_shows_is_the_thing_s_side(rings):
    """A handle is thin in the one picture that does not see it before its mug."""
    points = torch.rand((20000, 3), generator=torch.Generator().manual_seed(0)) * 2 - 1
    thin = make_ring(rings[0].cameras, rings[0].pictures)
    thin.shown[1, :, :, : SIZE // 2] = 0  # from the right, where the left half of the picture is what is behind
    whole, left = hull(rings, points) > 0.5, hull([thin, rings[1]], points) > 0.5
    beyond = thin.cameras.clip(points)[1, :, 0] < -0.1
    assert (whole & beyond).any() and not (left & beyond).any()
    beside = thin.cameras.clip(points)[1, :, 0] > 0.1
    assert torch.equal(left & beside, whole & beside)


def blurred(color, wanted):
    """Pictures of what is ``wanted [S, S]`` before gray, as soft as a decoder's: each pixel the mean of 5 x 5."""
    sharp = torch.where(wanted, torch.tensor(color)[:, None, None], torch.full((3, 1, 1), 0.5))
    padded = torch.nn.functional.pad(sharp[None], (2, 2, 2, 2), mode="replicate")
    return torch.nn.functional.avg_pool2d(padded, 5, 1).expand(4, -1, -1, -1)


@pytest.mark.parametrize("color", [(1.0, 0.0, 0.0), (0.7, 0.4, 0.4), (0.62, 0.5, 0.5)])
def test_an_outline_lies_in_the_middle_of_its_slope_however_strong_the_color_is(color):
    wanted = torch.zeros((SIZE, SIZE), dtype=torch.bool)
    wanted[12:36, 10:24] = wanted[12:36, 28:34] = True  # a cup, and a handle four pixels beside it
    shown = make_ring(ring_cameras(RANGES, 0), blurred(color, wanted)).shown[0, 0] > 0
    rows = shown[24].nonzero()[:, 0].tolist()
    assert abs(rows[0] - 10) <= 1 and abs(rows[-1] - 33) <= 1
    assert not shown[24, 25:27].any() and shown[24, 11:23].all() and shown[24, 29:33].all()


def test_a_darker_spot_of_a_bright_thing_is_no_hole():
    spots = torch.zeros((SIZE, SIZE), dtype=torch.bool)
    spots[10:38, 10:38] = True
    pictures = blurred((1.0, 0.9, 0.1), spots).clone()
    pictures[:, :, 20:28, 20:28] = 0.5 + 0.3 * torch.tensor([0.5, 0.4, -0.4])[:, None, None]  # 0.15 off what is behind
    assert not make_ring(ring_cameras(RANGES, 0), pictures).gaps.any()


def test_a_thing_before_its_own_color_is_drawn_again_before_another(rings):
    assert not warm_rings.is_hidden(rings[1])
    brown = torch.tensor([0.5, 0.3, 0.15])[:, None, None]
    pictures = brown.expand(4, 3, SIZE, SIZE).clone()
    pictures[:, :, 10:38, 10:38] += 0.08  # it can be seen, and hardly
    hidden = make_ring(rings[0].cameras, pictures)
    assert warm_rings.is_hidden(hidden)
    again = warm_rings.before_another(hidden)
    middle, corner = again[:, :, SIZE // 2, SIZE // 2], again[:, :, 0, 0]
    torch.testing.assert_close(middle, pictures[:, :, SIZE // 2, SIZE // 2])
    assert len(corner.unique(dim=0)) == 1 and float((corner - brown[:, 0, 0]).abs().amax(1).min()) > 0.5


def test_a_field_that_was_fitted_shows_the_thing_from_where_no_picture_was_taken(rings):
    job = text_to_3d_job("a ring", "draft", "mini", "csd-mvdream")
    state = start_coarse(job, torch.device("cpu"))
    fit(state, job.coarse, rings)
    cameras = orbit(4, elevation=20.0, distance=2.6, fov_y=45.0)
    cameras = type(cameras)(cameras.azimuth + 22.5, cameras.elevation, cameras.distance, cameras.fov_y)
    with torch.no_grad():
        seen = render_volume(state.field, cameras, SIZE, state.occupancy, ray_step(job.coarse), torch.zeros(3))
    wanted, truth = pictured(Torus(), cameras)
    covered = seen.opacity[:, 0] > 0.5
    assert (covered & truth).sum() > 0.8 * (covered | truth).sum()
    both = covered & truth
    off = (seen.color - wanted).abs().mean(1)[both]
    assert off.median() < 0.1, "and its colors are on the right sides"


def test_the_fit_changes_the_levels_that_the_first_steps_see():
    job = text_to_3d_job("a ring", model="some/folder", recipe="csd-mvdream", warm_start=4, coarse={"start_level": 2})
    stage = replace(job.coarse, levels=4, base_resolution=4, finest_resolution=32, ray_samples=48)
    state = start_coarse(replace(job, coarse=stage), torch.device("cpu"))
    cameras = ring_cameras(RANGES, 0)
    fit(state, stage, [make_ring(cameras, pictured(Torus(), cameras)[0])])
    assert state.field.network.active == 2
