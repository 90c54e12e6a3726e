"""The refine stage of text to 3D: a tetrahedral mesh with a color field, rasterized, under score distillation.

After DMTet (Shen et al. 2021, arXiv 2111.04276), Magic3D (Lin et al. 2022, 2211.10440), Fantasia3D (Chen et al. 2023,
2303.13873) and CSD (Yu et al. 2023, 2310.19415).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ....job.errors import JobError
from ....job.spec.scene_stages import CoarseStage, RefineStage
from ....job.spec.text_to_3d import TextTo3DJob
from ...diffusion.model import DiffusionModel
from ...distillation.guide import Guide, Later, others
from ...distillation.view_prompts import Seen
from ...fields.nearest_colors import NearestColors
from ...fields.network_field import NetworkColors
from ...fields.sdf_network import NetworkGeometry
from ...fields.texture_field import TextureField
from ...geometry.normals import vertex_normals
from ...geometry.regularizers import laplacian, normal_consistency
from ...geometry.tet_geometry import TetGeometry, workable_threshold
from ...geometry.tet_grid import MAX_RESOLUTION, TetGrid
from ...optimize.checkpoint import optimizer_tensors, restore
from ...optimize.loop import late_fall
from ...render.background import LearnedBackground
from ...render.camera_draws import draw_backgrounds
from ...render.cameras import Cameras, orbit, view_names
from ...render.controls import Layout
from ...render.rasterizer.interface import Rasterizer, cover
from ...render.rasterizer.topology import Topology, topology
from ...render.shading import Look, shade
from ...render.surface import SMALL_PICTURE
from ...render.volume.render import OccupancyGrid, render_volume
from .backdrop import as_pictures, behind_mesh, make_background
from .coarse import CoarseField, draw_cameras, guard_gradients, look_with_lamps, ray_step
from .color_fields import inherit_colors, make_color_field
from .followed import FOLLOWED, controls_of
from .shape_network import fitted_network, network_geometry
from .start_shapes import framed_radius, mean_density

ELLIPSOID = (0.5, 0.5, 0.7)  # half axes of the shape to start from, in radii of the scene
MESH_SIZE = 0.8  # of a mesh to start from, also in radii of the scene
SEEN_SHARE = 0.4  # of the density where half of the light is gone: gaps between lumps close
SMALLEST_PIECE = 0.01  # of the surface; smaller ones do not count when the grid is laid around the shape


Geometry = TetGeometry | NetworkGeometry
ColorField = TextureField | NetworkColors | NearestColors


@dataclass
class RefineState:
    """Everything a step changes; a checkpoint holds exactly this.

    Attributes:
        radius: of the scene, which the color field spans.
    """

    geometry: Geometry
    colors: ColorField
    radius: float
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    background: LearnedBackground | None = None
    step: int = 0

    def color(self, points: Tensor) -> Tensor:
        """Colors ``[N, 3]`` at scene points ``[N, 3]``."""
        return self.colors(points / self.radius)

    def tensors(self) -> dict[str, Tensor]:
        """The state by name, for a checkpoint."""
        grid = self.geometry.grid
        named = {f"geometry.{name}": value for name, value in self.geometry.state_dict().items()}
        named |= {f"colors.{name}": value for name, value in self.colors.state_dict().items()}
        if self.background is not None:
            named |= {f"background.{name}": value for name, value in self.background.state_dict().items()}
        named["grid"] = torch.tensor([*grid.low, *grid.high, *grid.cubes], dtype=torch.float64)
        return named | optimizer_tensors(self.optimizer) | {"generator": self.generator.get_state()}


def start_refine(
    job: TextTo3DJob,
    model: DiffusionModel,
    geometry: Geometry,
    coarse: CoarseField | None,
    colors: ColorField | None = None,
) -> RefineState:
    """The state before the first step; colors are taken over from the coarse field where there is one.

    ``colors``: a fresh field to begin with in place of the job's own gray one.

    Raises:
        JobError: ``mesh_unusable`` when a network is to take the shape on and cannot.
    """
    colors = make_color_field(job, model) if colors is None else colors
    if coarse is not None:
        inherit_colors(colors, coarse)
    geometry, colors = geometry.to(model.device), colors.to(model.device)
    if job.refine.shape == "network" and isinstance(geometry, TetGeometry):
        geometry = fitted_network(job, geometry)
    background = make_background(job.refine, job.coarse.color_activation, job.seed + 1)
    background = None if background is None else background.to(model.device)
    optimizer = make_optimizer(geometry, colors, job.refine, model.device, background)
    # Numbers of its own: the stage must not depend on how long the one before it was.
    generator = torch.Generator().manual_seed(job.seed + 1)
    return RefineState(geometry, colors, job.coarse.radius, optimizer, generator, background)


def restore_refine(
    job: TextTo3DJob, model: DiffusionModel, tensors: dict[str, Tensor], step: int, colors: ColorField | None = None
) -> RefineState:
    """The state that a checkpoint holds; ``colors`` as for :func:`start_refine`.

    Raises ``ValueError`` for one that is not of this job's refine stage.
    """
    network = job.refine.shape == "network"
    grid = saved_grid(tensors, on_vertices=not network)
    geometry = network_geometry(job, grid) if network else TetGeometry(grid)
    state = start_refine(job, model, geometry, None, colors)
    restore(state, others(tensors), step)
    return state


def saved_grid(tensors: dict[str, Tensor], on_vertices: bool) -> TetGrid:
    """The grid of a checkpoint. Raises ``ValueError`` unless it is one, and as large as what lies on it.

    ``on_vertices``: there is a distance for each of its vertices.
    """
    grid, sdf = tensors.get("grid"), tensors.get("geometry.sdf")
    if grid is None or (sdf is None) == on_vertices or grid.shape != (9,) or grid.dtype != torch.float64:
        raise ValueError("there is no grid")
    numbers = grid.tolist()
    low, high, cubes = numbers[:3], numbers[3:6], numbers[6:]
    ordered = all(-1e6 < a < b < 1e6 for a, b in zip(low, high, strict=True))
    if not ordered or not all(1 <= n <= MAX_RESOLUTION and n == int(n) for n in cubes):
        raise ValueError("the grid is none")
    made = TetGrid(tuple(low), tuple(high), (int(cubes[0]), int(cubes[1]), int(cubes[2])))
    if on_vertices and sdf.shape != (made.vertex_count,):
        raise ValueError(f"the grid has {made.vertex_count} vertices, its distances are {tuple(sdf.shape)}")
    return made


def make_optimizer(
    geometry: Geometry,
    colors: ColorField,
    stage: RefineStage,
    device: torch.device,
    background: LearnedBackground | None = None,
) -> torch.optim.Optimizer:
    """Adam, with rates for the shape, for the grid and the network of the colors, and for a learned background."""
    parts = [(list(geometry.parameters()), stage.learning_rate), (list(colors.parameters()), stage.color_rate)]
    if stage.color_network_rate and isinstance(colors, NetworkColors):
        table, *network = colors.network.parameters()
        parts[1:] = [([table], stage.color_rate), (network, stage.color_network_rate)]
    if background is not None:
        parts.append((list(background.parameters()), stage.background_rate))
    groups = [{"params": params, "lr": rate, "initial_lr": rate} for params, rate in parts]
    groups[0]["weight_decay"] = stage.shape_decay
    betas, fused = (0.9, stage.adam_beta2), device.type != "mps"
    return torch.optim.AdamW(groups, betas=betas, eps=1e-15, weight_decay=0.0, fused=fused)


def shape_from_field(job: TextTo3DJob, coarse: CoarseField) -> tuple[TetGeometry, float]:
    """The coarse field's surface, and the density at which it was found.

    Raises:
        JobError: ``empty_scene`` when nothing in the field is dense enough to be a thing.
    """
    device, radius = coarse.table.device, job.coarse.radius
    try:
        if job.refine.mean_threshold:
            wanted = mean_density(coarse.density, radius, device)
        else:
            wanted = job.refine.threshold or seen_density(job, coarse)
        threshold = workable_threshold(coarse.density, wanted, radius, device)
        geometry = TetGeometry.from_density(
            coarse.density, job.refine.tet_resolution, radius, threshold, device, outliers=SMALLEST_PIECE
        )
    except ValueError as error:
        raise JobError("empty_scene", str(error)) from None
    return geometry, threshold


@torch.no_grad()
def seen_density(job: TextTo3DJob, coarse: CoarseField) -> float:
    """Density where rays meet the field, the median over opaque rays from all sides. 0.01 when there are none.

    Half of the light is gone there, so a surface of this density looks as large as the field did.
    """
    stage, device = job.coarse, coarse.table.device
    occupancy = OccupancyGrid(stage.radius).to(device)
    occupancy.update(coarse.density, ray_step(stage))
    near = orbit(8, elevation=10.0, distance=2.9 * stage.radius, fov_y=45.0)
    high = orbit(4, elevation=60.0, distance=2.9 * stage.radius, fov_y=45.0)
    found, black = [], torch.zeros(3, device=device)
    for cameras in (near.to(device), high.to(device)):
        volume = render_volume(coarse, cameras, 64, occupancy, ray_step(stage), black)
        opaque = volume.opacity[:, 0] > 0.9
        depth = (volume.depth / volume.opacity.clamp_min(1e-6))[:, 0][opaque]
        points = cameras.positions()[opaque.nonzero()[:, 0]] + cameras.directions(64)[opaque] * depth[:, None]
        found.append(coarse.density(points))
    densities = torch.cat(found)
    return max(0.01, SEEN_SHARE * float(densities.median())) if len(densities) else 0.01


def ellipsoid_shape(job: TextTo3DJob) -> TetGeometry:
    """Where Fantasia3D begins without a mesh."""
    radii = [r * job.coarse.radius for r in ELLIPSOID]
    if job.refine.fit_start:
        room = min(1.0, framed_radius(job.refine.cameras) / max(radii))
        radii = [r * room for r in radii]
    return TetGeometry.from_ellipsoid(radii, job.refine.tet_resolution, job.coarse.radius)


def mesh_shape(job: TextTo3DJob, points: Tensor, triangles: Tensor) -> TetGeometry:
    """The user's mesh, ``[V, 3]`` in the unit ball.

    Raises:
        JobError: ``mesh_unusable`` when it encloses no space.
    """
    try:
        return TetGeometry.from_mesh(points * mesh_size(job), triangles, job.refine.tet_resolution)
    except ValueError as error:
        raise JobError("mesh_unusable", str(error)) from None


def mesh_size(job: TextTo3DJob) -> float:
    """How large the unit ball with a mesh to start from is in the scene."""
    size = MESH_SIZE * job.coarse.radius
    return min(size, framed_radius(job.refine.cameras)) if job.refine.fit_start else size


def set_rates(optimizer: torch.optim.Optimizer, stage: RefineStage, step: int) -> None:
    """Learning rates, each from its own peak; they fall late or not at all. All but the shape decays as scheduled."""
    factor = late_fall(step, stage.steps) if stage.rates_fall else 1.0
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    for group in optimizer.param_groups[1:]:
        group["weight_decay"] = stage.color_decay.at(step)


def later_guidance(stage: RefineStage, method: str) -> Later | None:
    """From which step on the stage guides its appearance in a way of its own, and that. ``method``: of the job."""
    if not (stage.appearance_weighting or stage.appearance_scale or stage.geometry_method):
        return None
    own = {"weighting": stage.appearance_weighting, "guidance_scale": stage.appearance_scale}
    guidance = replace(stage.guidance, **{name: value for name, value in own.items() if value})
    if stage.appearance_scale:  # in VSD's convention; Perp-Neg is counted with the scale
        strength = guidance.perp_neg * stage.appearance_scale / (stage.guidance.guidance_scale or 1.0)
        guidance = replace(guidance, scale_convention="s", perp_neg=strength)
    if stage.times_restart:
        t_min, t_max = (course.delayed(stage.fixed_shape_after) for course in (guidance.t_min, guidance.t_max))
        guidance = replace(guidance, t_min=t_min, t_max=t_max)
    return Later(stage.fixed_shape_after, guidance, method)


def front_angle(stage: RefineStage, step: int) -> float:
    """How far from front and back pictures still are called so."""
    later = step >= stage.fixed_shape_after
    return stage.appearance_front_angle if later and stage.appearance_front_angle else stage.cameras.front_angle


def refine_step(
    state: RefineState, job: TextTo3DJob, guide: Guide, rasterizer: Rasterizer, views: int
) -> dict[str, float]:
    """One optimization step; returns what is logged about it. Random numbers are drawn on the CPU in a fixed order."""
    stage, model, clock, generator = job.refine, guide.model, guide.clock, state.generator
    cameras = draw_cameras(stage.cameras, views, state.step, generator).to(model.device)
    look = draw_look(stage, job.coarse, views, state.step, generator)
    moment = guide.begin(views, state.step, generator)

    set_rates(state.optimizer, stage, state.step)
    state.optimizer.zero_grad(set_to_none=True)
    state.geometry.requires_grad_(state.step < stage.fixed_shape_after)
    with clock("render"):
        vertices, triangles = state.geometry()
        if not len(triangles):
            raise JobError("diverged", "nothing is left of the shape")
        size = stage.render_size or model.native_size
        edges = topology(triangles) if vertices.requires_grad else None
        look = replace(
            look, background=behind_mesh(stage, look.kind, look.background, state.background, cameras, generator)
        )
        as_latents = normals_as_latents(stage, model, look, state.step)
        layout = guide.layout if look.kind in FOLLOWED else ()
        pictures, control = render_mesh(
            state, vertices, triangles, cameras, size, look, rasterizer, edges, as_latents, layout, model.native_size
        )
    names = view_names(cameras.azimuth, cameras.elevation, front_angle(stage, state.step))
    fixed = guide.fixes_noise(state.step)
    places = mesh_places(vertices, triangles, cameras, size, rasterizer) if fixed else None
    seen = Seen(cameras, names, kind=look.kind, surface=places, control=control)
    found = guide.gradient(pictures, seen, moment, as_latents)
    with clock("render"):
        pictures.backward(found.pictures, retain_graph=True)
        loss = regularizer(vertices, triangles, stage, edges)
        if loss.requires_grad:
            loss.backward()
    with clock("optimizer"):
        for module in (state.geometry, state.colors, state.background):
            if module is not None:
                guard_gradients(module)
        state.optimizer.step()
    return found.metrics | {"faces": float(len(triangles)), "regularizer": float(loss.detach())}


def draw_look(stage: RefineStage, coarse: CoarseStage, views: int, step: int, generator: torch.Generator) -> Look:
    """Shading and backgrounds of a step: bare colors, lit ones, or the shape alone as the job shows it."""
    shape, random_background, shaded, textureless = torch.rand(4, generator=generator).tolist()
    only_shape = step < stage.normals_only_steps
    # A shape that stays as it is learns nothing from pictures of itself.
    fixed = step >= stage.fixed_shape_after
    kind = "color"
    if not fixed and (only_shape or shape < stage.normals_share):
        kind = "normal" if coarse.textureless_normals else "white" if only_shape else "lit"
    elif shaded < stage.shaded_share:
        kind = "lit" if fixed or textureless >= stage.textureless_share else "white"
    background = draw_backgrounds(views, random_background < stage.random_background, generator, stage.cameras.ring > 1)
    return look_with_lamps(kind, background, stage, generator)


def normals_as_latents(stage: RefineStage, model: DiffusionModel, look: Look, step: int) -> bool:
    """Whether a step's normals and mask stand for latents themselves (arXiv 2303.13873): four are needed for that."""
    return look.kind == "normal" and step < stage.latent_steps and not model.on_pixels and model.latent_channels == 4


