"""The picture that an object is made after: read, cut out and centered; and the steps that compare with it.

After threestudio's system for Zero-1-to-3 (Liu et al. 2023, arXiv 2303.11328), whose steps ask the model and compare
with the picture in turns.
"""

from __future__ import annotations

import io
import warnings
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
CLEAR_SHARE = 0.005  # of the pixels are clear in a picture that is cut out already
CORNERS_SHARE = 0.1  # of the pixels are clear, at most, in one whose corners alone are
LEAST_SHARE = 0.01  # of the pixels are left before a plain background
PLAIN = 0.1  # how far colors of one background may be apart, of 1
PLAIN_SHARE = 0.7  # of the pixels along the edges
RIM = 3  # pixels beside the background that may show some of it
LEAST = 0.05  # opacity of what counts as shown
LEAST_SIDE = 8  # pixels of what is shown
SPECK = 1 / 128  # of the longer side: what is nowhere so wide, and hangs together with nothing that is, is dust
MOST_ROUNDS = 100  # of the search for what hangs together; beyond, a picture is a maze


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
    """The job's picture. Raises ``JobError`` as :func:`read_picture`, and ``bad_job_folder`` where there is none."""
    try:
        data = read_ordinary(folder.path / INPUT_PICTURE, LARGEST)
    except OSError as error:
        raise JobError("bad_job_folder", f"{INPUT_PICTURE} is missing or cannot be read") from error
    return read_picture(data)


def read_picture(data: bytes) -> Picture:
    """What a PNG, JPEG or WebP file shows. Raises ``JobError('bad_picture')`` as :func:`cut_out`, and when it cannot be
    read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # larger ones are refused here
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as found:
                if found.width * found.height > MOST_PIXELS:
                    raise JobError("bad_picture", f"it has {found.width} x {found.height} pixels", "Make it smaller.")
                rgba = in_bytes(upright(found)).convert("RGBA")
    except JobError:
        raise
    except Image.DecompressionBombError as error:
        raise JobError("bad_picture", "it has far too many pixels", "Make it smaller.") from error
    except Exception as error:  # a picture can be damaged in many ways
        kind = next((kind for start, kind in OTHERS if data.startswith(start)), None)
        if kind is not None:
            raise JobError("bad_picture", f"its file is a {kind}") from error
        raise JobError("bad_picture", "its file is damaged") from error
    most = 2 * SIDE
    if max(rgba.size) > most:
        rgba.thumbnail((most, most), Image.Resampling.BOX)
    return cut_out(torch.from_numpy(np.array(rgba)).permute(2, 0, 1).float() / 255)


#: How files of other kinds begin, which people have as well.
OTHERS = ((b"GIF8", "GIF"), (b"BM", "BMP"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"))


def in_bytes(picture: Image.Image) -> Image.Image:
    """A gray picture of 16 bits with eight of them, which is what the library converts; others as they are."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.array(picture, np.int64).clip(0, 65535) // 257).astype(np.uint8))


