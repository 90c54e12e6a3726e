"""MVDream: published keys, the camera's matrix, and attention that sees all views."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from diffusers.models.attention_processor import Attention
from safetensors.torch import load_file, save_file

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.diffusion.views.mvdream import AcrossViews, camera_numbers
from csd_blender.backend.render.cameras import Cameras
from csd_blender.backend.support.memory import Saving
from csd_blender.job.errors import JobError
from tests.support.ldm import write_folder, write_single_file

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("views") / "mvdream", "mvdream")


@pytest.fixture(scope="module")
def file(folder):
    return write_single_file(folder, "mvdream", folder.parent / "sd-v2.1-base-4view.safetensors")


@pytest.fixture
def model(file):
    return load_model(str(file), CPU, told="views")


def cameras(azimuth=(0.0, 90.0, 180.0, 270.0), elevation=15.0, distance=2.0):
    around = torch.tensor(azimuth)
    return Cameras(around, *(torch.full_like(around, value) for value in (elevation, distance, 40.0)))


def numbers_of(seen):
    return camera_numbers(seen.axes(), seen.positions())


def rows(model, things=1, seed=0):
    """Noisy latents, times and conditions of that many things, all different."""
    draws = torch.Generator().manual_seed(seed)
    count = 4 * things
    told = model.encode_prompts(["a red mug", "an owl"][:things]).repeat(4)
    told = replace(told, cameras=numbers_of(cameras()).repeat(things, 1))
    return torch.randn((count, 4, 16, 16), generator=draws), torch.full((count,), 400), told


def test_the_file_gives_what_the_folder_gives(folder, model):
    other = load_model(str(folder), CPU, told="views")
    assert model.native_size == other.native_size == 256 and model.latent_factor == 8 and model.views == 4
    found, expected = model.predict_noise(*rows(model)), other.predict_noise(*rows(other))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert float(found.std()) > 1e-3
    assert torch.equal(model.schedule.alphas_cumprod, other.schedule.alphas_cumprod)


def test_a_camera_in_front_is_written_as_the_published_program_writes_it():
    """There the front is +X: a camera at (1, 0, 0) whose right is +Y and whose up is +Z; the distance says nothing."""
    expected = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    for distance in (0.5, 3.0):
        found = numbers_of(cameras((0.0, 90.0), 0.0, distance)).view(2, 4, 4)
        torch.testing.assert_close(found[0], expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(found[1, :3, 3], torch.tensor([0, 1.0, 0]), atol=1e-6, rtol=0)  # counterclockwise
    above = numbers_of(cameras((30.0,), 60.0)).view(4, 4)
    assert above[2, 3] == pytest.approx(0.75**0.5) and float(torch.det(above[:3, :3])) == pytest.approx(1.0)


def test_attention_is_that_of_all_views_of_a_thing_and_of_no_other():
    torch.manual_seed(1)
    layer = Attention(query_dim=6, heads=2, dim_head=3)
    states = torch.randn(6, 5, 6)  # two things of three views
    layer.set_processor(AcrossViews(3))
    with torch.no_grad():
        found = layer(states)
        for thing in range(2):
            tokens = states[3 * thing : 3 * thing + 3].reshape(15, 6)
            query, key, value = (f(tokens).view(15, 2, 3) for f in (layer.to_q, layer.to_k, layer.to_v))
            weights = torch.einsum("ihd,jhd->hij", query, key).div(3**0.5).softmax(-1)
            seen = torch.einsum("hij,jhd->ihd", weights, value).reshape(15, 6)
            expected = layer.to_out[0](seen).view(3, 5, 6)
            torch.testing.assert_close(found[3 * thing : 3 * thing + 3], expected, rtol=1e-5, atol=1e-6)


def test_views_of_a_thing_see_each_other_and_two_things_do_not(model):
    noisy, t, told = rows(model, things=2)
    found = model.predict_noise(noisy, t, told)
    changed = noisy.clone()
    changed[2] += 1.0
    other = model.predict_noise(changed, t, told)
    differ = (other - found).abs().amax((1, 2, 3))
    assert bool((differ[:4] > 1e-4).all()) and float(differ[4:].max()) < 1e-5
    order = [2, 0, 3, 1, 4, 5, 6, 7]
    turned = model.predict_noise(noisy[order], t, told.select(order))
    torch.testing.assert_close(turned, found[order], rtol=1e-4, atol=1e-5)


def test_the_camera_counts(model):
    noisy, t, told = rows(model)
    turned = replace(told, cameras=numbers_of(cameras((45.0, 135.0, 225.0, 315.0))))
    assert float((model.predict_noise(noisy, t, told) - model.predict_noise(noisy, t, turned)).abs().max()) > 1e-4


def test_with_little_memory_the_views_of_a_thing_stay_together(model):
    whole = model.predict_noise(*rows(model, things=2))
    model.thrift.saving = Saving(rows=True)
    torch.testing.assert_close(model.predict_noise(*rows(model, things=2)), whole, rtol=1e-4, atol=1e-5)


def test_rows_that_are_no_whole_things_are_refused(model):
    noisy, t, told = rows(model)
    with pytest.raises(ValueError, match="3 rows; wanted are the cameras of 4 views"):
        model.predict_noise(noisy[:3], t[:3], told.select([0, 1, 2]))
    with pytest.raises(ValueError, match="wanted are the cameras"):
        model.predict_noise(noisy, t, replace(told, cameras=None))


def test_one_model_is_not_taken_for_the_other(folder, file, tmp_path):
    for place in (folder, file):
        with pytest.raises(JobError, match="told cameras beside a prompt"):
            load_model(str(place), CPU)
    plain = write_folder(tmp_path / "sd2", "sd2")
    for place in (plain, write_single_file(plain, "sd2", tmp_path / "sd2.safetensors")):
        with pytest.raises(JobError, match="Choose an MVDream"):
            load_model(str(place), CPU, told="views")


def test_a_camera_of_other_numbers_is_refused_by_name(folder, tmp_path):
    """Models with a camera of twelve numbers, or of rays, are no MVDream."""
    other = shutil.copytree(folder, tmp_path / "other")
    config, weights = other / "unet" / "config.json", other / "unet" / "diffusion_pytorch_model.safetensors"
    settings = json.loads(config.read_text()) | {"projection_class_embeddings_input_dim": 12}
    config.write_text(json.dumps(settings))
    values = load_file(weights)
    values["class_embedding.linear_1.weight"] = values["class_embedding.linear_1.weight"][:, :12].contiguous()
    save_file(values, weights)
    with pytest.raises(JobError, match="unet wants 12 numbers of a camera"):
        load_model(str(other), CPU, told="views")
