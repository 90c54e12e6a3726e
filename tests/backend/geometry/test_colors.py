"""The base color that mesh files bring along, format by format, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from csd_blender.backend.geometry.files import colors as c
from csd_blender.backend.geometry.files.gltf import read_gltf
from csd_blender.backend.geometry.mesh import Mesh
from csd_blender.backend.geometry.mesh_io import load_colored, load_mesh, save_glb
from csd_blender.job.errors import JobError

UV = np.array([[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]]], np.float32)
SQUARE = Mesh([[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]], [[0, 1, 2], [0, 2, 3]], UV, part_names=("square",))


def quarters(size: int = 8) -> np.ndarray:
    """Red, green above; blue, white below."""
    picture = np.zeros((size, size, 3), np.uint8)
    half = size // 2
    picture[:half, :half, 0] = picture[:half, half:, 1] = picture[half:, :half, 2] = 255
    picture[half:, half:] = 255
    return picture


def png(picture: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.fixture
def glb(tmp_path):
    (tmp_path / "a.png").write_bytes(png(quarters()))
    save_glb(tmp_path / "a.glb", SQUARE, UV, tmp_path / "a.png")
    return tmp_path / "a.glb"


def gltf(folder: Path, change=lambda data: None, image=None) -> Path:
    """The square as a text file, with the picture beside it."""
    (folder / "a.png").write_bytes(png(quarters()) if image is None else image)
    numbers = np.concatenate([SQUARE.positions[SQUARE.triangles.ravel()].ravel(), (UV * [1, -1] + [0, 1]).ravel()])
    (folder / "a.bin").write_bytes(np.float32(numbers).tobytes())
    data = {
        "asset": {"version": "2.0"},
        "buffers": [{"uri": "a.bin", "byteLength": 120}],
        "bufferViews": [{"buffer": 0, "byteLength": 72}, {"buffer": 0, "byteOffset": 72, "byteLength": 48}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": 6},
            {"bufferView": 1, "componentType": 5126, "type": "VEC2", "count": 6},
        ],
        "images": [{"uri": "a.png"}],
        "textures": [{"source": 0}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": 0}]}],
        "nodes": [{"mesh": 0}],
    }
    change(data)
    (folder / "a.gltf").write_text(json.dumps(data))
    return folder / "a.gltf"


def test_what_this_program_writes_is_read_to_the_byte(glb):
    mesh, colors = load_colored(glb)
    assert np.array_equal(colors.pictures[0], quarters()) and len(colors.pictures) == 1
    assert np.allclose(colors.uv, mesh.uv) and not colors.picture.any() and colors.corner is None
    assert np.array_equal(mesh.triangles, load_mesh(glb).triangles)


def test_a_picture_beside_a_text_gltf_is_multiplied_by_the_factor_in_linear_light(tmp_path):
    def half(data):
        data["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] = [0.5, 1, 1, 1]

    _, colors = load_colored(gltf(tmp_path, half))
    assert colors.pictures[0][0, 0].tolist() == [188, 0, 0] and colors.pictures[0][0, -1].tolist() == [0, 255, 0]
    assert np.array_equal(load_colored(gltf(tmp_path))[1].pictures[0], quarters())


def test_a_plain_factor_is_one_texel(tmp_path):
    def plain(data):
        data["materials"][0]["pbrMetallicRoughness"] = {"baseColorFactor": [0, 0.5, 1, 1]}

    _, colors = load_colored(gltf(tmp_path, plain))
    assert colors.pictures[0].tolist() == [[[0, 188, 255]]]


def test_the_older_kind_of_material_and_several_materials_each_find_their_own(tmp_path):
    def two(data):
        older = {"diffuseTexture": {"index": 0}, "diffuseFactor": [1, 1, 1, 1]}
        data["materials"] = [
            {"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}},
            {"extensions": {"KHR_materials_pbrSpecularGlossiness": older}},
        ]
        first = data["meshes"][0]["primitives"][0]
        data["meshes"][0]["primitives"] = [first, first | {"material": 1}]

    _, colors = load_colored(gltf(tmp_path, two))
    shown = [colors.pictures[i].shape for i in colors.picture]
    assert shown == [(1, 1, 3)] * 2 + [(8, 8, 3)] * 2


def vertex_colors(values: np.ndarray, kind: int = 5126, width: int = 4, **more):
    """What gives the square colors of its six vertices, written as the file's numbers of that kind."""

    def change(data):
        number = {5126: np.float32, 5121: np.uint8, 5123: np.uint16}[kind]
        rows = np.hstack([values, np.full((6, 1), 3)])[:, :width].astype(number)
        data["buffers"].append({"uri": uri(rows.tobytes()), "byteLength": rows.nbytes})
        data["bufferViews"].append({"buffer": 1, "byteLength": rows.nbytes})
        accessor = {"bufferView": 2, "componentType": kind, "type": f"VEC{width}", "count": 6}
        data["accessors"].append(accessor | ({"normalized": True} if kind != 5126 else {}) | more)
        data["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"] = 2

    return change


