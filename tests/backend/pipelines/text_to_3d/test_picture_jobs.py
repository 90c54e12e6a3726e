"""Objects that are made after one picture: how it is cut out, what the model is told, and whole jobs."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from csd_blender.backend.diffusion.views.zero123 import Zero123, pose
from csd_blender.backend.pipelines.text_to_3d import coarse
from csd_blender.backend.pipelines.text_to_3d.coarse import draw_cameras
from csd_blender.backend.pipelines.text_to_3d.one_picture import (
    FILL,
    SIDE,
    cut_out,
    difference,
    load_picture,
    picture_camera,
    reached,
)
from csd_blender.job.errors import JobError
from csd_blender.job.files import INPUT_PICTURE
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.result import read_result
from csd_blender.job.spec.methods import KNOWN_METHODS
from tests.support.tiny_jobs import (
    COARSE,
    REFINE,
    TINY,
    after,
    answer,
    merged,
    run,
    same_result,
    told,
    warnings_but_terms,
)
from tests.support.tiny_models import write_zero123


def disc(background=(255, 255, 255), alpha=False, size=(120, 90), color=(200, 30, 40), mode="RGB") -> Image.Image:
    """A disc of radius 30 with a hole of the background's color in it, off the middle."""
    y, x = np.mgrid[: size[1], : size[0]]
    far = np.hypot(x - 50, y - 42)
    inside = (far < 30) & (far > 8) if not alpha else far < 30
    pixels = np.where(inside[..., None], color, background).astype(np.uint8)
    if alpha:
        pixels = np.concatenate([pixels, 255 * inside[..., None].astype(np.uint8)], 2)
    return Image.fromarray(pixels)


def as_tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture.convert("RGBA"))).permute(2, 0, 1).float() / 255


