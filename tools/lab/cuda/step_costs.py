"""What a step costs on the card: times, shares and memory by the network's size, the published code's beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.diffusion.stable_diffusion import StableDiffusion
from csd_blender.backend.distillation.guide import Guide
from csd_blender.backend.distillation.methods import ROWS
from csd_blender.backend.distillation.score import draw_timesteps
from csd_blender.backend.pipelines.texture import TextureState, picture_size
from csd_blender.backend.render.camera_draws import draw_backgrounds, draw_shots
from csd_blender.backend.render.surface import Surface
from csd_blender.backend.support.clock import StepClock
from csd_blender.backend.support.memory import Saving
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.spec.texture import TextureJob

from ..bench import random_stable_diffusion, texture_steps, texture_surface
from ..bench_object_parts import print_coarse_cost, print_refine_cost
from ..bench_objects import SECTIONS as OBJECT_SECTIONS
from ..bench_objects import Split, measure_coarse, measure_refine, print_large
from ..judged.quality_objects import ONE_VIEW
from .official_step import official_distill
from .report import free_memory, median_ms, peak_gib, percent, table
from .sizes import Lab

STEPS = 1500  # of the job whose steps are measured: a texture's Normal
KINDS = ("render", "encode", "network", "optimizer")


def make_model(lab: Lab, version: str) -> StableDiffusion:
    model = load_model("mini", lab.device) if version == "mini" else random_stable_diffusion(lab.device, version)
    assert isinstance(model, StableDiffusion)  # all networks of the laboratory are of this family
    return model


def steps_by_network(lab: Lab) -> str:
    """A texture step's time, shares and memory at every network size, and the published code's step."""
    times, shares, memory = [], [], []
    for title, version in lab.networks:
        model = make_model(lab, version)
        job = texture_job("a red brick robot", "normal", "random", views=1, steps=STEPS)
        surface = texture_surface(job).to(model.device)
        weights = torch.cuda.memory_allocated(lab.device) / 2**30 if lab.device.type == "cuda" else None
        state, guide, take = texture_steps(job, model, surface)
        published = official_texture(state, job, model, surface)
        row = [f"{title}, {model.native_size} px"]
        state.step = 0  # where the empty prompt's weight is zero
        first = median_ms(take, lab.device, lab.warm, lab.repeats)
        state.step = STEPS // 2
        later = median_ms(take, lab.device, lab.warm, lab.repeats)
        official = median_ms(published, lab.device, lab.warm, lab.repeats)
        again = median_ms(take, lab.device, 1, lab.repeats)
        times.append([*row, first, later, again, official, f"{official / min(later, again):.2f}"])
        shares.append([*row, *clocked(guide, take, lab)])
        peaks = [peak_gib(take, lab.device)]
        model.thrift.saving = Saving(pictures=True)
        peaks.append(peak_gib(take, lab.device))
        four = replace(job, views=4)
        del take, published
        state, guide, take = texture_steps(four, model, surface)
        state.step = STEPS // 2
        peaks.append(peak_gib(take, lab.device))
        model.thrift.reset()
        four_ms = median_ms(take, lab.device, 1, 3)
        peaks.append(peak_gib(take, lab.device))
        memory.append([*row, weights, peaks[0], peaks[1], peaks[3], peaks[2], four_ms])
        del model, state, guide, take, surface
        free_memory()
    parts = [
        table(
            [
                "texture step, 1 view",
                "ms, first step (2 branches)",
                "ms, middle (3 branches)",
                "ms, middle, again",
                "ms, published code's step (3 branches)",
                "published / ours",
            ],
            times,
        ),  # fmt: skip
        "Median from idle card to idle card, random weights, UNet in float16 and VAE in bfloat16 on both sides, the "
        "same rendering and optimizer.",
        table(["shares of a step", "ms, synchronized", *KINDS, "other", "not network, not encoder"], shares),
        "*network* is the UNet, *encode* the VAE's encoder forward and backward, *render* both ways.",
        table(
            [
                "peak memory, GiB",
                "networks alone",
                "1 view",
                "1 view, sliced",
                "4 views",
                "4 views, sliced",
                "ms, 4 views",
            ],
            memory,
        ),  # fmt: skip
        "*Sliced*: pictures are encoded one at a time, the first rung when memory runs out. Without text encoder and "
        "ControlNets.",
    ]
    return "\n\n".join(parts)


def clocked(guide: Guide, take: Callable[[], object], lab: Lab) -> list[object]:
    """Milliseconds of a step with a synchronized clock, and the share of each kind of work."""
    guide.clock = StepClock(synchronize=True)
    milliseconds = median_ms(take, lab.device, 0, lab.repeats)
    spent = {name: 1000 * guide.clock.seconds.get(name, 0.0) / lab.repeats for name in KINDS}
    guide.clock = StepClock()
    whole = max(milliseconds, sum(spent.values()))
    other = whole - sum(spent.values())
    outside = whole - spent["network"] - spent["encode"]
    return [milliseconds, *(percent(spent[name] / whole) for name in KINDS), percent(other / whole),
            percent(outside / whole)]  # fmt: skip


def official_texture(
    state: TextureState, job: TextureJob, model: StableDiffusion, surface: Surface
) -> Callable[[], float]:
    """The same texture's step with the published code's guidance: same field, rendering, optimizer and weights."""
    embeddings = model.encode_prompts([job.prompt, job.negative_prompt, ""]).repeat(job.views).text

    def take() -> float:
        shots = draw_shots(job.cameras, job.views, state.generator)
        backgrounds = draw_backgrounds(job.views, True, state.generator).to(model.device)
        g = job.guidance
        low, high = g.t_min.at(state.step), g.t_max.at(state.step)
        t = draw_timesteps(job.views, low, high, len(model.schedule), state.generator).to(model.device)
        state.optimizer.zero_grad(set_to_none=True)
        size = picture_size(job, model)
        pictures = surface.render(state.field, shots.cameras, size, backgrounds, shots.target)
        weights = ROWS[job.method].weights(g, state.step, bool(job.negative_prompt))
        loss = official_distill(model, pictures, t, embeddings, weights)
        state.optimizer.step()
        return loss

    return take


def object_steps(lab: Lab) -> str:
    """Both stages of text to 3D: the mini model, and networks of SD 2.1 size; then the parts by their resolution."""
    job = text_to_3d_job("a red brick ball", "draft", "mini", preview_interval=0, **ONE_VIEW)
    mini = load_model("mini", lab.device)
    measured = (measure(job, mini, lab.warm, lab.repeats) for measure in (measure_coarse, measure_refine))
    splits = [(f"mini, {split.stage}", split) for split in measured]
    if lab.networks[0][1] != "mini":
        del mini
        free_memory()
        splits += [(f"SD 2.1 size, {s.stage}", s) for s in print_large(lab.device)]
    titles = ["object step", "ms, synchronized", *OBJECT_SECTIONS, "peak, GiB"]
    parts = [table(titles, [split_row(title, split) for title, split in splits])]
    parts.append("Mini: 4 views. SD 2.1 size: 1 view, a pixel model for the coarse stage, a latent one after it.")
    coarse = print_coarse_cost(job, lab.device, repeats=lab.repeats)
    parts.append(table(["rays", "kept samples", "field forward + backward, ms", "with normals, ms"],
                       [[int(r["rays"]), int(r["kept"]), r["ms"], r["ms_normals"]] for r in coarse]))  # fmt: skip
    refine = print_refine_cost(job, 64, lab.device, lab.grids, lab.repeats)
    names = ("march", "topology", "raster", "regularizer")
    parts.append(table(["faces of the grid's mesh", *(f"{n}, ms" for n in names)],
                       [[int(r["faces"]), *(r[n] for n in names)] for r in refine]))  # fmt: skip
    return "\n\n".join(parts)


def split_row(title: str, split: Split) -> list[object]:
    peak = split.peak if torch.cuda.is_available() else None
    return [title, split.seconds * 1000, *(percent(split.shares[name]) for name in OBJECT_SECTIONS), peak]


SECTIONS: tuple[tuple[str, Callable[[Lab], str]], ...] = (
    ("Steps of a texture by the network's size", steps_by_network),
    ("Steps of an object", object_steps),
)
