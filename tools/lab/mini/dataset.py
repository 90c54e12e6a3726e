# SPDX-License-Identifier: GPL-3.0-or-later
"""Training pictures: what is drawn, the flaws added to some of them, their captions, and the cache on disk.

A cache is a folder of `part_00000.npz` files with `images` uint8 [K, 64, 64, 3], `masks` uint8 [K, 64, 64] (coverage of
the object) and `labels` int16 [K, 8] (columns: `COLUMNS`). Part i depends only on the seed and i, so that parts can be
rendered in any order, by any number of processes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from csd_blender.backend.mini import vocabulary as voc

from .materials import make_material
from .palette import sample_color
from .render import Camera, paint, random_light, trace
from .shapes import make_shape

COLUMNS = ("shape", "material", "color", "view", "close", "light", "flaws", "clear")
SIZE = 64
#: Pictures of one part: shapes x cameras x surfaces.
SHAPES_PER_PART, CAMERAS, SURFACES = 40, 6, 2
PART = SHAPES_PER_PART * CAMERAS * SURFACES

_PATTERN_SHARE = {"plain": 0.12, "striped": 0.07, "checkered": 0.07, "dotted": 0.07, "scales": 0.055, "tiles": 0.055}
_OWN_SHARE = (1.0 - sum(_PATTERN_SHARE.values())) / len(voc.OWN_MATERIALS)
_MATERIAL_SHARES = np.array([_PATTERN_SHARE.get(m, _OWN_SHARE) for m in voc.MATERIALS])
_MATERIAL_SHARES /= _MATERIAL_SHARES.sum()
_OBJECT_SHARE = 0.3
_FRONT_WEIGHT = 1.6
_SHAPE_SHARES = np.array([_FRONT_WEIGHT if s in voc.FRONT_SHAPES else 1.0 for s in voc.SHAPES[:-1]])
_SHAPE_SHARES = np.append(_SHAPE_SHARES / _SHAPE_SHARES.sum() * (1 - _OBJECT_SHARE), _OBJECT_SHARE)


def random_camera(rng: np.random.Generator, close: bool) -> Camera:
    """A camera that sees the whole object, or with `close` a part of it that fills the frame."""
    azimuth = rng.uniform(-180, 180)
    elevation = rng.uniform(61, 88) if rng.random() < 0.15 else rng.uniform(-15, 45 if rng.random() < 0.85 else 60)
    fov = rng.uniform(28, 50)
    zoom = math.exp(rng.uniform(math.log(1.4), math.log(2.4)) if close else rng.uniform(math.log(0.65), math.log(1.08)))
    distance = max(1.55, 1.0 / math.sin(math.atan(zoom * math.tan(math.radians(fov) / 2))))
    reach = 0.45 if close else 0.06
    return Camera(azimuth, elevation, distance, fov, tuple(rng.uniform(-reach, reach, 3)))


def random_background(rng: np.random.Generator, size: int = SIZE) -> torch.Tensor:
    """White, black, gray or colored, plain or a soft gradient; [3, size, size]."""
    kind = rng.random()
    if kind < 0.2:
        first = np.full(3, rng.uniform(0.9, 1.0))
    elif kind < 0.32:
        first = np.full(3, rng.uniform(0.0, 0.12))
    elif kind < 0.55:
        first = np.full(3, rng.uniform(0.15, 0.9))
    else:
        first = rng.random(3)
    base = torch.from_numpy(first.astype(np.float32))[:, None, None].expand(3, size, size)
    if rng.random() < 0.35:
        second = torch.from_numpy(np.clip(first + rng.uniform(-0.4, 0.4, 3), 0, 1).astype(np.float32))
        line = torch.linspace(0, 1, size)
        angle = rng.uniform(0, 2 * math.pi)
        ramp = 0.5 + (line[None] - 0.5) * math.cos(angle) + (line[:, None] - 0.5) * math.sin(angle)
        base = torch.lerp(base, second[:, None, None].expand(3, size, size), ramp.clamp(0, 1))
    return base


# ---- flaws ---------------------------------------------------------------------------------------------------------


def blur(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of [3, S, S]; sigma in pixels."""
    reach = max(1, math.ceil(2.5 * sigma))
    kernel = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(image[:, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]


def _saturate(image: torch.Tensor, factor: float) -> torch.Tensor:
    gray = image.mean(0, keepdim=True)
    return (gray + (image - gray) * factor).clamp(0, 1)


def _blocks(image: torch.Tensor, levels: float) -> torch.Tensor:
    """Coarsely quantized 8 x 8 cosine blocks, as of a strongly compressed photograph."""
    k = torch.arange(8.0)
    basis = torch.cos(math.pi / 8 * (k[None] + 0.5) * k[:, None]) * math.sqrt(2 / 8)
    basis[0] /= math.sqrt(2)
    blocks = image.unfold(1, 8, 8).unfold(2, 8, 8)
    coarse = (1 + k[:, None] + k[None]) * levels
    freq = basis @ blocks @ basis.T
    blocks = basis.T @ (torch.round(freq / coarse) * coarse) @ basis
    return blocks.permute(0, 1, 3, 2, 4).reshape(image.shape).clamp(0, 1)


def spoil(image: torch.Tensor, flaw: str, rng: np.random.Generator) -> torch.Tensor:
    """The picture [3, S, S] with one of the flaws of `vocabulary.QUALITY`."""
    size = image.shape[-1]
    if flaw == "blurry":
        return blur(image, rng.uniform(1.6, 3.2))
    if flaw == "noisy":
        noise = torch.from_numpy(rng.standard_normal(image.shape).astype(np.float32))
        return (image + rng.uniform(0.1, 0.22) * noise).clamp(0, 1)
    if flaw == "oversaturated":
        return _saturate(((image - 0.5) * rng.uniform(1.2, 1.6) + 0.5).clamp(0, 1), rng.uniform(1.8, 3.0))
    if flaw == "dull":
        return _saturate(0.5 + (image - 0.5) * rng.uniform(0.35, 0.55), rng.uniform(0.25, 0.5))
    if flaw == "pixelated":
        small = F.interpolate(image[None], size=int(rng.choice((12, 16))), mode="area")
        return F.interpolate(small, size=size, mode="nearest")[0]
    if flaw == "tiling":
        count = int(rng.choice((2, 3)))
        small = F.interpolate(image[None], size=math.ceil(size / count), mode="area")[0]
        return small.repeat(1, count, count)[:, :size, :size].contiguous()
    if flaw == "lowquality":
        image = _saturate(blur(image, rng.uniform(0.6, 1.2)), rng.uniform(0.6, 0.9))
        noise = torch.from_numpy(rng.standard_normal(image.shape).astype(np.float32))
        return _blocks((image + 0.04 * noise).clamp(0, 1), rng.uniform(0.1, 0.2))
    raise ValueError(f"unknown flaw {flaw!r}")


# ---- one part ------------------------------------------------------------------------------------------------------


def random_surface(rng: np.random.Generator) -> tuple[str, str | None]:
    name = voc.MATERIALS[rng.choice(len(voc.MATERIALS), p=_MATERIAL_SHARES)]
    return name, (voc.COLORS[rng.integers(len(voc.COLORS))] if name in voc.PATTERNS else None)


def render_part(
    seed: int, part: int, shapes: int = SHAPES_PER_PART, flaw_share: float = 0.1, flat_share: float = 0.58
) -> dict[str, np.ndarray]:
    """Renders one part; returns `images`, `masks`, `labels` (see the module's text). Same arguments, same bytes."""
    rng = np.random.default_rng((seed, part))
    images, masks, labels = [], [], []
    for _ in range(shapes):
        shape = make_shape(voc.SHAPES[rng.choice(len(voc.SHAPES), p=_SHAPE_SHARES)], rng)
        close = [rng.random() < 0.25 for _ in range(CAMERAS)]
        geometry = trace(shape, [random_camera(rng, c) for c in close], SIZE)
        for _ in range(SURFACES):
            material, color = random_surface(rng)
            surface = make_material(material, color, rng)
            for view, camera in enumerate(geometry.cameras):
                flat = rng.random() < flat_share
                light = None if flat else random_light(rng, camera)
                background = random_background(rng)
                if color is not None and material == "plain":
                    # A plain object must stand out from what is behind it.
                    body = sample_color(color, rng)[:, None, None]
                    for _ in range(4):
                        if (background - body).abs().amax(0).mean() > 0.25:
                            break
                        background = random_background(rng)
                image = paint(geometry, view, surface, background, light)
                flaws = 0
                if rng.random() < flaw_share:
                    flaw = int(rng.integers(len(voc.QUALITY)))
                    image, flaws = spoil(image, voc.QUALITY[flaw], rng), 1 << flaw
                images.append((image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
                masks.append((geometry.coverage[view] * 255).round().to(torch.uint8).numpy())
                labels.append(label(shape.name, material, color, camera, close[view], not flat, flaws))
    return {"images": np.stack(images), "masks": np.stack(masks), "labels": np.array(labels, dtype=np.int16)}


def label(
    shape: str, material: str, color: str | None, camera: Camera, close: bool, lit: bool, flaws: int
) -> tuple[int, ...]:
    """A picture's row of `COLUMNS`; `flaws` has a bit for each of `vocabulary.QUALITY`."""
    return (
        voc.SHAPES.index(shape), voc.MATERIALS.index(material), -1 if color is None else voc.COLORS.index(color),
        voc.VIEWS.index(voc.view_word(camera.azimuth, camera.elevation)), close, lit, flaws,
        voc.clear_view(camera.azimuth, camera.elevation),
    )  # fmt: skip


def _render_to(job: tuple[str, int, int, Callable[[int, int], dict[str, np.ndarray]]]) -> str:
    folder, seed, part, render = job
    path = Path(folder) / f"part_{part:05d}.npz"
    if not path.exists():
        partial = path.with_suffix(f".{os.getpid()}.tmp")
        with partial.open("wb") as file:
            np.savez(file, **render(seed, part))
        partial.replace(path)
    return str(path)


def render_cache(folder: Path, count: int, seed: int, processes: int = 2, log=lambda text: None) -> list[Path]:
    """Renders what is missing of `count` pictures (rounded up to whole parts); returns the part files in order."""
    return render_parts(folder, math.ceil(count / PART), seed, render_part, processes, log)


def render_parts(
    folder: Path, count: int, seed: int, render: Callable[[int, int], dict[str, np.ndarray]], processes: int,
    log=lambda text: None,
) -> list[Path]:  # fmt: skip
    """Renders what is missing of `count` parts; `render` makes one from seed and number, in any process."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"part_{part:05d}.npz" for part in range(count)]
    todo = [(str(folder), seed, part, render) for part, path in enumerate(paths) if not path.exists()]
    if todo and processes > 1:
        with torch.multiprocessing.get_context("spawn").Pool(processes, torch.set_num_threads, (1,)) as pool:
            for done, _ in enumerate(pool.imap(_render_to, todo), 1):
                log(f"rendered {done} of {len(todo)} parts")
    else:
        for done, job in enumerate(todo, 1):
            _render_to(job)
            log(f"rendered {done} of {len(todo)} parts")
    return paths


def load_parts(paths: list[Path], names: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """All parts joined along their first axis: the arrays of these names, or all."""
    parts = [np.load(path) for path in paths]
    return {name: np.concatenate([part[name] for part in parts]) for name in names or parts[0].files}


# ---- captions ------------------------------------------------------------------------------------------------------


def caption_words(label: np.ndarray, rng: np.random.Generator, empty: float = 0.1) -> list[str]:
    """Canonical words for a picture's labels, some of them left out at random; with probability `empty` none at all.

    "flat" is only ever said of unshaded pictures, so that it reliably asks for the bare surface color. Flaws are
    nearly always named, so that prompts without such a word stay clean. A view is named only where it is a clear one:
    what lies between two views would teach neither word.
    """
    if rng.random() < empty:
        return []
    shape, material, color, view, close, lit, flaws, clear = (int(v) for v in label)
    keep = rng.random(7)
    surface = []
    if color >= 0 and keep[0] < 0.94:
        surface.append(voc.COLORS[color])
    name = voc.MATERIALS[material]
    if keep[1] < (0.4 if name == "plain" else 0.94):
        surface.append(name)
    thing = voc.SHAPES[shape] if keep[2] < 0.82 else "object"
    words = surface + [thing] if keep[3] < 0.75 else [thing, *surface]
    if keep[2] > 0.95:
        words.remove(thing)
    rest = []
    if clear and keep[4] < 0.85:
        rest.append(voc.VIEWS[view])
    if keep[5] < 0.65:
        rest.append(voc.LIT if lit else voc.FLAT)
    if close and keep[6] < 0.85:
        rest.append(voc.CLOSE)
    if rng.random() < 0.2:
        rng.shuffle(rest)
    words += rest
    words += [flaw for k, flaw in enumerate(voc.QUALITY) if flaws >> k & 1 and rng.random() < 0.92]
    if rng.random() < 0.03:
        words.insert(int(rng.integers(len(words) + 1)), "<unk>")
    return words
