"""The coarse stage of text to 3D: a radiance field, seen as a volume, under score distillation.

After DreamFusion (Poole et al. 2022, arXiv 2209.14988) and CSD (Yu et al. 2023, arXiv 2310.19415).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....job.spec.cameras import SceneCameras
from ....job.spec.scene_stages import CoarseStage, RefineStage
from ....job.spec.text_to_3d import TextTo3DJob
from ...diffusion.model import DiffusionModel
from ...distillation.guide import Guide, others
from ...distillation.view_prompts import Seen
from ...fields.network_field import NetworkField
from ...fields.radiance_field import RadianceField
from ...optimize.checkpoint import optimizer_tensors, restore
from ...optimize.loop import PICTURE, NotFinite
from ...render.background import LearnedBackground
from ...render.camera_draws import draw_backgrounds, draw_lamps, draw_lights, draw_shake
from ...render.cameras import Cameras, sample_cameras, view_names
from ...render.shading import Look, shade
from ...render.volume.render import (
    OccupancyGrid,
    VolumePictures,
    convexity_loss,
    opaque_loss,
    orientation_loss,
    render_volume,
    sparsity_loss,
    z_variance_loss,
)
from ...support.clock import StepClock
from .backdrop import as_pictures, behind_pictures, make_background
from .one_picture import Picture, difference, picture_camera

OCCUPANCY_INTERVAL = 16  # steps between looks at which cells are empty
MIN_ALPHA = 2e-3  # samples that would take less of the light are left out
FRONT_BACK_REACH = 30.0  # degrees to either side

CoarseField = RadianceField | NetworkField


@dataclass
class CoarseState:
    """Everything a step changes; a checkpoint holds exactly this. ``started``: the warm start is done; there is no
    checkpoint before that."""

    field: CoarseField
    occupancy: OccupancyGrid
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    background: LearnedBackground | None = None
    step: int = 0
    started: bool = False

    def tensors(self) -> dict[str, Tensor]:
        """The state by name, for a checkpoint."""
        named = {f"coarse.{name}": value for name, value in self.field.state_dict().items()}
        named |= {f"occupancy.{name}": value for name, value in self.occupancy.state_dict().items()}
        if self.background is not None:
            named |= {f"background.{name}": value for name, value in self.background.state_dict().items()}
        return named | optimizer_tensors(self.optimizer) | {"generator": self.generator.get_state()}

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Inverse of :meth:`tensors`, on a fresh state; the guide's may be among them.

        Raises ``ValueError`` for tensors that do not fit.
        """
        restore(self, others(tensors), step)
        self.started = True


def start_coarse(job: TextTo3DJob, device: torch.device) -> CoarseState:
    """A gray ball of fog, and random numbers from the job's seed."""
    stage = job.coarse
    radiance = make_radiance_field(stage, job.seed).to(device)
    occupancy = OccupancyGrid(stage.radius).to(device)
    background = make_background(stage, stage.color_activation, job.seed)
    groups: list[dict[str, Any]] = [{"params": list(radiance.parameters())}]
    if stage.network_rate and stage.network_width:
        networks = [p for p in radiance.parameters() if p is not radiance.table]
        groups = [{"params": [radiance.table]}, {"params": networks, "lr": stage.network_rate}]
    if background is not None:
        background = background.to(device)
        groups.append({"params": list(background.parameters()), "lr": stage.background_rate})
    betas, fused = (0.9, stage.adam_beta2), device.type != "mps"
    settings = {"lr": stage.learning_rate, "betas": betas, "eps": 1e-15, "fused": fused}
    optimizer = torch.optim.AdamW(groups, weight_decay=stage.decay, **settings)  # without a decay it is Adam
    return CoarseState(radiance, occupancy, optimizer, torch.Generator().manual_seed(job.seed), background)


def make_radiance_field(stage: CoarseStage, seed: int = 0) -> CoarseField:
    """The stage's field, fresh; ``seed``: of a network's first weights."""
    shape = {
        "levels": stage.levels,
        "base_resolution": stage.base_resolution,
        "finest_resolution": stage.finest_resolution,
        "log2_table_size": log2_table_size(stage),
        "radius": stage.radius,
        "blob_scale": stage.blob_scale,
        "blob_std": stage.blob_std,
    }
    if stage.network_width:
        return NetworkField(**shape, width=stage.network_width, activation=stage.color_activation, seed=seed)
    return RadianceField(**shape)


def log2_table_size(stage: CoarseStage) -> int:
    """Largest number of rows of a level, as a power of two; the smaller one fits into a CPU's cache."""
    return 17 if stage.finest_resolution <= 256 else 19


