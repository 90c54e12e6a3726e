"""Similarity, R-precision and A-LPIPS against values that can be worked out, and models as they lie in folders."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from csd_blender.job.errors import JobError
from tests.support.tiny_models import clip_tokenizer, write_clip_tokenizer
from tools.lab.judged import perceptual
from tools.lab.judged.perceptual import a_lpips, by_layers, clip_pictures, judge_distance, lpips_distance
from tools.lab.judged.similarity import TextImageModel, candidates, clip_model, nearest, similarity


def toy(vectors: dict[str, list[float]]) -> TextImageModel:
    """A picture's vector is its mean color; prompts have those that are given."""
    return TextImageModel(
        name="toy",
        size=4,
        pictures=lambda pictures: F.normalize(pictures.mean((2, 3)), dim=1),
        texts=lambda prompts: F.normalize(torch.tensor([vectors[p] for p in prompts], dtype=torch.float32), dim=1),
        says=lambda prompt: frozenset(prompt.split()),
        distance=lambda a, b: (a - b).abs().mean((1, 2, 3)),
    )


def plain(*colors: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(colors, dtype=torch.float32)[:, :, None, None].expand(-1, -1, 4, 4)


def test_similarity_is_the_mean_cosine_over_the_views():
    model = toy({"red": [1, 0, 0], "blue": [0, 0, 1]})
    values = similarity(plain((1, 0, 0), (0.6, 0, 0.8)), ["red", "blue"], model)
    assert values.tolist() == pytest.approx([0.8, 0.4], abs=1e-6)
    assert nearest(values, "red", ["red", "blue"], model) == "red"
    assert nearest(values, "blue", ["red", "blue"], model) == "red"
    # larger pictures are brought to the model's size
    large = plain((1, 0, 0)).repeat(1, 1, 8, 8)
    assert similarity(large, ["red"], model).item() == pytest.approx(1.0, abs=1e-5)


def test_prompts_that_mean_the_same_are_one_candidate():
    model = toy({})
    assert candidates(["a mug", " a mug "], ["a bowl", "a mug"], model) == ["a mug", "a bowl"]


def test_what_says_less_is_no_rival():
    """“a mug” is as true of a red mug; “a red bowl” and “a shiny red mug” would be something else."""
    model, prompts = toy({}), ["red mug", "mug", "red bowl", "shiny red mug"]
    assert nearest(torch.tensor([0.5, 0.9, 0.4, 0.3]), "red mug", prompts, model) == "red mug"
    assert nearest(torch.tensor([0.5, 0.9, 0.6, 0.3]), "red mug", prompts, model) == "red bowl"
    assert nearest(torch.tensor([0.5, 0.4, 0.3, 0.7]), "red mug", prompts, model) == "shiny red mug"
    assert nearest(torch.tensor([0.5, 0.4]), " red  mug", ["red mug", "bowl"], model) == " red  mug"


def test_an_orbits_flicker_is_the_mean_over_its_neighbors_without_the_last_pair():
    frames = plain((0, 0, 0), (0.3, 0.3, 0.3), (0.3, 0.3, 0.3), (0.9, 0.9, 0.9))
    found = a_lpips(frames, lambda a, b: (a - b).abs().mean((1, 2, 3)))
    assert found == pytest.approx((0.3 + 0 + 0.6) / 3, abs=1e-6)
    with pytest.raises(ValueError):
        a_lpips(frames[:1], lambda a, b: a)


def test_the_layers_distance_is_that_of_unit_features():
    """One pixel's features (3, 4) and (8, 6) are 0.6, 0.8 and 0.8, 0.6: squares 0.04 each; the other pixel agrees."""
    a = torch.tensor([[3.0, 1.0], [4.0, 0.0]]).view(1, 2, 1, 2)
    b = torch.tensor([[8.0, 5.0], [6.0, 0.0]]).view(1, 2, 1, 2)  # (8, 6) has the direction (4, 3)
    one = by_layers(lambda pictures: [pictures])
    assert one(a, b).item() == pytest.approx((0.08 + 0) / 2, abs=1e-6)
    two = by_layers(lambda pictures: [pictures, torch.ones_like(pictures)])
    assert two(a, b).item() == pytest.approx((0.04 + 0) / 2, abs=1e-6)
    weighted = by_layers(lambda pictures: [pictures], [torch.tensor([2.0, 1.0])])
    assert weighted(a, b).item() == pytest.approx((0.04 / 2) * 3, abs=1e-6)


def test_the_judge_sees_a_flicker():
    """Pictures that turn slowly are nearer than unlike ones, and the same picture is at 0."""
    torch.manual_seed(0)
    base = F.interpolate(torch.rand(1, 3, 8, 8), size=64, mode="bilinear")
    slow = torch.cat([base.roll(shift, 3) for shift in range(6)])
    mixed = torch.cat([F.interpolate(torch.rand(1, 3, 8, 8), size=64, mode="bilinear") for _ in range(6)])
    distance = judge_distance()
    assert a_lpips(base.repeat(3, 1, 1, 1), distance) == pytest.approx(0.0, abs=1e-6)
    assert 0 < a_lpips(slow, distance) < 0.5 * a_lpips(mixed, distance)


# ---- LPIPS and CLIP from files -------------------------------------------------------------------------------------

CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


def vgg(seed: int = 0) -> dict[str, torch.Tensor]:
    generator, inside, tensors = torch.Generator().manual_seed(seed), 3, {}
    for n, outside in zip((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), CHANNELS, strict=True):
        weight = torch.randn(outside, inside, 3, 3, generator=generator) * (2 / (9 * inside)) ** 0.5
        tensors |= {f"features.{n}.weight": weight, f"features.{n}.bias": torch.full((outside,), 0.01)}
        inside = outside
    for k, outside in enumerate((64, 128, 256, 512, 512)):
        tensors[f"lin{k}.model.1.weight"] = torch.rand(1, outside, 1, 1, generator=generator)
    return tensors


def as_published(tensors: dict[str, torch.Tensor], a: torch.Tensor, b: torch.Tensor) -> float:
    """LPIPS with VGG-16 as a chain of modules, layer by layer as its authors have it."""
    modules, inside = [], 3
    for width in (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512):
        if width == "M":
            modules.append(torch.nn.MaxPool2d(2, 2))
            continue
        modules += [torch.nn.Conv2d(inside, width, 3, padding=1), torch.nn.ReLU()]
        inside = width
    chain = torch.nn.Sequential(*modules)
    chain.load_state_dict({k.removeprefix("features."): v for k, v in tensors.items() if k.startswith("features.")})
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    x, y, total = (a - shift) / scale, (b - shift) / scale, 0.0
    ends = {3: 0, 8: 1, 15: 2, 22: 3, 29: 4}  # relu1_2, relu2_2, relu3_3, relu4_3, relu5_3
    with torch.no_grad():
        for n, module in enumerate(chain):
            x, y = module(x), module(y)
            if n in ends:
                u, v = (f / (f.square().sum(1, keepdim=True).sqrt() + 1e-10) for f in (x, y))
                total += F.conv2d((u - v) ** 2, tensors[f"lin{ends[n]}.model.1.weight"]).mean().item()
    return total


def test_lpips_from_a_file_is_the_published_network(tmp_path, monkeypatch):
    monkeypatch.setattr(perceptual, "clip_pictures", lambda pictures, size: pictures)  # as they are, and small
    tensors = vgg()
    save_file(tensors, tmp_path / "lpips.safetensors")
    a, b = torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert lpips_distance(tmp_path / "lpips.safetensors")(a, b).item() == pytest.approx(
        as_published(tensors, a, b), rel=1e-4
    )
    del tensors["lin3.model.1.weight"]
    save_file(tensors, tmp_path / "less.safetensors")
    with pytest.raises(JobError, match="lacks lin3"):
        lpips_distance(tmp_path / "less.safetensors")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A CLIP of a few thousand random weights, saved by transformers itself."""
    torch.manual_seed(0)
    folder, tokenizer = tmp_path_factory.mktemp("clip") / "clip", clip_tokenizer()
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    marks = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = CLIPTextConfig(vocab_size=len(tokenizer), max_position_embeddings=40, **marks, **sizes)
    vision = CLIPVisionConfig(image_size=16, patch_size=8, **sizes)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
    write_clip_tokenizer(tokenizer, folder)
    CLIPModel(config).save_pretrained(folder)
    return folder


def test_a_clip_in_a_folder_says_what_transformers_says(clip_folder):
    model = clip_model(clip_folder)
    pictures = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    prompts = ["a red mug", "a blue owl, front view"]
    net, tokenizer = CLIPModel.from_pretrained(clip_folder).eval(), clip_tokenizer()
    with torch.no_grad():
        read = tokenizer(prompts, padding=True, return_tensors="pt")
        said = net(**read, pixel_values=clip_pictures(pictures, 16))
    expected = (said.image_embeds @ said.text_embeds.T).mean(0)
    assert similarity(pictures, prompts, model).tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    distances = model.distance(pictures, pictures.flip(0))
    assert distances[1].item() == pytest.approx(0, abs=1e-6) and distances[0] > 1e-3
    assert distances[0].item() == pytest.approx(distances[2].item(), rel=1e-4)


def test_what_is_no_clip_is_named(clip_folder, tmp_path):
    def refused(change) -> str:
        import shutil

        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(clip_folder, tmp_path / "copy")
        change(tmp_path / "copy")
        with pytest.raises(JobError) as caught:
            clip_model(tmp_path / "copy")
        return str(caught.value)

    assert "config.json" in refused(lambda f: (f / "config.json").unlink())
    assert "model.safetensors is missing" in refused(lambda f: (f / "model.safetensors").unlink())
    assert "no CLIP" in refused(lambda f: (f / "config.json").write_text(json.dumps({"model_type": "bert"})))
    assert "program" in refused(lambda f: (f / "x.py").write_text(""))
    assert "tokenizer" in refused(lambda f: [p.unlink() for p in f.glob("*okeni*")] + [(f / n).unlink(missing_ok=True)
                                  for n in ("vocab.json", "merges.txt")])  # fmt: skip