def uri(data: bytes) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(data).decode()


#: Linear: half, one and nothing, and beyond one, which counts as one.
LIGHT = np.array([[0.5, 1, 0]] * 3 + [[1, 0.2, 7]] * 3)


@pytest.mark.parametrize("width", [3, 4])
@pytest.mark.parametrize(("kind", "most"), [(5126, 1), (5121, 255), (5123, 65535)])
def test_vertices_of_a_gltf_bring_their_colors_as_linear_light(tmp_path, kind, most, width):
    light = LIGHT if kind == 5126 else np.round(LIGHT.clip(0, 1) * most)
    _, colors = load_colored(gltf(tmp_path, vertex_colors(light, kind, width)))
    assert colors.linear and np.array_equal(colors.pictures[0], quarters()), "they are multiplied where both are seen"
    assert read_gltf(tmp_path / "a.gltf", colored=True).corner_light.max() == 1.0, "the specification clamps them"
    first, second = colors.corner.tolist()
    assert first == [[188, 255, 0]] * 3 and second == [[255, 124, 255]] * 3


def test_faces_without_colors_of_their_vertices_are_white_and_a_turned_one_keeps_its_corners(tmp_path):
    def change(data):
        vertex_colors(np.eye(3)[[0, 1, 2, 0, 1, 2]])(data)
        colored = data["meshes"][0]["primitives"][0]
        plain = {name: index for name, index in colored["attributes"].items() if name != "COLOR_0"}
        data["meshes"][0]["primitives"].append({"attributes": plain})
        data["nodes"] = [{"mesh": 0, "scale": [-1, 1, 1]}]

    mesh, colors = load_colored(gltf(tmp_path, change))
    assert (colors.corner[2:] == 255).all() and len(colors.corner) == len(mesh.triangles) == 4
    x = mesh.positions[mesh.triangles[0], 0]  # corners of the first face were at 0, 1, 1 from red to blue
    assert colors.corner[0][x == 0].tolist() == [[255, 0, 0]] and colors.corner[0, 0].tolist() == [0, 0, 255]


def test_vertex_colors_alone_are_enough_and_white_ones_change_nothing(tmp_path):
    def bare(values):
        def change(data):
            vertex_colors(values)(data)
            data["materials"] = [{}]

        return change

    _, colors = load_colored(gltf(tmp_path, bare(LIGHT)))
    assert colors.pictures[0].tolist() == [[[255] * 3]] and colors.corner[0, 0].tolist() == [188, 255, 0]
    _, white = load_colored(gltf(tmp_path, bare(np.ones((6, 3)))))
    assert white.corner is None and not white.linear


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"normalized": False}, "not marked as normalized"),
        ({"count": 5}, "5 vertex colors for 6"),
        ({"type": "VEC2"}, "not VEC3 or VEC4"),
    ],
)
def test_vertex_colors_that_gltf_forbids_are_refused_where_they_are_asked_for(tmp_path, more, said):
    path = gltf(tmp_path, vertex_colors(np.full((6, 3), 255), 5121, **more))
    with pytest.raises(JobError) as caught:
        load_colored(path)
    assert said in caught.value.detail
    assert len(load_mesh(path).triangles) == 2, "a texture job has no use for them"


