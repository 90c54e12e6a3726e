"""From a prompt to a textured object in two stages (Magic3D, Lin et al. 2022; CSD, Yu et al. 2023, arXiv 2310.19415).

A radiance field finds the shape of things under a diffusion model's scores. Where it is dense, it is turned into a
mesh on a tetrahedral grid, whose shape and colors are then refined together. The mesh is cleaned, unwrapped and baked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from safetensors.torch import load, save

from ....job.errors import JobError
from ....job.files import COARSE_SHAPE
from ....job.folder import JobFolder, read_coarse
from ....job.spec.methods import find_method
from ....job.spec.schedule import Schedule
from ....job.spec.stages import COARSE, LOAD, REFINE, START, UNWRAP
from ....job.spec.text_to_3d import TextTo3DJob
from ...diffusion.additions.load_encoder import encoder_files
from ...diffusion.loading import look_through
from ...diffusion.model import DiffusionModel
from ...diffusion.words import GuidanceWords, object_words
from ...distillation.guide import Guide
from ...distillation.picture_prompt import PicturePrompt
from ...distillation.prompt_debiasing import Debiased, debias_job
from ...distillation.view_prompts import EncodedPrompts, job_prompts, make_room
from ...geometry.gather import gather_parts
from ...geometry.mesh import clean_mesh, normalize
from ...geometry.mesh_io import load_npz
from ...optimize.checkpoint import Checkpoint, Saved, save_checkpoint
from ...optimize.loop import run_steps
from ...support.clock import JobClock, StepClock
from ...support.reporting import Reporter
from ..control import check_controls, use_controls, write_sheet
from ..prepare import LoadModel, choose_rasterizer, load_for
from ..texture import JobResult
from .coarse import CoarseField, CoarseState, coarse_step, make_radiance_field, start_coarse
from .followed import next_controls
from .one_picture import Picture, load_picture, picture_prompts
from .output import ObjectPreview, write_coarse_picture, write_object
from .refine import (
    ColorField,
    RefineState,
    ellipsoid_shape,
    later_guidance,
    mesh_shape,
    refine_step,
    restore_refine,
    shape_from_field,
    start_refine,
)
from .warm_rings import warm_start


def make_object(
    job: TextTo3DJob, folder: JobFolder, reporter: Reporter, load_model: LoadModel, resume: bool = False
) -> JobResult:
    """Make the object that the job's prompt asks for and write ``result/`` and ``stages/``.

    Args:
        load_model: from (model name, device name, LoRA or None, what it is told) to a loaded model.
        resume: go on from the newest checkpoint, when there is one.

    Raises:
        JobError: with a code of the error table. Stopped: the user cancelled before there was anything to keep.
    """
    whole = JobClock()
    plan = job.stages()
    saved = Saved(folder, job.spec_hash(), job.steps) if resume else None
    preview = ObjectPreview(job, folder, reporter, choose_rasterizer(job))
    picture = load_picture(folder) if job.needs_picture else None
    spoken = debias_job(job, reporter) if "prompt" in job.tells.values() else None  # no model is told sides
    # Most of it comes into use in the second stage, which may be hours away.
    for name, told in job.models:
        look_through(name, told)
    check_controls(job)
    encoder_files(job.encoder, job.model, job.tells["model"])

    cancelled, coarse, refined, guide, calls = False, None, None, None, 0
    clocks = {"coarse": StepClock(), "refine": StepClock()}
    if saved is not None and saved.has(steps_before(job), job.steps):
        reporter.stage(LOAD, plan)
        model = load_for(job, job.model, load_model, reporter, told=job.tells["model"])
        strength = use_controls(job, model, folder, reporter, job.refine.steps, resume)
        guide = refine_guide(model, job, reporter, clocks["refine"], spoken, strength)
        refined = resume_refine(job, saved, guide)
        guide = guide if refined is not None else None  # its model must not stay beside the coarse stage's
    if refined is None and job.start == "blob":
        coarse, cancelled, calls = find_shape(
            job, folder, load_model, saved, preview, reporter, clocks["coarse"], spoken, picture
        )
    elif saved is not None:
        saved.explain(reporter)

    # A second loading belongs to the stage that it is for: the count of stages must not go back.
    reporter.stage(LOAD, plan, of=None if coarse is None else REFINE)
    model = load_for(job, job.model, load_model, reporter, told=job.tells["model"])
    if refined is None:
        refined = begin_refine(job, folder, model, None if coarse is None else coarse.field, reporter)
    if not cancelled:
        if guide is None:
            strength = use_controls(job, model, folder, reporter, job.refine.steps, resume)
            guide = refine_guide(model, job, reporter, clocks["refine"], spoken, strength)
        reporter.stage(REFINE, plan)
        cancelled = run_refine(refined, job, folder, guide, preview, reporter)

    reporter.stage(UNWRAP, plan)
    done = refined.step + (steps_before(job) if coarse is None else coarse.step)
    calls += 0 if guide is None else guide.calls
    stats = whole.stats() | {"steps": done, "network_calls": calls}
    if coarse is None:
        del clocks["coarse"]
    shares = {name: {k: round(v, 4) for k, v in clock.shares().items()} for name, clock in clocks.items()}
    told = stats | {"time_shares": shares} | (spoken.stats if spoken else {})
    files = write_object(refined, job, folder, reporter, told, model, complete=not cancelled)
    return JobResult(files, stats, cancelled)


def find_shape(
    job: TextTo3DJob,
    folder: JobFolder,
    load_model: LoadModel,
    saved: Saved | None,
    preview: ObjectPreview,
    reporter: Reporter,
    clock: StepClock,
    spoken: Debiased | None = None,
    picture: Picture | None = None,
) -> tuple[CoarseState, bool, int]:
    """The coarse stage from its model to its files; True when the user stopped it; its calls of the network.

    A function of its own, so that its model is gone before the next one is loaded.
    """
    reporter.stage(LOAD, job.stages())
    model = load_for(job, job.coarse_model or job.model, load_model, reporter, told=job.tells["coarse_model"])
    guide = coarse_guide(model, job, reporter, clock, spoken, picture)
    reporter.check_stop()
    state = start_coarse(job, model.device) if saved is None else resume_coarse(job, saved, guide, reporter)
    if job.warm_start and not state.started:
        reporter.stage(START, job.stages())
        load = guide.load(job.coarse.views, state.optimizer)
        warm_start(state, job, guide, reporter, load, lambda: preview.coarse(state))
        state.started = True
        store_coarse(state, guide, folder, job, reporter)
    reporter.stage(COARSE, job.stages())
    compared = None if picture is None else picture.at(job.coarse.picture_size).to(model.device)
    cancelled = run_coarse(state, job, folder, guide, preview, reporter, compared)
    write_coarse_picture(state, job, folder)
    folder.write_bytes(COARSE_SHAPE, save({k: v.cpu() for k, v in state.field.state_dict().items()}))
    return state, cancelled, guide.calls


def steps_before(job: TextTo3DJob) -> int:
    """Steps that are done when the refine stage begins."""
    return job.coarse.steps if job.start == "blob" else 0


def resume_coarse(job: TextTo3DJob, saved: Saved, guide: Guide, reporter: Reporter) -> CoarseState:
    """The first stage, and its guide, at its newest checkpoint that fits, else at its beginning."""

    def make(checkpoint: Checkpoint) -> CoarseState:
        state = start_coarse(job, guide.model.device)
        state.restore(checkpoint.tensors, checkpoint.step)
        guide.restore(checkpoint.tensors, checkpoint.step)
        return state

    state = saved.newest(make, 0, job.coarse.steps - 1)
    saved.explain(reporter)
    return state or start_coarse(job, guide.model.device)


def resume_refine(
    job: TextTo3DJob, saved: Saved, guide: Guide, colors: Callable[[], ColorField | None] = lambda: None
) -> RefineState | None:
    """The second stage, and its guide, at the newest checkpoint that fits; the first stage's have fewer steps.

    ``colors`` makes the fresh field that the stage began with, None for the job's own.
    """
    before = steps_before(job)

    def make(checkpoint: Checkpoint) -> RefineState:
        state = restore_refine(job, guide.model, checkpoint.tensors, checkpoint.step - before, colors())
        guide.restore(checkpoint.tensors, checkpoint.step - before)
        return state

    return saved.newest(make, before, job.steps)


def coarse_guide(
    model: DiffusionModel,
    job: TextTo3DJob,
    reporter: Reporter,
    clock: StepClock,
    spoken: Debiased | None = None,
    picture: Picture | None = None,
) -> Guide:
    """The first stage's guide before its first step; ``picture``: that the model is told in place of the prompt."""
    prompts: Mapping[str, EncodedPrompts | PicturePrompt]
    if picture is None:
        prompts = scene_prompts(model, job, reporter, spoken, told=job.tells["coarse_model"])
    else:
        prompts = picture_prompts(model, picture, job.coarse.cameras, job.picture_elevation)
    model.control = None  # of a job before this one; there is no surface yet that they could follow
    return Guide(model, prompts, job.method, job.coarse.guidance, seed=job.seed, clock=clock, steps=job.coarse.steps)


