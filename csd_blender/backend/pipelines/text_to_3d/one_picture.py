"""The picture that an object is made after: read, cut out and centered; and the steps that compare with it.

After threestudio's system for Zero-1-to-3 (Liu et al. 2023, arXiv 2303.11328), whose steps ask the model and compare
with the picture in turns.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from ....job.errors import JobError
from ....job.files import INPUT_PICTURE
from ....job.folder import JobFolder, read_ordinary
from ....job.picture_file import LARGEST
from ....job.spec.cameras import SceneCameras
from ...diffusion.model import DiffusionModel
from ...diffusion.views.zero123 import Zero123
from ...distillation.picture_prompt import PicturePrompt
from ...render.cameras import Cameras

MOST_PIXELS = 2**26
SIDE = 512  # pixels of the picture that is kept
FILL = 200 / 256  # of the longer side of what is shown, as in the authors' program
OPAQUE = 250 / 255  # a picture that is nowhere less so has no cut-out of its own
PLAIN = 0.1  # how far colors of one background may be apart, of 1
PLAIN_SHARE = 0.9  # of the pixels along the edges
SURE = 0.2  # so far from the background's color, a pixel is of the thing alone
LEAST = 0.05  # opacity of what counts as shown
LEAST_SIDE = 8  # pixels of what is shown


@dataclass(frozen=True)
class Picture:
    """A thing, cut out: ``color [1, 3, S, S]`` in [0, 1] over black, that is times ``mask [1, 1, S, S]``."""

    color: Tensor
    mask: Tensor

    def at(self, side: int) -> Picture:
        """In another size."""
        settings = {"size": (side, side), "mode": "bilinear", "align_corners": False, "antialias": True}
        return Picture(F.interpolate(self.color, **settings), F.interpolate(self.mask, **settings))

    def to(self, device: torch.device) -> Picture:
        """On ``device``."""
        return Picture(self.color.to(device), self.mask.to(device))

    @property
    def on_white(self) -> Tensor:
        """``[1, 3, S, S]``."""
        return self.color + 1 - self.mask


def load_picture(folder: JobFolder) -> Picture:
    """The job's picture. Raises ``JobError('bad_picture')`` as :func:`cut_out`, and when it cannot be read."""
    try:
        data = read_ordinary(folder.path / INPUT_PICTURE, LARGEST)
    except OSError as error:
        raise JobError("bad_job_folder", f"{INPUT_PICTURE} is missing or cannot be read") from error
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as found:
            if found.width * found.height > MOST_PIXELS:
                raise JobError("bad_picture", f"it has {found.width} x {found.height} pixels", "Make it smaller.")
            rgba = in_bytes(ImageOps.exif_transpose(found)).convert("RGBA")
    except JobError:
        raise
    except Exception as error:  # a picture can be damaged in many ways
        raise JobError("bad_picture", "its file is damaged") from error
    most = 2 * SIDE
    if max(rgba.size) > most:
        rgba.thumbnail((most, most), Image.Resampling.BOX)
    return cut_out(torch.from_numpy(np.array(rgba)).permute(2, 0, 1).float() / 255)


