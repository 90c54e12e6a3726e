"""Where the time and the memory go, as ratios measured side by side in one run."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from csd_blender.backend.diffusion.loading import load_model, network_dtypes, select_device
from csd_blender.backend.diffusion.model import DiffusionModel
from csd_blender.backend.diffusion.words import guidance_words
from csd_blender.backend.distillation.guided import job_prompts
from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.pipelines.prepare import prepare_surface
from csd_blender.backend.pipelines.texture import start_state, texture_step
from csd_blender.backend.support.clock import StepClock
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.process.client import BackendClient, backend_command
from csd_blender.job.process.messages import TERMINAL, Message

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
    with tempfile.TemporaryDirectory() as scratch:
        folder = JobFolder.create(Path(scratch) / "job", job)
        save_npz(folder.mesh_path, demo_mesh("robot"))
        reporter = Reporter(emit=lambda kind, body: None)
        surface = prepare_surface(job, folder, reporter).to(model.device)
    prompts = job_prompts(model, job.prompt, job.negative_prompt, job.view_prompts, guidance_words(model), reporter)
    state = start_state(job, model)
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for i in range(warm + steps):
        if i == warm:
            state.clock = StepClock(synchronize=True)
            start = time.perf_counter()
        texture_step(state, job, surface, model, prompts, views)
        state.step += 1
    seconds = (time.perf_counter() - start) / steps
    shares = state.clock.shares()
    rest = sum(share for name, share in shares.items() if name not in NETWORK)
    print(f"\n{title}: {seconds * 1000:.0f} ms a step")
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        print(f"  {name:10} {share:6.1%}")
    print(f"  everything but the diffusion networks: {rest:.2%}")
    if model.device.type == "cuda":
        print(f"  peak GPU memory: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
    return shares | {"rest": rest, "seconds": seconds}


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


def random_stable_diffusion(device: torch.device, version: int = 1, latent: bool = True) -> DiffusionModel:
    """Networks of Stable Diffusion's sizes with random values, for time and memory.

    Args:
        version: 1 is 1.5 (860 M weights, and 84 M of the VAE), 2 is 2.1 (866 M).
        latent: False makes a pixel model of the same size, for pictures of 64 x 64.
    """
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

    context, heads = (768, 8) if version == 1 else (1024, (5, 10, 20, 20))
    unet_dtype, vae_dtype = network_dtypes(device)
    vae = None
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64,
            in_channels=4 if latent else 3,
            out_channels=4 if latent else 3,
            cross_attention_dim=context,
            attention_head_dim=heads,
            use_linear_projection=version == 2,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        )
        if latent:
            vae = AutoencoderKL(
                block_out_channels=(128, 256, 512, 512),
                layers_per_block=2,
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
            )
    unet = _randomize(unet.to(unet_dtype).to_empty(device=device))
    vae = None if vae is None else _randomize(vae.to(vae_dtype).to_empty(device=device))
    generator = torch.Generator().manual_seed(0)
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    model = DiffusionModel(
        name="random",
        vae=vae,
        unet=unet,
        text_encoder=None,
        tokenizer=None,
        alphas_cumprod=scheduler.alphas_cumprod,
        prediction_type="epsilon",
        native_size=512 if latent else 64,
        device=device,
    )
    model.fitting_prompt = lambda prompt, ending: prompt
    model.encode_prompts = lambda texts: torch.randn((len(texts), 77, context), generator=generator).to(
        device, unet_dtype
    )
    return model


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
