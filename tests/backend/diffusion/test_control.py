"""ControlNets give the numbers of diffusers' own pipelines, and files that do not fit are named."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
from safetensors.torch import load_file, save_file

from csd_blender.backend.diffusion.additions.load_control import load_controls
from csd_blender.backend.diffusion.conditions import Conditions
from csd_blender.backend.diffusion.control import residuals
from csd_blender.backend.diffusion.loading import load_model
from csd_blender.job.errors import JobError
from csd_blender.job.models.control import ControlFiles, chosen_controls, read_control
from tests.support.tiny_models import write_control

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def nets(tmp_path_factory, sd15_folder, sd21_folder):
    """Two ControlNets for each of both."""
    place = tmp_path_factory.mktemp("nets")
    return {
        name: [
            write_control(place / f"{name}_{kind}", folder, seed=i + 1) for i, kind in enumerate(("depth", "normal"))
        ]
        for name, folder in (("sd15", sd15_folder), ("sd21", sd21_folder))
    }


def files_of(folders, kinds=("depth", "normal"), weights=(1.0, 1.0)):
    return [
        ControlFiles(str(folder), (kind,), read_control(folder), weight)
        for folder, kind, weight in zip(folders, kinds, weights, strict=False)
    ]


def told(model, prompts, pictures, weights):
    text = model.encode_prompts(prompts).text
    rows = pictures.expand(len(prompts), -1, -1, -1)
    return Conditions(text=text, control=rows, control_weight=torch.tensor([weights]).expand(len(prompts), -1))


@pytest.mark.parametrize("scales", [[0.7], [1.0, 0.4]])
@pytest.mark.parametrize("family", ["sd15", "sd21"])
def test_predictions_are_those_of_diffusers_own_pipeline_with_one_net_and_with_two(family, scales, nets, request):
    folder, places = request.getfixturevalue(f"{family}_folder"), nets[family][: len(scales)]
    own = [ControlNetModel.from_pretrained(place) for place in places]
    parts = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(
        folder, controlnet=own if len(own) > 1 else own[0], local_files_only=True, **parts
    )
    pipeline.set_progress_bar_config(disable=True)
    calls, forward = [], pipeline.unet.forward

    def spy(sample, t, **options):
        result = forward(sample, t, **options)
        calls.append((sample, t, result[0]))
        return result

    pipeline.unet.forward = spy
    model = load_model(str(folder), CPU)
    seed = torch.Generator().manual_seed(0)
    pictures = torch.rand((1, 3 * len(own), model.native_size, model.native_size), generator=seed)
    images = list(pictures.split(3, dim=1))
    pipeline(
        "A red Mug",
        image=images if len(own) > 1 else images[0],
        controlnet_conditioning_scale=scales if len(own) > 1 else scales[0],
        num_inference_steps=2,
        generator=seed,
        output_type="latent",
    )
    model.control = load_controls(files_of(places), model)
    conditions = told(model, ["", "A red Mug"], pictures, scales)
    assert len(calls) >= 2
    for sample, t, answer in calls:
        steps = t.reshape(-1).expand(len(sample)).long()
        found = model.predict_noise(sample, steps, conditions)
        without = model.predict_noise(sample, steps, Conditions(text=conditions.text))
        if model.schedule.prediction_type == "v_prediction":  # as DDIM reads it
            alpha_bar = pipeline.scheduler.alphas_cumprod[int(t)]
            answer = alpha_bar**0.5 * answer + (1 - alpha_bar) ** 0.5 * sample
        torch.testing.assert_close(found, answer, rtol=1e-5, atol=1e-5)
        assert float((found - without).abs().max()) > 1e-2


def test_each_row_has_its_own_weight_and_nets_add_up(sd15_folder, nets):
    model = load_model(str(sd15_folder), CPU)
    model.control = load_controls(files_of(nets["sd15"]), model)
    assert model.control.layout == (("depth",), ("normal",))
    seed = torch.Generator().manual_seed(1)
    pictures, noisy = torch.rand((1, 6, 512, 512), generator=seed), torch.randn((3, 4, 64, 64), generator=seed)
    t, text = torch.tensor([10, 500, 900]), model.encode_prompts(["", "a mug", "an owl"]).text

    def found(weights):
        rows = Conditions(text, control=pictures.expand(3, -1, -1, -1), control_weight=torch.tensor(weights))
        return residuals(model.control, noisy, t, rows)["mid_block_additional_residual"]

    first, second = found([[1.0, 0.0]] * 3), found([[0.0, 1.0]] * 3)
    mixed = found([[1.0, 1.0], [0.5, 0.0], [0.0, 2.0]])
    expected = torch.stack([first[0] + second[0], 0.5 * first[1], 2 * second[2]])
    torch.testing.assert_close(mixed, expected)
    assert (
        residuals(model.control, noisy, t, Conditions(text)) == {} and residuals(None, noisy, t, Conditions(text)) == {}
    )


def test_networks_that_are_there_already_are_kept(sd15_folder, nets):
    model = load_model(str(sd15_folder), CPU)
    model.control = load_controls(files_of(nets["sd15"]), model)
    again = load_controls(files_of(nets["sd15"], weights=(0.5, 1.0)), model)
    assert [net.network for net in again.nets] == [net.network for net in model.control.nets]
    assert again.weights(0.5).tolist() == [0.25, 0.5]
    assert load_controls([], model) is None


# ---- files that do not fit ------------------------------------------------------------------------------------------


@pytest.fixture
def net(tmp_path, nets):
    return shutil.copytree(nets["sd15"][0], tmp_path / "my_depth")


def refusal(folder, model_folder, kinds=("depth",)):
    model = load_model(str(model_folder), CPU)
    with pytest.raises(JobError) as caught:
        files = ControlFiles(str(folder), kinds, read_control(folder))
        load_controls([files], model)
    assert caught.value.code == "control_unreadable" and "Stable Diffusion 1 or 2" not in caught.value.message
    return caught.value.message


def change(folder, **settings):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def test_a_missing_weight_is_named(net, sd15_folder):
    file = net / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["controlnet_mid_block.weight"]
    save_file(weights, file)
    assert f"{file} lacks controlnet_mid_block.weight" in refusal(net, sd15_folder)


def test_a_net_that_was_never_trained_is_named(tmp_path, sd15_folder):
    folder = write_control(tmp_path / "depth", sd15_folder, scale=0.0)
    assert "holds nothing but zeros in controlnet_" in refusal(folder, sd15_folder)


def test_invalid_numbers_are_named(net, sd15_folder):
    file = net / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_in.weight"][0] = float("nan")
    save_file(weights, file)
    assert "invalid numbers" in refusal(net, sd15_folder) and "conv_in.weight" in refusal(net, sd15_folder)


def test_another_number_of_channels_or_another_stride_is_named(tmp_path, net, sd15_folder):
    assert "reads 3 channels, depth and normal has 4" in refusal(net, sd15_folder, ("depth", "normal"))
    other = write_control(tmp_path / "other", sd15_folder, stride=4)
    assert "makes pictures 4 times smaller, but the model 8 times" in refusal(other, sd15_folder)


def test_a_net_of_another_build_is_named(tmp_path, sd15_folder, tiny_folder):
    other = write_control(tmp_path / "other", tiny_folder, stride=4)
    assert "block_out_channels [8, 16], but the model has [4, 8, 8]" in refusal(other, sd15_folder)


def test_colors_in_an_unknown_order_are_named_before_the_first_step(net, sd15_folder):
    change(net, controlnet_conditioning_channel_order="grb")
    assert "the order 'grb'" in refusal(net, sd15_folder)


def test_a_net_that_takes_over_style_is_refused(net, sd15_folder):
    change(net, global_pool_conditions=True)
    assert "does not follow a shape" in refusal(net, sd15_folder)


def test_only_pickles_and_things_that_are_none_are_named(tmp_path, net, sd15_folder):
    (net / "diffusion_pytorch_model.safetensors").rename(net / "diffusion_pytorch_model.bin")
    assert "is a pickle" in refusal(net, sd15_folder)
    assert "a whole diffusion model and no ControlNet" in refusal(sd15_folder, sd15_folder)
    assert "is a UNet2DConditionModel and no ControlNet" in refusal(sd15_folder / "unet", sd15_folder)


def test_a_script_beside_the_weights_is_left_alone(net, sd15_folder):
    """The published repositories bring an example; only a folder that asks for its program is refused."""
    (net / "control_net_depth.py").write_text("raise SystemExit")
    model = load_model(str(sd15_folder), CPU)
    assert load_controls(chosen_controls("depth", str(net), 16), model) is not None
    change(net, auto_map={"AutoModel": "control_net_depth.Net"})
    assert "asks for a program of its own" in refusal(net, sd15_folder)