def upright(picture: Image.Image) -> Image.Image:
    """As it is to be looked at; one that says so in a way that nobody can read is taken as it lies."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # of damaged remarks; damaged pixels are found by who looks at them
        return picture.copy()


def cut_out(rgba: Tensor) -> Picture:
    """What a picture ``[4, H, W]`` in [0, 1] shows, in the middle of a square.

    Where next to nothing of it is clear, the background is what has the color of the edges and hangs together with
    them; also where only the corners of a plain background are clear, as a screen's or an icon's.

    Raises:
        JobError: ``bad_picture`` where it shows nothing, or its background is neither transparent nor of one color.
    """
    color, mask = rgba[:3], rgba[3:]
    clear = float((mask < 0.5).float().mean())
    if clear < CLEAR_SHARE:
        color, mask = keyed(color)
    else:
        color, mask = (clear < CORNERS_SHARE and before_plain(color, mask)) or (color * mask, mask)
    kept = without_specks(mask[0] > LEAST)
    shown = F.pad(torch.cat((color, mask)) * kept, (RIM, RIM, RIM, RIM))
    most = shown[3] > shown[3].max() / 2  # soft edges are kept, and do not count for its size
    rows, columns = (most.any(dim).nonzero()[:, 0] for dim in (1, 0))
    if len(rows) < LEAST_SIDE or len(columns) < LEAST_SIDE:
        raise JobError("bad_picture", "before its background it shows nothing, or what is too small or thin to go by")
    shown = shown[:, rows[0] - RIM : rows[-1] + 1 + RIM, columns[0] - RIM : columns[-1] + 1 + RIM]
    scale = FILL * SIDE / (max(shown.shape) - 2 * RIM)
    size = [min(SIDE, round(scale * n)) for n in shown.shape[1:]]
    shown = F.interpolate(shown[None], size, mode="bilinear", align_corners=False, antialias=True)
    top, left = ((SIDE - n) // 2 for n in size)
    shown = F.pad(shown, (left, SIDE - size[1] - left, top, SIDE - size[0] - top)).clamp(0, 1)
    return Picture(shown[:, :3], shown[:, 3:])


def before_plain(color: Tensor, mask: Tensor) -> tuple[Tensor, Tensor] | None:
    """As :func:`keyed`, of a picture whose background is plain but for clear corners; None where it is not, or the
    picture shows nothing before it, as a plain thing that fills it."""
    edges, solid = edges_of(color), edges_of(mask)[0] > 0.99
    if float(solid.float().mean()) < PLAIN_SHARE:
        return None
    background = edges[:, solid].median(1).values[:, None, None]
    try:
        cut, found = keyed(color * mask + background * (1 - mask))
    except JobError:
        return None
    return (cut, found) if float(found.mean()) >= LEAST_SHARE else None


def edges_of(picture: Tensor) -> Tensor:
    """The outermost pixels ``[C, N]`` of ``[C, H, W]``; corners twice."""
    return torch.cat((picture[:, 0], picture[:, -1], picture[:, :, 0], picture[:, :, -1]), 1)


def keyed(color: Tensor) -> tuple[Tensor, Tensor]:
    """Color over black ``[3, H, W]`` and mask ``[1, H, W]`` of a picture on a background of one color. Raises as
    :func:`cut_out`."""
    edges = edges_of(color)
    background = edges.median(1).values[:, None]
    plain = float(((edges - background).abs().amax(0) < PLAIN).float().mean())
    if plain < PLAIN_SHARE:
        raise JobError(
            "bad_picture", f"it is not transparent, and {plain:.0%} of its edges are of one color, too little to go by"
        )
    background = background[:, :, None]
    near = (color - background).abs().amax(0) < PLAIN
    outer = torch.zeros_like(near)
    outer[0], outer[-1], outer[:, 0], outer[:, -1] = near[0], near[-1], near[:, 0], near[:, -1]
    behind = reached(outer, near)
    rim = ~behind & widened(behind, RIM)
    # The rim's own color is that of what lies further inside; how much of it is there, where its mix with the
    # background's lies between the two.
    inside, known = color * ~(behind | rim), ~(behind | rim)
    for _ in range(2 * RIM):
        inside, known = grown(inside, known)
    away = inside - background
    length = away.square().sum(0)
    share = ((color - background) * away).sum(0) / length.clamp_min(1e-6)
    mixed = rim & known & (length > PLAIN**2)
    mask = torch.where(mixed, share.clamp(0, 1), (~behind).float())
    return torch.where(mixed, inside, color) * mask, mask[None]


def without_specks(shown: Tensor) -> Tensor:
    """``shown [H, W]`` without what is small and stands alone; all of it where there is nothing else."""
    radius = max(1, round(SPECK * max(shown.shape) / 2))
    while radius:
        wide = ~widened(~shown, radius)
        if bool(wide.any()):
            return reached(wide, shown)
        radius //= 2
    return shown


def widened(there: Tensor, radius: int) -> Tensor:
    """``there [H, W]`` and all within so many pixels of it; beyond the edges is nothing."""
    return F.max_pool2d(there.float()[None, None], 2 * radius + 1, 1, radius)[0, 0] > 0


def grown(color: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Colors ``[3, H, W]`` where they are ``known [H, W]``, and beside them the mean of their neighbors."""
    both = torch.cat((color * known, known[None].float()))
    mean = F.avg_pool2d(both[None], 3, 1, 1)[0]
    found = mean[3] > 0
    return torch.where(known, color, mean[:3] / mean[3].clamp_min(1e-6)), known | found


def reached(seeds: Tensor, free: Tensor) -> Tensor:
    """Where one gets from ``seeds`` by steps up, down, left and right through ``free``, both ``[H, W]``."""
    found, count = seeds & free, -1
    for _ in range(MOST_ROUNDS):
        # As far as it goes along rows, then along columns: few rounds, whatever the shape.
        for _ in range(2):
            found = _swept(found, free) | _swept(found.flip(1), free.flip(1)).flip(1)
            found, free = found.T, free.T
        if count == (count := int(found.sum())):
            break
    return found


def _swept(found: Tensor, free: Tensor) -> Tensor:
    """``found``, and what lies behind it to the right with nothing but ``free`` between."""
    place = torch.arange(free.shape[1], device=free.device).expand_as(free)
    blocked = torch.where(free, -1, place).cummax(1).values
    last = torch.where(found, place, -1).cummax(1).values
    return free & (last > blocked) | found


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
