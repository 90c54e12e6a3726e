"""Text to 3D: where the time and the memory of a step go, in both stages, as `bench` prints it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from csd_blender.backend.diffusion.model import DiffusionModel
from csd_blender.backend.distillation.guide import Guide
from csd_blender.backend.pipelines.prepare import choose_rasterizer
from csd_blender.backend.pipelines.text_to_3d.coarse import CoarseState, coarse_step, ray_step, start_coarse
from csd_blender.backend.pipelines.text_to_3d.job import coarse_guide, refine_guide
from csd_blender.backend.pipelines.text_to_3d.refine import RefineState, refine_step, start_refine
from csd_blender.backend.support.clock import StepClock
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.spec.text_to_3d import TextTo3DJob

from .bench import random_stable_diffusion
from .bench_object_parts import ball_shape, make_ball, print_coarse_cost, print_refine_cost
from .judged.quality_objects import ONE_VIEW

PROMPT = "a red brick ball"
PROMISED_SECONDS = 360  # for a Draft object with the mini model on two CPU cores
SECTIONS = ("network", "encode", "render", "optimizer", "other")


@dataclass(frozen=True)
class Split:
    """A step of one stage.

    Attributes:
        seconds: that it takes.
        shares: of `SECTIONS` in it; they add up to 1.
        peak: GiB, of the GPU's memory or else of this process since its start; None where nobody knows.
    """

    stage: str
    seconds: float
    shares: dict[str, float]
    peak: float | None

    @property
    def rest(self) -> float:
        """Share of everything but the diffusion networks: the UNet, and the VAE encoder forward and backward."""
        return 1.0 - self.shares["network"] - self.shares["encode"]


def print_object_bench(mini: DiffusionModel, large: bool = False) -> None:
    """All tables; ``large`` adds a step of each stage with random networks of Stable Diffusion 2.1 size."""
    job = text_to_3d_job(PROMPT, "draft", "mini", preview_interval=0, **ONE_VIEW)
    splits = [measure_coarse(job, mini, warm=4, steps=16), measure_refine(job, mini, warm=4, steps=16)]
    print_splits(f"Text to 3D, mini, draft, {mini.native_size} px, {job.coarse.views} views", splits)
    seconds = job.coarse.steps * splits[0].seconds + job.refine.steps * splits[1].seconds
    print(f"  a job's {job.coarse.steps} + {job.refine.steps} steps: {seconds:.0f} s, without loading, meshing and "
          f"baking; promised are {PROMISED_SECONDS} s for all")  # fmt: skip
    print_coarse_cost(job, mini.device)
    print_refine_cost(job, mini.native_size, mini.device)
    if large:
        print_large(mini.device)


def measure_coarse(job: TextTo3DJob, model: DiffusionModel, warm: int, steps: int) -> Split:
    """Time coarse steps from the middle of the stage on."""
    state = start_coarse(job, model.device)
    make_ball(state.field)
    state.occupancy.update(state.field.density, ray_step(job.coarse))
    state.step = job.coarse.steps // 2
    guide = coarse_guide(model, job, _silent(), StepClock())
    return _measure(state, lambda: coarse_step(state, job, guide, job.coarse.views), guide, warm, steps)


def measure_refine(job: TextTo3DJob, model: DiffusionModel, warm: int, steps: int) -> Split:
    """Time refine steps from the middle of the stage on."""
    shape, field = ball_shape(job, model.device)
    state = start_refine(job, model, shape, field)
    state.step = job.refine.steps // 2
    guide, rasterizer = refine_guide(model, job, _silent(), StepClock()), choose_rasterizer(job)
    take = lambda: refine_step(state, job, guide, rasterizer, job.refine.views)  # noqa: E731
    return _measure(state, take, guide, warm, steps)


def _measure(
    state: CoarseState | RefineState, take: Callable[[], object], guide: Guide, warm: int, steps: int
) -> Split:
    """The mean of ``steps`` steps after ``warm`` ones that do not count."""
    if guide.model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for i in range(warm + steps):
        if i == warm:
            guide.clock = StepClock(synchronize=True)
            start = time.perf_counter()
        take()
        state.step += 1
    seconds = time.perf_counter() - start
    spent = dict(guide.clock.seconds)
    spent["other"] = max(0.0, seconds - sum(spent.values()))
    shares = {name: spent.get(name, 0.0) / sum(spent.values()) for name in SECTIONS}
    stage = "coarse" if isinstance(state, CoarseState) else "refine"
    return Split(stage, seconds / steps, shares, _peak_memory(guide.model.device))


def print_splits(title: str, splits: Sequence[Split]) -> None:
    """One row for each stage."""
    print(f"\n{title}\n  {'':8}{'ms a step':>10}" + "".join(f"{name:>11}" for name in SECTIONS))
    for split in splits:
        shares = "".join(f"{split.shares[name]:11.1%}" for name in SECTIONS)
        print(f"  {split.stage:8}{split.seconds * 1000:10.0f}{shares}")


def print_large(device: torch.device) -> list[Split]:
    """One view: a pixel-space network finds the shape, a latent one of Stable Diffusion 2.1 size refines it."""
    job = text_to_3d_job(PROMPT, "normal", "random", preview_interval=0)
    job = replace(job, coarse=replace(job.coarse, views=1))
    warm, steps = (2, 5) if device.type == "cuda" else (0, 1)
    splits = [  # the first network is gone before the second one is made
        measure_coarse(job, random_stable_diffusion(device, version="2.1", latent=False), warm, steps),
        measure_refine(job, random_stable_diffusion(device, version="2.1"), warm, steps),
    ]
    sizes = f"{job.coarse.render_size} px of a pixel model, {job.refine.render_size} px of a latent one"
    print_splits(f"Text to 3D, SD-2.1 size, {sizes}, 1 view, grid {job.refine.tet_resolution}", splits)
    memory = "GPU memory" if device.type == "cuda" else "memory of the process so far"
    for split in splits:
        known = "" if split.peak is None else f"; peak {memory}: {split.peak:.2f} GiB"
        print(f"  {split.stage}: everything but the diffusion networks {split.rest:.2%}{known}")
    return splits


def _silent() -> Reporter:
    return Reporter(emit=lambda said: None)


def _peak_memory(device: torch.device) -> float | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (30 if sys.platform == "darwin" else 20)
