"""Where a mesh file's colors lie: material files and pictures under the names that other programs wrote, UVs that a
material moves, and pictures that end at their edges."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from csd_blender.backend.geometry.mesh import Mesh
from csd_blender.backend.geometry.mesh_io import load_colored, load_mesh, save_glb
from csd_blender.job.errors import JobError

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
FACES = "usemtl a\nf 1/1 2/2 3/3\nusemtl b\nf 1/1 3/3 4/4\n"
UV = np.array([[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]]])


@pytest.fixture
def obj(tmp_path):
    """Writes a square of two materials; its libraries by name, and what else the file says of them."""
    Image.new("RGB", (2, 2), (0, 255, 0)).save(tmp_path / "paint.png")

    def write(mtllib: str, encoding: str = "utf-8", faces: str = FACES, **libraries: str):
        for name, text in libraries.items():
            (tmp_path / f"{name}.mtl").write_text(text)
        (tmp_path / "a.obj").write_bytes((mtllib + SQUARE + faces).encode(encoding))
        return tmp_path / "a.obj"

    return write


def face_colors(path) -> list:
    """Of each face whose picture is plain."""
    _, colors = load_colored(path)
    return [colors.pictures[i][0, 0].tolist() for i in colors.picture]


RED, GREEN = "newmtl a\nKd 1 0 0\n", "newmtl b\nKd 0 1 0\n"


def test_several_libraries_on_a_line_are_all_read(obj):
    assert face_colors(obj("mtllib one.mtl two.mtl\n", one=RED, two=GREEN)) == [[255, 0, 0], [0, 255, 0]]


@pytest.mark.parametrize("line", ["mtllib one.mtl\nmtllib two.mtl\n", "mtllib two.mtl one.mtl\n", "mtllib two.mtl\n"])
def test_a_library_that_is_gone_is_named_where_a_face_needs_it(obj, line):
    with pytest.raises(JobError, match="“two.mtl” is not there. Put it beside the mesh") as caught:
        load_colored(obj(line, one=RED))
    assert caught.value.code == "picture_unreadable"


def test_a_library_that_is_gone_and_nobody_needs_says_nothing(obj):
    assert face_colors(obj("mtllib one.mtl\nmtllib two.mtl\n", one=RED + GREEN)) == [[255, 0, 0], [0, 255, 0]]


def test_names_in_the_old_code_of_a_system_and_in_other_letters_are_found(obj, tmp_path):
    (tmp_path / "tür.mtl").write_text(f"{RED}newmtl b\nmap_Kd PAINT.PNG\n")
    assert face_colors(obj("mtllib tür.mtl\n", encoding="latin-1")) == [[255, 0, 0], [0, 255, 0]]
    (tmp_path / "tür.mtl").write_text(f'{RED}newmtl b\nmap_Kd "paint.png"\n')
    assert face_colors(obj("mtllib tür.mtl\n"))[1] == [0, 255, 0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", UV), ("-s 2 3 1", UV * [2, 3]), ("-s 2", UV * [2, 1]), ("-o 0.5 -.25 0", UV + [0.5, -0.25]),
        ("-blendu on -s 2 2 2 -o 1e-1 0 0 -mm 0 1", UV * 2 + [0.1, 0]),
    ],
)  # fmt: skip
def test_a_material_scales_and_then_moves_the_uvs_of_its_faces_alone(obj, options, expected):
    _, colors = load_colored(obj("mtllib one.mtl\n", one=f"newmtl a\nmap_Kd {options} paint.png\n{GREEN}"))
    assert np.allclose(colors.uv[0], expected[0]) and np.allclose(colors.uv[1], UV[1])


def test_a_picture_that_ends_at_its_edges_is_refused_where_faces_go_beyond(obj):
    held = "newmtl a\nmap_Kd -clamp on {} paint.png\n" + GREEN
    assert face_colors(obj("mtllib one.mtl\n", one=held.format(""))) == [[0, 255, 0]] * 2
    with pytest.raises(JobError, match="held or mirrored at its edges"):
        load_colored(obj("mtllib one.mtl\n", one=held.format("-s 2 1 1")))


def gltf(folder, change):
    """A square whose UVs go up to 2 along u and 1 along v, as text, with a change."""
    Image.new("RGB", (2, 2), (0, 255, 0)).save(folder / "paint.png")
    mesh = Mesh([[0, 0, 0], [1, 0, 0], [1, 0, 1]], [[0, 1, 2]], part_names=("a",))
    save_glb(folder / "a.glb", mesh, np.float32(UV[:1] * [2, 1]), folder / "paint.png")
    data = (folder / "a.glb").read_bytes()
    length = int.from_bytes(data[12:16], "little")
    plain, rest = json.loads(data[20 : 20 + length]), data[20 + length :]
    change(plain)
    text = json.dumps(plain).encode()
    text += b" " * (-len(text) % 4)
    chunk = len(text).to_bytes(4, "little") + b"JSON" + text
    (folder / "b.glb").write_bytes(data[:8] + (12 + len(chunk) + len(rest)).to_bytes(4, "little") + chunk + rest)
    return folder / "b.glb"


@pytest.mark.parametrize("mode", [33071, 33648])  # CLAMP_TO_EDGE, MIRRORED_REPEAT
@pytest.mark.parametrize(("axis", "refused"), [("wrapS", True), ("wrapT", False)])
def test_the_wrapping_of_a_gltf_texture_counts_along_its_axis(tmp_path, mode, axis, refused):
    def change(plain):
        plain["samplers"] = [{axis: mode}]
        plain["textures"][0]["sampler"] = 0

    path = gltf(tmp_path, change)
    if not refused:
        assert face_colors(path) == [[0, 255, 0]]
        return
    with pytest.raises(JobError, match="held or mirrored"):
        load_colored(path)


PLY = "ply\nformat ascii 1.0\ncomment TextureFile paint.png\n{more}element vertex 4\n"
PLY += "".join(f"property float {name}\n" for name in "xyzst") + "{rgb}element face 2\n"
PLY += "property list uchar int vertex_indices\n{number}end_header\n"


def ply(folder, white: bool, two: bool):
    """A square of two triangles, with one picture for all or one each."""
    Image.new("RGB", (2, 2), (0, 255, 0)).save(folder / "paint.png")
    Image.new("RGB", (2, 2), (255, 0, 0)).save(folder / "other paint.png")
    head = PLY.format(
        more="comment TextureFile other paint.png\n" if two else "",
        rgb="".join(f"property uchar {name}\n" for name in ("red", "green", "blue")) if white else "",
        number="property int texnumber\n" if two else "",
    )
    rows = [f"{x} {y} 0 {x} {y}" + " 255 255 255" * white for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    rows += ["3 0 1 2" + " 1" * two, "3 0 2 3" + " 0" * two]
    (folder / "a.ply").write_text(head + "\n".join(rows) + "\n")
    return folder / "a.ply"


@pytest.mark.parametrize("white", [True, False])
@pytest.mark.parametrize("two", [True, False])
def test_the_pictures_that_comments_of_a_ply_name_are_its_colors(tmp_path, white, two):
    assert face_colors(ply(tmp_path, white, two)) == [[255, 0, 0] if two else [0, 255, 0], [0, 255, 0]]


def test_vertices_of_an_obj_may_have_colors_behind_their_places(tmp_path):
    colors = ("1 0 0", "0 1 0", "0 0 1")
    points = [f"v {p} {c}\n" for p, c in zip(("0 0 0", "1 0 0", "0 1 0"), colors, strict=True)]
    (tmp_path / "a.obj").write_text("".join(points) + "f 1 2 3\n")
    expected = [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    assert load_colored(tmp_path / "a.obj")[1].corner.tolist() == expected
    (tmp_path / "a.obj").write_text("".join(points) + "v 1 1 0\nf 1 2 3\n")
    with pytest.raises(JobError, match="no colors"):
        load_colored(tmp_path / "a.obj")  # one without: nobody knows what it has


def test_many_plain_materials_are_no_pictures(tmp_path):
    lines = "".join(f"newmtl m{i}\nKd {i / 100:.2f} 0 0\n" for i in range(100))
    (tmp_path / "a.mtl").write_text(lines)
    faces = "".join(f"usemtl m{i}\nf 1 2 3\n" for i in range(100))
    (tmp_path / "a.obj").write_text("mtllib a.mtl\n" + SQUARE + faces)
    assert len(set(map(tuple, face_colors(tmp_path / "a.obj")))) == 100


def test_a_picture_of_numbers_with_a_fraction_is_refused(obj, tmp_path):
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "light.tiff")
    with pytest.raises(JobError, match="32 bits with a fraction; save it as PNG"):
        load_colored(obj("mtllib one.mtl\n", one=f"newmtl a\nmap_Kd light.tiff\n{GREEN}"))


@pytest.mark.parametrize("name", ["world", "wall"])
def test_far_objects_of_any_name_keep_their_places_in_a_glb(tmp_path, name):
    Image.new("RGB", (2, 2)).save(tmp_path / "paint.png")
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float64)
    place = np.array([5e5, 0, 0])
    mesh = Mesh(
        np.concatenate([points, points + [3, 0, 0]]), [[0, 1, 2], [3, 4, 5]], part=np.array([0, 1]),
        part_names=(name, "lamp"), offset=place,
    )  # fmt: skip
    save_glb(tmp_path / "a.glb", mesh, np.zeros((2, 3, 2), np.float32), tmp_path / "paint.png")
    again = load_mesh(tmp_path / "a.glb")
    corners = (again.positions + again.offset)[again.triangles]
    assert np.allclose(np.sort(corners.reshape(-1, 3)[:, 0]), [5e5, 5e5, 5e5 + 1, 5e5 + 3, 5e5 + 3, 5e5 + 4])