def active_levels(stage: CoarseStage, step: int) -> int:
    """So many levels of the grid count at ``step``, the coarsest ones."""
    if not stage.start_level:
        return stage.levels
    return min(stage.start_level + max(step - stage.level_start, 0) // stage.level_interval, stage.levels)


def picture_size(stage: CoarseStage, model: DiffusionModel, step: int) -> int:
    """Side in pixels of the pictures at a step."""
    later = stage.later_size and step >= stage.later_size_step
    return (stage.later_size if later else stage.render_size) or model.native_size


def view_count(stage: CoarseStage, step: int) -> int:
    """Pictures in a step."""
    return stage.later_views if stage.later_views and step >= stage.later_size_step else stage.views


def ray_step(stage: CoarseStage) -> float:
    """Distance of samples along a ray, in scene units."""
    return 2 * 3**0.5 * stage.radius / stage.ray_samples


def coarse_step(
    state: CoarseState, job: TextTo3DJob, guide: Guide, views: int, picture: Picture | None = None
) -> dict[str, float]:
    """One optimization step; returns what is logged about it.

    Random numbers are drawn on the CPU in a fixed order, whatever the device. ``picture``: that the object is made
    after, in the size in which some steps compare with it.
    """
    stage, model, clock, generator = job.coarse, guide.model, guide.clock, state.generator
    if picture is not None and stage.picture_every and state.step % stage.picture_every == 0:
        return picture_step(state, job, guide, picture)
    views = min(views, view_count(stage, state.step))
    cameras = draw_cameras(stage.cameras, views, state.step, generator).to(model.device)
    look = draw_look(stage, views, state.step, generator)
    moment = guide.begin(views, state.step, generator)
    size = picture_size(stage, model, state.step)

    state.optimizer.zero_grad(set_to_none=True)
    with clock("render"):
        make_ready(state, stage)
        drawn = look.background.to(model.device)
        behind = behind_pictures(stage, drawn, state.background, lambda: cameras.directions(size), generator)
        look = replace(look, background=behind)
        volume = see(state, stage, cameras, size, look.background, normals=look.kind != "color")
        pictures = show(volume, look, cameras)
    names = view_names(cameras.azimuth, cameras.elevation, stage.cameras.front_angle)
    places = seen_places(volume, cameras) if guide.fixes_noise(state.step) else None
    found = guide.gradient(pictures, Seen(cameras, names, kind=look.kind, surface=places), moment)
    with clock("render"):
        loss = regularizer(volume, stage, state.step)
        # One way back for both: a second one, for the opacity alone, would cost the field as much as the first.
        torch.autograd.backward([pictures, loss], [stage.score_weight * found.pictures, None])
    change(state, clock)
    return found.metrics | {"opacity": float(volume.opacity.detach().mean()), "regularizer": float(loss.detach())}


def picture_step(state: CoarseState, job: TextTo3DJob, guide: Guide, picture: Picture) -> dict[str, float]:
    """A step that compares with the picture, from its own camera; returns what is logged about it."""
    stage, clock = job.coarse, guide.clock
    cameras = picture_camera(stage.cameras, job.picture_elevation).to(guide.model.device)
    state.optimizer.zero_grad(set_to_none=True)
    with clock("render"):
        make_ready(state, stage)
        volume = see(state, stage, cameras, stage.picture_size, torch.ones(1, 3))
        off = difference(volume.color, volume.opacity, picture, stage.picture_color, stage.picture_mask)
        if not bool(torch.isfinite(off)):
            raise NotFinite("pictures", in_result=True)
        # How much of the frame it fills is the picture's to say here.
        (off + regularizer(volume, stage, state.step, sparse=False)).backward()
    change(state, clock)
    return {"opacity": float(volume.opacity.detach().mean()), PICTURE: float(off.detach())}


def make_ready(state: CoarseState, stage: CoarseStage) -> None:
    """The field has the levels that count at this step; which cells are empty is looked at now and then."""
    if isinstance(state.field, NetworkField):
        state.field.network.active = active_levels(stage, state.step)
    if state.step % OCCUPANCY_INTERVAL == 0:
        state.occupancy.update(state.field.density, ray_step(stage), state.generator)


def see(
    state: CoarseState, stage: CoarseStage, cameras: Cameras, size: int, background: Tensor, normals: bool = False
) -> VolumePictures:
    """The field as it is rendered in a step, with normals where these are wanted or a regularizer needs them."""
    step = state.step
    return render_volume(
        state.field,
        cameras,
        size,
        state.occupancy,
        ray_step(stage),
        background,
        state.generator,
        normals=normals or stage.orientation.at(step) > 0 or stage.convexity.at(step) > 0,
        normal_eps=0.0 if stage.normals == "analytic" else None,
        min_alpha=MIN_ALPHA,
    )


def change(state: CoarseState, clock: StepClock) -> None:
    """Take the step that the gradients ask for."""
    with clock("optimizer"):
        guard_gradients(state.field)
        if state.background is not None:
            guard_gradients(state.background)
        state.optimizer.step()


def regularizer(volume: VolumePictures, stage: CoarseStage, step: int, sparse: bool = True) -> Tensor:
    """The weighted sum of the stage's regularizers; ``sparse``: that of the opacity among them."""
    loss = (stage.sparsity.at(step) if sparse else 0.0) * sparsity_loss(volume.opacity)
    if stage.opaque.at(step) > 0:
        loss = loss + stage.opaque.at(step) * opaque_loss(volume.opacity)
    if stage.orientation.at(step) > 0:
        loss = loss + stage.orientation.at(step) * orientation_loss(volume)
    if stage.z_variance.at(step) > 0:
        loss = loss + stage.z_variance.at(step) * z_variance_loss(volume)
    if stage.convexity.at(step) > 0:
        loss = loss + stage.convexity.at(step) * convexity_loss(volume)
    return loss


def guard_gradients(module: torch.nn.Module) -> None:
    """A value that is no number must not spread from one picture into everything."""
    for parameter in module.parameters():
        if parameter.grad is not None:
            torch.nan_to_num_(parameter.grad, nan=0.0, posinf=0.0, neginf=0.0)


# ---- what a step looks at ------------------------------------------------------------------------------------------


def draw_cameras(ranges: SceneCameras, views: int, step: int, generator: torch.Generator) -> Cameras:
    """Random cameras, in the first steps those at the front and the back only."""
    cameras = sample_cameras(
        generator, views, ranges.elevation, ranges.distance, ranges.fov_y, elevation_law=ranges.elevation_law,
        ring=max(ranges.ring, 1), distance_unit=ranges.distance_unit,
    )  # fmt: skip
    coin, offset = torch.rand((2, views), generator=generator)
    cameras = replace(cameras, shake=draw_shake(ranges, views, generator))
    if step >= ranges.front_back_steps:
        return cameras
    azimuth = torch.where(coin < 0.5, 0.0, 180.0) + (offset * 2 - 1) * FRONT_BACK_REACH
    return replace(cameras, azimuth=(azimuth + 180) % 360 - 180)


def draw_look(stage: CoarseStage, views: int, step: int, generator: torch.Generator) -> Look:
    """Shading and backgrounds of a step; the whole batch is shaded alike."""
    shaded, textureless, random_background = torch.rand(3, generator=generator).tolist()
    kind = "color"
    if step >= stage.ambient_only_steps and shaded < stage.shaded_share:
        kind = "lit"
        if textureless < stage.textureless_share:
            kind = "normal" if stage.textureless_normals else "white"
    background = draw_backgrounds(views, random_background < stage.random_background, generator, stage.cameras.ring > 1)
    return look_with_lamps(kind, background, stage, generator)


def look_with_lamps(
    kind: str, background: Tensor, stage: CoarseStage | RefineStage, generator: torch.Generator
) -> Look:
    """A look with the stage's sort of light, drawn anew; ``background`` ``[B, 3]``."""
    views, ring = len(background), max(stage.cameras.ring, 1)
    if stage.lamp == "studio":
        lights = draw_lights(views // ring, generator)
        return Look(kind, background, *(numbers.repeat_interleave(ring, dim=0) for numbers in lights))
    lamps, ambient, diffuse = draw_lamps(stage.lamp, stage.soft_shading, views, generator, ring)
    return Look(kind, background, torch.zeros(views, 3), ambient, diffuse, lamps)


def show(volume: VolumePictures, look: Look, cameras: Cameras) -> Tensor:
    """The pictures ``[B, 3, S, S]`` that the model judges, shaded as ``look`` says."""
    if look.kind == "color":
        return volume.color
    rest = 1 - volume.opacity
    behind = as_pictures(look.background.to(rest)) * rest
    if look.kind == "normal" and volume.normal is not None:
        return volume.normal - 0.5 * rest + behind
    if volume.normal is None:
        raise ValueError(f"{look.kind} pictures need normals")
    normal = F.normalize(volume.normal * 2 - 1, dim=1, eps=1e-3)
    body = volume.color - behind if look.kind == "lit" else volume.opacity.expand_as(volume.color)
    points = None if look.lamps is None else seen_points(volume, cameras)
    return body * shade(normal, look, cameras, points) + behind


@torch.no_grad()
def seen_places(volume: VolumePictures, cameras: Cameras) -> Tensor:
    """``[B, S, S, 4]``: the mean place of what each pixel sees and 1, or 0 where that is mostly background."""
    seen = (volume.opacity > 0.5).to(volume.opacity)
    return torch.cat([seen_points(volume, cameras), seen], dim=1).permute(0, 2, 3, 1)


@torch.no_grad()
def seen_points(volume: VolumePictures, cameras: Cameras) -> Tensor:
    """The mean place of what each pixel sees, ``[B, 3, S, S]``; the camera's own where that is nothing."""
    depth = volume.depth / volume.opacity.clamp_min(1e-6)
    rays = cameras.directions(depth.shape[-1]).permute(0, 3, 1, 2)
    return cameras.positions()[:, :, None, None] + rays * depth