def refine_guide(
    model: DiffusionModel,
    job: TextTo3DJob,
    reporter: Reporter,
    clock: StepClock,
    spoken: Debiased | None = None,
    strength: Schedule | None = None,
    negative_views: bool = False,
) -> Guide:
    """The second stage's guide before its first step; ``strength``: of the model's ControlNets; ``negative_views`` as
    for :func:`scene_prompts`."""
    stage, told, prompts = job.refine, job.tells["model"], {}
    if told != "picture":  # else it has no steps
        prompts = scene_prompts(model, job, reporter, spoken, negative_views, told)
    later, first = later_guidance(stage, job.method), stage.geometry_method or job.method
    return Guide(
        model, prompts, first, stage.guidance, later, seed=job.seed + 1, clock=clock, steps=stage.steps,
        strength=strength,
    )  # fmt: skip


def scene_prompts(
    model: DiffusionModel,
    job: TextTo3DJob,
    reporter: Reporter,
    spoken: Debiased | None = None,
    negative_views: bool = False,
    told: str = "prompt",
) -> dict[str, EncodedPrompts]:
    """The job's prompts for each kind of :class:`~.coarse.Look`, encoded once.

    Args:
        spoken: those of the views.
        negative_views: the negative prompt is an edit's source, and has the same words for side and light as the
            prompt.
        told: what the model is told; one that is told the cameras needs no words for the side.
    """
    words = object_words(model, job.extra_words)
    for warning in words.warnings(job.prompt, job.negative_prompt, words.unlit):
        reporter.warn("unknown_words", warning)
    own_views = spoken.prompts if spoken else None
    wordings = find_method(job.method).compares_wordings
    name_sides = job.view_prompts and told == "prompt"

    def encoded(own: GuidanceWords, lit: bool) -> EncodedPrompts:
        return job_prompts(
            model, job.prompt, job.negative_prompt, name_sides, own, reporter, lit=lit,
            negative_views=negative_views, per_view=own_views, wordings=wordings,
        )  # fmt: skip

    unlit, lit, normal = (
        encoded(own, lit)
        # Words about color or light say nothing of a picture of normals.
        for own, lit in ((words, False), (words, True), (replace(words, unlit=""), False))
    )
    make_room(model)
    return {"color": unlit, "lit": lit, "white": lit, "normal": normal}


