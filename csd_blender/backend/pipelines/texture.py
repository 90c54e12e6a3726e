"""Texture synthesis on a given mesh by classifier score distillation (Yu et al. 2023, arXiv 2310.19415).

A field of colors lives on the surface. Each step looks at it from a few random cameras, lets a frozen diffusion
model judge the pictures by the classifier score of the prompt, and moves the field along. The finished field is baked
to the mesh's UV map; having no UV seams itself, it leaves none in the texture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ...job.folder import JobFolder
from ...job.spec.common import ANYWHERE, CHANGING
from ...job.spec.methods import find_method
from ...job.spec.stages import BAKE, LOAD, PAINT, PREPARE, START
from ...job.spec.texture import TextureJob
from ..diffusion.model import DiffusionModel
from ..diffusion.words import GuidanceWords, guidance_words
from ..distillation.guide import Guide, others
from ..distillation.prompt_debiasing import Debiased, debias_job
from ..distillation.view_prompts import EncodedPrompts, Seen, job_prompts, make_room
from ..fields.texture_field import TextureField
from ..optimize.checkpoint import Checkpoint, Saved, optimizer_tensors, restore, save_checkpoint
from ..optimize.loop import late_fall, run_steps
from ..output.texture import TexturePreview, write_results
from ..render.camera_draws import Shots, draw_backgrounds, draw_shots
from ..render.cameras import orbit, view_names
from ..render.next_views import CANDIDATES, Watch, start_watch
from ..render.rasterizer.choose import get_rasterizer
from ..render.surface import Surface
from ..support.clock import JobClock
from ..support.reporting import Reporter
from ..support.warp_setup import start_warp
from ..texture.bake import bake
from ..texture.uv_kernels import coverage_counts
from .control import use_controls, write_sheet
from .prepare import LoadModel, begin_surface, load_for
from .visibility import warn_of_unseen
from .warm_start import warm_start


@dataclass
class JobResult:
    """Files by role (paths within the job folder), figures, and whether the user stopped it early."""

    files: dict[str, str]
    stats: dict[str, float]
    cancelled: bool


@dataclass
class TextureState:
    """Everything a step changes; a checkpoint holds exactly this. ``started``: the warm start is done; there is no
    checkpoint before that."""

    field: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    step: int = 0
    started: bool = False
    watch: Watch | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The state by name, for a checkpoint."""
        named = {f"field.{name}": value for name, value in self.field.state_dict().items()}
        watched = {} if self.watch is None else self.watch.tensors()
        return named | watched | optimizer_tensors(self.optimizer) | {"generator": self.generator.get_state()}


def gray_field(surface: Surface, size: int) -> nn.Module:
    """What a texture begins as, for pictures of ``size`` pixels."""
    return make_field(size)


def texture_prompts(
    job: TextureJob, model: DiffusionModel, words: GuidanceWords, reporter: Reporter, spoken: Debiased | None = None
) -> EncodedPrompts:
    """A texture's prompts, encoded; ``spoken``: those of the views, where they differ."""
    return job_prompts(
        model,
        job.prompt,
        job.negative_prompt,
        job.view_prompts,
        words,
        reporter,
        per_view=spoken.prompts if spoken else None,
        wordings=find_method(job.method).compares_wordings,
    )


