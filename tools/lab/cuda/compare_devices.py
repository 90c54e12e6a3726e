"""Does the card give what the processor gives? One step's gradients, and whole jobs from the same seed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.diffusion.model import DiffusionModel
from csd_blender.backend.diffusion.stable_diffusion import StableDiffusion
from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.output.texture import load_albedo
from csd_blender.backend.pipelines.prepare import choose_rasterizer, prepare_surface
from csd_blender.backend.pipelines.text_to_3d.coarse import coarse_step, ray_step, start_coarse
from csd_blender.backend.pipelines.text_to_3d.job import coarse_guide, refine_guide
from csd_blender.backend.pipelines.text_to_3d.refine import refine_step, start_refine
from csd_blender.backend.support.clock import StepClock
from csd_blender.backend.support.reporting import Reporter
from csd_blender.backend.worker.run_job import ModelCache, run_job
from csd_blender.job.files import RESULT_TURNTABLE
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.process.bodies import Failed
from csd_blender.job.spec.texture import TextureJob

from ..bench import texture_steps, texture_surface
from ..bench_object_parts import ball_shape, make_ball
from ..demo_meshes import demo_mesh
from ..judged.quality_objects import ONE_VIEW
from ..judged.surface_samples import sample_albedo, sample_surface
from .report import table
from .sizes import Lab

CPU = torch.device("cpu")


def silent() -> Reporter:
    return Reporter(emit=lambda said: None)


# ---- one step ------------------------------------------------------------------------------------------------------


def gradients(lab: Lab) -> str:
    """One step of each kind from the same seed on both, in the job's own precision and in float32 on both."""
    model = {"cpu": load_model("mini", CPU), "card": load_model("mini", lab.device)}
    precise = in_float32(load_model("mini", lab.device))
    rows = []
    tf32 = torch.backends.cudnn.allow_tf32
    for title, step in (("texture", texture_gradient), ("object, coarse", coarse_gradient),
                        ("object, refine", refine_gradient)):  # fmt: skip
        wanted = step(model["cpu"])
        torch.backends.cudnn.allow_tf32 = False
        try:
            full = difference(step(precise), wanted)
        finally:
            torch.backends.cudnn.allow_tf32 = tf32
        rows.append([title, *full, *difference(step(model["card"]), wanted)])
    titles = ["one step", "cosine, float32", "relative difference, float32"]
    titles += ["cosine, the job's precision", "relative difference, the job's precision"]
    note = (
        "The gradient that one step leaves at the field's table (of the refine stage: at the grid's distances), the "
        "mini model, robot or ball, same seed; ‖card − cpu‖ / ‖cpu‖. In float32 without TF32 the cosine should exceed "
        "0.999. The job's precision is float16 for the UNet and bfloat16 for the VAE."
    )
    return table(titles, rows) + "\n\n" + note


def in_float32(model: DiffusionModel) -> DiffusionModel:
    """The mini model with all its networks in float32, as a processor has them."""
    assert isinstance(model, StableDiffusion) and model.text.encoder is not None
    for network in (model.unet, model.vae, model.text.encoder):
        network.float()
    model.text.dtype = torch.float32
    return model


def difference(found: Tensor, wanted: Tensor) -> tuple[str, float]:
    """Cosine, and norm of the difference relative to ``wanted``'s."""
    a, b = found.double().flatten().cpu(), wanted.double().flatten().cpu()
    return f"{float(a @ b / (a.norm() * b.norm())):.6f}", float((a - b).norm() / b.norm())


def texture_gradient(model: DiffusionModel) -> Tensor:
    job = texture_job("a red brick robot", "draft", "mini")
    state, _, take = texture_steps(job, model, texture_surface(job).to(model.device))
    take()
    return state.field.table.grad


def coarse_gradient(model: DiffusionModel) -> Tensor:
    job = text_to_3d_job("a red brick ball", "draft", "mini", **ONE_VIEW)
    state = start_coarse(job, model.device)
    make_ball(state.field)
    state.occupancy.update(state.field.density, ray_step(job.coarse))
    state.step = 1  # not one that looks at the occupancy again
    coarse_step(state, job, coarse_guide(model, job, silent(), StepClock()), job.coarse.views)
    return state.field.table.grad


