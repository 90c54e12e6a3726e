"""One distillation step on a batch of pictures, the same for every pipeline: encode, score, and pull the gradient back
into whatever made the pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor

from ...job.spec.guidance import Guidance
from ..diffusion.model import DiffusionModel
from ..diffusion.words import GuidanceWords
from ..support.reporting import Reporter
from .score import Coefficients, PromptEmbeddings, csd_coefficients, distillation_loss, score_gradient, sds_coefficients
from .view_prompts import EncodedPrompts, encode_job_prompts, longest_ending

Clock = Callable[[str], AbstractContextManager]


class NotFinite(Exception):
    """A step whose numbers are no numbers, so that nothing can be learned from it.

    ``in_result``: already the pictures are not, and the model is not to blame.
    """

    def __init__(self, where: str, in_result: bool = False):
        super().__init__(where)
        self.in_result = in_result


def job_prompts(
    model: DiffusionModel,
    prompt: str,
    negative_prompt: str,
    view_prompts: bool,
    words: GuidanceWords,
    reporter: Reporter,
    lit: bool = False,
) -> EncodedPrompts:
    """All prompts of a job, encoded once. ``lit``: of a shaded object."""
    fitting = model.fitting_prompt(prompt, longest_ending(words.unlit, words.close_up))
    if fitting != prompt:
        reporter.warn("prompt_cut", f"The model cannot read so long a prompt; it goes by “{fitting}”.")
    return encode_job_prompts(
        model,
        fitting,
        negative_prompt,
        view_dependent=view_prompts,
        extra=words.lit if lit else words.unlit,
        close_up=words.close_up,
    )


def make_room(model: DiffusionModel) -> None:
    """Once all prompts of a job are encoded, the text encoder leaves a GPU's memory to the pictures."""
    if model.device.type == "cuda":
        model.free_text_encoder()


def guidance_coefficients(method: str, guidance: Guidance, step: int, negative: bool) -> Coefficients:
    """The row of the score equation for ``method`` at ``step``; ``negative``: there is a negative prompt."""
    if method == "sds":
        return sds_coefficients(guidance.guidance_scale, negative, guidance.scale_convention)
    negative_weight = guidance.negative_weight.at(step) if negative else 0.0
    return csd_coefficients(guidance.positive_weight.at(step), negative_weight, guidance.generative_weight.at(step))


def _is_finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def distill(
    model: DiffusionModel,
    pictures: Tensor,
    t: Tensor,
    prompts: PromptEmbeddings,
    coefficients: Coefficients,
    guidance: Guidance,
    step: int,
    generator: torch.Generator,
    clock: Clock,
    retain_graph: bool = False,
    as_latents: bool = False,
) -> dict[str, float]:
    """Move the gradient of the score into the graph behind ``pictures`` (added to what is there).

    Args:
        pictures: ``[B, 3, H, W]`` in [0, 1] with a graph.
        t: ``[B]`` integer diffusion times.
        generator: of the encoder's sample and of the noise, in this order, on the CPU.
        retain_graph: keep the graph for another backward pass.
        as_latents: the pictures are latents already, ``[B, C, H, W]`` in any size: they are resized, and not encoded.

    Returns:
        What is logged about the step.

    Raises:
        NotFinite: pictures, latents, the network's predictions or the gradient hold NaN or infinite numbers; nothing
            has been added to the graph then, and all random numbers of the step have been drawn.
    """
    with clock("encode"):
        leaf = pictures.detach().requires_grad_(True)
        if as_latents:
            side = model.native_size // model.latent_factor
            latents = F.interpolate(leaf, (side, side), mode="bilinear", align_corners=False)
        else:
            latents = model.encode_images(leaf, generator)
    refused = model.refused_predictions
    noise = torch.randn(latents.shape, generator=generator).to(model.device)
    with clock("network"):
        score = score_gradient(
            model,
            latents.detach(),
            t,
            noise,
            prompts,
            coefficients,
            weighting=guidance.weighting,
            perp_neg=guidance.perp_neg,
            grad_clip=None if guidance.grad_clip is None else guidance.grad_clip.at(step),
            grad_normalize=guidance.grad_normalize,
            perp_neg_from=guidance.perp_neg_from,
        )
    if not _is_finite(leaf):
        raise NotFinite("pictures", in_result=True)
    if not _is_finite(latents):
        raise NotFinite("latents")
    if model.refused_predictions != refused or not all(math.isfinite(v) for v in score.metrics.values()):
        raise NotFinite("predictions")
    with clock("encode"):
        distillation_loss(latents, score.grad).backward()
    if not _is_finite(leaf.grad):
        raise NotFinite("gradient")
    with clock("render"):
        pictures.backward(leaf.grad, retain_graph=retain_graph)
    logged = {"positive": coefficients.positive, "negative": coefficients.negative, "null": coefficients.null}
    return score.metrics | {f"weight_{k}": v for k, v in logged.items()}
