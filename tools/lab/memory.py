"""``build.py bench --memory``: what a step of large models needs at most, by rung of the ladder; counted, not measured.

Networks of the published sizes run through the product's own code with tensors that hold no numbers
(:mod:`.live_bytes`), in the precision that a card has. Beside each figure stands the estimate that a job goes by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from csd_blender.backend.diffusion.conditions import Conditions
from csd_blender.backend.diffusion.control import ControlNet, ControlNets
from csd_blender.backend.diffusion.cost.thrift import Turns
from csd_blender.backend.diffusion.model import DiffusionModel, NoiseSchedule, asked_noise
from csd_blender.backend.diffusion.stable_diffusion import StableDiffusion
from csd_blender.backend.optimize.free_memory import load_of, networks_of
from csd_blender.backend.optimize.out_of_memory import RUNGS
from csd_blender.backend.support.memory import GIB, Saving, needed

from .bench import SIZES
from .live_bytes import counted

CPU = torch.device("cpu")
PROMPTS = 3  # of each picture: prompt, negative prompt, none
NAMES = ("whole", "one picture", "by layers", "one prompt", "by turns")


@dataclass(frozen=True)
class Case:
    """A step: the network's size, how many views, ControlNets."""

    title: str
    size: str
    views: int = 1
    controls: int = 0


CASES = (
    Case("SD 1.5, 512², two ControlNets", "1.5", controls=2),
    Case("SD 1.5, 512²", "1.5"),
    Case("SD 1.5, 512², 4 views, two ControlNets", "1.5", views=4, controls=2),
    Case("SD 2.1, 512², two ControlNets", "2.1", controls=2),
    Case("SD 2.1, 512²", "2.1"),
    Case("SDXL, 1024²", "xl"),
    Case("SDXL, 1024², one ControlNet", "xl", controls=1),
)


def run_memory_table(cases: Sequence[Case] = CASES) -> int:
    """Print a row for each case as soon as it is counted."""
    print("GiB at most in a step, counted (and as a job estimates it, with what a card takes besides)\n", flush=True)
    print("| | networks | " + " | ".join(NAMES) + " |")
    print("| --- |" + " --- |" * (len(NAMES) + 1))
    for case in cases:
        weights, found = count(case)
        cells = [f"{peak / GIB:.2f} ({guess / GIB:.1f})" for peak, guess in found]
        print(f"| {case.title} | {weights / GIB:.2f} | " + " | ".join(cells) + " |", flush=True)
    return 0


def savings() -> list[Saving]:
    """What is saved on each rung of a card's ladder."""
    rungs = [Saving()]
    for rung in RUNGS:
        rungs.append(rung.saves(rungs[-1]))
    return rungs


def count(case: Case) -> tuple[int, list[tuple[int, int]]]:
    """Bytes of the networks, and for each rung those that are there at once, and the estimate."""
    with counted() as live:
        model = random_networks(case)
        weights, found = live.restart(), []
        load = load_of(model, case.views, PROMPTS, 0)
        for saving in savings():
            model.thrift.saving = saving
            # Those that wait lie in the computer's memory, and do not count.
            waiting = weights if saving.turns else 0
            if saving.turns:
                model.thrift.turns = Turns(networks_of(model), CPU)
            live.restart()
            step(model, case)
            found.append((live.peak - waiting, needed(load, saving)))
    return weights, found


def step(model: DiffusionModel, case: Case) -> None:
    """What the guide does with pictures: encode them, ask the network, go back through the encoder."""
    side = model.native_size
    pictures = torch.rand(case.views, 3, side, side, requires_grad=True)
    latents = model.encode_images(pictures)
    rows = case.views * PROMPTS
    t = torch.ones(rows, dtype=torch.long)
    told = Conditions(torch.randn(rows, 77, SIZES[case.size].context, dtype=torch.float16))
    if case.controls:
        drawn = torch.rand(rows, 3 * case.controls, side, side)
        told = replace(told, control=drawn, control_weight=torch.ones(rows, case.controls))
    with torch.no_grad():
        noise = asked_noise(model, latents.detach().repeat(PROMPTS, 1, 1, 1), t, told)
    latents.backward(noise[: case.views])


def random_networks(case: Case) -> StableDiffusion:
    """A model of that size in a card's precision: the VAE of SDXL in float32, as its publisher asks for."""
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

    size = SIZES[case.size]
    side, half = size.pixels // 8, torch.float16
    unet = _made(half, lambda: UNet2DConditionModel(sample_size=side, cross_attention_dim=size.context, **size.unet))
    vae = _made(
        torch.float32 if case.size == "xl" else torch.bfloat16,
        lambda: AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        ),
    )
    schedule = NoiseSchedule(torch.linspace(0.99, 0.01, 1000), "epsilon", CPU)
    nobody: Any = None  # reads texts here
    model = StableDiffusion("random", unet, vae, nobody, schedule, size.pixels, CPU)
    if case.controls:
        nets = (_made(half, lambda: ControlNetModel.from_unet(unet)) for _ in range(case.controls))
        model.control = ControlNets(
            tuple(ControlNet(str(k), Path(str(k)), ("depth",), network) for k, network in enumerate(nets))
        )
    return model


def _made(dtype: torch.dtype, make: Callable[[], nn.Module]) -> nn.Module:
    """Numbers of that kind from the beginning: tensors without numbers cannot be turned into others in their place."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return make().requires_grad_(False).eval()
    finally:
        torch.set_default_dtype(usual)