# ---- the picture ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (40, 160, 60)])
def test_a_plain_background_is_cut_away_and_holes_of_its_color_inside_stay(background):
    found = cut_out(as_tensor(disc(background)))
    mask = found.mask[0, 0]
    rows, columns = (mask > 0.5).any(1).nonzero()[:, 0], (mask > 0.5).any(0).nonzero()[:, 0]
    for where in (rows, columns):  # in the middle, as large as the model knows things
        assert abs(int(where[0]) + int(where[-1]) - SIDE + 1) <= 4
        assert abs(len(where) - FILL * SIDE) <= 0.04 * SIDE
    middle, ring = found.color[0, :, SIDE // 2, SIDE // 2], found.color[0, :, SIDE // 2, SIDE // 2 + SIDE // 5]
    assert float(mask[SIDE // 2, SIDE // 2]) == 1.0, "an eye of the background's color is no hole"
    torch.testing.assert_close(middle, torch.tensor(background) / 255, atol=0.02, rtol=0)
    torch.testing.assert_close(ring, torch.tensor([200, 30, 40]) / 255, atol=0.02, rtol=0)
    assert abs(float(mask.mean()) - np.pi / 4 * FILL**2) < 0.02
    assert bool((found.color <= found.mask + 1e-6).all()), "the color is over black"


def test_a_transparent_background_is_taken_as_it_is_whatever_color_lies_under_it():
    clear, colored = cut_out(as_tensor(disc((0, 0, 0), True))), cut_out(as_tensor(disc((250, 10, 250), True)))
    torch.testing.assert_close(clear.color, colored.color, atol=0.02, rtol=0)
    torch.testing.assert_close(clear.mask, colored.mask)
    corner = clear.on_white[0, :, 0, 0]
    assert torch.equal(corner, torch.ones(3))


def test_half_transparent_pixels_are_mixed_with_what_is_behind():
    rgba = torch.zeros(4, 64, 64)
    rgba[:, 16:48, 16:48] = torch.tensor([1.0, 0.0, 0.0, 0.5])[:, None, None]
    found = cut_out(rgba)
    middle = found.on_white[0, :, SIDE // 2, SIDE // 2]
    torch.testing.assert_close(middle, torch.tensor([1.0, 0.5, 0.5]))


def noise_picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def soft_disc(side: int, blur: float, color, background) -> tuple[Image.Image, Image.Image]:
    """A disc before a background, and cut out by its true alpha."""
    drawn = Image.new("L", (8 * side, 8 * side), 0)
    ImageDraw.Draw(drawn).ellipse([2 * side, 2 * side, 6 * side, 6 * side], fill=255)
    alpha = drawn.resize((side, side), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(blur))
    share = np.asarray(alpha)[..., None] / 255
    mixed = np.round(share * np.array(color) + (1 - share) * np.array(background)).astype(np.uint8)
    clear = Image.new("RGBA", (side, side), (*color, 0))
    clear.putalpha(alpha)
    return Image.fromarray(mixed), clear


@pytest.mark.parametrize("side,blur", [(128, 0), (128, 1), (512, 1)])
@pytest.mark.parametrize(
    "color,background",
    [((255, 255, 255), (0, 0, 0)), ((200, 30, 40), (255, 255, 255)), ((200, 180, 40), (20, 120, 60))],
)
def test_what_is_cut_out_has_no_rim_of_the_background_s_color(side, blur, color, background):
    mixed, clear = (cut_out(as_tensor(picture)).at(256) for picture in soft_disc(side, blur, color, background))
    assert float((mixed.on_white - clear.on_white).abs().max()) < 0.15
    assert float(mixed.mask.mean()) == pytest.approx(float(clear.mask.mean()), rel=0.005)


def large_disc() -> Image.Image:
    picture = Image.new("RGB", (600, 450), "white")
    ImageDraw.Draw(picture).ellipse([150, 80, 400, 330], fill="red")
    return picture


@pytest.mark.parametrize("noise", [8, 16])
def test_dust_and_noise_do_not_count_for_its_size(noise):
    plain = cut_out(as_tensor(large_disc()))
    dusty = large_disc()
    dusty.putpixel((10, 10), (180, 180, 180))
    ImageDraw.Draw(dusty).ellipse([580, 430, 583, 433], fill="black")
    grain = np.random.default_rng(0).normal(0, noise, (450, 600, 3))
    noisy = Image.fromarray((np.asarray(large_disc()) + grain).clip(0, 255).astype(np.uint8))
    for other in (dusty, noisy):
        assert float((cut_out(as_tensor(other)).mask - plain.mask).abs().mean()) < 0.005


def test_a_thing_that_is_thin_all_over_is_no_dust():
    wire = Image.new("RGB", (400, 400), "white")
    ImageDraw.Draw(wire).line([60, 300, 340, 90], fill="black", width=2)
    assert 0.002 < float(cut_out(as_tensor(wire)).mask.mean()) < 0.02


@pytest.mark.parametrize("alpha", [245, 254])
def test_next_to_no_transparency_is_none(alpha):
    plain, other = cut_out(as_tensor(large_disc())), large_disc().convert("RGBA")
    other.putalpha(alpha)
    other.putpixel((590, 5), (255, 255, 255, 0))
    assert float((cut_out(as_tensor(other)).mask - plain.mask).abs().mean()) < 0.005


def test_a_plain_background_with_clear_corners_is_cut_away_and_a_thing_that_fills_the_picture_is_not():
    """A screen's or an icon's corners are clear; and a cushion that was cut out touches all edges, too."""
    size = (160, 120)
    corners = Image.new("L", size, 0)
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), 20, fill=255)
    clear = float((np.asarray(corners) < 128).mean())
    assert 0.005 < clear < 0.1
    plain = disc(size=size)
    icon = plain.convert("RGBA")
    icon.putalpha(corners)
    assert float((cut_out(as_tensor(icon)).mask - cut_out(as_tensor(plain)).mask).abs().mean()) < 0.005
    cushion = Image.new("RGBA", size, (200, 30, 40, 255))
    cushion.putalpha(corners)
    assert float(cut_out(as_tensor(cushion)).mask.mean()) > 0.4


def test_a_maze_is_left_in_time():
    """What hangs together with the edges through more turns than are looked for stays part of the thing."""
    free = torch.ones(400, 400, dtype=torch.bool)
    free[1::2] = False
    free[1::4, -1], free[3::4, 0] = True, True  # one way, to and fro
    seeds = torch.zeros_like(free)
    seeds[0, 0] = True
    found = reached(seeds, free)
    assert bool(found[0].all()) and bool((found <= free).all())


@pytest.mark.parametrize(
    "picture,words",
    [
        (Image.new("RGB", (50, 50), "white"), "shows nothing"),
        (Image.new("RGBA", (50, 50), (0, 0, 0, 0)), "shows nothing"),
        (noise_picture(), "not transparent"),
    ],
)
def test_a_picture_that_shows_no_one_thing_is_refused(picture, words):
    with pytest.raises(JobError) as refused:
        cut_out(as_tensor(picture))
    assert refused.value.code == "bad_picture" and words in str(refused.value)


def test_a_picture_that_lies_on_its_side_is_read_upright(make):
    upright, turned = disc(), disc().rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    folders = [make("upright", picture=upright), make("turned", picture=turned, exif=exif)]
    one, other = (load_picture(folder) for folder in folders)
    assert float((one.mask - other.mask).abs().mean()) < 0.005


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "I;16", "RGBA"])
def test_pictures_of_every_sort_show_the_same_disc(make, mode):
    gray = disc(color=(0, 0, 0))
    if mode == "I;16":
        other = Image.fromarray(np.array(gray.convert("L")).astype(np.uint16) * 257)
    else:
        other = gray.convert(mode)
    one, same = load_picture(make("rgb", picture=gray)), load_picture(make("other", picture=other))
    assert float((one.mask - same.mask).abs().mean()) < 0.005 and float((one.color - same.color).abs().mean()) < 0.005


