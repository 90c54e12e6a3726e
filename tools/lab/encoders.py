"""``bench --encoders``: the bundled model's small encoder beside its own, on one thread and side by side.

What is compared are gradients of pictures, since these are all that score distillation has of an encoder: on rendered
pictures, at random latent gradients, and on the pictures of texture jobs, at the very latent gradients of their steps.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_blender.backend.diffusion.additions.load_encoder import use_encoder
from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.diffusion.model import DiffusionModel
from csd_blender.backend.diffusion.stable_diffusion import StableDiffusion
from csd_blender.job.models.encoder import FULL, SMALL
from csd_blender.job.presets.texture import texture_job

from .bench import random_stable_diffusion, texture_steps, texture_surface
from .mini.control.pictures import render_part

ENCODERS = (FULL, SMALL)
#: Mesh, prompt, of the texture jobs whose steps are looked at; none of the pictures behind the encoder is of a job.
JOBS = (("robot", "red brick"), ("house", "a blue striped house"))
STEPS, EVERY = 45, 5  # of these jobs (half of the preset Draft), and of which steps
SEED = 4243  # of rendered pictures that are in no training
SHAPES = 12  # of these pictures, four each
LARGE_SIDE = 256  # of pictures for networks of Stable Diffusion's size


@dataclass(frozen=True)
class Sizes:
    """How much is looked at."""

    shapes: int = SHAPES
    jobs: Sequence[tuple[str, str]] = JOBS
    steps: int = STEPS
    every: int = EVERY
    repeats: int = 20


REHEARSAL = Sizes(shapes=1, jobs=JOBS[:1], steps=2, every=1, repeats=2)


@dataclass(frozen=True)
class Likeness:
    """How alike two encoders are on some pictures.

    Attributes:
        cosines: between the gradients of each picture, ``[N]``. sizes: theirs, small by full, ``[N]``.
        error: of latents, root mean square; latents have about unit deviation.
    """

    cosines: Tensor
    sizes: Tensor
    error: float

    def summary(self) -> dict[str, float]:
        """Figures for people and for JSON."""
        found = {
            "pictures": len(self.cosines),
            "cosine": float(self.cosines.mean()),
            "lowest_cosine": float(self.cosines.min()),
            "length": float(self.sizes.mean()),
            "latent_error": self.error,
        }
        return {name: round(value, 4) for name, value in found.items()}


def likeness(model: DiffusionModel, pictures: Tensor, gradients: Tensor, batch: int = 8) -> Likeness:
    """The bundled model's two encoders on ``pictures [N, 3, S, S]`` in [0, 1], at latent gradients ``[N, 4, h, w]``."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {words: [] for words in ENCODERS}
    for words in ENCODERS:
        use_encoder(words, model)
        for shown, asked in zip(pictures.split(batch), gradients.split(batch), strict=True):
            leaf = shown.clone().requires_grad_(True)
            latents = model.encode_images(leaf)
            found[words].append((latents.detach(), torch.autograd.grad(latents, leaf, asked)[0].flatten(1)))
    use_encoder(FULL, model)
    (latents, own), (small_latents, small) = ([torch.cat(rows) for rows in zip(*found[w])] for w in ENCODERS)
    error = float((small_latents - latents).square().mean().sqrt())
    return Likeness(F.cosine_similarity(own, small), small.norm(dim=1) / own.norm(dim=1), error)


def rendered_pictures(shapes: int = SHAPES, seed: int = SEED) -> tuple[Tensor, Tensor]:
    """Pictures ``[N, 3, 64, 64]`` in [0, 1] of the kind that the encoder learnt from, and white latent gradients."""
    images = torch.from_numpy(render_part(seed, 0, shapes)["images"]).permute(0, 3, 1, 2).float() / 255
    return images, torch.randn((len(images), 4, 16, 16), generator=torch.Generator().manual_seed(seed))


