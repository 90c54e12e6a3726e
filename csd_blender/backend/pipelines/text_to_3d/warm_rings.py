"""A start for a coarse shape that few steps of distillation can finish: rings of views that a multi-view model draws,
and a field that is fitted to them.

The first ring is drawn from noise alone. Each further one, from between the cameras before it and from another height,
begins with what the field shows there under noise of 0.7 of all times, so that all rings are of one thing
(Instruct-NeRF2NeRF, Haque et al. 2023, arXiv 2303.12789, changes its pictures so). The pictures' backgrounds are the
model's own; they are found along the pictures' edges. What lies before no background in any picture is the thing (its
visual hull, Laurentini 1994), which few pictures tell better than their colors do; then the field learns these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ....job.errors import JobError
from ....job.spec.cameras import VIEWS_AT_ONCE, SceneCameras
from ....job.spec.scene_stages import CoarseStage
from ....job.spec.text_to_3d import TextTo3DJob
from ...diffusion.model import latent_side
from ...diffusion.sampling import Predict, Revise, sample_latents
from ...distillation.guide import Guide
from ...distillation.view_prompts import Seen
from ...fields.network_field import NetworkField
from ...optimize.descent import descend
from ...optimize.out_of_memory import StepDown
from ...render.cameras import Cameras, view_names
from ...render.volume.render import VolumePictures, render_volume
from ...support.memory import Load
from ...support.reporting import Reporter
from ..warm_start import NOISE_SEED, Strides, decode, encode
from .coarse import MIN_ALPHA, OCCUPANCY_INTERVAL, CoarseState, active_levels, ray_step
from .one_picture import reached

#: Of the rings, in turns: how far each is turned, and how high it is, in degrees.
TURNS, ELEVATIONS = (0.0, 45.0, 22.5, 67.5), (10.0, 30.0, 45.0, -5.0)
AGAIN = 0.7  # share of the noise under which a later ring begins
EDGE, AGREE, ROUNDS = 3, 0.05, 6  # pixels along the edges, how far their colors may be apart, and rounds of the search
#: How far a color may be from the background's: so much, or so large a part of what the most different one within
#: so many pixels is, since outlines are soft.
NEAR, PART, REACH = 0.09, 0.4, 2
#: Steps, Adam's rate, and points of each step, that bring the density to the hull.
HULL_STEPS, HULL_RATE, HULL_POINTS = 60, 0.3, 16384
HULL_CELL = 0.06  # scene units, over which the thing is to be opaque
CHECKED, SOLID = 40, 0.5  # points along each axis where there has to be something, and how opaque that is
#: Steps to the pictures' colors in half of their size, then in their own; and Adam's rate.
FIT_SMALL, FIT_LARGE, FIT_RATE = 30, 10, 0.1
FIT_BETAS = (0.9, 0.99)
#: A first ring is drawn again, up to so many times, where more than this share of a picture's middle is hidden in front
#: of its background: with another one outside of a disc, under so much of the noise.
MOST_REDRAWN, HIDDEN, DISC, REDRAWN = 2, 0.4, 0.75, 0.85


@dataclass(frozen=True)
class Ring:
    """Views of one thing from V cameras.

    Attributes:
        pictures: and what is ``behind`` the thing in them, ``[V, 3, S, S]``.
        shown: ``[V, 1, S, S]`` 1 where there is the thing. gaps: the same where the background's color is enclosed by
            it: a hole, or the thing has that color.
    """

    cameras: Cameras
    pictures: Tensor
    behind: Tensor
    shown: Tensor
    gaps: Tensor


def make_ring(cameras: Cameras, pictures: Tensor) -> Ring:
    """What such pictures ``[V, 3, S, S]`` in [0, 1] tell."""
    behind = backgrounds(pictures)
    off = (pictures - behind).abs().amax(1)
    around = F.max_pool2d(off[:, None], 2 * REACH + 1, 1, REACH)[:, 0]
    near = off < (PART * around).clamp_min(NEAR)
    edges = F.pad(torch.zeros_like(near[:, 1:-1, 1:-1]), (1, 1, 1, 1), value=True)
    # Many small steps, which a card would only be waited for.
    outside = torch.stack([reached(edge, free) for edge, free in zip(edges.cpu(), near.cpu(), strict=True)]).to(
        near.device
    )
    return Ring(cameras, pictures, behind, (~outside)[:, None].float(), ((off < NEAR) & ~outside)[:, None].float())


def warm_start(
    state: CoarseState, job: TextTo3DJob, guide: Guide, reporter: Reporter, load: Load, show: Callable[[], None]
) -> None:
    """Fit the fresh field of ``state`` to rings that the model draws; the job's seed decides which.

    Args:
        guide: of a model that draws :data:`VIEWS_AT_ONCE` views of a thing together.
        load: what a step of the job asks of memory; a stride asks for no more.
        show: is called when there is something to look at, and a preview is due.

    Raises:
        JobError: ``model_not_finite``, ``oom``, or ``empty_scene`` where the pictures show nothing.
        Stopped: the user cancelled, or the other side went away; there is nothing to keep yet.
    """
    model, stage = guide.model, job.coarse
    generator = torch.Generator().manual_seed(job.seed ^ NOISE_SEED)
    side, size = latent_side(model), model.native_size
    count = -(-job.warm_start // VIEWS_AT_ONCE)
    ladder = StepDown(views=VIEWS_AT_ONCE)
    model.thrift.reset()
    ladder.begin(model, load, reporter)
    strides = Strides(reporter, count * job.warm_steps)
    rings: list[Ring] = []
    for number in range(count):
        cameras = ring_cameras(stage.cameras, number).to(model.device)
        noise = torch.randn((VIEWS_AT_ONCE, model.latent_channels, side, side), generator=generator).to(model.device)
        end = (number + 1) * job.warm_steps
        tell = partial(strides.tell, end - job.warm_steps, end)
        draw = partial(draw_ring, guide, job, cameras, noise, ladder, reporter)
        if rings:
            with torch.no_grad():
                shown = see(state, stage, cameras, size, rings[0].behind).color
            rings.append(make_ring(cameras, draw(tell, shown, AGAIN)))
        else:
            ring = make_ring(cameras, draw(tell, None, 1.0))
            for _ in range(MOST_REDRAWN):
                if is_hidden(ring):
                    again = partial(strides.tell, end, end)
                    ring = make_ring(cameras, draw(again, before_another(ring), REDRAWN))
            rings.append(ring)
        fit_anyhow(state, stage, rings, guide, ladder, reporter)
        if reporter.preview_due():
            show()
    if is_empty(state, stage):
        raise JobError(
            "empty_scene",
            "the pictures that it starts from show nothing that stands out from what is behind it",
            "Choose another seed, or set warm_start to 0.",
        )


def draw_ring(
    guide: Guide, job: TextTo3DJob, cameras: Cameras, noise: Tensor, ladder: StepDown, reporter: Reporter,
    tell: Revise, since: Tensor | None, share: float,
) -> Tensor:  # fmt: skip
    """Pictures ``[V, 3, S, S]`` that begin with ``since`` under a share of the noise, or with noise alone. Raises
    ``JobError('model_not_finite')``."""
    model, pictures = guide.model, None
    while pictures is None:
        with ladder.guard(model, reporter), guide.clock("start"):
            clean = None if since is None else encode(model, since, VIEWS_AT_ONCE)
            predict = guided(guide, cameras, job.warm_scale)
            latents = sample_latents(model.schedule, noise, predict, job.warm_steps, tell, clean, share)
            pictures = decode(model, latents, VIEWS_AT_ONCE)
    if not bool(torch.isfinite(pictures).all()):
        raise JobError("model_not_finite", f"{model.name}, in the pictures that a shape starts from")
    return pictures


def middle_of(pictures: Tensor) -> Tensor:
    """Four tenths of the pictures' width and height."""
    size = pictures.shape[-1]
    middle = slice(round(0.3 * size), round(0.7 * size))
    return pictures[..., middle, middle]


