"""A distillation step as the published code takes it, to stand beside ours.

After the guidance class of classifier score distillation's public code, which follows threestudio's: the encoder's own
sample with its gradient, one batched call of the network over three branches (positive, negative and empty prompt),
whatever their weights, cached embeddings, and the loss whose gradient is the score.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_blender.backend.diffusion.stable_diffusion import StableDiffusion
from csd_blender.backend.distillation.score import NOISE, Weights


def official_distill(
    model: StableDiffusion, pictures: Tensor, t: Tensor, embeddings: Tensor, weights: Weights
) -> float:
    """Move the score's gradient into the graph behind ``pictures``.

    Args:
        pictures: ``[B, 3, H, W]`` in [0, 1] with a graph. t: ``[B]`` integer steps.
        embeddings: ``[3 B, L, D]`` of the positive, the negative and the empty prompt.
        weights: by branch name; the network predicts noise.

    Returns:
        The loss, which the published code logs.
    """
    side = model.native_size
    pixels = pictures * 2 - 1
    if pixels.shape[-1] != side:
        pixels = F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False)
    posterior = model.vae.encode(pixels.to(model.vae.dtype)).latent_dist
    latents = posterior.sample().float() * model.vae.config.scaling_factor
    with torch.no_grad():
        noise = torch.randn_like(latents)
        alpha, sigma = model.schedule.alpha_sigma(t)
        noisy = (alpha * latents + sigma * noise).to(model.unet.dtype)
        predicted = model.unet(torch.cat([noisy] * 3), torch.cat([t] * 3), encoder_hidden_states=embeddings).sample
        positive, negative, null = predicted[:, : noisy.shape[1]].float().chunk(3)
        grad = weights["positive"] * positive + weights["negative"] * negative + weights["null"] * null
        grad = torch.nan_to_num(sigma**2 * (grad + weights[NOISE] * noise))
    target = (latents - grad).detach()
    loss = 0.5 * F.mse_loss(latents, target, reduction="sum") / len(latents)
    loss.backward()
    return loss.item()