def regularizer(vertices: Tensor, triangles: Tensor, stage: RefineStage, shared: Topology | None = None) -> Tensor:
    """The weighted sum of the stage's regularizers; ``shared`` is the mesh's topology where known already."""
    loss = vertices.new_zeros(())
    edges = None if shared is None else shared.edges
    if vertices.requires_grad and stage.normal_consistency > 0:
        loss = loss + stage.normal_consistency * normal_consistency(vertices, triangles, edges)
    if vertices.requires_grad and stage.laplacian > 0:
        loss = loss + stage.laplacian * laplacian(vertices, triangles, edges)
    return loss


@torch.no_grad()
def mesh_places(vertices: Tensor, triangles: Tensor, cameras: Cameras, size: int, rasterizer: Rasterizer) -> Tensor:
    """``[B, size, size, 4]``: the surface point that each pixel sees and 1, or 0 where it sees none."""
    raster = rasterizer.rasterize(cameras.clip(vertices).contiguous(), triangles, (size, size))
    covered = (cover(raster)[..., :1] > 0).to(vertices)
    return torch.cat([rasterizer.interpolate(vertices, raster, triangles), covered], dim=-1)


def render_mesh(
    state: RefineState,
    vertices: Tensor,
    triangles: Tensor,
    cameras: Cameras,
    size: int,
    look: Look,
    rasterizer: Rasterizer,
    edges: Topology | None = None,
    as_latents: bool = False,
    layout: Layout = (),
    side: int = 0,
) -> tuple[Tensor, Tensor | None]:
    """Pictures ``[B, 3, size, size]`` in [0, 1] of the mesh, differentiable with respect to shape and colors; and those
    that the ControlNets of ``layout`` see, from the same raster, or None.

    Args:
        edges: of the mesh, where they are known already.
        as_latents: normals in [-1, 1] and the mesh's mask, ``[B, 4, size, size]``; for a ``look`` of normals.
        side: of the ControlNets' pictures.
    """
    samples = 2 if size <= SMALL_PICTURE else 1
    clip = cameras.clip(vertices).contiguous()
    raster = rasterizer.rasterize(clip, triangles, (size * samples, size * samples))
    covered = cover(raster)[..., 0] > 0
    background = look.background.to(vertices)
    body = as_pictures(background).permute(0, 2, 3, 1).expand(*covered.shape, 3).clone()
    with torch.no_grad():  # where the surface is; pictures of normals need not know
        points = None if look.kind == "normal" else rasterizer.interpolate(vertices, raster, triangles)
    if points is not None and look.kind in ("color", "lit"):
        painted = state.color(points[covered])
    if look.kind == "color":
        body[covered] = painted
    else:
        smooth = rasterizer.interpolate(vertex_normals(vertices, triangles), raster, triangles)
        normal = F.normalize(smooth, dim=-1, eps=1e-6)
        if look.kind == "normal":
            body[covered] = (normal * 0.5 + 0.5)[covered]
        else:
            bright = shade(normal.permute(0, 3, 1, 2), look, cameras, points.permute(0, 3, 1, 2))
            bright = bright.permute(0, 2, 3, 1)[covered]
            body[covered] = painted * bright if look.kind == "lit" else bright.expand(-1, 3)
    if as_latents:
        body = torch.cat([body * 2 - 1, covered[..., None].to(body)], -1)
    if vertices.requires_grad:
        body = rasterizer.antialias(body, raster, clip, triangles, topology(triangles) if edges is None else edges)
    control = controls_of(vertices, triangles, raster, cameras, rasterizer, layout, side) if layout else None
    return F.avg_pool2d(body.permute(0, 3, 1, 2), samples), control
