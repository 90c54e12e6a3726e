"""The coarse stage's parts: what a step looks at, how pictures are shaded, what a step changes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.diffusion.words import guidance_words
from csd_blender.backend.distillation.view_prompts import job_prompts
from csd_blender.backend.optimize.loop import NotFinite
from csd_blender.backend.pipelines.text_to_3d.coarse import (
    FRONT_BACK_REACH,
    coarse_step,
    draw_backgrounds,
    draw_cameras,
    draw_look,
    ray_step,
    show,
    start_coarse,
)
from csd_blender.backend.render.camera_draws import draw_lights
from csd_blender.backend.render.cameras import Cameras, orbit
from csd_blender.backend.render.shading import Look, shade
from csd_blender.backend.render.volume.render import VolumePictures, render_volume
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.spec.cameras import SceneCameras
from csd_blender.job.spec.scene_stages import CoarseStage
from tests.support.network_jobs import coarse_guide

DRAWS = 2000
# A field that is a grid, as for the bundled model; networks have tests of their own.
GRID = {"network_width": 0, "normals": "taps", "background": "colors"}
TINY = {"views": 2, "levels": 2, "finest_resolution": 16, "ray_samples": 24, "render_size": 16, "learning_rate": 0.03}
TINY |= GRID


def numbers(seed=0):
    return torch.Generator().manual_seed(seed)


def near(count, share, draws=DRAWS):
    """Whether so many of the draws fit a probability: within 5 binomial deviations (1 in 2 million fails)."""
    return abs(count / draws - share) <= 5 * (share * (1 - share) / draws) ** 0.5


# ---- cameras -------------------------------------------------------------------------------------------------------


def test_the_first_steps_look_at_the_front_and_the_back_only():
    ranges, generator = SceneCameras(front_back_steps=10), numbers()
    azimuth = torch.cat([draw_cameras(ranges, 8, 9, generator).azimuth for _ in range(DRAWS // 8)])
    assert ((azimuth >= -180) & (azimuth < 180)).all()
    off_front, off_back = azimuth.abs(), 180 - azimuth.abs()
    assert (torch.minimum(off_front, off_back) <= FRONT_BACK_REACH + 1e-3).all()
    assert near(int((off_front < 90).sum()), 0.5)
    offset = torch.minimum(off_front, off_back)
    assert near(int((offset < FRONT_BACK_REACH / 3).sum()), 1 / 3)  # even over the reach
    assert near(int((azimuth > 0).sum()), 0.5)  # to both sides


def test_afterwards_cameras_stand_all_around_within_their_ranges():
    ranges = SceneCameras(elevation=(-10.0, 45.0), distance=(1.5, 2.0), fov_y=(40.0, 70.0), front_back_steps=10)
    generator = numbers()
    for _ in range(50):
        cameras = draw_cameras(ranges, 8, 10, generator)
        assert ((cameras.azimuth + 180) / 45).floor().tolist() == list(range(8))  # one in each eighth
        for name in ("elevation", "distance", "fov_y"):
            low, high = getattr(ranges, name)
            values = getattr(cameras, name)
            assert values.min() >= low and values.max() <= high


def test_the_warm_up_takes_as_many_random_numbers_as_any_step():
    states = []
    for step in (0, 10):
        generator = numbers()
        draw_cameras(SceneCameras(front_back_steps=10), 3, step, generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


# ---- shading -------------------------------------------------------------------------------------------------------


def looks(step, draws=DRAWS, **settings):
    stage, generator = CoarseStage(**settings), numbers(1)
    return [draw_look(stage, 2, step, generator) for _ in range(draws)]


def test_until_ambient_only_ends_all_pictures_show_the_bare_color():
    settings = {"ambient_only_steps": 5, "shaded_share": 1.0}
    assert {look.kind for look in looks(4, 200, **settings)} == {"color"}
    assert {look.kind for look in looks(5, 200, **settings)} == {"normal"}


@pytest.mark.parametrize("normals", [True, False])
def test_pictures_are_shaded_in_the_asked_shares(normals):
    found = looks(9, ambient_only_steps=0, shaded_share=0.75, textureless_share=0.4, textureless_normals=normals)
    kinds = [look.kind for look in found]
    assert set(kinds) == {"color", "lit", "normal" if normals else "white"}
    assert near(kinds.count("color"), 0.25)
    assert near(kinds.count("lit"), 0.45)


def test_backgrounds_are_random_in_the_asked_share_else_black_or_white():
    backgrounds = [look.background for look in looks(0, random_background=0.3)]
    assert all(b.shape == (2, 3) and b.min() >= 0 and b.max() <= 1 for b in backgrounds)
    plain = [bool(((b == 0) | (b == 1)).all()) for b in backgrounds]
    assert near(plain.count(False), 0.3)
    plain_colors = torch.cat([b for b, p in zip(backgrounds, plain, strict=True) if p])
    assert (plain_colors.amin(1) == plain_colors.amax(1)).all()  # black or white, no mixture of both
    assert near(int(plain_colors[:, 0].sum()), 0.5, len(plain_colors))
    colored = torch.cat([b for b, p in zip(backgrounds, plain, strict=True) if not p])
    gray = (colored.amax(1) - colored.amin(1)) == 0
    assert near(int(gray.sum()), 0.5, len(colored))


def test_one_share_does_not_move_the_random_numbers_of_another():
    """Otherwise a small change of a setting would change all cameras."""
    states = []
    for settings in ({}, {"shaded_share": 0.0, "random_background": 0.0}, {"ambient_only_steps": 0}):
        generator = numbers()
        draw_look(CoarseStage(**settings), 2, 5, generator)
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])


def half_seen(views=2, size=8):
    """Pictures of which the left half shows a surface that faces the camera, the right half nothing."""
    generator = numbers(2)
    opacity = torch.zeros(views, 1, size, size)
    opacity[..., : size // 2] = 1.0
    background = torch.rand(views, 3, generator=generator)
    surface = torch.rand(views, 3, size, size, generator=generator)
    cameras = orbit(views, elevation=20.0)
    back = cameras.axes()[:, 2, :, None, None].expand(views, 3, size, size)
    volume = VolumePictures(
        color=surface * opacity + background[:, :, None, None] * (1 - opacity),
        opacity=opacity,
        depth=opacity,
        normal=(back * opacity) * 0.5 + 0.5,
        samples=None,
        weights=None,
        normals=None,
    )
    return volume, background, cameras, surface


def look_of(kind, background, light=(0.0, 0.0, 1.0), ambient=0.4, diffuse=0.5):
    views = len(background)
    lamp = torch.tensor(light).expand(views, 3)
    return Look(kind, background, lamp, torch.full((views,), ambient), torch.full((views,), diffuse))


@pytest.mark.parametrize("kind", ["color", "normal", "lit", "white"])
def test_where_nothing_is_there_is_exactly_the_background(kind):
    volume, background, cameras, _ = half_seen()
    picture = show(volume, look_of(kind, background), cameras)
    behind = background[:, :, None, None].expand(-1, -1, 8, 4)
    assert picture.shape == volume.color.shape
    assert torch.equal(picture[..., 4:], behind)
    assert not torch.isclose(picture[..., :4], behind).all()


def test_a_surface_shows_its_color_its_normal_or_its_light():
    volume, background, cameras, surface = half_seen()
    left = (slice(None), slice(None), slice(None), slice(0, 4))
    bright = 0.4 + 0.5  # the lamp is behind the camera, which the surface faces
    expected = {
        "color": surface,
        "normal": volume.normal,
        "lit": surface * bright,
        "white": torch.full_like(surface, bright),
    }
    for kind, picture in expected.items():
        shown = show(volume, look_of(kind, background), cameras)
        torch.testing.assert_close(shown[left], picture[left], rtol=1e-5, atol=1e-6)


def test_half_transparent_things_let_half_of_the_background_through():
    volume, background, cameras, surface = half_seen()
    half = dataclasses.replace(
        volume,
        opacity=torch.full_like(volume.opacity, 0.5),
        color=0.5 * surface + 0.5 * background[:, :, None, None],
        normal=volume.normal * 0 + 0.5,
    )
    behind = 0.5 * background[:, :, None, None]
    shown = {kind: show(half, look_of(kind, background, diffuse=0.0), cameras) for kind in ("normal", "lit", "white")}
    torch.testing.assert_close(shown["normal"], (0.25 + behind).expand_as(surface))
    torch.testing.assert_close(shown["lit"], 0.4 * 0.5 * surface + behind)
    torch.testing.assert_close(shown["white"], (0.4 * 0.5 + behind).expand_as(surface))


def test_light_comes_from_where_the_lamp_is_seen_from_the_camera():
    cameras = Cameras(*(torch.tensor([v]) for v in (30.0, 10.0, 2.0, 40.0)))
    right, up, back = cameras.axes()[0]
    look = look_of("lit", torch.zeros(1, 3), light=(1.0, 0.0, 0.0), ambient=0.3, diffuse=0.5)
    for normal, expected in ((right, 0.8), (-right, 0.3), (up, 0.3), (back, 0.3), ((right + back) / 2**0.5, 0.6535534)):
        found = shade(normal[None, :, None, None], look, cameras)
        assert float(found) == pytest.approx(expected, abs=1e-5)


def test_lamps_are_in_front_of_what_is_seen_and_never_too_bright():
    light, ambient, diffuse = draw_lights(DRAWS, numbers())
    assert (light[:, 2] > 0).all() and (ambient > 0).all() and (diffuse > 0).all()
    assert (ambient + diffuse).max() <= 1.4
    assert light[:, 1].mean() > 0.3 and light[:, 0].mean().abs() < 0.1  # mostly above, as often left as right
    assert draw_backgrounds(3, True, numbers()).shape == (3, 3)


# ---- a step --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder), torch.device("cpu"))


def scene(model, **coarse):
    job = text_to_3d_job("a red mug", model=model.name, coarse_steps=4, refine_steps=0, coarse=TINY | coarse)
    reporter = Reporter(emit=lambda said: None)
    words = guidance_words(model)
    both = [job_prompts(model, job.prompt, job.negative_prompt, True, words, reporter, lit=x) for x in (False, True)]
    return job, start_coarse(job, model.device), dict(zip(("color", "lit", "normal", "white"), both * 2))


SHADED = {"ambient_only_steps": 0, "shaded_share": 1.0}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {**SHADED, "textureless_share": 1.0, "textureless_normals": True},
        {**SHADED, "textureless_share": 1.0, "textureless_normals": False},
        {**SHADED, "textureless_share": 0.0},
        {"orientation": 10.0, "opaque": 1.0},
        {"guidance": {"perp_neg": 3.0}},
    ],
    ids=["color", "normal", "white", "lit", "regularized", "perp-neg"],
)
def test_a_step_moves_density_and_color(model, settings):
    job, state, prompts = scene(model, **settings)
    before = state.field.table.detach().clone()
    metrics = coarse_step(state, job, coarse_guide(job, model, prompts), 2)
    moved = (state.field.table.detach() - before).abs().amax(0)
    assert torch.isfinite(state.field.table).all() and moved[0] > 0
    painted = bool((moved[1:] > 0).all())
    shape_alone = settings.get("textureless_share") == 1.0
    assert painted != shape_alone  # pictures of the shape alone say nothing about colors
    assert 0 < metrics["opacity"] <= 1 and metrics["weight_positive"] == 1


def test_the_gradient_is_the_pictures_own(model):
    """What the network says about a picture arrives in the field as the rendering's own derivative says."""
    job, state, _ = scene(model)
    stage = job.coarse
    state.occupancy.update(state.field.density, ray_step(stage))
    background = torch.zeros(3)

    def mean_color():
        return render_volume(
            state.field, orbit(1, distance=2.5), 16, state.occupancy, ray_step(stage), background
        ).color

    mean_color().sum().backward()
    table = state.field.table
    for column in (0, 1):
        row = int(table.grad[:, column].abs().argmax())
        slopes = []
        for shift in (1e-2, -1e-2):
            with torch.no_grad():
                table[row, column] += shift
                slopes.append(float(mean_color().double().sum()))
                table[row, column] -= shift
        assert (slopes[0] - slopes[1]) / 2e-2 == pytest.approx(float(table.grad[row, column]), rel=0.03)


