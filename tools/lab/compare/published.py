"""A step of each method as its published code takes it, of those that are written down here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from csd_blender.backend.diffusion.model import DiffusionModel, latent_side
from csd_blender.backend.diffusion.stable_diffusion import StableDiffusion
from csd_blender.backend.distillation.asynchronous import SHIFT
from csd_blender.backend.distillation.guide import Guide
from csd_blender.backend.distillation.methods import ROWS
from csd_blender.backend.distillation.view_prompts import EncodedPrompts
from csd_blender.backend.support.clock import StepClock
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.methods import find_method

from ..cuda.official_step import official_distill

#: Branches that published code evaluates in each step, all of them: CSD's own classes (positive, negative and empty
#: prompt); threestudio's SDS and SJC (the prompt, and what guidance goes away from: here the negative prompt); NFSD's
#: three; SDS-Bridge's two, which are others from some step on; ScaleDreamer's two and the prompt at a later time.
PUBLISHED: dict[str, tuple[str, ...]] = {
    "csd": ("positive", "negative", "null"),
    "sds": ("positive", "negative"),
    "sjc": ("positive", "negative"),
    "nfsd": ("positive", "negative", "null"),
    "bridge": ("positive", "negative"),
    "asd": ("positive", "negative", "later"),
}
BRIDGED = ("good", "bad")


def published_step(guide: Guide, negative: bool, pictures: Tensor, step: int, clock: StepClock) -> Tensor:
    """The gradient at the picture, ``[1, 3, H, W]``, at the time and with the random numbers that our own step has.

    Args:
        guide: of the job; model, prompts and settings are its. negative: the job has a negative prompt.
        pictures: ``[1, 3, H, W]`` in [0, 1].
    """
    model, guidance = guide.model, guide.guidance_at(step)
    assert isinstance(model, StableDiffusion)  # all networks of the laboratory are of this family
    row, branches = ROWS[guide.method], PUBLISHED[guide.method]  # without a negative prompt the empty one comes twice
    if find_method(guide.method).compares_wordings and step >= guidance.bridge_start:
        branches = BRIDGED
    t = guide.begin(1, step, torch.Generator().manual_seed(step)).t
    torch.manual_seed(step + 1)
    leaf = pictures.clone().requires_grad_(True)
    fraction = (t.double() / len(model.schedule)).view(-1, 1, 1, 1)
    weights: dict[str, Any] = {
        name: value(fraction.float()) if callable(value) else value
        for name, value in row.weights(guidance, step, negative).items()
    }
    weighting = row.finish.weighting or guidance.weighting
    prompts = guide.prompts["color"]
    assert isinstance(prompts, EncodedPrompts)
    embeddings = cached_embeddings(prompts, branches)
    times = {"later": later_time(model, t, guidance, step)} if "later" in branches else None
    official_distill(model, leaf, t, embeddings, weights, branches, weighting, guidance.grad_normalize, clock, times)
    return leaf.grad


def later_time(model: DiffusionModel, t: Tensor, guidance: Guidance, step: int) -> Tensor:
    """ASD's other time, drawn after the encoder's sample and the noise."""
    generator = torch.Generator().manual_seed(step + 1)
    side = latent_side(model)
    torch.randn((2, model.latent_channels, side, side), generator=generator)
    total = len(model.schedule)
    room = (t - int(total * guidance.t_min.at(step))).clamp_min(0)
    return (t + (torch.rand(1, generator=generator) * SHIFT * room).long()).clamp(max=total - 1)


def cached_embeddings(prompts: EncodedPrompts, branches: Sequence[str]) -> Tensor:
    """``[K, L, D]`` of one view from the front; ``later`` is of the prompt, too."""
    asked = prompts.batch(["front"], torch.zeros(1)).branches
    return torch.cat([asked["positive" if name == "later" else name].text for name in branches])
