"""The list of the glTF samples, and what is known of each."""

# ruff: noqa: E501 (one row a file)

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from tests.support.mesh_files.gltf_samples import (
    CUBE,
    DATA_URI,
    FAN,
    FAN_KNOWN,
    HALF,
    INDICES,
    LATER,
    MOVED,
    NO_MESH_ELSEWHERE,
    STRIP,
    STRIP_KNOWN,
    TALL,
    U8,
    U16,
    U32,
    UV,
    Gltf,
    Sample,
    compressed,
    corners,
    interleaved,
    material,
    morphed,
    moved_by,
    packed,
    required,
    second_uv,
    second_uv_by_transform,
    signed_positions,
    simple,
    skinned,
    sparse,
    tree,
    two_primitives,
)
from tests.support.mesh_files.shapes import UV_AREA, cube, upright

WITH_UV = cube(uv=UV_AREA)
ROUNDED = float(np.abs(np.linalg.det(np.diff((UV * 255).round().reshape(12, 3, 2), axis=1))).sum() / 2 / 255**2)


def text(name: str, data: dict | str | bytes, **known) -> Sample:
    data = json.dumps(data) if isinstance(data, dict) else data
    return Sample(name, {name: data if isinstance(data, bytes) else data.encode()}, **known)


def changed(g: Gltf, change) -> Gltf:
    change(g)
    return g


def set_in(holder: str, index: int, **values):
    return lambda g: getattr(g, holder)[index].update(values)


def textured(transform: dict, uv=UV) -> Gltf:
    g = corners(uv=uv, more=material({"extensions": {"KHR_texture_transform": transform}}))
    g.meshes[0]["primitives"][0]["material"] = 0
    return required(g, "KHR_texture_transform", needed=False)