def refine_gradient(model: DiffusionModel) -> Tensor:
    job = text_to_3d_job("a red brick ball", "draft", "mini")
    state = start_refine(job, model, *ball_shape(job, model.device))
    guide = refine_guide(model, job, silent(), StepClock())
    refine_step(state, job, guide, choose_rasterizer(job), job.refine.views)
    return state.geometry.sdf.grad


# ---- whole jobs ----------------------------------------------------------------------------------------------------


def whole_jobs(lab: Lab) -> str:
    """A texture and an object from the same seed on both; the processor's with another seed says what much is."""
    quality, steps = lab.texture
    coarse, refine = lab.object_steps

    def texture(device: str, seed: int) -> JobFolder:
        size = {"texture_size": lab.texture_size, "steps": steps}
        return finished(lab, texture_job("a red brick robot", quality, "mini", seed=seed, device=device, **size))

    def thing(device: str, seed: int) -> JobFolder:
        job = text_to_3d_job("a red brick ball", "draft", "mini", seed=seed, device=device, preview_interval=0,
                             texture_size=lab.texture_size, coarse_steps=coarse, refine_steps=refine)  # fmt: skip
        return finished(lab, job)

    rows = []
    for title, make, colors in (
        (f"texture, {quality}, {steps} steps: baked albedo at 20,000 points", texture, albedo_colors),
        (f"object, {coarse} + {refine} steps: its turntable's pictures", thing, turntable_colors),
    ):
        run, seconds = {}, {}
        for name, device, seed in (("cpu", "cpu", 0), ("warm", str(lab.device), 1), ("card", str(lab.device), 0),
                                   ("other", "cpu", 1)):  # fmt: skip
            start = time.monotonic()
            run[name] = colors(make(device, seed))
            seconds[name] = time.monotonic() - start
        rows.append([
            title, float((run["card"] - run["cpu"]).abs().mean()), float((run["other"] - run["cpu"]).abs().mean()),
            float(run["cpu"].std()), f"{seconds['cpu']:.1f}", f"{seconds['warm']:.1f}", f"{seconds['card']:.1f}",
        ])  # fmt: skip
    titles = ["job, mini model", "mean abs. difference, card to CPU", "the same, CPU seed 1 to CPU seed 0"]
    titles += ["standard deviation on the CPU", "s, CPU", "s, card, first", "s, card, second"]
    note = (
        f"Colors in 0 … 1. Steps amplify rounding, so a job's pictures are not equal, but nearer than another seed's. "
        f"Seconds are of the whole job with loading, unwrapping and baking; {torch.get_num_threads()} CPU threads."
    )
    return table(titles, rows) + "\n\n" + note


_MODELS: dict[str, ModelCache] = {}


def finished(lab: Lab, job) -> JobFolder:
    """Run the job to its end. Raises ``RuntimeError`` when it fails."""
    folder = JobFolder.create(lab.scratch / f"job{time.monotonic_ns()}", job)
    if hasattr(job, "uv"):
        save_npz(folder.mesh_path, demo_mesh("robot"))
    outcome = run_job(str(folder.path), silent(), _MODELS.setdefault(job.device, ModelCache()))
    if isinstance(outcome, Failed):
        raise RuntimeError(f"{job.device}: {outcome.text} {outcome.detail}")
    return JobFolder.open(folder.path)


def albedo_colors(folder: JobFolder) -> Tensor:
    """Colors ``[N, 3]`` of the baked texture at the same places of the surface."""
    assert isinstance(folder.spec, TextureJob)
    surface = prepare_surface(replace(folder.spec, device="cpu"), folder, silent())
    return sample_albedo(surface, sample_surface(surface), load_albedo(folder, surface))


def turntable_colors(folder: JobFolder) -> Tensor:
    """The picture of the finished thing from eight sides, ``[H, W, 3]``."""
    with Image.open(folder.path / RESULT_TURNTABLE) as sheet:
        return torch.from_numpy(np.asarray(sheet.convert("RGB")).copy()).float() / 255


SECTIONS: tuple[tuple[str, Callable[[Lab], str]], ...] = (
    ("One step on CPU and card", gradients),
    ("Whole jobs on CPU and card", whole_jobs),
)