def run_coarse(
    state: CoarseState,
    job: TextTo3DJob,
    folder: JobFolder,
    guide: Guide,
    preview: ObjectPreview,
    reporter: Reporter,
    picture: Picture | None = None,
) -> bool:
    """The coarse stage's loop. Returns True when the user stopped it."""
    return run_steps(
        state,
        job.coarse.steps,
        job.coarse.views,
        job.checkpoint_interval,
        guide.model,
        reporter,
        take=lambda views: coarse_step(state, job, guide, views, picture),
        show=lambda: preview.coarse(state),
        store=lambda: store_coarse(state, guide, folder, job, reporter),
        load=guide.load(job.coarse.views, state.optimizer),
        nothing_yet=not job.warm_start,
    )


def store_coarse(state: CoarseState, guide: Guide, folder: JobFolder, job: TextTo3DJob, reporter: Reporter) -> None:
    """A checkpoint of the coarse stage."""
    tensors = state.tensors() | guide.tensors()
    reporter.checkpoint(save_checkpoint(folder, state.step, tensors, job.spec_hash()), state.step)


def begin_refine(
    job: TextTo3DJob, folder: JobFolder, model: DiffusionModel, coarse: CoarseField | None, reporter: Reporter
) -> RefineState:
    """The shape that the refine stage starts from: what the coarse stage found, an ellipsoid, or the user's mesh."""
    if job.start == "coarse":
        coarse = load_coarse(job, folder).to(model.device)
    if coarse is not None:
        shape, threshold = shape_from_field(job, coarse)
        if threshold < job.refine.threshold:
            reporter.warn("thin_field", f"The shape is thin as fog; its surface was taken at density {threshold:.2g}.")
    elif job.start == "mesh":
        mesh, notes = clean_mesh(load_npz(folder.mesh_path))
        for note in notes:
            reporter.warn("mesh", note)
        points, _, _ = normalize(gather_parts(mesh))
        shape = mesh_shape(job, torch.from_numpy(points), torch.from_numpy(mesh.triangles))
    else:
        shape = ellipsoid_shape(job)
    return start_refine(job, model, shape, coarse if job.keep_colors else None)


def load_coarse(job: TextTo3DJob, folder: JobFolder) -> CoarseField:
    """The coarse field of another job, put into this one's folder. Raises ``JobError`` when it does not fit."""
    field = make_radiance_field(job.coarse)
    try:
        field.load_state_dict(load(read_coarse(folder)))
    except Exception as error:
        raise JobError("bad_job_folder", f"{COARSE_SHAPE} is missing or of another kind of field") from error
    return field


def run_refine(
    state: RefineState,
    job: TextTo3DJob,
    folder: JobFolder,
    guide: Guide,
    preview: ObjectPreview,
    reporter: Reporter,
) -> bool:
    """The refine stage's loop. Returns True when the user stopped it."""
    before = steps_before(job)

    def store() -> None:
        step = before + state.step
        tensors = state.tensors() | guide.tensors()
        reporter.checkpoint(save_checkpoint(folder, step, tensors, job.spec_hash()), step)

    store()  # from here on a resumed job need not find the shape again
    write_sheet(
        folder,
        guide.layout,
        lambda: next_controls(
            job.refine, state.geometry(), state.step, state.generator, preview.rasterizer, guide.layout,
            guide.model.native_size,
        ),
    )  # fmt: skip
    if reporter.preview_interval > 0:
        preview.refined(state, before)
    return run_steps(
        state,
        job.refine.steps,
        job.refine.views,
        job.checkpoint_interval,
        guide.model,
        reporter,
        take=lambda views: refine_step(state, job, guide, preview.rasterizer, views),
        show=lambda: preview.refined(state, before + state.step),
        store=store,
        load=guide.load(job.refine.views, state.optimizer),
        nothing_yet=False,
    )
