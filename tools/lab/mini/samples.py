# SPDX-License-Identifier: GPL-3.0-or-later
"""Sampling from the mini model: pictures for prompts, a sheet for the eye, and how often the judge agrees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from transformers import AutoTokenizer, CLIPTextModel, PreTrainedTokenizerFast

from csd_blender.backend.mini import vocabulary as voc
from csd_blender.backend.render.pictures import contact_sheet

from .readers.judge import HEADS, WEIGHTS_FILE, load_judge


@dataclass
class Pipeline:
    """The parts of a loaded model, in single precision."""

    vae: AutoencoderKL
    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: PreTrainedTokenizerFast
    scheduler: DDIMScheduler
    device: str = "cpu"


def load_pipeline(weights: Path, device: str = "cpu") -> Pipeline:
    """Loads an exported model; raises `OSError` where the folder holds none."""
    return Pipeline(
        AutoencoderKL.from_pretrained(weights, subfolder="vae", torch_dtype=torch.float32).to(device).eval(),
        UNet2DConditionModel.from_pretrained(weights, subfolder="unet", torch_dtype=torch.float32).to(device).eval(),
        CLIPTextModel.from_pretrained(weights, subfolder="text_encoder", dtype=torch.float32).to(device).eval(),
        AutoTokenizer.from_pretrained(weights, subfolder="tokenizer"),
        DDIMScheduler.from_pretrained(weights, subfolder="scheduler"), device,
    )  # fmt: skip


def _embed(pipe: Pipeline, prompts: list[str]) -> torch.Tensor:
    ids = pipe.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return pipe.text_encoder(ids.to(pipe.device)).last_hidden_state


@torch.no_grad()
def generate(
    pipe: Pipeline, prompts: list[str], seed: int = 0, steps: int = 25, guidance: float = 5.0, negative: str = "",
    batch: int = 32,
) -> torch.Tensor:  # fmt: skip
    """One picture per prompt, [N, 3, 64, 64] in 0..1, by deterministic DDIM with classifier-free guidance.

    Picture k depends on the seed, k and its prompt only.
    """
    side = pipe.unet.config.sample_size
    pictures = []
    for first in range(0, len(prompts), batch):
        some = prompts[first : first + batch]
        noise = [torch.randn(4, side, side, generator=torch.Generator().manual_seed(seed * 1_000_003 + first + k))
                 for k in range(len(some))]  # fmt: skip
        latents = torch.stack(noise).to(pipe.device)
        words = torch.cat((_embed(pipe, [negative] * len(some)), _embed(pipe, some)))
        pipe.scheduler.set_timesteps(steps)
        for t in pipe.scheduler.timesteps:
            without, with_words = pipe.unet(latents.repeat(2, 1, 1, 1), t, words).sample.chunk(2)
            guided = without + guidance * (with_words - without)
            latents = pipe.scheduler.step(guided, t, latents).prev_sample
        decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
        pictures.append((decoded / 2 + 0.5).clamp(0, 1).cpu())
    return torch.cat(pictures)


def sheet_prompts() -> list[str]:
    """Ten prompts a row: patterns in color, materials, shapes, one robot and one house all around, flaws."""
    views = [f"{view} view" for view in voc.VIEWS]
    colored = (
        "blue striped mug", "green checkered cube", "red dotted ball", "purple tiled vase", "yellow plain car",
        "pink scaly object", "orange striped cone", "cyan dotted bottle", "black checkered table", "white plain chair",
    )  # fmt: skip
    surfaces = (*voc.OWN_MATERIALS, "wood", "lava", "gold", "marble")
    shapes = (
        "chair", "house", "vase", "robot", "object", "ball", "owl", "mug", "bear", "cat",
        "object", "ball", "object", "capsule", "television", "clock", "mushroom", "object", "monkey", "pumpkin",
    )  # fmt: skip
    prompts = [f"a {thing}, flat colors" for thing in colored]
    prompts += [f"a {m} {s}, flat colors" for m, s in zip(surfaces, shapes, strict=True)]
    prompts += [f"a gray plain robot, {v}, flat colors" for v in views]
    prompts += [f"a brick house, {v}, studio light" for v in views]
    prompts += ["a wooden snowman, front view", "a blue rocket, side view"]
    prompts += [f"a red checkered ball, {q}" for q in (
        "blurry", "noisy", "oversaturated", "dull", "pixelated", "tiling", "low quality")]  # fmt: skip
    return prompts + ["leopard, close-up, flat colors", "brick, close-up, flat colors", "cobblestone, close-up"]


def sample_sheet(weights: Path, path: Path, seed: int = 0, device: str = "cpu") -> None:
    """Draws the sheet of `sheet_prompts` into a PNG, ten pictures a row."""
    sheet = contact_sheet(generate(load_pipeline(weights, device), sheet_prompts(), seed, steps=30), columns=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path, optimize=True)


# ---- agreement with the judge --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """A prompt and what it asks for; color is None for materials with their own palette."""

    prompt: str
    shape: str
    material: str
    color: str | None
    view: str


def random_requests(count: int, seed: int = 0) -> list[Asked]:
    """Prompts over all materials and colors alike, for any shape; the shape has a front in half of them."""
    rng = np.random.default_rng((seed, 77))
    asked = []
    for k in range(count):
        shape = str(rng.choice(voc.FRONT_SHAPES if k % 2 else (*voc.OTHER_SHAPES, "object")))
        material = str(rng.choice(voc.MATERIALS))
        color = str(rng.choice(voc.COLORS)) if material in voc.PATTERNS else None
        view = str(rng.choice(voc.VIEWS[:3]))
        surface = material if color is None else f"{color} {material}"
        light = "flat colors" if rng.random() < 0.5 else "studio light"
        asked.append(Asked(f"a {surface} {shape}, {view} view, {light}", shape, material, color, view))
    return asked


def judged_accuracy(
    weights: Path, judge_weights: Path = WEIGHTS_FILE.parent, count: int = 500, seed: int = 0, steps: int = 25,
    guidance: float = 5.0, device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Samples random prompts and returns the shares that the judge names as asked.

    "material" is over all prompts, "color" over those that name one, "material and color" wants both right, "view" is
    over shapes with a front and "shape" over all but "object". `misses` lists asked and seen surfaces.
    """
    asked = random_requests(count, seed)
    images = generate(load_pipeline(weights, device), [a.prompt for a in asked], seed, steps, guidance)
    scores = load_judge(device, judge_weights / WEIGHTS_FILE.name).classify(images)
    seen = {head: [HEADS[head][int(k)] for k in value.argmax(1)] for head, value in scores.items()}
    material = [a.material == m for a, m in zip(asked, seen["material"], strict=True)]
    color = [a.color is None or a.color == c for a, c in zip(asked, seen["color"], strict=True)]
    colored = [c for a, c in zip(asked, color, strict=True) if a.color is not None]
    view = [a.view == v for a, v in zip(asked, seen["view"], strict=True) if a.shape in voc.FRONT_SHAPES]
    shape = [a.shape == s for a, s in zip(asked, seen["shape"], strict=True) if a.shape != "object"]
    both = [m and c for m, c in zip(material, color, strict=True)]
    answers = zip(asked, seen["material"], seen["color"], both, strict=True)
    misses = [f"{a.prompt} -> {c + ' ' if m in voc.PATTERNS else ''}{m}"
              for a, m, c, good in answers if not good]  # fmt: skip
    report = {"material": material, "color": colored, "material and color": both, "view": view, "shape": shape}
    return {"prompts": count, "seed": seed, "steps": steps, "guidance": guidance} | {
        key: round(float(np.mean(value)), 4) for key, value in report.items()} | {"misses": misses}  # fmt: skip