def test_a_network_s_answer_that_is_no_number_ends_the_step_and_does_not_spread(model, monkeypatch):
    job, state, prompts = scene(model)
    before = {name: value.clone() for name, value in state.field.state_dict().items()}
    predict = model.predict_noise

    def broken(noisy, t, conditions):
        answer = predict(noisy, t, conditions)
        answer[0, 0, 0, 0] = float("nan")
        answer[-1] = float("inf")
        return answer

    monkeypatch.setattr(model, "predict_noise", broken)
    for _ in range(2):
        with pytest.raises(NotFinite):
            coarse_step(state, job, coarse_guide(job, model, prompts), 2)
        state.step += 1
    assert all(torch.equal(value, before[name]) for name, value in state.field.state_dict().items())
    monkeypatch.setattr(model, "predict_noise", predict)
    coarse_step(state, job, coarse_guide(job, model, prompts), 2)
    assert all(torch.isfinite(value).all() for value in state.tensors().values() if value.is_floating_point())


def test_a_state_put_back_takes_the_very_steps_of_the_first(model):
    job, state, prompts = scene(model)
    coarse_step(state, job, coarse_guide(job, model, prompts), 2)
    state.step += 1
    stored = {name: value.clone() for name, value in state.tensors().items()}
    other = start_coarse(job, model.device)
    other.restore(stored, 1)
    for each in (state, other):
        coarse_step(each, job, coarse_guide(job, model, prompts), 2)
    assert torch.equal(state.field.table, other.field.table)
    assert torch.equal(state.generator.get_state(), other.generator.get_state())


def test_even_an_empty_field_takes_its_steps(model):
    job, state, prompts = scene(model, blob_scale=-50.0, blob_std=10.0, orientation=1.0, **SHADED)
    assert coarse_step(state, job, coarse_guide(job, model, prompts), 1)["opacity"] == 0
    assert torch.isfinite(state.field.table).all()
