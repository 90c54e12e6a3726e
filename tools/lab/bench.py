"""Where the time and the memory go, as ratios measured side by side in one run."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from csd_blender.backend.diffusion.deepfloyd import DeepFloyd
from csd_blender.backend.diffusion.loading import load_model, select_device
from csd_blender.backend.diffusion.model import DiffusionModel, NoiseSchedule
from csd_blender.backend.diffusion.parts import network_dtypes
from csd_blender.backend.diffusion.stable_diffusion import StableDiffusion
from csd_blender.backend.diffusion.words import guidance_words
from csd_blender.backend.distillation.guide import Guide
from csd_blender.backend.distillation.view_prompts import job_prompts
from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.pipelines.prepare import Surface, prepare_surface
from csd_blender.backend.pipelines.texture import TextureState, start_state, texture_step
from csd_blender.backend.support.clock import StepClock
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.process.client import BackendClient, backend_command
from csd_blender.job.process.messages import TERMINAL, Message
from csd_blender.job.spec.texture import TextureJob

from ..paths import PACKAGE
from .demo_meshes import demo_mesh

NETWORK = ("network", "encode")  # the UNet, and the VAE encoder forward and backward


def run_bench(large: bool = False) -> DiffusionModel:
    """Print the tables of textures; ``large`` adds a network of Stable Diffusion 1.5 size, random weights, 512 pixels.

    Returns:
        The mini model, for the tables of objects.
    """
    device = select_device("auto")
    print(f"device {device}, {torch.get_num_threads()} CPU threads, torch {torch.__version__}")
    mini = load_model("mini", device)
    print_split("mini, 64 px, 4 views", mini, size=0, views=4, steps=20, warm=5)
    print_waiting()
    if large:
        print_split("SD-1.5 size, 512 px, 1 view", random_stable_diffusion(device), size=512, views=1, steps=1, warm=0)
    return mini


def print_split(title: str, model: DiffusionModel, size: int, views: int, steps: int, warm: int) -> dict[str, float]:
    """Time ``steps`` texture steps on a bundled mesh and print each section's share."""
    job = texture_job("a red brick robot", "normal", "mini", views=views, steps=10_000, render_size=size)
    state, guide, take = texture_steps(job, model, texture_surface(job).to(model.device))
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for i in range(warm + steps):
        if i == warm:
            guide.clock = StepClock(synchronize=True)
            start = time.perf_counter()
        take()
        state.step += 1
    seconds = (time.perf_counter() - start) / steps
    shares = guide.clock.shares()
    rest = sum(share for name, share in shares.items() if name not in NETWORK)
    print(f"\n{title}: {seconds * 1000:.0f} ms a step")
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        print(f"  {name:10} {share:6.1%}")
    print(f"  everything but the diffusion networks: {rest:.2%}")
    if model.device.type == "cuda":
        print(f"  peak GPU memory: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
    return shares | {"rest": rest, "seconds": seconds}


def texture_surface(job: TextureJob, mesh: str = "robot") -> Surface:
    """A bundled mesh made ready for the job, on the CPU."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = JobFolder.create(Path(scratch) / "job", job)
        save_npz(folder.mesh_path, demo_mesh(mesh))
        return prepare_surface(job, folder, _silent())


def texture_steps(
    job: TextureJob, model: DiffusionModel, surface: Surface
) -> tuple[TextureState, Guide, Callable[[], dict[str, float]]]:
    """The state at step 0, the guide, and what takes a step from there; counting is the caller's. The surface is on the
    model's device."""
    words = guidance_words(model)
    prompts = job_prompts(model, job.prompt, job.negative_prompt, job.view_prompts, words, _silent())
    state, guide = start_state(job, model), Guide(model, {"color": prompts}, job.method, job.guidance, steps=job.steps)
    return state, guide, lambda: texture_step(state, job, surface, guide, job.views)


def _silent() -> Reporter:
    return Reporter(emit=lambda said: None)


def print_waiting(mesh: str = "robot") -> None:
    """What a user waits for, with the mini model and a backend process that stands: the first picture, the texture."""
    print(f"\nWaiting for a texture of the bundled {mesh}, backend warm")
    with tempfile.TemporaryDirectory() as scratch:
        client = BackendClient(backend_command(sys.executable, PACKAGE), Path(scratch) / "backend.log")
        client.start()
        try:
            _wait(client, lambda message: message.type == "hello")
            for count, quality in enumerate(("draft", "draft", "normal")):
                folder = JobFolder.create(Path(scratch) / f"job{count}", texture_job("rust", quality))
                save_npz(folder.mesh_path, demo_mesh(mesh))
                start = time.perf_counter()
                client.submit(folder.id, folder.path)
                first = _wait(client, lambda message: message.type == "preview") - start
                whole = _wait(client, lambda message: message.type in TERMINAL) - start
                if count:  # the first one only warms up
                    print(f"  {quality:8} first picture {first:5.1f} s, texture {whole:6.1f} s")
        finally:
            client.shutdown()


def _wait(client: BackendClient, sought: Callable[[Message], bool], limit: float = 900.0) -> float:
    """The time at which the sought message came. Raises ``RuntimeError`` when the job fails or nothing comes."""
    end = time.perf_counter() + limit
    while (now := time.perf_counter()) < end:
        messages = client.poll()
        if any(sought(message) for message in messages):
            return now
        if any(message.type == "error" for message in messages):
            break
        time.sleep(0.01)
    raise RuntimeError("the backend failed, or did not answer")


@dataclass(frozen=True)
class Size:
    """What sets one generation of Stable Diffusion apart, as its UNet's settings and the side of its pictures."""

    pixels: int
    context: int
    unet: dict


_USUAL_BLOCKS = {
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
SIZES = {
    "1.5": Size(512, 768, {"attention_head_dim": 8, **_USUAL_BLOCKS}),
    "2.1": Size(512, 1024, {"attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True, **_USUAL_BLOCKS}),
    "xl": Size(
        1024,
        2048,
        {
            "attention_head_dim": (5, 10, 20),
            "use_linear_projection": True,
            "block_out_channels": (320, 640, 1280),
            "transformer_layers_per_block": (1, 2, 10),
            "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
            "up_block_types": ("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",),
        },
    ),
}


def random_stable_diffusion(device: torch.device, version: str = "1.5", latent: bool = True) -> DiffusionModel:
    """Networks of Stable Diffusion's sizes with random values, for time and memory.

    Args:
        version: ``1.5`` (860 M weights, and 84 M of the VAE), ``2.1`` (866 M), or ``xl`` (2562 M: SDXL's, without the
            layer that reads the pooled text and the picture's size, which costs nothing beside the rest).
        latent: False makes a pixel model of the same size, for pictures of 64 x 64.
    """
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

    size = SIZES[version]
    channels, unet_dtype, vae_dtype = 4 if latent else 3, *network_dtypes(device)
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=size.pixels // 8 if latent else 64,
            in_channels=channels,
            out_channels=channels,
            cross_attention_dim=size.context,
            **size.unet,
        )
        if latent:
            vae = AutoencoderKL(
                block_out_channels=(128, 256, 512, 512),
                layers_per_block=2,
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
            )
    unet = _randomize(unet.to(unet_dtype).to_empty(device=device))
    if device.type == "cuda":  # as loading does
        unet.to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(0)
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    schedule = NoiseSchedule(scheduler.alphas_cumprod, "epsilon", device)
    text: Any = _NoText(size.context, generator, unet)
    if not latent:
        return DeepFloyd("random", unet, text, schedule, 64, device)
    vae = _randomize(vae.to(vae_dtype).to_empty(device=device))
    return StableDiffusion("random", unet, vae, text, schedule, size.pixels, device)


class _NoText:
    """In the place of a text encoder: random vectors for every prompt, all of which fit."""

    def __init__(self, width: int, generator: torch.Generator, unet: torch.nn.Module):
        self.width, self.generator, self.unet = width, generator, unet

    def read(self, prompts: Sequence[str]) -> torch.Tensor:
        vectors = torch.randn((len(prompts), 77, self.width), generator=self.generator)
        return vectors.to(self.unet.device, self.unet.dtype)

    def fitting(self, prompt: str, ending: str) -> str:
        return prompt

    def free(self) -> None:
        pass


def _randomize(network: torch.nn.Module) -> torch.nn.Module:
    """Small normal weights: the arithmetic of real ones, without not-a-number or denormal values."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
        elif "norm" in name:
            torch.nn.init.ones_(parameter)
        else:
            torch.nn.init.normal_(parameter, std=0.02)
    return network.requires_grad_(False).eval()
