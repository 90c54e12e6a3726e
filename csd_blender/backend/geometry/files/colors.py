"""The base color that a mesh comes with: pictures, plain colors and colors of corners, all as sRGB bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ....job.errors import JobError
from ....job.folder import read_ordinary
from ..mesh import MAX_FACES
from .common import BadFile, FileMesh, beside, quote
from .npz import read_arrays, refusing, write_arrays

MAX_PICTURES = 64
MAX_COLORS = 1024  # pictures and plain colors
BEYOND = 0.01  # of a tile, by which UVs may leave a picture that is not repeated
MAX_SIDE = 4096  # pixels; what is larger is brought down to it, as no result has more
MAX_PIXELS = 1 << 26  # of one picture before it is unpacked, 8192 x 8192
MAX_TEXELS = 1 << 27  # of all pictures together
MAX_PICTURE_FILE = 256 << 20  # bytes
PUT_BESIDE = "Put it beside the mesh, or export the mesh as .glb, which has everything in it."
BAKE = "Bake the colors to one image, and export the mesh again."
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TGA", "TIFF", "GIF")


@dataclass
class Colors:
    """The base color of each of a mesh's F faces.

    Attributes:
        uv: ``[F, 3, 2]`` float32, v up: where the corners look their picture up; it repeats beyond the tile.
        picture: ``[F]`` int32, an index into ``pictures``.
        pictures: ``[H, W, 3]`` uint8 sRGB each, row 0 at v = 1. A plain color is a single texel.
        corner: ``[F, 3, 3]`` uint8 sRGB, which the picture is multiplied by; None for white.
        linear: between the corners, and with the picture, that is done in linear light, as glTF has it; else as the
            bytes are, which is how PLY files are shown.
    """

    uv: np.ndarray
    picture: np.ndarray
    pictures: list[np.ndarray]
    corner: np.ndarray | None = None
    linear: bool = False


@dataclass(frozen=True)
class Material:
    """What a file says of a material's base color.

    Attributes:
        factor: linear RGB, 0 to 1; None where the file has none.
        name, read: what the file calls the picture, and what gives its bytes; None without a picture.
        scale, offset: of the UVs, in this order. repeats: whether the picture goes on beyond its tile, along u and v.
        folder: where the picture is looked for; two of one name may be in two of them.
    """

    factor: tuple[float, float, float] | None = None
    name: str = ""
    read: Callable[[], bytes | memoryview] | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    repeats: tuple[bool, bool] = (True, True)
    folder: Path | None = None


def material_of_file(folder: Path, written: str, **more: Any) -> Material:
    """One with the picture that a mesh file in ``folder`` names."""

    def read() -> bytes:
        file = beside(folder, written)
        if file is None:
            raise JobError("picture_unreadable", f"“{quote(written)}” is not there", PUT_BESIDE)
        return read_ordinary(file, MAX_PICTURE_FILE)

    return Material(None, written, read, folder=folder, **more)


def colors_of(found: FileMesh, materials: Mapping[int, Material]) -> Colors:
    """The colors of what a file holds.

    Args:
        materials: by the numbers in ``found.base``; faces of others are white, as faces without a material are.

    Raises:
        JobError: ``mesh_colorless`` when nothing has a color, ``picture_unreadable``, ``mesh_too_large``.
    """
    faces = len(found.triangles)
    base = np.full(faces, -1) if found.base is None else found.base
    used = [materials.get(int(number), Material()) for number in np.unique(base)]
    corner, linear = found.corner_color, found.corner_light is not None
    if linear:
        corner = None if (found.corner_light == 1).all() else to_bytes(encode(found.corner_light))
    if corner is None and not linear and not any(m.factor is not None or m.read is not None for m in used):
        raise JobError("mesh_colorless")
    pictures: dict[tuple, np.ndarray] = {}
    if len({_key(m) for m in used if m.read is not None}) > MAX_PICTURES:
        raise JobError("picture_unreadable", f"there are more than {MAX_PICTURES} of them", BAKE)
    if len({_key(m) for m in used}) > MAX_COLORS:
        raise JobError("picture_unreadable", f"it has more than {MAX_COLORS} colors and pictures", BAKE)
    for material in used:
        key = _key(material)
        if key not in pictures:
            pictures[key] = _painted(material)
            if sum(picture.shape[0] * picture.shape[1] for picture in pictures.values()) > MAX_TEXELS:
                raise JobError("picture_unreadable", f"together they have more than {MAX_TEXELS >> 20} megapixels")
    places = list(pictures)
    number = np.array([places.index(_key(m)) for m in used], np.int32)
    chosen = np.searchsorted(np.unique(base), base)
    uv = np.zeros((faces, 3, 2)) if found.uv is None else np.array(found.uv, np.float64)
    uv = uv * np.array([m.scale for m in used])[chosen, None] + np.array([m.offset for m in used])[chosen, None]
    for i, material in enumerate(used):
        _check_within(uv[chosen == i], material)
    uv, place = np.float32(uv), number[chosen]
    return Colors(np.nan_to_num(uv), place, list(pictures.values()), corner, linear and corner is not None)


def _check_within(uv: np.ndarray, material: Material) -> None:
    """Raise ``JobError`` where faces ``[N, 3, 2]`` leave a picture that is held or mirrored at its edges."""
    outside = ((uv < -BEYOND) | (uv > 1 + BEYOND)).any(axis=(0, 1)) if len(uv) else np.zeros(2, bool)
    if material.read is not None and (outside & ~np.array(material.repeats)).any():
        said = f"faces leave “{quote(material.name)}”, which is held or mirrored at its edges and not repeated"
        raise JobError("picture_unreadable", said, BAKE)


def _key(material: Material) -> tuple:
    return (material.factor, *((material.folder, material.name) if material.read is not None else ()))


def _painted(material: Material) -> np.ndarray:
    """A material's picture, times its plain color."""
    factor = np.clip(np.array(material.factor or (1.0, 1.0, 1.0)), 0, 1)
    if material.read is None:
        return to_bytes(encode(factor))[None, None]
    try:
        picture = decode_picture(material.read())
    except (BadFile, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise JobError("picture_unreadable", f"“{quote(material.name)}”: {reason[:170]}") from None
    if (factor == 1).all():
        return picture
    table = to_bytes(encode(decode(np.arange(256)[:, None] / 255.0) * factor))  # [256, 3]
    return np.stack([table[picture[..., i], i] for i in range(3)], axis=-1)


def decode_picture(data: bytes | memoryview) -> np.ndarray:
    """``[H, W, 3]`` uint8 of a picture file, brought down to `MAX_SIDE`. What shines through is left out.

    Raises:
        BadFile: for what is no picture, damaged, or too large to be unpacked.
    """
    if len(data) > MAX_PICTURE_FILE:
        raise BadFile(f"it has {len(data) >> 20} MB; at most {MAX_PICTURE_FILE >> 20} MB are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # larger ones are refused here
            opened = Image.open(io.BytesIO(data), formats=FORMATS)
        with opened as file:
            width, height = file.size
            if width * height > MAX_PIXELS:
                raise BadFile(f"it has {width} x {height} pixels; scale it down to 8192 x 8192 or less")
            file.draft("RGB", (MAX_SIDE, MAX_SIDE))  # a JPEG is unpacked no larger than it is used
            file.load()
            if file.mode == "F":
                raise BadFile("it has numbers of 32 bits with a fraction; save it as PNG")
            if file.mode.startswith("I"):  # 16 bits a channel, which `convert` would cut off
                picture = Image.fromarray(to_bytes(np.asarray(file, np.float64) / 65535)).convert("RGB")
            else:
                picture = file.convert("RGBA" if file.mode == "P" else "RGB").convert("RGB")
    except BadFile:
        raise
    except Image.DecompressionBombError:
        raise BadFile("it has far too many pixels; scale it down to 8192 x 8192 or less") from None
    except Exception as error:  # the library has exceptions of its own for every kind of damage
        raise BadFile(f"it is damaged, or no picture that can be read ({type(error).__name__})") from None
    if max(picture.size) > MAX_SIDE:
        scale = MAX_SIDE / max(picture.size)
        size = tuple(max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize(size, Image.Resampling.BOX)
    return np.asarray(picture, np.uint8).copy()


def decode(values: np.ndarray) -> np.ndarray:
    """sRGB to linear light (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encode(values: np.ndarray) -> np.ndarray:
    """Linear light to sRGB."""
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * np.maximum(values, 1e-9) ** (1 / 2.4) - 0.055)


def to_bytes(values: np.ndarray) -> np.ndarray:
    return np.uint8(np.round(np.clip(values, 0, 1) * 255))


# ---- in a job's folder ----------------------------------------------------------------------------------------------

_ARRAYS = {
    "uv": ("f", (None, 3, 2), MAX_FACES),
    "picture": ("iu", (None,), MAX_FACES),
    "corner": ("u", (None, 3, 3), MAX_FACES),
    "corner_linear": ("u", (None, 3, 3), MAX_FACES),
    **{f"picture_{i}": ("u", (None, None, 3), MAX_SIDE) for i in range(MAX_COLORS)},
}


def save_colors(path: str | Path, colors: Colors) -> None:
    """Write them without pickles; the file appears whole or not at all."""
    arrays = {"uv": colors.uv, "picture": colors.picture}
    arrays |= {f"picture_{i}": picture for i, picture in enumerate(colors.pictures)}
    if colors.corner is not None:
        arrays["corner_linear" if colors.linear else "corner"] = colors.corner
    write_arrays(path, arrays)


def load_colors(path: str | Path) -> Colors:
    """Read what :func:`save_colors` or the Blender side wrote.

    Raises:
        JobError: ``bad_job_folder``.
    """
    with refusing(path, "bad_job_folder"):
        found = read_arrays(path, _ARRAYS)
        pictures = []
        while f"picture_{len(pictures)}" in found:
            pictures.append(found[f"picture_{len(pictures)}"])
        uv, picture, linear = found["uv"], found["picture"].astype(np.int32), "corner_linear" in found
        corner = found.get("corner_linear" if linear else "corner")
        kinds = {array.dtype for array in (*pictures, *([] if corner is None else [corner]))}
        if kinds != {np.dtype(np.uint8)} or not all(p.size for p in pictures):
            raise BadFile("its pictures are not of bytes")
        if any(len(array) != len(uv) for array in (picture, *([] if corner is None else [corner]))):
            raise BadFile("its arrays are not of one mesh")
        if len(uv) and not 0 <= picture.min() <= picture.max() < len(pictures):
            raise BadFile("a face has a picture that is not there")
        return Colors(np.nan_to_num(np.float32(uv)), picture, pictures, corner, linear)
