"""glTF files as exporters, packers and hands write them."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np

from tests.support.mesh_files.shapes import CUBE, CUBE_TRIANGLES, TRIANGLE_UV, Sample, cube, upright

F32, U8, U16, U32, I8, I16 = 5126, 5121, 5123, 5125, 5120, 5122
DTYPES = {F32: "<f4", U8: "u1", U16: "<u2", U32: "<u4", I8: "i1", I16: "<i2"}
CORNERS = CUBE[CUBE_TRIANGLES.reshape(-1)]
UV = TRIANGLE_UV.reshape(-1, 2) * [1, -1] + [0, 1]  # v down, as glTF has it
INDICES = CUBE_TRIANGLES.reshape(-1)
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)


class Gltf:
    """A document that grows; ``file`` makes a sample of it."""

    def __init__(self):
        self.binary, self.views, self.accessors = b"", [], []
        self.meshes: list[dict] = []
        self.nodes: list[dict] = []
        self.more: dict = {}

    def view(self, data: bytes, **more) -> int:
        self.binary += bytes(-len(self.binary) % 4)
        self.views.append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)} | more)
        self.binary += data
        return len(self.views) - 1

    def accessor(self, values, kind: str, code: int = F32, view: bool = True, **more) -> int:
        values = np.asarray(values)
        made = {"componentType": code, "count": len(values), "type": kind}
        if kind == "VEC3" and code == F32 and len(values):
            made |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        if view:
            made["bufferView"] = self.view(values.astype(DTYPES[code]).tobytes())
        self.accessors.append(made | more)
        return len(self.accessors) - 1

    def primitive(self, points=CUBE, indices=INDICES, code: int = U16, mode=None, uv=None, **more) -> dict:
        made: dict = {"attributes": {"POSITION": self.accessor(points, "VEC3")}}
        if indices is not None:
            made["indices"] = self.accessor(indices, "SCALAR", code)
        if uv is not None:
            made["attributes"]["TEXCOORD_0"] = self.accessor(uv, "VEC2")
        return made | ({} if mode is None else {"mode": mode}) | more

    def mesh(self, *primitives: dict, node: dict | None = None, **more) -> dict:
        """The mesh of these primitives, shown by a node."""
        self.meshes.append({"primitives": list(primitives)} | more)
        self.nodes.append({"mesh": len(self.meshes) - 1} | (node or {}))
        return self.meshes[-1]

    def document(self, uri: str | None = None, length: int | None = None) -> dict:
        buffer = {"byteLength": len(self.binary) if length is None else length} | ({"uri": uri} if uri else {})
        children = {child for node in self.nodes for child in node.get("children", [])}
        roots = [i for i in range(len(self.nodes)) if i not in children]
        made = {"asset": {"version": "2.0"}, "buffers": [buffer], "bufferViews": self.views}
        made |= {"accessors": self.accessors, "meshes": self.meshes, "nodes": self.nodes}
        made |= {"scenes": [{"nodes": roots}], "scene": 0}
        return {key: value for key, value in (made | self.more).items() if value is not None}

    def glb(self, cut: int = 0, version: int = 2) -> bytes:
        text = json.dumps(self.document()).encode()
        text += b" " * (-len(text) % 4)
        data = self.binary + bytes(-len(self.binary) % 4)
        whole = struct.pack("<4sIIII", b"glTF", version, 28 + len(text) + len(data), len(text), 0x4E4F534A) + text
        whole += struct.pack("<II", len(data), 0x004E4942) + data
        return whole[:-cut] if cut else whole

    def file(self, name: str, cut: int = 0, version: int = 2, **known) -> Sample:
        name += "" if name.lower().endswith(".glb") else ".glb"
        return Sample(name, {name: self.glb(cut, version)}, **known)

    def separate(self, name: str, uri: str, stored: str | None, **known) -> Sample:
        files = {f"{name}.gltf": json.dumps(self.document(uri)).encode()}
        return Sample(f"{name}.gltf", files | ({stored: self.binary} if stored else {}), **known)


def simple(node: dict | None = None, more: dict | None = None, **primitive) -> Gltf:
    g = Gltf()
    g.mesh(g.primitive(**primitive), node=node)
    g.more = more or {}
    return g


def corners(uv=UV, **more) -> Gltf:
    """The cube with a vertex for each corner, and UVs."""
    return simple(points=CORNERS, indices=None, uv=uv, **more)


def material(texture: dict) -> dict:
    base = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0} | texture}}
    return {"materials": [base], "textures": [{"source": 0}], "images": [{"uri": DOT}]}


def second_uv() -> Gltf:
    g = corners(uv=UV * 0, more=material({"texCoord": 1}))
    primitive = g.meshes[0]["primitives"][0]
    primitive["attributes"]["TEXCOORD_1"] = g.accessor(UV, "VEC2")
    primitive["material"] = 0
    return g


def second_uv_by_transform() -> Gltf:
    g = second_uv()
    transform = {"texCoord": 1, "offset": [0.25, 0]}
    g.more |= material({"texCoord": 0, "extensions": {"KHR_texture_transform": transform}})
    return g


def packed(code: int, top: int, normalized: bool = True, transform: dict | None = None) -> Gltf:
    """As gltfpack writes it: whole numbers below a scaled node."""
    g = Gltf()
    whole = ((CORNERS + 1) / 2 * 4095).round()
    attributes = {
        "POSITION": g.accessor(whole, "VEC3", U16, view=False, min=[0] * 3, max=[4095] * 3),
        "TEXCOORD_0": g.accessor((UV * top).round(), "VEC2", code, view=False, normalized=normalized),
    }
    padded = np.concatenate([whole, np.zeros((36, 1))], 1).astype("<u2")
    g.accessors[0]["bufferView"] = g.view(padded.tobytes(), byteStride=8)
    rows = (UV * top).round().astype(DTYPES[code])
    rows = np.concatenate([rows, np.zeros((36, 4 // rows.itemsize - 2), rows.dtype)], 1)
    g.accessors[1]["bufferView"] = g.view(rows.tobytes(), byteStride=4)
    g.mesh({"attributes": attributes, "material": 0}, node={"scale": [2 / 4095] * 3, "translation": [-1] * 3})
    used = ["KHR_mesh_quantization"] + (["KHR_texture_transform"] if transform else [])
    g.more = {"materials": [{"name": "m"}], "extensionsUsed": used, "extensionsRequired": ["KHR_mesh_quantization"]}
    if transform:
        g.more |= material({"extensions": {"KHR_texture_transform": transform}})
    return g


def signed_positions() -> Gltf:
    g = Gltf()
    rows = np.concatenate([CUBE * 127, np.zeros((8, 1))], 1).astype("i1")
    position = g.accessor(CUBE * 127, "VEC3", I8, view=False, normalized=True, min=[-127] * 3, max=[127] * 3)
    g.accessors[position]["bufferView"] = g.view(rows.tobytes(), byteStride=4)
    g.mesh({"attributes": {"POSITION": position}, "indices": g.accessor(INDICES, "SCALAR", U8)})
    g.more = {"extensionsUsed": ["KHR_mesh_quantization"], "extensionsRequired": ["KHR_mesh_quantization"]}
    return g


def sparse(base: bool) -> Gltf:
    """The cube with its top raised from 1 to 3 (base), or all of a cube in the sparse part."""
    g = Gltf()
    position = g.accessor(CUBE, "VEC3", view=base)
    rows, values = (np.array([2, 3, 6, 7]), CUBE[[2, 3, 6, 7]] + [0, 2, 0]) if base else (np.arange(8), CUBE)
    g.accessors[position]["sparse"] = {
        "count": len(rows),
        "indices": {"bufferView": g.view(rows.astype("<u2").tobytes()), "componentType": U16},
        "values": {"bufferView": g.view(values.astype("<f4").tobytes())},
    }
    g.mesh({"attributes": {"POSITION": position}, "indices": g.accessor(INDICES, "SCALAR", U16)})
    return g


def interleaved() -> Gltf:
    g = Gltf()
    rows = np.concatenate([CORNERS, UV, UV], 1).astype("<f4")
    view = g.view(rows.tobytes(), byteStride=28)
    position = g.accessor(CORNERS, "VEC3", view=False, bufferView=view, byteOffset=0)
    uv = g.accessor(UV, "VEC2", view=False, bufferView=view, byteOffset=12)
    g.mesh({"attributes": {"POSITION": position, "TEXCOORD_0": uv}})
    return g


def tree(nodes: list[dict], scenes: list | None = None, scene: int | None = 0, **more) -> Gltf:
    g = Gltf()
    g.mesh(g.primitive())
    g.nodes = nodes
    g.more = {"scenes": scenes} if scenes is not None else {}
    if scene != 0:
        g.more["scene"] = scene
    return g


def skinned(own: dict, joint: dict, inverse: np.ndarray | None) -> Gltf:
    g = Gltf()
    primitive = g.primitive()
    primitive["attributes"]["JOINTS_0"] = g.accessor(np.zeros((8, 4)), "VEC4", U8)
    primitive["attributes"]["WEIGHTS_0"] = g.accessor(np.tile([1, 0, 0, 0], (8, 1)), "VEC4")
    g.mesh(primitive, node={"skin": 0} | own)
    g.nodes.append({"name": "bone"} | joint)
    skin = {"joints": [1]}
    if inverse is not None:
        skin["inverseBindMatrices"] = g.accessor(inverse.T.reshape(1, 16), "MAT4")
    g.more = {"skins": [skin]}
    return g


def morphed(on_node: bool) -> Gltf:
    g = Gltf()
    delta = np.zeros((8, 3))
    delta[CUBE[:, 1] > 0] = [0, 2, 0]
    primitive = g.primitive(targets=[{"POSITION": g.accessor(delta, "VEC3")}])
    g.mesh(primitive, node={"weights": [1.0]} if on_node else {}, weights=[0.0 if on_node else 1.0])
    return g


def moved_by(offset) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def two_primitives() -> Gltf:
    g = Gltf()
    line = g.primitive(indices=[0, 1], mode=1)
    g.mesh(g.primitive(indices=INDICES[:18]), g.primitive(indices=INDICES[18:], code=U32), line)
    return g


def compressed(name: str) -> Gltf:
    g = Gltf()
    primitive = {
        "attributes": {"POSITION": g.accessor(CUBE, "VEC3", view=False)},
        "indices": g.accessor(INDICES, "SCALAR", U16, view=False),
        "extensions": {name: {"bufferView": g.view(b"DRACO\2\2\1\1\0\0...."), "attributes": {"POSITION": 0}}},
    }
    g.mesh(primitive)
    g.more = {"extensionsUsed": [name]}
    return g


def required(g: Gltf, *names: str, needed: bool = True) -> Gltf:
    g.more |= {"extensionsUsed": list(names)} | ({"extensionsRequired": list(names)} if needed else {})
    return g


FAN = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (-1, 1, 0)]
FAN_KNOWN = {"area": 1.5, "box": upright((-1, 0, 0), (1, 1, 0)), "facing": (0, -1, 0)}
STRIP = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 2, 0)]
STRIP_KNOWN = {"area": 1.5, "box": upright((0, 0, 0), (1, 2, 0)), "facing": (0, -1, 0)}
TALL = {"area": 40.0, "volume": 16.0, "box": upright((-1, -1, -1), (1, 3, 1))}
MOVED = cube(box=upright((4, -1, -1), (6, 1, 1)))
HALF = 2**0.5 / 2
DATA_URI = "data:application/octet-stream;base64," + base64.b64encode(simple().binary).decode()
LATER = {"translation": [5, 0, 0]}
NO_MESH_ELSEWHERE = [{"nodes": [1]}, {"nodes": [0]}]
