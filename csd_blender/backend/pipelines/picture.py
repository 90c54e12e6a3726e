"""Pictures by score distillation alone, with no surface behind them: the 2-D playground of the field.

Each picture is a set of numbers, latents of the model or logits of colors. A step draws noise and a diffusion time for
each, asks the guide in which direction its method wants the pictures to change, and moves them along with AdamW. What
is seen here is the method and the model; what a surface that is looked at from all sides adds, is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...job.errors import JobError
from ...job.folder import JobFolder
from ...job.models.encoder import FULL
from ...job.spec.methods import find_method
from ...job.spec.picture import LATENTS, PictureJob
from ...job.spec.stages import DEVELOP, LOAD, PAINT
from ..diffusion.model import DiffusionModel
from ..diffusion.words import guidance_words
from ..distillation.guide import Guide
from ..distillation.methods import ROWS
from ..distillation.view_prompts import Seen, job_prompts, make_room
from ..optimize.checkpoint import Checkpoint, Saved, optimizer_tensors, restore, save_checkpoint
from ..optimize.loop import run_steps
from ..output.pictures import PicturePreview, film_steps, write_pictures
from ..support.clock import JobClock, StepClock
from ..support.reporting import Reporter
from .prepare import LoadModel, load_for
from .texture import JobResult

#: In place of a step's number: random numbers of what a picture begins with, and of what its method keeps.
START, KEPT = 0, 2**31


@dataclass(frozen=True)
class Group:
    """Pictures that one guide sees: ``numbers``, from 0, of row ``row`` of the sheet."""

    guide: Guide
    row: int
    numbers: range


@dataclass
class PictureState:
    """Everything a step changes, beside what the methods keep.

    Attributes:
        pictures: ``[rows * count, C, h, w]``, latents or logits of colors, those of the first method first.
        generator: of the stage; nothing is drawn from it, see :func:`random_numbers`.
    """

    pictures: torch.nn.Parameter
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    step: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """The state by name, for a checkpoint."""
        own = {"pictures": self.pictures, "generator": self.generator.get_state()}
        return own | optimizer_tensors(self.optimizer)


def make_pictures(
    job: PictureJob,
    folder: JobFolder,
    reporter: Reporter,
    load_model: LoadModel,
    resume: bool = False,
) -> JobResult:
    """Make the pictures that the job's prompt asks for and write ``result/``.

    Args:
        load_model: from (model name, device name, LoRA or None, what it is told) to a loaded model.
        resume: go on from the newest checkpoint, when there is one.

    Raises:
        JobError: with a code of the error table. Stopped: the user cancelled before there was anything to keep.
    """
    whole = JobClock()
    plan = job.stages()
    reporter.stage(LOAD, plan)
    model = load_for(job, job.model, load_model, reporter, FULL if job.space == LATENTS else job.encoder)
    model.control = None  # of a job before this one; pictures show no shape that they could follow
    groups = make_groups(job, model, reporter)
    reporter.check_stop()

    state = resume_state(job, groups, folder, reporter) if resume else start_state(job, model)

    reporter.stage(PAINT, plan)
    preview = PicturePreview(job, folder, reporter)
    cancelled = optimize(state, job, folder, groups, preview, reporter)

    reporter.stage(DEVELOP, plan)
    shares = {k: round(v, 4) for k, v in groups[0].guide.clock.shares().items()}
    calls = sum(group.guide.calls for group in groups)
    stats = whole.stats() | {"steps": state.step, "network_calls": calls}
    pictures = seen(state.pictures, job, model)
    files = write_pictures(pictures, job, folder, reporter, stats | {"time_shares": shares}, model, not cancelled)
    return JobResult(files, stats, cancelled)


def make_groups(job: PictureJob, model: DiffusionModel, reporter: Reporter) -> list[Group]:
    """All of a row, for a method that keeps nothing; else each picture is by itself, as any asset is."""
    words = guidance_words(model, "")
    for warning in words.warnings(job.prompt, job.negative_prompt):
        reporter.warn("unknown_words", warning)
    alike = [find_method(method).label for method in job.methods if find_method(method).draws_nothing]
    if alike and job.count > 1 and job.start == "gray" and job.guidance.times == "falling":
        named = " and ".join(alike)
        reporter.warn(
            "alike", f"From gray nothing is random in {named}: these pictures are alike. Set Noise Levels to uniform."
        )
    wordings = any(find_method(method).compares_wordings for method in job.methods)
    table = job_prompts(model, job.prompt, job.negative_prompt, False, words, reporter, wordings=wordings)
    make_room(model)
    clock, groups = StepClock(), []
    for row, method in enumerate(job.methods):
        alone = ROWS[method].start is not None
        for first in range(0, job.count, 1 if alone else job.count):
            seed = random_numbers(job.seed, first, KEPT).initial_seed()
            guide = Guide(model, {"color": table}, method, job.guidance, seed=seed, clock=clock, steps=job.steps)
            groups.append(Group(guide, row, range(first, first + 1 if alone else job.count)))
    return groups


def random_numbers(seed: int, picture: int, step: int) -> torch.Generator:
    """The ``picture``-th one's own in a step (from 1; 0 is its start). They depend on nothing else: neither on how many
    pictures there are, nor on how often a job was interrupted, and are the same for every method."""
    words = np.random.SeedSequence([seed, picture, step]).generate_state(2)
    return torch.Generator().manual_seed((int(words[0]) << 32 | int(words[1])) & (2**63 - 1))


def start_state(job: PictureJob, model: DiffusionModel) -> PictureState:
    """Pictures and optimizer at step 0; the same seed gives the same start on every device, and for every method.

    Raises ``JobError('bad_setting')`` for a size that the model's latents do not divide.
    """
    shape = picture_shape(job, model)
    start = torch.zeros(job.count, *shape)
    if job.start == "noise":
        for k in range(job.count):
            start[k] = torch.randn(shape, generator=random_numbers(job.seed, k, START))
    pictures = torch.nn.Parameter(start.repeat(len(job.methods), 1, 1, 1).to(model.device))
    settings = {"betas": (0.9, 0.99), "eps": 1e-15, "weight_decay": job.weight_decay}
    optimizer = torch.optim.AdamW([pictures], lr=job.learning_rate, **settings)
    return PictureState(pictures, optimizer, torch.Generator().manual_seed(job.seed))


def picture_shape(job: PictureJob, model: DiffusionModel) -> tuple[int, int, int]:
    """Channels, height and width of what is optimised."""
    side = job.size or model.native_size
    if job.space == "pixels":
        return 3, side, side
    if side % model.latent_factor:
        allowed = f"a multiple of {model.latent_factor} for latents of this model"
        raise JobError("bad_setting", f"size is {side}, allowed is {allowed}")
    return model.latent_channels, side // model.latent_factor, side // model.latent_factor


@torch.no_grad()
def seen(numbers: Tensor, job: PictureJob, model: DiffusionModel) -> Tensor:
    """The pictures, ``[N, 3, S, S]`` in [0, 1] on the CPU, of latents or logits of colors."""
    if job.space == "pixels":
        return torch.sigmoid(numbers).cpu()
    return torch.cat([model.decode_latents(some).cpu() for some in numbers.split(job.batch)])


def optimize(
    state: PictureState,
    job: PictureJob,
    folder: JobFolder,
    groups: list[Group],
    preview: PicturePreview,
    reporter: Reporter,
) -> bool:
    """The distillation loop. Returns True when the user stopped it with something worth keeping."""
    model, filmed = groups[0].guide.model, set(film_steps(job.steps))

    def take(batch: int) -> dict[str, float]:
        if state.step in filmed:
            preview.film(seen(state.pictures, job, model), state.step)
        return picture_step(state, job, groups, batch)

    def store() -> None:
        tensors = state.tensors()
        for i, group in enumerate(groups):
            tensors |= {f"{i}.{name}": value for name, value in group.guide.tensors().items()}
        reporter.checkpoint(save_checkpoint(folder, state.step, tensors, job.spec_hash()), state.step)

    return run_steps(
        state,
        job.steps,
        min(job.batch, job.count),
        job.checkpoint_interval,
        model,
        reporter,
        take=take,
        show=lambda: preview.show(seen(state.pictures, job, model), state.step),
        store=store,
        load=groups[0].guide.load(min(job.batch, job.count), state.optimizer),
    )


def picture_step(state: PictureState, job: PictureJob, groups: list[Group], batch: int) -> dict[str, float]:
    """One optimization step, ``batch`` pictures at a time; returns what is logged about it, means over all pictures."""
    set_rate(state.optimizer, job, state.step)
    gradient = torch.zeros_like(state.pictures)
    metrics: dict[str, float] = {}
    for group in groups:
        for first in range(0, len(group.numbers), batch):
            numbers = group.numbers[first : first + batch]
            rows = slice(group.row * job.count + numbers.start, group.row * job.count + numbers.stop)
            draws = [random_numbers(job.seed, k, state.step + 1) for k in numbers]
            gradient[rows], found = gradient_of(state.pictures[rows].detach(), job, group.guide, state.step, draws)
            for name, value in found.items():
                metrics[name] = metrics.get(name, 0.0) + value * len(numbers) / len(state.pictures)
    state.pictures.grad = gradient
    with groups[0].guide.clock("optimizer"):
        state.optimizer.step()
    return metrics


def gradient_of(
    numbers: Tensor, job: PictureJob, guide: Guide, step: int, draws: list[torch.Generator]
) -> tuple[Tensor, dict[str, float]]:
    """The direction in which the loss of some pictures rises, at what is optimised, and what is logged about it.

    The guide's gradient is a mean over its batch; how many pictures share one must not matter here.
    """
    as_seen = Seen(None, [""] * len(numbers))
    moment = guide.begin(len(numbers), step, draws)
    if job.space == "latents":
        found = guide.gradient(numbers, as_seen, moment, as_latents=True)
        return found.pictures * len(numbers), found.metrics
    with torch.enable_grad():
        leaf = numbers.requires_grad_(True)
        pictures = torch.sigmoid(leaf)
        found = guide.gradient(pictures, as_seen, moment)
        pictures.backward(found.pictures)
    return leaf.grad * len(numbers), found.metrics


def set_rate(optimizer: torch.optim.Optimizer, job: PictureJob, step: int) -> None:
    """The learning rate: it rises over the warm-up, then falls by a cosine that would be zero after ``cosine_steps``
    times the steps."""
    if step < job.warm_up:
        factor = (step + 1) / job.warm_up
    else:
        progress = (step - job.warm_up) / max(1, round(job.cosine_steps * job.steps) - job.warm_up)
        factor = 0.5 + 0.5 * math.cos(math.pi * progress)
    for group in optimizer.param_groups:
        group["lr"] = job.learning_rate * factor


def resume_state(job: PictureJob, groups: list[Group], folder: JobFolder, reporter: Reporter) -> PictureState:
    """The state of the newest checkpoint that fits, and the guides'; without one the job starts at step 0."""
    model = groups[0].guide.model

    def make(checkpoint: Checkpoint) -> PictureState:
        state, tensors = start_state(job, model), checkpoint.tensors
        restore(state, {n: v for n, v in tensors.items() if not n[0].isdecimal()}, checkpoint.step)
        for i, group in enumerate(groups):
            own = {n.removeprefix(f"{i}."): v for n, v in tensors.items() if n.startswith(f"{i}.")}
            group.guide.restore(own, checkpoint.step)
        return state

    saved = Saved(folder, job.spec_hash(), job.steps)
    state = saved.newest(make, 0, job.steps)
    saved.explain(reporter)
    return state or start_state(job, model)