def test_vertex_colors_that_are_no_numbers_are_refused(tmp_path):
    with pytest.raises(JobError) as caught:
        load_colored(gltf(tmp_path, vertex_colors(np.full((6, 3), np.nan))))
    assert "no number" in caught.value.detail


OBJ = "mtllib {lib}\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl a\nf 1/1 2/2 3/3\n"
OBJ += "usemtl b\nf 1/1 3/3 4/4\n"


def test_obj_materials_come_from_their_library_with_options_and_windows_paths(tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "my paint.png").write_bytes(png(quarters()))
    lines = "newmtl a\nKd 0.8 0.8 0.8\nmap_Kd -s 1 1 1 -o 0 0 C:\\work\\maps\\my paint.png\n"
    lines += "newmtl b\nKd 1 0 0.5 # red\n"
    (tmp_path / "maps" / "paint.mtl").write_text(lines)
    (tmp_path / "a.obj").write_text(OBJ.format(lib="maps/paint.mtl"))
    _, colors = load_colored(tmp_path / "a.obj")
    first, second = (colors.pictures[i] for i in colors.picture)
    assert np.array_equal(first, quarters()) and second.tolist() == [[[255, 0, 188]]]


def ply(kind: str, values: list) -> str:
    header = "ply\nformat ascii 1.0\nelement vertex 3\n" + "".join(f"property float {a}\n" for a in "xyz")
    header += "".join(f"property {kind} {name}\n" for name in ("red", "green", "blue"))
    header += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    return header + "".join(f"{i} {i * i} 0 {' '.join(map(str, values))}\n" for i in range(3)) + "3 0 1 2\n"


PLY_COLORS = [("uchar", [255, 0, 51]), ("float", [1, 0, 0.2]), ("ushort", [65535, 0, 13107])]


@pytest.mark.parametrize(("kind", "values"), PLY_COLORS)
def test_vertices_of_a_ply_bring_their_colors(tmp_path, kind, values):
    (tmp_path / "a.ply").write_text(ply(kind, values))
    _, colors = load_colored(tmp_path / "a.ply")
    assert colors.corner.tolist() == [[[255, 0, 51]] * 3] and colors.pictures[0].tolist() == [[[255, 255, 255]]]


def test_a_mesh_without_any_color_is_refused_with_the_command_that_gives_it_some(tmp_path):
    trimesh.creation.box().export(tmp_path / "a.stl")
    (tmp_path / "b.obj").write_text("".join(line + "\n" for line in OBJ.splitlines() if "mtl" not in line))
    for name in ("a.stl", "b.obj"):
        with pytest.raises(JobError) as caught:
            load_colored(tmp_path / name)
        assert caught.value.code == "mesh_colorless" and "csd texture" in caught.value.message


def bomb() -> bytes:
    """A PNG of 100,000 x 100,000 pixels by its header."""
    head = b"IHDR" + (100_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + len(head[4:]).to_bytes(4, "big") + head + zlib.crc32(head).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("image", "said"),
    [(b"", "empty"), (b"\x89PNG\r\n\x1a\n" + b"x" * 99, "damaged"), (bomb(), ""), (b"<svg/>", "no picture")],
    ids=["empty", "damaged", "bomb", "svg"],
)
def test_a_broken_or_hostile_picture_is_refused_in_a_sentence_that_names_it(tmp_path, image, said):
    with pytest.raises(JobError) as caught:
        load_colored(gltf(tmp_path, image=image))
    assert caught.value.code in ("picture_unreadable", "mesh_unreadable")
    assert said in caught.value.detail and "a.png" in caught.value.detail and len(caught.value.message) < 400


@pytest.mark.parametrize("uri", ["gone.png", "/etc/passwd", "http://x/y.png", 3, "data:image/png;base64,!!!"])
def test_a_picture_that_is_not_beside_the_file_is_refused(tmp_path, uri):
    with pytest.raises(JobError) as caught:
        load_colored(gltf(tmp_path, lambda data: data.update(images=[{"uri": uri}])))
    assert caught.value.code in ("picture_unreadable", "mesh_unreadable")


