"""Mesh files arrive upright, with their UVs and parts, and leave as glTF that reads back the same."""

import json
import struct

import numpy as np
import pytest
import trimesh
from PIL import Image

from csd_blender.backend.geometry.mesh import Mesh, clean_mesh, face_cross, uv_areas
from csd_blender.backend.geometry.mesh_io import load_mesh, load_npz, save_glb, save_npz, split_corners
from csd_blender.job.errors import JobError
from tools.lab.demo_meshes import demo_mesh

# One triangle in the Y-up world of glTF and OBJ: on the ground, its tip toward the viewer (+Z) who looks at its front.
OBJ = """
mtllib none.mtl
o ground
v 0 0 0
v 1 0 0
v 0 0 2
v 0 3 0
vt 0 0
vt 1 0
vt 0 1
vt 0.5 0.5
f 1/1 3/3 2/2
o wall
f 1/4 2/2 4/3
"""


def test_an_obj_file_is_turned_upright_and_keeps_uvs_of_each_corner(tmp_path):
    (tmp_path / "a.obj").write_text(OBJ)
    mesh = load_mesh(tmp_path / "a.obj")
    assert len(mesh.triangles) == 2 and mesh.part_count == 2
    places = {tuple(p) for p in mesh.positions[mesh.triangles].reshape(-1, 3).tolist()}
    assert places == {(0, 0, 0), (1, 0, 0), (0, -2, 0), (0, 0, 3)}  # (x, y, z) -> (x, -z, y): toward the viewer is -Y
    up = face_cross(mesh.positions, mesh.triangles)[0]
    assert up[2] > 0  # turning does not mirror
    at_origin = mesh.uv[(mesh.positions[mesh.triangles] == 0).all(axis=2)]
    assert sorted(at_origin.tolist()) == [[0.0, 0.0], [0.5, 0.5]]  # one vertex, two UVs


@pytest.mark.parametrize("suffix", ["ply", "stl"])
def test_ply_and_stl_are_taken_as_they_are(tmp_path, suffix):
    rock = demo_mesh("rock")
    trimesh.Trimesh(rock.positions, rock.triangles, process=False).export(tmp_path / f"rock.{suffix}")
    mesh = load_mesh(tmp_path / f"rock.{suffix}")
    assert np.allclose(mesh.positions[mesh.triangles], rock.positions[rock.triangles], atol=1e-6) and mesh.uv is None


def test_quads_and_larger_polygons_become_triangles(tmp_path):
    (tmp_path / "q.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv .5 2 0\nv 0 1 0\nf 1 2 3 4 5\n")
    mesh = load_mesh(tmp_path / "q.obj")
    assert len(mesh.triangles) == 3
    assert np.linalg.norm(face_cross(mesh.positions, mesh.triangles), axis=1).sum() / 2 == pytest.approx(1.5)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "albedo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)).save(path)
    return path


def gltf_of(path) -> dict:
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length])


@pytest.mark.parametrize("name", ["mug", "crate"])
def test_a_saved_glb_reads_back_the_same(tmp_path, picture, name):
    mesh = demo_mesh(name)
    save_glb(tmp_path / "m.glb", mesh, mesh.uv, picture)
    back = load_mesh(tmp_path / "m.glb")
    assert back.part_names == (name,)
    assert np.allclose(back.positions[back.triangles], mesh.positions[mesh.triangles], atol=1e-6)
    assert np.allclose(back.uv, mesh.uv, atol=1e-6)