SAMPLES = [
    simple().file("plain", **cube()),
    simple().file("UPPER.GLB", **cube()),
    corners().file("uv_without_material", **WITH_UV),
    simple(code=U8).file("bytes", **cube()),
    simple(code=U32).file("words", **cube()),
    second_uv().file("second_uv", **WITH_UV, blender="its first map is the active one"),
    second_uv_by_transform().file("second_uv_by_transform", **WITH_UV, blender="its first map is the active one"),
    packed(U16, 65535).file("quantized", **WITH_UV),
    packed(U8, 255).file("quantized_bytes", **cube(uv=ROUNDED)),
    packed(U16, 4095, transform={"scale": [65535 / 4095] * 2}).file("quantized_and_transformed", **WITH_UV, blender="puts the transform into the material"),
    packed(U16, 4095, normalized=False, transform={"scale": [1 / 4095] * 2}).file("quantized_not_normalized", **WITH_UV, blender="puts the transform into the material"),
    signed_positions().file("signed_bytes", **cube()),
    textured({"offset": [0.5, 0.1], "scale": [0.5, 0.25]}).file("texture_transform", **cube(uv=UV_AREA / 8), blender="puts the transform into the material"),
    textured({"rotation": np.pi / 6}).file("texture_rotation", **WITH_UV),
    sparse(True).file("sparse", **TALL),
    sparse(False).file("sparse_without_view", **cube()),
    interleaved().file("interleaved", **WITH_UV),
    simple().separate("escaped", "my%20chair%C3%A9.bin", "my chairé.bin", **cube()),
    simple().separate("not_escaped", "my chair.bin", "my chair.bin", **cube()),
    simple().separate("percent_in_name", "50%25.bin", "50%.bin", **cube()),
    simple().separate("in_a_folder", "parts/data.bin", "parts/data.bin", **cube()),
    simple().separate("data_uri", DATA_URI, None, **cube()),
    simple().separate("data_uri_other_type", DATA_URI.replace("octet-stream", "gltf-buffer"), None, **cube()),
    simple().separate("data_uri_in_lines", "\n".join(DATA_URI[i : i + 60] for i in range(0, len(DATA_URI), 60)), None, **cube()),
    simple().separate("longer_buffer", "a.bin", None, **cube()),
    simple(points=FAN, indices=[0, 1, 2, 3, 4], mode=6).file("fan", **FAN_KNOWN),
    simple(points=FAN, indices=None, mode=6).file("fan_without_indices", **FAN_KNOWN),
    simple(points=STRIP, indices=[0, 1, 2, 3, 4], mode=5).file("strip", **STRIP_KNOWN),
    simple(points=STRIP, indices=None, mode=5).file("strip_without_indices", **STRIP_KNOWN),
    simple(points=STRIP, indices=[0, 1, 2, 2, 3, 3, 2, 1, 3, 4], mode=5).file("strip_with_turns", area=2.0, box=STRIP_KNOWN["box"], blender="drops faces that are there already"),
    simple(points=STRIP, indices=[0, 1, 2, 65535, 2, 3, 4], mode=5).file("strip_restart", area=1.0, box=STRIP_KNOWN["box"], blender="refuses"),
    two_primitives().file("two_primitives_and_a_line", **cube()),
    simple({"translation": [5, 0, 0]}).file("translated", **MOVED),
    simple({"rotation": [0, 0, HALF, HALF], "scale": [1, 2, 3]}).file("turned_and_scaled", area=2 * 4 * (2 + 3 + 6), volume=48.0, box=upright((-2, -1, -3), (2, 1, 3))),
    simple({"matrix": [0, 1, 0, 0, -2, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1]}).file("matrix", area=88.0, volume=48.0, box=upright((-2, -1, -3), (2, 1, 3))),
    simple({"scale": [-1, 1, 1]}).file("mirrored", **cube()),
    tree([{"mesh": 0, "scale": [-1, 1, 1]}, {"children": [0], "scale": [1, -2, 1]}]).file("mirrored_twice", area=40.0, volume=16.0, box=upright((-1, -2, -1), (1, 2, 1))),
    tree([{"mesh": 0, "translation": [1, 0, 0]}, {"children": [0], "scale": [-1, 1, 1], "translation": [6, 0, 0]}]).file("below_a_mirror", **MOVED),
    tree([{"mesh": 0}, {"mesh": 0, **LATER}], [{"nodes": [1]}, {"nodes": [0]}]).file("scene_of_two", **MOVED),
    tree([{"mesh": 0, **LATER}, {"mesh": 0}], NO_MESH_ELSEWHERE, 1).file("second_scene", **MOVED),
    tree([{"mesh": 0, **LATER}, {}], [{"nodes": [0, 1]}], None).file("no_default_scene", **MOVED),
    tree([{"mesh": 0, **LATER}], []).file("no_scene", **MOVED, blender="refuses"),
    skinned({"translation": [5, 0, 0], "scale": [3, 3, 3]}, {}, None).file("skinned", **cube()),
    skinned({"translation": [9, 0, 0]}, {"translation": [1, 0, 0]}, moved_by([-1, 0, 0])).file("skinned_at_rest", **cube()),
    skinned({}, {"translation": [6, 0, 0]}, moved_by([-1, 0, 0])).file("skinned_and_posed", **MOVED),
    skinned({"scale": [100, 100, 100]}, {"scale": [0.5, 0.5, 0.5]}, None).file("skinned_and_scaled", area=6.0, volume=1.0, box=((-0.5,) * 3, (0.5,) * 3)),
    morphed(False).file("morph_weights_of_the_mesh", **TALL),
    morphed(True).file("morph_weights_of_the_node", **TALL),
    simple({"translation": [5e5, 120, 5.5e6]}).file("far_away", **cube(box=((499999, -5500001, 119), (500001, -5499999, 121)))),
    required(simple(), "KHR_materials_unlit", "EXT_texture_webp").file("materials_required", **cube()),
    required(simple(), "EXT_mesh_gpu_instancing", "VENDOR_new", needed=False).file("used_only", **cube()),
    changed(simple(), set_in("nodes", 0, camera=99, extras=[1])).file("odd_extras", **cube(), blender="refuses"),
    changed(simple(), lambda g: g.more.update(images=[{"uri": "missing.png"}, {"bufferView": 99}], materials=[{}])).file("broken_pictures", **cube()),
    required(compressed("KHR_draco_mesh_compression"), "KHR_draco_mesh_compression").file("draco", refused=("Draco", "export it without")),
    compressed("KHR_draco_mesh_compression").file("draco_not_required", refused=("KHR_draco_mesh_compression",)),
    required(simple(), "EXT_meshopt_compression").file("meshopt", refused=("meshopt",)),
    required(simple(), "EXT_mesh_gpu_instancing").file("instancing", refused=("EXT_mesh_gpu_instancing",)),
    required(simple(), "VENDOR_strange").file("unknown_required", refused=("VENDOR_strange",)),
    simple().separate("missing_buffer", "missing.bin", None, refused=("missing.bin", "not there")),
    simple().separate("buffer_elsewhere", "https://example.invalid/a.bin", None, refused=("does not lie beside",)),
    simple().separate("absolute_buffer", "/etc/hostname", None, refused=("does not lie beside",)),
    simple().separate("short_data_uri", DATA_URI[: DATA_URI.index(',') + 101], None, refused=("of 168 bytes",)),
    simple().separate("data_uri_of_other_letters", DATA_URI[:-80] + "!!!!" + DATA_URI[-80:], None, refused=("base64",)),
    text("version_2_1.gltf", {"asset": {"version": "2.0", "minVersion": "2.1"}}, refused=("version '2.1'",)),
    text("version_1.gltf", {"asset": {"version": "1.0"}, "meshes": {}}, refused=("version '1.0'",)),
    text("no_asset.gltf", {"meshes": []}, refused=("no glTF",)),
    text("prose.gltf", "not JSON", refused=("cannot be read",)),
    text("deep.gltf", "[" * 100_000, refused=("cannot be read",)),
    text("empty.glb", b"", refused=("empty",)),
    text("head_only.glb", b"glTF\2\0\0\0", refused=("ends early",)),
    simple().file("cut_off", 40, refused=("ends early",)),
    simple().file("version_1", 0, 1, refused=("version 1",)),
    simple(indices=[*INDICES[:-1], 8]).file("index_beyond", refused=("index is 8", "8 vertices")),
    simple(indices=[*INDICES[:-1], 255], code=U8).file("restart_in_triangles", refused=("restart",)),
    simple(indices=INDICES[:-1]).file("not_whole_triangles", refused=("35 corners",)),
    simple(mode=7).file("unknown_mode", refused=("mode 7",)),
    changed(simple(), set_in("accessors", 0, count=9)).file("accessor_beyond", refused=("accessor 0", "9 rows")),
    changed(simple(), set_in("accessors", 0, count=-8)).file("negative_count", refused=("count -8",)),
    changed(simple(), set_in("accessors", 0, type="VEC7")).file("unknown_type", refused=("VEC7",)),
    changed(simple(), set_in("accessors", 0, componentType=5130)).file("unknown_numbers", refused=("5130",)),
    changed(simple(), set_in("views", 0, byteLength=10**6)).file("view_beyond", refused=("buffer view 0",)),
    changed(simple(), set_in("views", 0, buffer=3)).file("buffer_beyond", refused=("buffer 3",)),
    changed(simple(), set_in("nodes", 0, mesh=7)).file("mesh_beyond", refused=("mesh 7",)),
    changed(corners(), set_in("accessors", 1, count=35)).file("too_few_uvs", refused=("35 UVs",)),
    changed(skinned({}, {}, None), lambda g: g.more["skins"][0].update(joints=[])).file("skin_without_joints", refused=("no joints",)),
    tree([{"children": [1]}, {"children": [0]}, {"mesh": 0}]).file("circle", refused=("circle",)),
    tree([{"mesh": 0}, {"children": [0]}, {"children": [0]}]).file("two_parents", refused=("parents",)),
    simple({"translation": [0, 0, None]}).file("not_numbers", refused=("translation",)),
    simple({"matrix": [1, 2, 3]}).file("short_matrix", refused=("matrix",)),
    simple(points=CUBE * [1, np.nan, 1]).file("not_a_number", refused=("not numbers",)),
    changed(simple(), set_in("meshes", 0, weights=None)).file("weights_of_null", refused=("weights", "no list")),
    simple(mode=0).file("points_only", refused=("no faces",)),
    tree([{"mesh": 0}], [{}]).file("empty_scene", refused=("no faces",)),
]  # fmt: skip


def _longer_buffer(sample: Sample) -> Sample:
    return replace(sample, files=sample.files | {"a.bin": simple().binary + bytes(100)})


SAMPLES = [_longer_buffer(s) if s.name == "longer_buffer.gltf" else s for s in SAMPLES]
