"""The base color of a glTF file's materials: factor and texture, of the older kind of material too."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .colors import Material
from .common import BadFile
from .gltf import base_color_info, extension
from .gltf_data import Document, entry, numbers

REPEAT = 10497
#: Extensions that name the picture of a texture, in the order in which they are taken; "" is the texture's own.
SOURCES = ("", "EXT_texture_webp", "MSFT_texture_dds", "KHR_texture_basisu")


def gltf_materials(path: Path) -> dict[int, Material]:
    """The file's materials by their number. Raises ``BadFile`` for what the specification forbids."""
    document = Document(path)
    return {i: _material(document, i) for i in range(len(document.list_of("materials")))}


def _material(document: Document, number: int) -> Material:
    material = entry(document.data.get("materials"), number, "material")
    metal = material.get("pbrMetallicRoughness")
    plain = metal.get("baseColorFactor") if isinstance(metal, dict) else None
    if plain is None:
        plain = extension(material, "KHR_materials_pbrSpecularGlossiness").get("diffuseFactor")
    factor = None if plain is None else tuple(numbers(plain, 4, f"the color of material {number}")[:3].tolist())
    info = base_color_info(material)
    if "index" not in info:
        return Material(factor)
    texture = entry(document.data.get("textures"), info["index"], "texture")
    holders = (texture if not name else extension(texture, name) for name in SOURCES)
    source = next((holder["source"] for holder in holders if holder.get("source") is not None), None)
    if source is None:
        raise BadFile(f"texture {info['index']} names no picture")
    image = entry(document.data.get("images"), source, "image")
    name = str(image.get("name") or (image.get("uri", "")[:60] if isinstance(image.get("uri"), str) else ""))
    read = partial(document.picture, image, source)
    return Material(factor, f"{name or 'image'} ({source})", read, repeats=_repeats(document, texture))


def _repeats(document: Document, texture: dict) -> tuple[bool, bool]:
    """Whether the texture goes on beyond its tile, along u and v."""
    if "sampler" not in texture:
        return True, True
    sampler = entry(document.data.get("samplers"), texture["sampler"], "sampler")
    return sampler.get("wrapS", REPEAT) == REPEAT, sampler.get("wrapT", REPEAT) == REPEAT