def texture_mesh(
    job: TextureJob,
    folder: JobFolder,
    reporter: Reporter,
    load_model: LoadModel,
    resume: bool = False,
    field: Callable[[Surface, int], nn.Module] = gray_field,
    encode: Callable[..., EncodedPrompts] = texture_prompts,
) -> JobResult:
    """Texture the mesh in ``folder`` and write ``result/``.

    Args:
        load_model: from (model name, device name, LoRA or None, what it is told) to a loaded model.
        resume: go on from the newest checkpoint, when there is one.
        field, encode: what is optimized, and after which prompts.

    Raises:
        JobError: with a code of the error table, for bad meshes, missing models, a full disk and the like.
        Stopped: when the user cancelled before painting began, or the other side went away.
    """
    whole = JobClock()
    plan = job.stages()
    reporter.stage(PREPARE, plan)
    with begin_surface(job, folder, reporter) as prepared:
        reporter.stage(LOAD, plan)
        model = load_for(job, job.model, load_model, reporter)
        words = guidance_words(model, job.extra_words)
        for warning in words.warnings(job.prompt, job.negative_prompt, words.unlit):
            reporter.warn("unknown_words", warning)
        spoken = debias_job(job, reporter)
        prompts = encode(job, model, words, reporter, spoken)
        make_room(model)
        strength = use_controls(job, model, folder, reporter, job.steps, resume)
        guide = Guide(
            model, {"color": prompts}, job.method, job.guidance, seed=job.seed, steps=job.steps, strength=strength
        )
        surface = prepared.surface.to(model.device)
        warn_of_unseen(surface, job, picture_size(job, model), reporter)
        begin = partial(start_state, job, model, partial(field, surface), surface)
        reporter.check_stop()

        state = resume_state(job, guide, folder, reporter, begin) if resume else begin()

        write_sheet(folder, guide.layout, partial(shown_to_controls, state, job, surface, guide))
        preview = TexturePreview(surface, folder, reporter, prepared.settle_soon)
        if job.warm_start and not state.started:
            reporter.stage(START, plan)
            load = guide.load(job.views, state.optimizer)
            warm_start(
                state.field, job, surface, guide, reporter, load, make_field, lambda field: preview.show(field, 0)
            )
            state.started = True
            if state.watch is not None:  # that the start changed the colors says nothing of the steps
                state.watch = start_watch(surface, state.field)
            store_state(state, guide, folder, job, reporter)
        reporter.stage(PAINT, plan)
        cancelled = optimize(state, job, folder, surface, guide, preview, reporter)

        reporter.stage(BAKE, plan)
        prepared.settle(surface)
        stats = whole.stats() | {"steps": state.step, "network_calls": guide.calls}
        shares = {k: round(v, 4) for k, v in guide.clock.shares().items()}
        told = stats | {"time_shares": shares} | (spoken.stats if spoken else {})
        files = write_results(state.field, surface, job, folder, reporter, told, model, complete=not cancelled)
        return JobResult(files, stats, cancelled)


def start_state(
    job: TextureJob,
    model: DiffusionModel,
    field: Callable[[int], nn.Module] | None = None,
    surface: Surface | None = None,
) -> TextureState:
    """Field, optimizer and random numbers at step 0; the same seed gives the same start on every device.

    Args:
        field: makes it, new, for pictures of so many pixels; None for a gray one.
        surface: that is watched where the job asks for it.
    """
    device = model.device
    texture_field = (field or make_field)(picture_size(job, model)).to(device)
    settings = {"lr": job.learning_rate, "betas": (0.9, 0.99), "eps": 1e-15, "fused": device.type in ("cpu", "cuda")}
    optimizer = torch.optim.AdamW(texture_field.parameters(), **settings)
    state = TextureState(texture_field, optimizer, torch.Generator().manual_seed(job.seed))
    if surface is not None and (job.look != ANYWHERE or job.early_end):
        state.watch = start_watch(surface, texture_field)
    return state


def picture_size(job: TextureJob, model: DiffusionModel) -> int:
    """Side in pixels of the pictures that the model judges."""
    return job.render_size or model.native_size


def make_field(size: int) -> TextureField:
    """A field whose finest cells are about a pixel of a close-up. Finer ones would be hit now and then only, and hold
    nothing but noise."""
    finest = min(max(2 * size, 8), 2048)
    levels = max(1, round(math.log2(finest / 8)) + 1)
    return TextureField(levels=levels, log2_table_size=17 if finest <= 256 else 19, finest_resolution=finest)