def job_pictures(model: DiffusionModel, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Pictures of texture jobs on the model's own encoder with the latent gradients of their steps; shapes as of
    :func:`rendered_pictures`."""
    use_encoder(FULL, model)
    pictures, gradients = [], []
    for mesh, prompt in sizes.jobs:
        job = texture_job(prompt, "draft", "mini", steps=sizes.steps, warm_start=0)
        state, guide, take = texture_steps(job, model, texture_surface(job, mesh))
        ask, score = guide.gradient, guide.score

        def seen(shown, *told, ask=ask):
            pictures.append(shown.detach().clone())
            return ask(shown, *told)

        def scored(*told, score=score):
            found = score(*told)
            gradients.append(found[0].grad.detach().clone())
            return found

        for step in range(sizes.steps):
            looked_at = step % sizes.every == sizes.every - 1
            for name, watched, plain in (("gradient", seen, ask), ("score", scored, score)):
                setattr(guide, name, watched if looked_at else plain)
            take()
            state.step += 1
    return torch.cat(pictures), torch.cat(gradients)


def encode_seconds(encoders: Sequence[Callable[[Tensor], Tensor]], pictures: Tensor, repeats: int) -> list[float]:
    """Median seconds of each one's way to latents and back with a gradient, taken in turns after one that warms up."""
    times: list[list[float]] = [[] for _ in encoders]
    for turn in range(repeats + 1):
        for i, encode in enumerate(encoders):
            leaf = pictures.clone().requires_grad_(True)
            start = time.perf_counter()
            latents = encode(leaf)
            torch.autograd.grad(latents, leaf, torch.ones_like(latents))
            if turn:
                times[i].append(time.perf_counter() - start)
    return [statistics.median(row) for row in times]


def mini_encoders(model: DiffusionModel) -> list[Callable[[Tensor], Tensor]]:
    """The ways to latents of the model with its own encoder and with the small one."""

    def encode(shown: Tensor, small) -> Tensor:
        model.small_encoder = small
        return model.encode_images(shown)

    use_encoder(SMALL, model)
    small = model.small_encoder
    return [lambda shown: encode(shown, None), lambda shown: encode(shown, small)]


def step_seconds(model: DiffusionModel, repeats: int) -> list[float]:
    """Median seconds of a texture step at Draft with each encoder, taken in turns."""
    job = texture_job("a red brick robot", "draft", "mini", warm_start=0)
    surface, ways, times = texture_surface(job), [], []
    use_encoder(SMALL, model)
    small = model.small_encoder
    for encoder in (None, small):
        model.small_encoder = encoder
        ways.append((encoder, *texture_steps(job, model, surface)))
    times = [[], []]
    for turn in range(repeats + 2):
        for i, (encoder, state, _, take) in enumerate(ways):
            model.small_encoder = encoder
            start = time.perf_counter()
            take()
            if turn > 1:
                times[i].append(time.perf_counter() - start)
            state.step += 1
    model.small_encoder = None
    return [statistics.median(row) for row in times]


def large_seconds() -> list[float]:
    """Seconds of the way to latents and back at Stable Diffusion's size, random weights: the VAE's encoder, and an
    ``AutoencoderTiny`` with diffusers' own sizes, which are those of the published ones."""
    from diffusers import AutoencoderTiny

    device = torch.device("cpu")
    model = random_stable_diffusion(device)
    assert isinstance(model, StableDiffusion)
    tiny = AutoencoderTiny().requires_grad_(False).encoder.to(memory_format=torch.channels_last)
    pictures = torch.rand(1, 3, LARGE_SIDE, LARGE_SIDE)
    return encode_seconds(
        [
            lambda shown: model.vae.encode(shown).latent_dist.mean,
            lambda shown: tiny(shown.contiguous(memory_format=torch.channels_last)),
        ],
        pictures, 1,
    )  # fmt: skip


def run_encoders(out: Path, large: bool = False, rehearse: bool = False, show: bool = False) -> int:
    """Measure, print and write ``encoders.json``. Returns 0.

    Args:
        large: time networks of Stable Diffusion's size, too. show: print what was measured before.
    """
    file = out / "encoders.json"
    if not show:
        sizes = REHEARSAL if rehearse else Sizes()
        torch.set_num_threads(1)
        model = load_model("mini", torch.device("cpu"))
        told: dict = {"sizes": asdict(sizes), "rendered": likeness(model, *rendered_pictures(sizes.shapes)).summary()}
        seen = job_pictures(model, sizes)
        told["jobs"] = likeness(model, *seen).summary()
        told["encode"] = encode_seconds(mini_encoders(model), seen[0][:4], sizes.repeats)
        told["step"] = step_seconds(model, sizes.repeats)
        if large:
            told["large"] = large_seconds()
        file.write_text(json.dumps(told, indent=1))
    if not file.is_file():
        print(f"Nothing was measured in {out} yet.")
        return 0
    print(format_table(json.loads(file.read_text())))
    return 0


def format_table(told: dict) -> str:
    """Two Markdown tables."""
    lines = [
        "| pictures | number | cosine, mean | lowest | length | latents' error |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, title in (("rendered", "rendered, random gradients"), ("jobs", "texture jobs, their own gradients")):
        row = told[name]
        lines.append(
            f"| {title} | {row['pictures']} | {row['cosine']:.3f} | {row['lowest_cosine']:.3f} | {row['length']:.3f} "
            f"| {row['latent_error']:.3f} |"
        )
    lines += ["", "| one thread, in turns | full, ms | small, ms | full / small |", "| --- | --- | --- | --- |"]
    titles = {
        "encode": "4 pictures to latents and back",
        "step": "a texture step at Draft",
        "large": f"one picture of {LARGE_SIDE} px to latents and back, Stable Diffusion's size",
    }
    for name, title in titles.items():
        if name in told:
            full, small = (1000 * seconds for seconds in told[name])
            lines.append(f"| {title} | {full:.1f} | {small:.1f} | {full / small:.2f} |")
    return "\n".join(lines)