def test_a_remark_that_nobody_can_read_costs_nothing(make):
    exif = b"Exif\x00\x00garbage that is no remark"
    assert torch.equal(load_picture(make("odd", exif=exif)).mask, load_picture(make("plain")).mask)


def test_far_too_many_pixels_are_told(make):
    folder, buffer = make(), io.BytesIO()
    Image.new("1", (20000, 20000)).save(buffer, "PNG")
    folder.write_bytes(INPUT_PICTURE, buffer.getvalue())
    with pytest.raises(JobError) as refused:
        load_picture(folder)
    assert "too many pixels" in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\nno picture", b"\xff\xd8\xff\xe0 nor this"])
def test_a_damaged_file_is_told_in_a_sentence_before_anything_is_loaded(make, models, data):
    folder = make()
    folder.write_bytes(INPUT_PICTURE, data)
    assert answer(run(folder, models)[0]) == ("error", "bad_picture")
    (folder.path / INPUT_PICTURE).unlink()
    assert answer(run(folder, models)[0]) == ("error", "bad_job_folder")


def test_the_difference_is_nothing_for_the_picture_itself_and_counts_color_and_outline_apart():
    picture = cut_out(as_tensor(disc())).at(48)
    assert float(difference(picture.on_white, picture.mask, picture, 200.0, 50.0)) == 0.0
    bright, wide = (picture.on_white + 0.1), picture.mask + 0.2
    assert float(difference(bright, picture.mask, picture, 200.0, 50.0)) == pytest.approx(200 * 0.01, rel=1e-4)
    assert float(difference(picture.on_white, wide, picture, 200.0, 50.0)) == pytest.approx(50 * 0.04, rel=1e-4)


# ---- jobs ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def zero123(tmp_path_factory):
    return str(write_zero123(tmp_path_factory.mktemp("models") / "zero123"))


@pytest.fixture
def make(tmp_path, zero123):
    def make(name="job", recipe="zero123", picture=None, exif=None, **overrides) -> JobFolder:
        settings = merged(TINY, {"coarse": {"views": 2, "picture_size": 24}, "model": zero123})
        if recipe == "zero123":
            del settings["refine_steps"]
        job = text_to_3d_job("a red ring", recipe=recipe, **merged(settings, overrides))
        folder, buffer = JobFolder.create(tmp_path / name, job), io.BytesIO()
        (picture or disc()).save(buffer, "PNG", **({} if exif is None else {"exif": exif}))
        folder.write_bytes(INPUT_PICTURE, buffer.getvalue())
        return folder

    return make


def test_every_second_step_asks_the_model_for_the_way_from_the_pictures_camera(make, models, monkeypatch):
    asked, folder = told(monkeypatch, Zero123), make(picture_elevation=20.0)
    outcome, events = run(folder, models)
    assert outcome.type == "result", outcome
    assert len(asked) == COARSE // 2 and read_result(folder.path).timings["network_calls"] == COARSE // 2 * 4
    logged = [body["metrics"] for kind, body in events if kind == "progress" and body["stage"] == "coarse"]
    assert any("picture" in metrics for metrics in logged)
    model = models.model
    shown = model.show(load_picture(folder).at(model.native_size).on_white)
    for noisy, _, conditions in asked:
        assert len(noisy) == 4 and not bool(conditions.text[2:].any()) and not bool(conditions.picture[2:].any())
        assert torch.equal(conditions.picture[:2], shown.latents.expand(2, -1, -1, -1))
        assert bool((conditions.text[0] != conditions.text[1]).any()), "each camera has a way of its own"
    assert warnings_but_terms(events) == []