def test_a_glb_is_y_up_with_a_plain_rough_material(tmp_path, picture):
    mesh = Mesh([[0, 0, 0], [1, 0, 0], [0, 0, 2]], [[0, 1, 2]], uv=[[[0, 0], [1, 0], [0, 1]]])
    save_glb(tmp_path / "m.glb", mesh, mesh.uv, picture)
    gltf = gltf_of(tmp_path / "m.glb")
    (material,) = gltf["materials"]
    pbr = material["pbrMetallicRoughness"]
    assert pbr["metallicFactor"] == 0.0 and pbr["roughnessFactor"] == pytest.approx(0.8)
    assert pbr["baseColorTexture"]["index"] == 0 and gltf["images"][0]["mimeType"] == "image/png"
    assert "NORMAL" in gltf["meshes"][0]["primitives"][0]["attributes"]
    accessor = gltf["accessors"][gltf["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    assert accessor["max"] == [1.0, 2.0, 0.0]  # height is y


def normals_of(path) -> np.ndarray:
    loaded = trimesh.load(path, process=False)
    return np.concatenate([g.vertex_normals for g in loaded.geometry.values()])


def test_the_edges_of_a_box_are_sharp_and_a_ball_is_smooth(tmp_path, picture):
    shapes = trimesh.creation.box(), trimesh.creation.icosphere(3)
    for shape, vertices in zip(shapes, (24, len(shapes[1].vertices)), strict=True):
        mesh = Mesh(shape.vertices, shape.faces, np.zeros((len(shape.faces), 3, 2), np.float32))
        save_glb(tmp_path / "m.glb", mesh, mesh.uv, picture)
        normals = normals_of(tmp_path / "m.glb")
        assert len(normals) == vertices and np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("closed", [True, False])
def test_what_has_a_border_is_seen_from_both_sides(tmp_path, picture, closed):
    shape = trimesh.creation.box()
    corners = shape.vertices[shape.faces].reshape(-1, 3)  # split, as files have them: that is no border
    faces = np.arange(36).reshape(12, 3)[: 12 if closed else 10]
    mesh = Mesh(corners, faces, np.zeros((len(faces), 3, 2), np.float32))
    save_glb(tmp_path / "m.glb", mesh, mesh.uv, picture)
    assert gltf_of(tmp_path / "m.glb")["materials"][0].get("doubleSided", False) is not closed


def test_every_part_gets_its_own_texture(tmp_path, picture):
    other = tmp_path / "other.png"
    Image.new("RGB", (8, 8), (255, 0, 0)).save(other)
    mesh = demo_mesh("mug")
    mesh.part, mesh.part_names = np.int32(np.arange(len(mesh.triangles)) % 2), ("a", "b")
    save_glb(tmp_path / "m.glb", mesh, mesh.uv, [picture, other])
    back = load_mesh(tmp_path / "m.glb")
    assert back.part_names == ("a", "b") and len(gltf_of(tmp_path / "m.glb")["images"]) == 2


def test_an_object_of_several_materials_stays_one_part(tmp_path, picture):
    mesh = demo_mesh("mug")
    mesh.part, mesh.part_names = np.int32(np.arange(len(mesh.triangles)) % 2), ("a", "b")
    save_glb(tmp_path / "m.glb", mesh, mesh.uv, picture)
    data, gltf = (tmp_path / "m.glb").read_bytes(), gltf_of(tmp_path / "m.glb")
    gltf["meshes"][0]["primitives"] += gltf["meshes"][1]["primitives"]  # two materials of one object
    (second,) = (node for node in gltf["nodes"] if node.get("mesh") == 1)
    del second["mesh"]
    text = json.dumps(gltf).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + struct.unpack_from("<I", data, 12)[0] :]
    head = struct.pack("<4sIIII", b"glTF", 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A)
    (tmp_path / "m.glb").write_bytes(head + text + rest)
    back = load_mesh(tmp_path / "m.glb")
    assert back.part_names == ("a",) and len(back.triangles) == len(mesh.triangles)
    assert np.bincount(back.material).tolist() == [len(mesh.triangles) // 2] * 2


def test_files_of_very_many_objects_become_one_part(tmp_path):
    lines = [f"o thing{i}\nv 0 0 {i}\nv 1 0 {i}\nv 0 1 {i}\nf -3 -2 -1\n" for i in range(20)]
    (tmp_path / "many.obj").write_text("".join(lines))
    mesh = load_mesh(tmp_path / "many.obj")
    assert mesh.part_names == ("many",) and len(mesh.triangles) == 20 and not mesh.part.any()


def test_splitting_corners_shares_vertices_where_uvs_agree():
    mesh = demo_mesh("knot")
    positions, uv, triangles = split_corners(mesh, mesh.uv)
    assert np.array_equal(positions[triangles], mesh.positions[mesh.triangles])
    assert np.array_equal(uv[triangles], mesh.uv) and len(positions) < 1.2 * len(mesh.positions)


def test_npz_keeps_everything_without_pickles(tmp_path):
    mesh = demo_mesh("vase")
    mesh.part_names, mesh.material = ("Väse ✓",), np.arange(len(mesh.triangles), dtype=np.int32)
    save_npz(tmp_path / "m.npz", mesh)
    back = load_npz(tmp_path / "m.npz")
    for name in ("positions", "triangles", "uv", "part", "material"):
        assert np.array_equal(getattr(back, name), getattr(mesh, name))
    assert back.positions.flags.writeable and back.part.flags.writeable
    assert back.part_names == mesh.part_names and [p.name for p in tmp_path.iterdir()] == ["m.npz"]
    np.savez(tmp_path / "evil.npz", positions=np.array([object()]), triangles=mesh.triangles)
    with pytest.raises(JobError, match="mesh"):
        load_npz(tmp_path / "evil.npz")


@pytest.mark.parametrize(
    "name,content", [("a.glb", b"glTF"), ("a.obj", b"\xff\xfe\x00f 1 2 3"), ("a.ply", b""), ("a.fbx", b"")]
)
def test_unreadable_files_give_one_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(JobError) as caught:
        load_mesh(tmp_path / name)
    assert caught.value.code in ("mesh_unreadable", "mesh_no_faces")
    with pytest.raises(JobError):
        load_mesh(tmp_path / "missing.obj")


def test_uvs_are_not_mirrored_on_the_way(tmp_path, picture):
    mesh = demo_mesh("knot")
    save_glb(tmp_path / "m.glb", mesh, mesh.uv, picture)
    assert np.sign(uv_areas(load_mesh(tmp_path / "m.glb").uv)).sum() == np.sign(uv_areas(mesh.uv)).sum()


def test_a_mesh_far_from_the_origin_keeps_its_shape_and_returns_to_its_place(tmp_path, picture):
    rock = demo_mesh("rock")
    place = np.array([500_000.25, 5_500_000.5, 120.125])
    lines = [f"v {x!r} {z!r} {-y!r}\n" for x, y, z in (rock.positions.astype(float) + place).tolist()]
    faces = ["f " + " ".join(map(str, face)) + "\n" for face in (rock.triangles + 1).tolist()]
    (tmp_path / "far.obj").write_text("".join(lines) + "v 0 0 0\n" + "".join(faces))  # a loose vertex at the origin
    mesh, _ = clean_mesh(load_mesh(tmp_path / "far.obj"))
    assert np.allclose(mesh.positions + mesh.offset - place, rock.positions, atol=1e-6)
    save_npz(tmp_path / "mesh.npz", mesh)
    kept = load_npz(tmp_path / "mesh.npz")
    assert np.array_equal(kept.offset, mesh.offset) and np.array_equal(kept.positions, mesh.positions)
    uv = np.random.default_rng(0).random((len(mesh.triangles), 3, 2))
    save_glb(tmp_path / "mesh.glb", kept, uv, picture)
    (node,) = (node for node in gltf_of(tmp_path / "mesh.glb")["nodes"] if "mesh" in node)
    assert np.allclose(node["matrix"][12:15], mesh.offset[[0, 2, 1]] * [1, 1, -1], rtol=0, atol=1e-6)
    back = load_mesh(tmp_path / "mesh.glb")
    there = (back.positions + back.offset - place)[back.triangles]
    assert np.allclose(there, rock.positions[rock.triangles], atol=1e-6)


def test_a_mesh_near_the_origin_stays_exactly_where_it_is(tmp_path, picture):
    rock = demo_mesh("rock")
    trimesh.Trimesh(rock.positions + [9, 0, 0], rock.triangles, process=False).export(tmp_path / "near.ply")
    mesh = load_mesh(tmp_path / "near.ply")
    assert not mesh.offset.any() and np.array_equal(mesh.positions, np.float32(rock.positions + [9, 0, 0]))
    save_npz(tmp_path / "mesh.npz", mesh)
    assert "offset" not in np.load(tmp_path / "mesh.npz").files
