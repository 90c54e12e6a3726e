"""A distillation step as the published code takes it, to stand beside ours.

After the guidance class of classifier score distillation's public code, which follows threestudio's: the encoder's own
sample with its gradient, one batched call of the network over all branches (for CSD the positive, the negative and the
empty prompt), whatever their weights, cached embeddings, and the loss whose gradient is the score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_blender.backend.diffusion.stable_diffusion import StableDiffusion
from csd_blender.backend.distillation.score import NOISE, Weights, weight
from csd_blender.backend.support.clock import StepClock

CSD_BRANCHES = ("positive", "negative", "null")


def official_distill(
    model: StableDiffusion,
    pictures: Tensor,
    t: Tensor,
    embeddings: Tensor,
    weights: Weights,
    branches: Sequence[str] = CSD_BRANCHES,
    weighting: str = "sds",
    normalize: bool = False,
    clock: StepClock | None = None,
    times: Mapping[str, Tensor] | None = None,
) -> float:
    """Move the score's gradient into the graph behind ``pictures``.

    Args:
        pictures: ``[B, 3, H, W]`` in [0, 1] with a graph. t: ``[B]`` integer steps.
        embeddings: ``[K B, L, D]`` of the prompts of the K ``branches``, those of the first one first.
        weights: by branch name, numbers; a branch without one counts nothing. The network predicts noise.
        weighting: w(t). normalize: the gradient gets unit norm.
        clock: takes the times of ``encode``, forward and backward, and of the ``network``.
        times: of branches that are asked at another time than t, with the same noise.

    Returns:
        The loss, which the published code logs.
    """
    side, clock = model.native_size, clock or StepClock()
    pixels = pictures * 2 - 1
    if pixels.shape[-1] != side:
        pixels = F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False)
    with clock("encode"):
        posterior = model.vae.encode(pixels.to(model.vae.dtype)).latent_dist
        latents = posterior.sample().float() * model.vae.config.scaling_factor
    with torch.no_grad():
        noise = torch.randn_like(latents)
        alpha, _ = model.schedule.alpha_sigma(t)
        at = [(times or {}).get(name, t) for name in branches]
        noisy = torch.cat([model.schedule.add_noise(latents, noise, when) for when in at]).to(model.unet.dtype)
        with clock("network"):
            predicted = model.unet(noisy, torch.cat(at), encoder_hidden_states=embeddings).sample
        grad = weights.get(NOISE, 0.0) * noise
        for name, eps in zip(branches, predicted[:, : noisy.shape[1]].float().chunk(len(branches)), strict=True):
            grad = grad + weights.get(name, 0.0) * eps
        grad = torch.nan_to_num(weight(weighting, alpha**2) * grad)
        if normalize:
            grad = grad / (grad.norm() + 1e-8)
    target = (latents - grad).detach()
    loss = 0.5 * F.mse_loss(latents, target, reduction="sum") / len(latents)
    with clock("encode"):
        loss.backward()
    return loss.item()