def is_hidden(ring: Ring) -> bool:
    """Whether the middle of some picture is mostly of the background's color, as of wood before brown."""
    near = middle_of((ring.pictures - ring.behind).abs().amax(1)) < NEAR
    return bool((near.float().mean((1, 2)) > HIDDEN).any())


def before_another(ring: Ring) -> Tensor:
    """The pictures with one even background that is far from the colors of their middle, and from their own one."""
    size = ring.pictures.shape[-1]
    colors = torch.cat([some.transpose(0, 1).flatten(1) for some in (middle_of(ring.pictures), ring.behind)], dim=1)
    corners = torch.cartesian_prod(*[torch.tensor([0.1, 0.9])] * 3).to(colors)
    apart = (corners[:, :, None] - colors).abs().amax(1)
    best = corners[int(apart.quantile(0.1, dim=1).argmax())]
    line = torch.linspace(-1, 1, size, device=colors.device)
    outside = (line.square() + line[:, None].square()).sqrt() > DISC
    return torch.where(outside, best[None, :, None, None], ring.pictures)


def ring_cameras(ranges: SceneCameras, number: int) -> Cameras:
    """The cameras of a ring, from the middle of the stage's distances and fields of view."""
    azimuth = TURNS[number % len(TURNS)] + 360.0 / VIEWS_AT_ONCE * torch.arange(VIEWS_AT_ONCE)
    rest = (ELEVATIONS[number % len(ELEVATIONS)], *(sum(pair) / 2 for pair in (ranges.distance, ranges.fov_y)))
    elevation, distance, fov_y = (torch.full((VIEWS_AT_ONCE,), value) for value in rest)
    if ranges.distance_unit == "frame":
        distance = distance / torch.tan(torch.deg2rad(fov_y) / 2)
    return Cameras((azimuth + 180.0) % 360.0 - 180.0, elevation, distance, fov_y)