def in_bytes(picture: Image.Image) -> Image.Image:
    """A gray picture of 16 bits with eight of them, which is what the library converts; others as they are."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.array(picture, np.int64).clip(0, 65535) // 257).astype(np.uint8))


def cut_out(rgba: Tensor) -> Picture:
    """What a picture ``[4, H, W]`` in [0, 1] shows, in the middle of a square.

    Where it is transparent nowhere, the background is what has the color of the edges and hangs together with them.

    Raises:
        JobError: ``bad_picture`` where it shows nothing, or its background is neither transparent nor of one color.
    """
    color, mask = rgba[:3], rgba[3:]
    if float(mask.min()) >= OPAQUE:
        color, mask = keyed(color)
    else:
        color = color * mask
    rows, columns = ((mask[0] > LEAST).any(dim).nonzero()[:, 0] for dim in (1, 0))
    if len(rows) < LEAST_SIDE or len(columns) < LEAST_SIDE:
        raise JobError("bad_picture", "it shows nothing, or next to nothing, before its background")
    shown = torch.cat((color, mask))[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = shown.shape[1:]
    scale = FILL * SIDE / max(height, width)
    size = [max(1, round(scale * n)) for n in (height, width)]
    shown = F.interpolate(shown[None], size, mode="bilinear", align_corners=False, antialias=True)
    top, left = ((SIDE - n) // 2 for n in size)
    shown = F.pad(shown, (left, SIDE - size[1] - left, top, SIDE - size[0] - top)).clamp(0, 1)
    return Picture(shown[:, :3], shown[:, 3:])


def keyed(color: Tensor) -> tuple[Tensor, Tensor]:
    """Color over black ``[3, H, W]`` and mask ``[1, H, W]`` of a picture on a background of one color. Raises as
    :func:`cut_out`."""
    edges = torch.cat((color[:, 0], color[:, -1], color[:, :, 0], color[:, :, -1]), 1)
    background = edges.median(1).values[:, None]
    if float(((edges - background).abs().amax(0) < PLAIN).float().mean()) < PLAIN_SHARE:
        raise JobError("bad_picture", "its background is neither transparent nor of one color")
    background = background[:, :, None]
    away = (color - background).abs().amax(0)
    mask = (away / SURE).clamp(0, 1)
    mask = torch.where(reached_from_edges(away < PLAIN), mask * (away >= PLAIN), torch.ones_like(mask))
    mask = mask[None]
    return (color - (1 - mask) * background).clamp(0, 1).minimum(mask), mask


def reached_from_edges(free: Tensor) -> Tensor:
    """Where one gets from the edges by steps up, down, left and right through ``free [H, W]``, and one step more."""
    height, width = free.shape
    reached = torch.zeros_like(free)
    reached[0], reached[-1], reached[:, 0], reached[:, -1] = free[0], free[-1], free[:, 0], free[:, -1]
    count = -1
    while count != (count := int(reached.sum())):
        # As far as it goes along rows, then along columns: few rounds, whatever the shape.
        for _ in range(2):
            reached = _swept(reached, free) | _swept(reached.flip(1), free.flip(1)).flip(1)
            reached, free = reached.T, free.T
    wider = F.max_pool2d(reached.float()[None, None], 3, 1, 1)[0, 0] > 0
    assert wider.shape == (height, width)
    return wider


def _swept(reached: Tensor, free: Tensor) -> Tensor:
    """``reached``, and what lies behind it to the right with nothing but ``free`` between."""
    place = torch.arange(free.shape[1]).expand_as(free)
    blocked = torch.where(free, -1, place).cummax(1).values
    last = torch.where(reached, place, -1).cummax(1).values
    return free & (last > blocked) | reached


def picture_camera(ranges: SceneCameras, elevation: float) -> Cameras:
    """The camera that is taken for the picture's: in front, at the nearest distance."""
    values = (0.0, elevation, ranges.distance[0], ranges.fov_y[0])
    return Cameras(*(torch.tensor([value], dtype=torch.float32) for value in values))


def picture_prompts(
    model: DiffusionModel, picture: Picture, ranges: SceneCameras, elevation: float
) -> dict[str, PicturePrompt]:
    """What the model is told, for each kind of :class:`~...render.shading.Look`. Raises ``ValueError`` for a model that
    is told something else."""
    if not isinstance(model, Zero123):
        raise ValueError(f"{model.name} is told no picture")
    shown = model.show(picture.at(model.native_size).on_white)
    told = PicturePrompt(model, shown, elevation, ranges.distance[0])
    return dict.fromkeys(("color", "lit", "white", "normal"), told)


def difference(color: Tensor, opacity: Tensor, picture: Picture, color_weight: float, mask_weight: float) -> Tensor:
    """How far a rendered picture ``[1, 3, S, S]`` on white, with its ``opacity [1, 1, S, S]``, is from that one in the
    same size: the weighted sum of the mean squares."""
    off_color, off_mask = (color - picture.on_white).square().mean(), (opacity - picture.mask).square().mean()
    return color_weight * off_color + mask_weight * off_mask