def compile_kernels() -> None:
    """Bring a one-triangle field through every kernel of a texture job, so that the first real one need not wait."""
    start_warp()
    points = torch.tensor([[-0.5, 0.0, -0.5], [0.5, 0.0, -0.5], [0.0, 0.0, 0.5]])
    triangles, uv = torch.tensor([[0, 1, 2]], dtype=torch.int32), torch.tensor([[[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]])
    texture_field = TextureField(levels=1, finest_resolution=8)
    get_rasterizer().rasterize(orbit(1).clip(points).contiguous(), triangles, (8, 8))
    texture_field(points).sum().backward()
    bake(texture_field, points, triangles, uv, 16)
    coverage_counts(uv * 16, 16)


def optimize(
    state: TextureState,
    job: TextureJob,
    folder: JobFolder,
    surface: Surface,
    guide: Guide,
    preview: TexturePreview,
    reporter: Reporter,
) -> bool:
    """The distillation loop. Returns True when the user stopped it with something worth keeping."""
    return run_steps(
        state,
        job.steps,
        job.views,
        job.checkpoint_interval,
        guide.model,
        reporter,
        take=lambda views: texture_step(state, job, surface, guide, views),
        show=lambda: preview.show(state.field, state.step),
        store=lambda: store_state(state, guide, folder, job, reporter),
        load=guide.load(job.views, state.optimizer),
        nothing_yet=not job.warm_start,
        settled=lambda: is_settled(state, job),
    )


def texture_step(state: TextureState, job: TextureJob, surface: Surface, guide: Guide, views: int) -> dict[str, float]:
    """One optimization step; returns what is logged about it.

    Random numbers are drawn on the CPU in a fixed order before anything else, so that a step repeated with fewer
    views, or on another device, still follows from the seed.
    """
    model, clock = guide.model, guide.clock
    shots = draw_looks(state, job, views, state.generator)
    backgrounds = draw_backgrounds(views, True, state.generator).to(model.device)
    moment = guide.begin(views, state.step, state.generator)

    set_rates(state.optimizer, job, state.step)
    state.optimizer.zero_grad(set_to_none=True)
    with clock("render"):
        size = picture_size(job, model)
        fixed = guide.fixes_noise(state.step) or state.watch is not None
        rendered = surface.render_step(
            state.field, shots.cameras, size, backgrounds, shots.target, fixed, guide.layout, model.native_size
        )
    names = view_names(shots.cameras.azimuth, shots.cameras.elevation)
    names = ["" if below else name for name, below in zip(names, shots.below, strict=True)]
    seen = Seen(shots.cameras, names, shots.close, surface=rendered.places, control=rendered.control)
    found = guide.gradient(rendered.pictures, seen, moment)
    with clock("render"):
        rendered.pictures.backward(found.pictures)
    with clock("optimizer"):
        state.optimizer.step()
    if state.watch is None or rendered.places is None:
        return found.metrics
    with clock("render"):
        state.watch.learn(rendered.places, state.field)
    return found.metrics | {"change": state.watch.restless}


def draw_looks(state: TextureState, job: TextureJob, views: int, generator: torch.Generator) -> Shots:
    """The cameras of a step."""
    if state.watch is None or job.look == ANYWHERE:
        return draw_shots(job.cameras, views, generator)
    candidates = draw_shots(job.cameras, CANDIDATES * views, generator)
    return state.watch.choose(candidates, views, by_change=job.look == CHANGING)


def is_settled(state: TextureState, job: TextureJob) -> bool:
    """Whether the texture changes so little that the job asks for no more steps."""
    return state.watch is not None and 255 * state.watch.restless < job.early_end


@torch.no_grad()
def shown_to_controls(state: TextureState, job: TextureJob, surface: Surface, guide: Guide) -> Tensor:
    """What the ControlNets see of the next step's pictures, ``[B, C, S, S]``; the state stays as it is."""
    draws, side = state.generator.clone_state(), guide.model.native_size
    shots = draw_looks(state, job, job.views, draws)
    white = torch.ones(job.views, 3, device=surface.points.device)
    size = picture_size(job, guide.model)
    return surface.render_step(
        state.field, shots.cameras, size, white, shots.target, layout=guide.layout, side=side
    ).control


def set_rates(optimizer: torch.optim.Optimizer, job: TextureJob, step: int) -> None:
    """Learning rate: falls late. Weight decay: as scheduled."""
    factor = late_fall(step, job.steps)
    for group in optimizer.param_groups:
        group["lr"] = job.learning_rate * factor
        group["weight_decay"] = job.weight_decay.at(step)


def store_state(state: TextureState, guide: Guide, folder: JobFolder, job: TextureJob, reporter: Reporter) -> None:
    """Write a checkpoint and announce it."""
    tensors = state.tensors() | guide.tensors()
    reporter.checkpoint(save_checkpoint(folder, state.step, tensors, job.spec_hash()), state.step)


def resume_state(
    job: TextureJob, guide: Guide, folder: JobFolder, reporter: Reporter, begin: Callable[[], TextureState]
) -> TextureState:
    """The state of the newest checkpoint that fits, and the guide's; without one the job starts at step 0, as ``begin``
    makes it."""

    def make(checkpoint: Checkpoint) -> TextureState:
        state = begin()
        restore(state, others(checkpoint.tensors), checkpoint.step)
        guide.restore(checkpoint.tensors, checkpoint.step)
        state.started = True
        return state

    saved = Saved(folder, job.spec_hash(), job.steps)
    state = saved.newest(make, 0, job.steps)
    saved.explain(reporter)
    return state or begin()