def test_other_kinds_of_pictures_become_rgb_and_large_ones_are_brought_down(monkeypatch):
    gray = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    assert np.allclose(c.decode_picture(png(gray))[..., 0], np.round(gray / 65535 * 255), atol=1)
    palette = io.BytesIO()
    Image.fromarray(quarters()).convert("P").save(palette, "GIF")
    assert c.decode_picture(palette.getvalue()).shape == (8, 8, 3)
    jpeg = io.BytesIO()
    Image.fromarray(quarters(64)).convert("CMYK").save(jpeg, "JPEG")
    assert c.decode_picture(jpeg.getvalue())[4, 4, 0] > 200
    monkeypatch.setattr(c, "MAX_SIDE", 4)
    assert np.array_equal(c.decode_picture(png(quarters(16))), quarters(4))


def test_colors_come_back_from_a_job_s_folder_and_damaged_ones_are_refused(tmp_path):
    there = c.Colors(UV, np.array([0, 1], np.int32), [quarters(), quarters(2)], np.full((2, 3, 3), 9, np.uint8))
    c.save_colors(tmp_path / "start.npz", there)
    again = c.load_colors(tmp_path / "start.npz")
    assert np.array_equal(again.uv, UV) and again.picture.tolist() == [0, 1]
    assert np.array_equal(again.corner, there.corner) and not again.linear
    c.save_colors(tmp_path / "light.npz", replace(there, linear=True))
    assert c.load_colors(tmp_path / "light.npz").linear
    assert all(np.array_equal(a, b) for a, b in zip(again.pictures, there.pictures, strict=True))
    spoiled = [
        {"uv": UV, "picture": np.array([0, 2]), "picture_0": quarters()},
        {"uv": UV, "picture": np.array([0]), "picture_0": quarters()},
        {"uv": UV, "picture": np.array([0, 0]), "picture_0": quarters().astype(np.uint16)},
        {"uv": UV, "picture": np.array([0, 0]), "picture_0": np.zeros((1, 5000, 3), np.uint8)},
        {"uv": UV, "picture": np.array([0, 0])},
        {"picture": np.array([0, 0]), "picture_0": quarters()},
    ]
    for arrays in spoiled:
        np.savez(tmp_path / "start.npz", **arrays)
        with pytest.raises(JobError) as caught:
            c.load_colors(tmp_path / "start.npz")
        assert caught.value.code in ("bad_job_folder", "mesh_too_large")


@pytest.mark.parametrize("side", [13_000, 50_000])
@pytest.mark.filterwarnings("error")
def test_a_picture_of_too_many_pixels_is_told_to_be_too_large(side):
    size = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    chunks = ((b"IHDR", size), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    data = b"".join(len(d).to_bytes(4, "big") + k + d + zlib.crc32(k + d).to_bytes(4, "big") for k, d in chunks)
    with pytest.raises(c.BadFile, match="scale it down to 8192 x 8192"):
        c.decode_picture(b"\x89PNG\r\n\x1a\n" + data)


def test_pictures_of_one_name_in_two_folders_are_two(tmp_path):
    for folder, value in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "diffuse.png").write_bytes(png(np.full((2, 2, 3), value, np.uint8)))
        (tmp_path / folder / "m.mtl").write_text(f"newmtl {'a' if folder == 'red' else 'b'}\nmap_Kd diffuse.png\n")
    (tmp_path / "a.obj").write_text("mtllib red/m.mtl\n" + OBJ.format(lib="blue/m.mtl"))
    _, colors = load_colored(tmp_path / "a.obj")
    found = [colors.pictures[i][0, 0].tolist() for i in colors.picture]
    assert found == [[255, 0, 0], [0, 0, 255]]


def test_faces_before_the_first_material_of_an_obj_are_white(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl a\nKd 1 0 0\n")
    lines = OBJ.format(lib="a.mtl").replace("usemtl a\n", "").replace("usemtl b", "usemtl a")
    (tmp_path / "a.obj").write_text(lines)
    mesh, colors = load_colored(tmp_path / "a.obj")
    assert [colors.pictures[i][0, 0].tolist() for i in colors.picture] == [[255, 255, 255], [255, 0, 0]]
    assert mesh.material.tolist() == [0, 1]
