"""How fast the bundled model would train on the card."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch

from csd_blender.backend.mini.vocabulary import COLORS, MATERIALS, SHAPES, VIEWS

from ..mini import models
from ..mini.dataset import COLUMNS
from ..mini.train import Config, Ema, train_unet, unet_loss
from .report import median_ms, synchronize, table
from .sizes import Lab

MINUTES = 5


def training(lab: Lab) -> str:
    """A step of the noise predictor's training in three precisions, and as the training takes it."""
    rows = []
    for batch in lab.batches:
        alone = [step_ms(lab, batch, precision) for precision in ("float32", "TF32", "bfloat16")]
        whole = loop_ms(lab, batch)
        rows.append([batch, *alone, whole, int(MINUTES * 60_000 / whole), int(MINUTES * 60_000 / min(alone))])
    titles = ["batch", "step alone, float32, ms", "TF32, ms", "bfloat16 autocast, ms", "as train-mini takes it, ms"]
    titles += [f"steps in {MINUTES} minutes as it is", f"steps in {MINUTES} minutes, fastest alone"]
    note = (
        "UNet and text encoder of the mini model: loss, backward, clipping, AdamW as the training has it, average of "
        "weights. *As train-mini takes it* adds the drawing of latents, noise and captions on the CPU."
    )
    return table(titles, rows) + "\n\n" + note


@contextmanager
def matrix_precision(precision: str) -> Iterator[None]:
    """Float32 products exactly, or by TF32; both for matrices and convolutions."""
    kept = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = kept


def step_ms(lab: Lab, batch: int, precision: str) -> float:
    """Median milliseconds of a step on one batch that lies on the card."""
    device, generator = lab.device, torch.Generator().manual_seed(0)
    networks = torch.nn.ModuleDict({"unet": models.make_unet(), "text_encoder": models.make_text_encoder()}).to(device)
    networks.train()
    ema = Ema(networks, 0.9985)
    optimizer = torch.optim.AdamW(networks.parameters(), lr=1e-4, betas=(0.9, 0.99))
    latents, noise = torch.randn(2, batch, 4, 16, 16, generator=generator).to(device)
    tokens = torch.randint(3, len(models.TOKEN_IDS), (batch, models.MAX_LENGTH), generator=generator).to(device)
    t = torch.randint(1000, (batch,), generator=generator).to(device)
    alphas = models.make_scheduler().alphas_cumprod.to(device)

    def work() -> None:
        half = torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
        with half:
            loss = unet_loss(networks, latents, tokens, noise, t, alphas)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
        optimizer.step()
        ema.update(networks, 1000)

    with matrix_precision(precision):
        return median_ms(work, device, lab.warm, lab.repeats)


def loop_ms(lab: Lab, batch: int) -> float:
    """Milliseconds of a step of the real training loop: the difference between a long and a short run of it."""
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((4096, 8, 16, 16)).astype(np.float16)
    limits = {"shape": len(SHAPES), "material": len(MATERIALS), "color": len(COLORS), "view": len(VIEWS)}
    labels = np.stack([rng.integers(limits.get(name, 1 if name == "flaws" else 2), size=4096) for name in COLUMNS], 1)
    seconds = []
    for steps in lab.training_steps:
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            config = Config(out=place, cache=place, unet_steps=steps, unet_batch=batch, device=str(lab.device))
            synchronize(lab.device)
            start = time.perf_counter()
            train_unet(config, latents, 1.0, labels, lambda text: None)
            synchronize(lab.device)
            seconds.append(time.perf_counter() - start)
    few, many = lab.training_steps
    return max(1000 * (seconds[1] - seconds[0]) / (many - few), 1e-3)


SECTIONS: tuple[tuple[str, Callable[[Lab], str]], ...] = (("Training of the mini model", training),)
