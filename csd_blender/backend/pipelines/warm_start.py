"""A start for a texture that few steps of distillation can finish: pictures of all sides, drawn by the model under its
ControlNets and painted onto the surface.

All pictures are sampled side by side. In the first half of the strides, what is foreseen of them is painted onto a
coarse field now and then, and what that shows takes its place, so that the sides agree on what they become (SyncMVD,
Liu et al. 2023, 2311.12891, does so by textures); then each picture finds its detail by itself. FlashTex (Deng et al.
2024, 2402.13251) begins its distillation with such pictures, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ...job.errors import JobError
from ...job.spec.texture import TextureJob
from ..diffusion.model import DiffusionModel, latent_side, resize
from ..diffusion.sampling import Predict, sample_latents
from ..distillation.guide import Guide
from ..distillation.view_prompts import Seen
from ..fields.texture_field import TextureField
from ..optimize.descent import descend
from ..optimize.out_of_memory import StepDown
from ..render.camera_draws import framing_distance
from ..render.cameras import Cameras, view_names
from ..render.controls import Layout
from ..render.surface import SMALL_PICTURE, Surface
from ..support.memory import Load
from ..support.reporting import Reporter

LOW, HIGH = 5.0, 30.0  # elevations of the cameras around, in turns
ABOVE, BELOW = 75.0, -60.0  # of the last two
FOV_Y, ZOOM = 40.0, 0.95
FILLED, NEAREST = 0.92, 0.6  # of half a picture, what the mesh reaches to; and of the distance that shows the ball
CENTERINGS = 4
AGREEING = 0.5  # of the strides, in which the sides still come to an agreement
EVERY = 2  # strides, from one agreement to the next
GRAZING = 2.0  # power of the cosine by which a pixel counts
OUTLINE = 0.15  # how much a pixel beside the background counts, whose color is half of that
AGREEING_FIT, FINAL_FIT = (15, 0.3), (25, 0.3)  # steps and rate
#: Of Adam. The gradient is always of the same pixels, so that there is nothing to average; with the usual ones a few
#: steps overshoot, and then hardly move: four times the error after 40.
FIT_BETAS = (0.3, 0.8)
NOISE_SEED = 0x5EED  # its random numbers are none of the steps'


@dataclass(frozen=True)
class Sides:
    """What V cameras around see of the surface.

    Attributes:
        cameras: V. control: ``[V, C, S, S]`` pictures for the ControlNets, None where nobody asked.
        covered: ``[V, S, S]`` bool, the N pixels that see the surface. points: ``[N, 3]`` what they see.
        weight: ``[N]`` how much each counts: little where it sees the surface from the side, or beside an outline.
    """

    cameras: Cameras
    control: Tensor | None
    covered: Tensor
    points: Tensor
    weight: Tensor


@dataclass
class Strides:
    """Tells how many of all strides are done, and never less than before: some are taken again."""

    reporter: Reporter
    whole: int
    most: int = 0

    def tell(self, first: int, last: int, clean: Tensor, done: int) -> Tensor:
        """Stop, or tell that ``first`` and so many more are done, at most ``last``; ``clean`` stays as it is."""
        self.reporter.check_stop()
        self.most = max(self.most, min(first + done, last))
        self.reporter.progress(self.most, self.whole)
        return clean


def warm_start(
    field: TextureField,
    job: TextureJob,
    surface: Surface,
    guide: Guide,
    reporter: Reporter,
    load: Load,
    new_field: Callable[[int], TextureField],
    show: Callable[[TextureField], None],
) -> None:
    """Paint ``field``, a fresh one, with pictures that the model draws; the job's seed decides which.

    Args:
        load: what a step of the job asks of memory; a stride asks for no more.
        new_field: makes another one for pictures of so many pixels.
        show: is handed a field when there is something to look at, and a preview is due.

    Raises:
        JobError: ``bad_setting`` where there are no ControlNets, ``model_not_finite``, or ``oom``.
        Stopped: the user cancelled, or the other side went away; there is nothing to keep yet.
    """
    model, strides = guide.model, job.warm_steps
    if not guide.layout:
        raise JobError(
            "bad_setting",
            f"a warm start is drawn with ControlNets, and there are none here for {model.name}; get some, or set "
            "warm_start to 0",
        )
    size = model.native_size
    cameras, target = frame(warm_cameras(job.warm_start), surface.points[surface.triangles.unique().long()])
    sides = look(surface, cameras, guide.layout, size, target)
    generator = torch.Generator().manual_seed(job.seed ^ NOISE_SEED)
    side = latent_side(model)
    noise = torch.randn((job.warm_start, model.latent_channels, side, side), generator=generator).to(model.device)

    def agreed_on(at_once: int, clean: Tensor, done: int) -> Tensor:
        """What is foreseen after ``done`` strides, as the sides agree on it."""
        told.tell(0, strides, clean, done)
        if done > AGREEING * strides or (done - 1) % EVERY or done == strides:
            return clean
        coarse = new_field(size // 2).to(model.device)
        agreed = agree(coarse, sides, decode(model, clean, at_once))
        if reporter.preview_due():
            show(coarse)
        return encode(model, agreed, at_once)

    told, ladder = Strides(reporter, strides), StepDown(views=job.views)
    model.thrift.reset()
    ladder.begin(model, load, reporter)
    pictures = None
    while pictures is None:
        with ladder.guard(model, reporter) as attempt, guide.clock("start"):
            predict = guided(guide, sides, job, attempt.views)
            latents = sample_latents(model.schedule, noise, predict, strides, partial(agreed_on, attempt.views))
            pictures = decode(model, latents, attempt.views)
    if not bool(torch.isfinite(pictures).all()):
        raise JobError("model_not_finite", f"{model.name}, in the pictures that a texture starts from")
    with guide.clock("start"):
        # Between the pixels' middles, too: a field whose cells are as small as they are would show a grid of them.
        closely = look(surface, cameras, (), 2 * size, target) if size <= SMALL_PICTURE else sides
        fit(field, closely, pictures, *FINAL_FIT, finest=size)
    if reporter.preview_interval:
        show(field)


def warm_cameras(count: int) -> Cameras:
    """So many cameras that see the whole mesh in the unit ball: around, the first from the front, from a little and
    from further above in turns; of more than four, the last two from above and from below."""
    poles = 2 if count > 4 else 0
    around = count - poles
    turns = [i / around * 360.0 for i in range(around)] + [0.0, 180.0][:poles]
    azimuth = (torch.tensor(turns) + 180.0) % 360.0 - 180.0
    elevation = torch.tensor([LOW if i % 2 == 0 else HIGH for i in range(around)] + [ABOVE, BELOW][:poles])
    fov_y = torch.full((count,), FOV_Y, dtype=torch.float64)
    distance = framing_distance(torch.full_like(fov_y, ZOOM), fov_y)
    return Cameras(azimuth, elevation, distance.float(), fov_y.float())


@torch.no_grad()
def frame(cameras: Cameras, points: Tensor) -> tuple[Cameras, Tensor]:
    """The cameras, each brought as near as a mesh with the corners ``points [N, 3]`` lets it, and what each looks at
    then, ``[V, 3]``: the middle of what it sees. A ball around a house has much room beside the house, and of a picture
    of few pixels none is to spare."""
    nearest, targets = [], []
    for axes, fov_y, distance in zip(cameras.axes().to(points), cameras.fov_y, cameras.distance, strict=True):
        half, whole = math.tan(math.radians(float(fov_y)) / 2), float(distance)
        near, middle = come_near(points @ axes.T, half, whole, FILLED, NEAREST)
        nearest.append(near)
        targets.append(middle @ axes)
    return replace(cameras, distance=torch.tensor(nearest)), torch.stack(targets).cpu()


def come_near(seen: Tensor, half: float, whole: float, filled: float, nearest: float) -> tuple[float, Tensor]:
    """From where a camera has ``seen`` fill so much of its picture, and the middle ``[3]`` that it looks at then.

    Args:
        seen: ``[N, 3]`` points along the camera's axes right, up, and towards it. half: tangent of half its field of
            view. whole: its distance from the origin, which stays the largest; ``nearest`` of that is the least.
    """
    near, target = whole, torch.zeros(3, device=seen.device)
    for _ in range(CENTERINGS):  # what is nearer looks larger, so that the middle depends on the distance
        flat = seen[:, :2] / (near - seen[:, 2:])
        middle = F.pad((flat.amin(0) + flat.amax(0)) / 2 * near, (0, 1))
        seen, target = seen - middle, target + middle
        fitting = (seen[:, 2] + seen[:, :2].abs().amax(1) / (filled * half)).amax()
        near = min(max(float(fitting), nearest * whole), whole)
    return near, target


@torch.no_grad()
def look(surface: Surface, cameras: Cameras, layout: Layout, side: int, target: Tensor | None = None) -> Sides:
    """What the cameras see, in pictures of ``side`` pixels; ``layout``: what ControlNets follow; ``target``: what they
    look at, as of :func:`frame`."""
    white = torch.ones(len(cameras), 3, device=surface.points.device)
    control = surface.render_step(torch.zeros_like, cameras, side, white, target, layout=layout, side=side).control
    raster = surface.rasterize(cameras, side, target)
    covered = raster.rast[..., 3] > 0
    points = surface.interpolate_corners(raster, covered, surface.points[surface.triangles.long()])
    normals = F.normalize(surface.interpolate_corners(raster, covered, surface.shading_normals()), dim=1)
    eyes = cameras.positions() if target is None else cameras.positions() + target
    eyes = eyes.to(points)[covered.nonzero()[:, 0]]
    facing = (normals * F.normalize(eyes - points, dim=1)).sum(1).abs()
    beside = F.max_pool2d((~covered)[:, None].float(), 3, 1, 1)[:, 0][covered]
    return Sides(cameras, control, covered, points, facing**GRAZING * (1 - (1 - OUTLINE) * beside))


def guided(guide: Guide, sides: Sides, job: TextureJob, at_once: int) -> Predict:
    """The noise for all sides by classifier-free guidance: away from the empty prompt, whatever the negative one is,
    since pictures that are pushed away from something come out in stronger colors than any surface has. Without
    Perp-Neg, too: the nets know each side.
    """
    guidance = replace(guide.guidance, perp_neg=0.0)
    cameras = sides.cameras
    names = view_names(cameras.azimuth, cameras.elevation)
    groups = [slice(i, i + at_once) for i in range(0, len(cameras), at_once)]
    asks, control = [], sides.control
    if control is None:
        raise ValueError("the sides were looked at without pictures for ControlNets")
    for group in groups:
        seen = Seen(cameras.select(group), names[group], control=control[group])
        asks.append(guide.predictor(seen, job.warm_control, guidance))

    def predict(x: Tensor, t: Tensor) -> Tensor:
        found = []
        for group, ask in zip(groups, asks, strict=True):
            eps = ask(("positive", "null"), x[group], t[group])
            found.append(eps["null"] + job.warm_scale * (eps["positive"] - eps["null"]))
        return torch.cat(found)

    return predict


def agree(coarse: TextureField, sides: Sides, pictures: Tensor) -> Tensor:
    """The pictures ``[V, 3, S, S]`` with the colors of one field, painted by all of them, where they show the
    surface."""
    fit(coarse, sides, pictures, *AGREEING_FIT)
    agreed = pictures.permute(0, 2, 3, 1).clone()
    with torch.no_grad():
        agreed[sides.covered] = coarse(sides.points)
    return agreed.permute(0, 3, 1, 2)


def fit(field: TextureField, sides: Sides, pictures: Tensor, steps: int, rate: float, finest: float = math.inf) -> None:
    """Paint the field so that it shows the pictures ``[V, 3, H, W]``, resized to what the sides see: the weighted mean
    square of the difference, by Adam, whose rate falls to zero along a cosine. Levels with more cells than ``finest``
    stay as they are, and all do where nothing is seen."""
    if not len(sides.points):
        return
    target = resize(pictures, sides.covered.shape[-1]).permute(0, 2, 3, 1)[sides.covered]
    weight = (sides.weight / sides.weight.sum().clamp_min(1e-8))[:, None]
    fixed = [slice(lv.offset, lv.offset + lv.rows) for lv in field.levels if lv.resolution > finest]

    def approach(step: int) -> None:
        (weight * (field(sides.points) - target).square()).sum().backward()
        for rows in fixed:
            field.table.grad[rows] = 0.0

    descend(field.parameters(), approach, steps, rate, FIT_BETAS)


def decode(model: DiffusionModel, latents: Tensor, at_once: int) -> Tensor:
    """Pictures of latents, so many at once."""
    return torch.cat([model.decode_latents(some) for some in latents.split(at_once)])


@torch.no_grad()
def encode(model: DiffusionModel, pictures: Tensor, at_once: int) -> Tensor:
    """Latents of pictures, so many at once; the posterior's mean."""
    return torch.cat([model.encode_images(some) for some in pictures.split(at_once)])
