"""LoRA files in every layout are added to the layers that they name, by the closed form; what fits none is named."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from csd_blender.backend.cli.generate import write_folder
from csd_blender.backend.cli.main import _parser
from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.pipelines.texture import texture_mesh
from csd_blender.backend.worker.run_job import ModelCache
from csd_blender.job.errors import JobError
from csd_blender.job.models.lora import Lora, find_lora, lasting_lora, read_lora, with_weight
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.result import read_result
from tests.support.killed_jobs import albedo, reporter_until, square_folder
from tests.support.ldm import _unet_key
from tests.support.tiny_models import write_sdxl

CPU = torch.device("cpu")
RANK, ALPHA = 3, 1.5
ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0"
CONV = "up_blocks.0.resnets.0.conv1"
TEXT = "encoder.layers.1.self_attn.q_proj"


@pytest.fixture(scope="module")
def sdxl_folder(tmp_path_factory):
    return write_sdxl(tmp_path_factory.mktemp("models") / "sdxl")


def layer_of(network, name):
    modules = {key.removeprefix("text_model."): module for key, module in network.named_modules()}
    return modules[name]


def factors(module, seed):
    """Two random factors of the layer's own shape: a convolution's first one is a convolution."""
    weight, seed = module.weight, torch.Generator().manual_seed(seed)
    down = torch.randn((RANK, *weight.shape[1:]), generator=seed)
    return down, torch.randn((weight.shape[0], RANK, *(1,) * (weight.ndim - 2)), generator=seed)


def change(down, up, count):
    """By hand: W + count * sum over the rank, number by number."""
    flat = torch.einsum("or,ri->oi", up.flatten(1).double(), down.flatten(1).double())
    return (count * flat).view(up.shape[0], *down.shape[1:]).float()


def kohya(name, part):
    start = {"unet": "lora_unet_", "text": "lora_te_text_model_", "te1": "lora_te1_text_model_"}
    start["te2"] = "lora_te2_text_model_"
    return start[part] + name.replace(".", "_")


def written(file, pairs, names=("lora_down.weight", "lora_up.weight"), alpha=ALPHA, metadata=None):
    """A file of (key without its ending, (down, up))."""
    tensors = {}
    for key, (down, up) in pairs.items():
        tensors |= {f"{key}.{names[0]}": down, f"{key}.{names[1]}": up}
        if alpha is not None:
            tensors[f"{key}.alpha"] = torch.tensor(alpha)
    save_file({k: v.contiguous() for k, v in tensors.items()}, file, metadata=metadata)
    return file


@pytest.mark.parametrize("weight", [1.0, 0.8, -0.5, 0.0])
def test_kohyas_layers_are_added_by_the_closed_form(sd15_folder, tmp_path, weight):
    plain = load_model(str(sd15_folder), CPU)
    pairs, expected = {}, {}
    for seed, (name, part) in enumerate([(ATTENTION, "unet"), (OUT, "unet"), (CONV, "unet"), (TEXT, "text")]):
        network = plain.unet if part == "unet" else plain.text.encoder
        pairs[kohya(name, part)] = both = factors(layer_of(network, name), seed)
        expected[name] = layer_of(network, name).weight + change(*both, weight * ALPHA / RANK)
    found = load_model(str(sd15_folder), CPU, Lora(written(tmp_path / "a.safetensors", pairs), weight))
    for name, value in expected.items():
        network = found.text.encoder if name == TEXT else found.unet
        torch.testing.assert_close(layer_of(network, name).weight, value, rtol=1e-5, atol=1e-6)
    untouched = [name for name, _ in plain.unet.named_parameters() if name.removesuffix(".weight") not in expected]
    old, new = plain.unet.state_dict(), found.unet.state_dict()
    assert len(untouched) == len(old) - 3 and all(torch.equal(old[name], new[name]) for name in untouched)
    found.free_text_encoder()  # and once more from its file
    found.encode_prompts(["a new word"])
    torch.testing.assert_close(layer_of(found.text.encoder, TEXT).weight, expected[TEXT], rtol=1e-5, atol=1e-6)


LAYOUTS = {
    "peft": ("unet.{}", ("lora_A.weight", "lora_B.weight"), {}),
    "peft with a name": ("base_model.model.unet.{}", ("lora_A.default.weight", "lora_B.default.weight"), {}),
    "an adapter alone": ("base_model.model.{}", ("lora_A.weight", "lora_B.weight"), {}),
    "diffusers before": ("unet.{}", ("lora.down.weight", "lora.up.weight"), {}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("alpha", [None, ALPHA])
def test_each_layout_gives_the_same_weights(sd15_folder, tmp_path, layout, alpha):
    form, names, _ = LAYOUTS[layout]
    plain = load_model(str(sd15_folder), CPU)
    both = {name: factors(layer_of(plain.unet, name), 7) for name in (ATTENTION, CONV)}
    file = written(tmp_path / "a.safetensors", {form.format(name): both[name] for name in both}, names, alpha)
    found = load_model(str(sd15_folder), CPU, Lora(file))
    for name, pair in both.items():
        value = layer_of(plain.unet, name).weight + change(*pair, 1.0 if alpha is None else alpha / RANK)
        torch.testing.assert_close(layer_of(found.unet, name).weight, value, rtol=1e-5, atol=1e-6)


def test_diffusers_first_layout_of_attention_alone(sd15_folder, tmp_path):
    plain = load_model(str(sd15_folder), CPU)
    both = {name: factors(layer_of(plain.unet, name), 7) for name in (ATTENTION, OUT)}
    tensors = {}
    for name, key in ((ATTENTION, "attn1.processor.to_q"), (OUT, "attn2.processor.to_out")):
        start = name.split(".attn")[0]
        tensors |= {f"{start}.{key}_lora.{side}.weight": f for side, f in zip(("down", "up"), both[name], strict=True)}
    save_file(tensors, tmp_path / "a.safetensors")
    found = load_model(str(sd15_folder), CPU, Lora(tmp_path / "a.safetensors"))
    for name, pair in both.items():
        value = layer_of(plain.unet, name).weight + change(*pair, 1.0)
        torch.testing.assert_close(layer_of(found.unet, name).weight, value, rtol=1e-5, atol=1e-6)


def test_alpha_in_the_header_counts_as_diffusers_writes_it(sd15_folder, tmp_path):
    plain = load_model(str(sd15_folder), CPU)
    pair = factors(layer_of(plain.unet, ATTENTION), 7)
    remarks = {"lora_adapter_metadata": json.dumps({"unet.r": RANK, "unet.lora_alpha": 6, "unet.alpha_pattern": {}})}
    names = ("lora_A.weight", "lora_B.weight")
    file = written(tmp_path / "a.safetensors", {f"unet.{ATTENTION}": pair}, names, None, remarks)
    found = load_model(str(sd15_folder), CPU, Lora(file))
    value = layer_of(plain.unet, ATTENTION).weight + change(*pair, 6 / RANK)
    torch.testing.assert_close(layer_of(found.unet, ATTENTION).weight, value, rtol=1e-5, atol=1e-6)
    remarks = {"lora_adapter_metadata": json.dumps({"unet.use_rslora": True})}
    with pytest.raises(JobError, match="use_rslora"):
        read_lora(written(file, {f"unet.{ATTENTION}": pair}, names, None, remarks))
    for alpha in ("8", True, [8], float("inf")):
        remarks = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": alpha})}
        with pytest.raises(JobError, match="which is no number"):
            read_lora(written(file, {f"unet.{ATTENTION}": pair}, names, None, remarks))


def test_every_layer_of_sdxl_is_found_by_the_name_that_kohyas_scripts_give_it(sdxl_folder, tmp_path):
    """LDM's names, made from the other side by the tests' own table; both text encoders too."""
    plain = load_model(str(sdxl_folder), CPU)
    config = dict(plain.unet.config)
    layers = {n: m for n, m in plain.unet.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))}
    weights = plain.unet.state_dict()
    pairs, names = {}, {}
    for seed, (name, module) in enumerate(layers.items()):
        key = "lora_unet_" + _unet_key(name + ".weight", weights, config).removesuffix(".weight").replace(".", "_")
        pairs[key], names[key] = factors(module, seed), name
    assert len(pairs) == len(layers) > 60 and any("output_blocks_3_" in key for key in pairs)
    for part, reader in (("te1", plain.text), ("te2", plain.second_text)):
        pairs[kohya(TEXT, part)] = factors(layer_of(reader.encoder, TEXT), 99)
    found = load_model(str(sdxl_folder), CPU, Lora(written(tmp_path / "a.safetensors", pairs)))
    for key, name in names.items():
        value = layers[name].weight + change(*pairs[key], ALPHA / RANK)
        torch.testing.assert_close(layer_of(found.unet, name).weight, value, rtol=1e-5, atol=1e-5)
    for part, old, new in (("te1", plain.text, found.text), ("te2", plain.second_text, found.second_text)):
        value = layer_of(old.encoder, TEXT).weight + change(*pairs[kohya(TEXT, part)], ALPHA / RANK)
        torch.testing.assert_close(layer_of(new.encoder, TEXT).weight, value, rtol=1e-5, atol=1e-5)


def test_kohyas_names_lead_where_diffusers_own_conversion_leads(sdxl_folder):
    from diffusers.loaders.lora_conversion_utils import (
        _convert_non_diffusers_lora_to_diffusers,
        _maybe_map_sgm_blocks_to_diffusers,
    )

    from csd_blender.backend.diffusion.weights.lora import _layers

    unet = load_model(str(sdxl_folder), CPU).unet
    found = _layers(unet)
    own = {id(module): name for name, module in unet.named_modules()}
    keys = [key for key in found if key.startswith(("input_blocks_", "middle_block_", "output_blocks_"))]
    keys = [key for key in keys if "transformer_blocks" in key]
    state = {f"lora_unet_{key}.{end}": torch.zeros(1) for key in keys for end in ("lora_down.weight", "lora_up.weight")}
    mapped = _maybe_map_sgm_blocks_to_diffusers(dict(state), unet.config)
    theirs, _ = _convert_non_diffusers_lora_to_diffusers(mapped)
    layers = {re.split(r"[._]lora\.", key.removeprefix("unet."))[0].replace(".processor", "") for key in theirs}
    layers = {key + ".0" if key.endswith("to_out") else key for key in layers}
    assert layers == {own[id(found[key])] for key in keys} and len(layers) > 20


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("lora_unet_down_blocks_7_attentions_0_to_q", "has not"),
        ("lora_te_text_model_encoder_layers_9_mlp_fc1", "has not"),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1", "text_encoder_2"),
        ("transformer.transformer_blocks.0.attn.to_q", "transformer"),
        ("something_else", "no layer of a known part"),
    ],
)
def test_what_fits_no_layer_is_named(sd15_folder, tmp_path, key, said):
    file = written(tmp_path / "a.safetensors", {key: (torch.ones(RANK, 8), torch.ones(8, RANK))})
    with pytest.raises(JobError) as caught:
        load_model(str(sd15_folder), CPU, find_lora(str(file)))
    assert caught.value.code == "lora_unreadable" and caught.value.fix
    assert key in caught.value.detail and said in caught.value.detail and str(file) in caught.value.detail


def test_a_layer_of_another_size_is_named_and_no_weight_is_changed(sd15_folder, tmp_path):
    wrong = {kohya(ATTENTION, "unet"): (torch.ones(RANK, 320), torch.ones(320, RANK))}
    with pytest.raises(JobError, match="for a layer of 320 x 320, and it has 8 x 8"):
        load_model(str(sd15_folder), CPU, Lora(written(tmp_path / "a.safetensors", wrong)))
    bad = {kohya(ATTENTION, "unet"): (torch.full((RANK, 8), torch.nan), torch.ones(8, RANK))}
    with pytest.raises(JobError, match="NaN"):
        load_model(str(sd15_folder), CPU, Lora(written(tmp_path / "b.safetensors", bad)))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"lora_unet_x.hada_w1_a": (3, 8)}, "LoHa"),
        ({"lora_unet_x.lokr_w1": (3, 8)}, "LoKr"),
        (
            {
                "lora_unet_x.lora_down.weight": (3, 8),
                "lora_unet_x.lora_up.weight": (8, 3),
                "lora_unet_x.dora_scale": (8,),
            },
            "DoRA",
        ),
        ({"lora_unet_x.lora_down.weight": (3, 8)}, "lacks lora_unet_x.lora_up.weight"),
        ({"lora_unet_x.lora_down.weight": (3, 8), "lora_unet_x.lora_up.weight": (8, 4)}, "do not fit each other"),
        ({"lora_unet_x.lora_down.weight": (3, 8), "lora_unet_x.lora_up.weight": (8, 3), "emb": (4,)}, "emb"),
        ({"model.diffusion_model.x": (4,)}, "no LoRA"),
    ],
)
def test_files_of_other_kinds_are_called_by_their_names(tmp_path, keys, said):
    file = tmp_path / "a.safetensors"
    save_file({key: torch.ones(shape) for key, shape in keys.items()}, file)
    with pytest.raises(JobError) as caught:
        find_lora(str(file))
    assert said in caught.value.detail and str(file) in caught.value.detail


@pytest.mark.parametrize("ending", [".pt", ".bin", ".CKPT"])
def test_a_lora_that_is_a_pickle_is_called_so(tmp_path, ending):
    (tmp_path / f"a{ending}").write_bytes(b"PK\x03\x04" + b"\0" * 99)
    with pytest.raises(JobError, match="is a pickle") as caught:
        find_lora(str(tmp_path / f"a{ending}"))
    assert caught.value.code == "lora_unreadable"


def test_a_file_is_found_with_its_weight_and_as_the_only_one_of_a_folder(tmp_path, monkeypatch):
    pair = {kohya(ATTENTION, "unet"): (torch.ones(RANK, 8), torch.ones(8, RANK))}
    file = written(tmp_path / "a.safetensors", pair)
    monkeypatch.chdir(tmp_path)
    assert lasting_lora("a.safetensors") == lasting_lora(str(tmp_path)) == str(file)
    assert with_weight("a.safetensors:0.8") == ("a.safetensors", 0.8) and with_weight(str(file)) == (str(file), None)
    assert with_weight("C:\\loras\\a.safetensors") == ("C:\\loras\\a.safetensors", None)
    with pytest.raises(JobError) as caught:
        find_lora("b.safetensors")
    assert caught.value.code == "lora_missing" and "b.safetensors" in caught.value.detail
    written(tmp_path / "b.safetensors", pair)
    with pytest.raises(JobError, match="2 .safetensors files"):
        find_lora(str(tmp_path))


def test_a_job_is_made_with_it_from_the_command_line_on_and_its_strength_counts(sd15_folder, tmp_path, monkeypatch):
    plain = load_model(str(sd15_folder), CPU)
    pair = {kohya(ATTENTION, "unet"): factors(layer_of(plain.unet, ATTENTION), 3)}
    file = written(tmp_path / "a.safetensors", pair)
    mesh = tmp_path / "a.obj"
    mesh.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    monkeypatch.chdir(tmp_path)
    words = ["texture", str(mesh), "--prompt", "a mug", "--model", str(sd15_folder), "--lora", "a.safetensors:0.8"]
    job = write_folder(_parser().parse_args([*words, "--out", str(tmp_path / "job")])).spec
    assert (job.lora, job.lora_weight) == (str(file), 0.8)
    settings = {"steps": 2, "views": 1, "texture_size": 64, "device": "cpu", "rasterizer": "torch"}
    made = []
    for weight in (0.0, 5.0 - 1.0):
        spec = texture_job("a mug", model=str(sd15_folder), lora=str(file), lora_weight=weight, **settings)
        folder = square_folder(tmp_path / f"job{weight}", spec)
        models = ModelCache()
        texture_mesh(spec, folder, reporter_until(), models.get)
        made.append(albedo(folder))
        assert Lora(file, weight) in models.key
        assert read_result(folder.path).licences[f"LoRA {file}"].startswith("unknown")
    assert (made[0] != made[1]).any()


def test_a_job_without_one_keeps_its_fingerprint():
    usual = texture_job("a mug")
    assert "lora" in usual.to_json() and usual.spec_hash() == texture_job("a mug", lora="", lora_weight=1.0).spec_hash()
    assert usual.spec_hash() != texture_job("a mug", lora="x").spec_hash()


def adapter(folder, pair, **told):
    folder.mkdir(exist_ok=True)
    names = ("lora_A.weight", "lora_B.weight")
    written(folder / "adapter_model.safetensors", {f"base_model.model.{ATTENTION}": pair}, names, None)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": RANK, **told}))
    return folder


def test_a_folder_that_peft_saved_counts_as_its_settings_say(sd15_folder, tmp_path):
    plain = load_model(str(sd15_folder), CPU)
    pair = factors(layer_of(plain.unet, ATTENTION), 7)
    folder = adapter(tmp_path / "adapter", pair, lora_alpha=12, alpha_pattern={}, use_rslora=False)
    for place in (folder, folder / "adapter_model.safetensors"):
        found = load_model(str(sd15_folder), CPU, find_lora(str(place)))
        value = layer_of(plain.unet, ATTENTION).weight + change(*pair, 12 / RANK)
        torch.testing.assert_close(layer_of(found.unet, ATTENTION).weight, value, rtol=1e-5, atol=1e-5)
    for told, said in (
        ({"lora_alpha": 4, "use_rslora": True}, "use_rslora"),
        ({"lora_alpha": 4, "use_dora": True}, "use_dora"),
        ({"lora_alpha": 4, "alpha_pattern": {"to_q": 2}}, "alpha_pattern"),
        ({"lora_alpha": 4, "peft_type": "LOHA"}, "LOHA"),
        ({}, "lora_alpha"),
    ):
        with pytest.raises(JobError, match=said) as caught:
            find_lora(str(adapter(tmp_path / "adapter", pair, **told)))
        assert caught.value.code == "lora_unreadable" and "adapter_config.json" in caught.value.detail


@pytest.mark.parametrize(
    ("alpha", "said"),
    [
        (torch.tensor(torch.nan), "alpha that is no number"),
        (torch.tensor(torch.inf), "alpha that is no number"),
        (torch.tensor([1.0, 2.0]), "alpha that is no number"),
        (torch.tensor(3e38), "too large for torch.float32"),
    ],
)
def test_an_alpha_that_makes_no_numbers_is_named(sd15_folder, tmp_path, alpha, said):
    pair = {kohya(ATTENTION, "unet"): (torch.full((RANK, 8), 2.0), torch.full((8, RANK), 2.0))}
    file = written(tmp_path / "a.safetensors", pair, alpha=None)
    tensors = load_file(file) | {f"{kohya(ATTENTION, 'unet')}.alpha": alpha}
    save_file(tensors, file)
    with pytest.raises(JobError, match=said) as caught:
        load_model(str(sd15_folder), CPU, find_lora(str(file)))
    assert caught.value.code == "lora_unreadable" and str(file) in caught.value.detail


def test_an_alpha_that_is_a_whole_number_counts_as_diffusers_scripts_write_it(sd15_folder, tmp_path):
    plain = load_model(str(sd15_folder), CPU)
    pair = factors(layer_of(plain.unet, ATTENTION), 7)
    file = written(tmp_path / "a.safetensors", {kohya(ATTENTION, "unet"): pair}, alpha=6)
    assert load_file(file)[kohya(ATTENTION, "unet") + ".alpha"].dtype == torch.int64
    found = load_model(str(sd15_folder), CPU, find_lora(str(file)))
    value = layer_of(plain.unet, ATTENTION).weight + change(*pair, 6 / RANK)
    torch.testing.assert_close(layer_of(found.unet, ATTENTION).weight, value, rtol=1e-5, atol=1e-5)