def test_the_way_is_that_from_the_picture_to_the_camera(make, models, monkeypatch):
    """The first step that asks: its cameras are drawn again here, from the state's own random numbers."""
    seen = []
    monkeypatch.setattr(coarse, "draw_cameras", lambda *given: seen.append(draw_cameras(*given)) or seen[-1])
    asked, folder = told(monkeypatch, Zero123), make(picture_elevation=20.0)
    assert run(folder, models)[0].type == "result"
    cameras, model = seen[0], models.model
    shown = model.show(load_picture(folder).at(model.native_size).on_white)
    ways = pose(cameras.elevation - 20.0, cameras.azimuth, cameras.distance - folder.spec.coarse.cameras.distance[0])
    torch.testing.assert_close(asked[0][2].text[:2], model.conditions(shown, ways).text)
    own = picture_camera(folder.spec.coarse.cameras, 20.0)
    assert (float(own.azimuth), float(own.elevation), float(own.distance)) == pytest.approx((0.0, 20.0, 3.2))


def test_a_model_that_answers_with_invalid_numbers_ends_the_job_though_the_picture_is_fine(make, models, monkeypatch):
    ask = Zero123.network_noise
    monkeypatch.setattr(Zero123, "network_noise", lambda self, *a, **k: ask(self, *a, **k) * float("nan"))
    outcome, _ = run(make(coarse_steps=30), models)
    assert answer(outcome) == ("error", "model_not_finite")


def test_a_field_that_shows_invalid_numbers_ends_it_too(make, models, monkeypatch):
    look = coarse.render_volume

    def broken(*given, **more):
        volume = look(*given, **more)
        return replace(volume, color=volume.color * float("nan"))

    monkeypatch.setattr(coarse, "render_volume", broken)
    assert answer(run(make(coarse_steps=30), models)[0]) == ("error", "diverged")


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_job_that_was_left_resumes_to_exactly_the_same_object(make, models, steps):
    whole, left = make("whole"), make("left")
    assert run(whole, models)[0].type == "result"
    assert answer(run(left, models, stop=after(steps, "leave"))[0]) == ("error", "interrupted")
    assert run(left, models, resume=True)[0].type == "result"
    assert same_result(whole, left)


def test_a_second_stage_goes_by_the_prompt_and_an_ordinary_model(make, models, zero123, tiny_folder, monkeypatch):
    asked = told(monkeypatch, Zero123)
    folder = make(recipe="zero123-refine", coarse_model=zero123, model=str(tiny_folder))
    assert folder.spec.models == ((zero123, "picture"), (str(tiny_folder), "prompt"))
    outcome, _ = run(folder, models)
    assert outcome.type == "result", outcome
    assert len(asked) == COARSE // 2 and read_result(folder.path).timings["steps"] == COARSE + REFINE


def test_another_picture_makes_another_object(make, models):
    red, blue = make("red"), make("blue", picture=disc(color=(20, 40, 220)))
    for folder in (red, blue):
        assert run(folder, models)[0].type == "result"
    assert not same_result(red, blue)


@pytest.mark.parametrize("method", [m.id for m in KNOWN_METHODS])
def test_any_method_goes_by_it_or_says_that_it_cannot(make, models, method):
    try:
        folder = make(method=method)
    except JobError as error:
        assert error.code == "bad_setting" and method == "bridge" and "wording" in str(error)
        return
    assert answer(run(folder, models)[0])[0] == "result" and method != "bridge"


def test_the_steps_of_comparison_alone_bring_the_field_to_the_picture(make, models):
    """No score at all: what is seen from the picture's camera comes close to it."""
    few = {"coarse": {"picture_every": 1, "sparsity": 0.0, "opaque": 0.0, "orientation": 0.0, "learning_rate": 0.05}}
    off = {}
    for steps in (2, 60):
        folder = make(f"after {steps}", coarse_steps=steps, **few)
        _, events = run(folder, models)
        metrics = [b["metrics"] for k, b in events if k == "progress" and b["stage"] == "coarse"]
        off[steps] = metrics[-1]["picture"]
    assert off[60] < 0.25 * off[2]


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_a_picture_of_another_kind_is_called_by_its_name(make, kind):
    folder, buffer = make(), io.BytesIO()
    disc().save(buffer, kind)
    folder.write_bytes(INPUT_PICTURE, buffer.getvalue())
    with pytest.raises(JobError, match=f"its file is a {kind}"):
        load_picture(folder)