def guided(guide: Guide, cameras: Cameras, scale: float) -> Predict:
    """The noise by classifier-free guidance, away from the empty prompt, as a texture's start has it."""
    seen = Seen(cameras, view_names(cameras.azimuth, cameras.elevation))
    ask = guide.predictor(seen, 0.0, replace(guide.guidance, perp_neg=0.0))

    def predict(x: Tensor, t: Tensor) -> Tensor:
        eps = ask(("positive", "null"), x, t)
        return eps["null"] + scale * (eps["positive"] - eps["null"])

    return predict


def backgrounds(pictures: Tensor) -> Tensor:
    """What is behind the thing in pictures ``[V, 3, S, S]`` in [0, 1] that it does not fill: of each, the even slope of
    color that most of its edge agrees about, by least squares in which what is off counts less and less."""
    size = pictures.shape[-1]
    line = torch.linspace(-1, 1, size, device=pictures.device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    slopes = torch.stack([torch.ones_like(x), x, y], dim=-1).view(-1, 3)
    edge = (torch.maximum(x.abs(), y.abs()) > 1 - 2 * EDGE / size).flatten()
    a, b = slopes[edge].expand(len(pictures), -1, -1), pictures.flatten(2).transpose(1, 2)[:, edge]
    weight = torch.ones_like(b[..., :1])
    steady = 1e-4 * torch.eye(3, device=a.device)
    for _ in range(ROUNDS):
        found = torch.linalg.solve((a * weight).transpose(1, 2) @ a + steady, (a * weight).transpose(1, 2) @ b)
        weight = 1 / (1 + (a @ found - b).square().sum(-1, keepdim=True) / AGREE**2)
    return (slopes @ found).transpose(1, 2).reshape(pictures.shape).clamp(0, 1)


def hull(rings: list[Ring], points: Tensor) -> Tensor:
    """How surely ``points [N, 3]`` are inside the thing, ``[N]`` in [0, 1].

    It is shown where they are in all pictures, for a side may be seen in one alone. Gaps are holes where two pictures
    agree: a spot in the background's color is seen at other depths.
    """
    shown, gaps = [], []
    for ring in rings:
        clip = ring.cameras.clip(points)
        where = (clip[..., :2] / clip[..., 3:])[:, :, None]
        seen = F.grid_sample(torch.cat([ring.shown, ring.gaps], dim=1), where, align_corners=False)
        shown.append(seen[:, 0, :, 0])
        gaps.append(seen[:, 1, :, 0])
    agreed = torch.cat(gaps).topk(2, dim=0).values[1]
    return torch.cat(shown).amin(0) * (1 - agreed)


def fit_anyhow(
    state: CoarseState, stage: CoarseStage, rings: list[Ring], guide: Guide, ladder: StepDown, reporter: Reporter
) -> None:
    """:func:`fit`; where memory runs out, again from where the field was. Raises ``JobError('oom')``."""
    before = [
        {name: value.clone() for name, value in part.state_dict().items()} for part in (state.field, state.occupancy)
    ]
    done = False
    while not done:
        with ladder.guard(guide.model, reporter), guide.clock("start"):
            for part, values in zip((state.field, state.occupancy), before, strict=True):
                part.load_state_dict(values)
            fit(state, stage, rings, reporter.check_stop)
            done = True


def opacity(state: CoarseState, points: Tensor) -> Tensor:
    """Of the field over :data:`HULL_CELL`, at points ``[N, 3]``."""
    return 1 - torch.exp(-HULL_CELL * state.field.density(points))


@torch.no_grad()
def is_empty(state: CoarseState, stage: CoarseStage) -> bool:
    """Whether there is nothing solid at any point of a grid."""
    line = torch.linspace(-stage.radius, stage.radius, CHECKED, device=state.field.table.device)
    return not bool((opacity(state, torch.cartesian_prod(line, line, line)) > SOLID).any())


def fit(state: CoarseState, stage: CoarseStage, rings: list[Ring], check: Callable[[], object] = lambda: None) -> None:
    """Change the field so that it fills the rings' hull, and then shows their pictures, in turns, the newest first: the
    mean square of the difference. Each by an Adam of its own, whose rate falls to zero along a cosine. ``check`` is
    called before each step, and may stop it."""
    if isinstance(state.field, NetworkField):
        state.field.network.active = active_levels(stage, 0)  # those that the first steps see
    generator = torch.Generator().manual_seed(len(rings))
    step_length, device = ray_step(stage), rings[0].pictures.device

    def fill(step: int) -> None:
        check()
        points = (torch.rand((HULL_POINTS, 3), generator=generator).to(device) * 2 - 1) * stage.radius
        found = opacity(state, points).clamp(1e-4, 1 - 1e-4)
        F.binary_cross_entropy(found, hull(rings, points)).backward()

    def paint(step: int) -> None:
        check()
        if step % OCCUPANCY_INTERVAL == 0:
            state.occupancy.update(state.field.density, step_length, generator)
        ring, size = rings[-1 - step % len(rings)], rings[0].pictures.shape[-1]
        size = size // 2 if step < FIT_SMALL else size
        target, behind = (F.interpolate(some, (size, size), mode="area") for some in (ring.pictures, ring.behind))
        (see(state, stage, ring.cameras, size, behind, generator).color - target).square().mean().backward()

    descend(state.field.parameters(), fill, HULL_STEPS, HULL_RATE, FIT_BETAS)
    descend(state.field.parameters(), paint, FIT_SMALL + FIT_LARGE, FIT_RATE, FIT_BETAS)
    state.occupancy.update(state.field.density, step_length, generator)


def see(
    state: CoarseState, stage: CoarseStage, cameras: Cameras, size: int, behind: Tensor,
    generator: torch.Generator | None = None,
) -> VolumePictures:  # fmt: skip
    """The field before these backgrounds."""
    step = ray_step(stage)
    return render_volume(state.field, cameras, size, state.occupancy, step, behind, generator, min_alpha=MIN_ALPHA)
