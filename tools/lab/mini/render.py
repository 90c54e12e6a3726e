# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphere tracing of `shapes.Shape` into small pictures: geometry once per camera, then any number of paintings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from .materials import Paint
from .shape import Shape

#: Sub-pixel positions at which surfaces are painted, in pixels (rotated grid).
_SUBPIXELS = ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125))


@dataclass(frozen=True)
class Camera:
    """A camera around the object; degrees, azimuth 0 at the front (-Y), 90 at +X; `target` is what it looks at."""

    azimuth: float
    elevation: float
    distance: float = 3.5
    fov: float = 40.0
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def position(self) -> torch.Tensor:
        """Position [3] in object space."""
        az, el = math.radians(self.azimuth), math.radians(self.elevation)
        out = (math.sin(az) * math.cos(el), -math.cos(az) * math.cos(el), math.sin(el))
        return torch.tensor(out, dtype=torch.float32) * self.distance + torch.tensor(self.target, dtype=torch.float32)

    def axes(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Right, up and forward unit vectors [3]."""
        az, el = math.radians(self.azimuth), math.radians(self.elevation)
        forward = -torch.tensor((math.sin(az) * math.cos(el), -math.cos(az) * math.cos(el), math.sin(el)))
        right = torch.tensor((math.cos(az), math.sin(az), 0.0))
        return right, torch.linalg.cross(right, forward), forward


@dataclass
class Geometry:
    """What a camera sees: flat indices of covered pixels [M] into N * S * S, their points and normals [M, 3], the
    coverage of every pixel [N, S, S] in 0..1, and the cameras."""

    shape: Shape
    cameras: list[Camera]
    size: int
    index: torch.Tensor
    points: torch.Tensor
    normals: torch.Tensor
    coverage: torch.Tensor

    def seen_by(self, view: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Which of the pixels [M] are of one camera's view, as a mask, and their flat indices into its S * S."""
        area = self.size**2
        chosen = (self.index >= view * area) & (self.index < (view + 1) * area)
        return chosen, self.index[chosen] - view * area


def soft_normals(geometry: Geometry, step: float) -> torch.Tensor:
    """Its normals [M, 3] as of a mesh whose corners are so far apart, in units of the radius."""
    return _normals(geometry.shape, geometry.points, step)


def _normals(shape: Shape, points: torch.Tensor, step: float = 2e-3) -> torch.Tensor:
    corners = torch.tensor(((1.0, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)))
    count = points.shape[0]
    values = shape.distance((points[None] + step * corners[:, None]).reshape(-1, 3)).reshape(4, count)
    return torch.nn.functional.normalize((values[:, :, None] * corners[:, None]).sum(0), dim=-1)


@torch.no_grad()
def trace(shape: Shape, cameras: list[Camera], size: int = 64, steps: int = 42) -> Geometry:
    """Finds what each camera sees of the shape. Edges are soft: rays that pass within half a pixel count in part."""
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    v, u = torch.meshgrid(-line, line, indexing="ij")
    origins, directions, pixels = [], [], []
    for camera in cameras:
        right, up, forward = camera.axes()
        half = math.tan(math.radians(camera.fov) / 2)
        ray = forward + half * (u[..., None] * right + v[..., None] * up)
        origins.append(camera.position().expand(size * size, 3))
        directions.append(torch.nn.functional.normalize(ray, dim=-1).reshape(-1, 3))
        pixels.append(torch.full((size * size,), float(2 * half / size)))
    origin, direction, pixel = torch.cat(origins), torch.cat(directions), torch.cat(pixels)

    # Only rays through the bounding ball, slightly enlarged for the soft edge, need tracing.
    middle = -(origin * direction).sum(-1)
    closest = (origin * origin).sum(-1) - middle**2
    reach = (1.08**2 - closest).clamp_min(0).sqrt()
    alive = torch.nonzero((closest < 1.08**2) & (middle + reach > 0)).squeeze(1)
    depth = (middle - reach).clamp_min(0.02)
    far = middle + reach
    coverage = torch.zeros(origin.shape[0])
    hit = torch.zeros(origin.shape[0], dtype=torch.bool)
    o, d, t, px = origin[alive], direction[alive], depth[alive], pixel[alive]
    near = torch.full_like(t, 9.0)
    near_t = t.clone()
    for step in range(steps):
        dist = shape.distance(o + t[:, None] * d)
        closer = dist / t < near
        near = torch.where(closer, dist / t, near)
        near_t = torch.where(closer, t, near_t)
        t = t + dist.clamp_min(1e-3) * 0.95
        if step % 5 == 4 or step == steps - 1:
            done = (dist < 1.5e-3) | (t > far[alive])
            if step == steps - 1:
                done = torch.ones_like(done)
            who = alive[done]
            coverage[who] = (0.5 - near[done] / px[done]).clamp(0, 1)
            depth[who] = near_t[done]
            hit[who] = dist[done] < 4e-3
            coverage[who[hit[who]]] = 1.0
            keep = ~done
            alive, o, d, t, px, near, near_t = (x[keep] for x in (alive, o, d, t, px, near, near_t))
            if alive.numel() == 0:
                break
    index = torch.nonzero(coverage > 0).squeeze(1)
    points = origin[index] + depth[index, None] * direction[index]
    return Geometry(shape, cameras, size, index, points, _normals(shape, points),
                    coverage.reshape(len(cameras), size, size))  # fmt: skip


@dataclass(frozen=True)
class Light:
    """A distant light: direction towards it [3], its strength, the ambient part and the strength of highlights."""

    direction: tuple[float, float, float]
    ambient: float = 0.45
    strength: float = 0.65
    shine: float = 0.15


def random_light(rng: np.random.Generator, camera: Camera) -> Light:
    """A light from somewhere above and on the camera's side."""
    right, up, forward = camera.axes()
    towards = -forward + float(rng.uniform(-1.2, 1.2)) * right + float(rng.uniform(-0.2, 1.3)) * up
    towards = torch.nn.functional.normalize(towards, dim=0).tolist()
    return Light(tuple(towards), rng.uniform(0.3, 0.55), rng.uniform(0.5, 0.85), rng.uniform(0.0, 0.35))


@torch.no_grad()
def paint(
    geometry: Geometry, view: int, material: Paint, background: torch.Tensor, light: Light | None
) -> torch.Tensor:
    """Picture [3, S, S] in 0..1 of one camera's view.

    The background is [3, S, S] (or broadcasts to it). Without a light the picture shows the bare surface color.
    """
    size, camera = geometry.size, geometry.cameras[view]
    area = size * size
    chosen, index = geometry.seen_by(view)
    points, normals = geometry.points[chosen], geometry.normals[chosen]
    picture = background.expand(3, size, size).reshape(3, area).clone()
    if index.numel() == 0:
        return picture.reshape(3, size, size)
    right, up, forward = camera.axes()
    away = points - camera.position()
    step = ((away @ forward) * (2 * math.tan(math.radians(camera.fov) / 2) / size))[:, None]
    ray = torch.nn.functional.normalize(away, dim=-1)
    slope = (ray * normals).sum(-1, keepdim=True).clamp_max(-0.25)
    samples = []
    for across, upward in _SUBPIXELS:
        shift = across * right + upward * up
        # Slide along the ray back to the surface's tangent plane.
        samples.append(points + step * (shift - ray * ((normals @ shift)[:, None] / slope)))
    where = torch.cat(samples)
    faces = normals.repeat(len(_SUBPIXELS), 1)
    colors = geometry.shape.paint_over(where, material(where, faces))
    colors = colors.reshape(len(_SUBPIXELS), -1, 3).mean(0)
    if light is not None:
        to_light = torch.tensor(light.direction, dtype=torch.float32)
        diffuse = (normals @ to_light).clamp_min(0)[:, None]
        mirrored = to_light - 2 * (normals @ to_light)[:, None] * normals
        gloss = (mirrored * ray).sum(-1, keepdim=True).clamp_min(0) ** 12
        colors = colors * (light.ambient + light.strength * diffuse) + light.shine * gloss
    alpha = geometry.coverage[view].reshape(area)[index]
    picture[:, index] = (colors.clamp(0, 1) * alpha[:, None]).T + picture[:, index] * (1 - alpha)
    return picture.reshape(3, size, size)
