"""What is too large is refused before memory is taken for it, and what nobody needs is not unpacked."""

import io
import json
import os
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from csd_blender.backend.geometry.files.npz import MESH_ARRAYS, read_arrays
from csd_blender.backend.geometry.mesh import MAX_FACES, clean_mesh
from csd_blender.backend.geometry.mesh_io import load_mesh, load_npz, save_npz
from csd_blender.job.errors import JobError
from tests.support.mesh_files.gltf_samples import DOT, Gltf, simple
from tools.lab.demo_meshes import demo_mesh


@pytest.fixture
def peak():
    """Megabytes that Python and numpy took at most since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()


def refusal(load, path) -> JobError:
    with pytest.raises(JobError) as caught:
        load(path)
    assert len(caught.value.message) <= 300
    return caught.value


def many(places: int, triangles: int) -> Gltf:
    g = Gltf()
    points = np.random.default_rng(0).normal(size=(60, 3))
    g.mesh(g.primitive(points, np.arange(3 * triangles) % 60))
    g.nodes = [{"mesh": 0, "translation": [i, 0, 0]} for i in range(places)]
    return g


def test_placements_are_counted_before_they_are_made(tmp_path, peak):
    path = tmp_path / "many.glb"
    path.write_bytes(many(2000, 1000).glb())
    error = refusal(load_mesh, path)
    assert error.code == "mesh_too_large" and error.values["faces"] == 2_000_000 and peak() < 20


@pytest.mark.parametrize("accessor", [0, 1])
def test_a_small_file_that_claims_a_billion_rows_is_damaged_and_not_too_large(tmp_path, peak, accessor):
    g = simple()
    g.accessors[accessor]["count"] = 10**9
    (tmp_path / "a.glb").write_bytes(g.glb())
    error = refusal(load_mesh, tmp_path / "a.glb")
    assert error.code == "mesh_unreadable" and "Decimate" not in error.message and peak() < 5
    assert f"it is damaged: accessor {accessor} claims 1000000000 rows" in error.message


def test_a_hundred_thousand_placements_are_counted_too(tmp_path):
    path = tmp_path / "many.glb"
    path.write_bytes(many(100_000, 12).glb())
    assert refusal(load_mesh, path).values["faces"] == 1_200_000


def test_many_placements_within_the_limit_are_all_there(tmp_path):
    path = tmp_path / "many.glb"
    path.write_bytes(many(2000, 20).glb())
    mesh, _ = clean_mesh(load_mesh(path))
    assert len(mesh.triangles) == 40_000 and np.ptp(mesh.positions[:, 0]) > 1999


def test_vertices_that_no_face_uses_are_not_placed(tmp_path, peak):
    g = Gltf()
    g.mesh(g.primitive(np.zeros((200_000, 3)) + np.arange(200_000)[:, None] % [2, 3, 5], [0, 1, 2]))
    g.nodes = [{"mesh": 0, "translation": [i, 0, 0]} for i in range(500)]  # 100 million vertices, 500 triangles
    (tmp_path / "a.glb").write_bytes(g.glb())
    before = peak()
    assert len(load_mesh(tmp_path / "a.glb").triangles) == 500
    assert peak() < before + 20


def test_a_picture_that_nobody_needs_is_not_unpacked(tmp_path, peak):
    row = zlib.compress(bytes(20_000 * 20_000 // 8 + 20_000), 9)
    chunks = ((b"IHDR", struct.pack(">2I5B", 20_000, 20_000, 1, 0, 0, 0, 0)), (b"IDAT", row), (b"IEND", b""))
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    g = simple()
    g.more = {"images": [{"bufferView": g.view(bomb), "mimeType": "image/png"}], "textures": [{"source": 0}],
              "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]}  # fmt: skip
    g.meshes[0]["primitives"][0]["material"] = 0
    (tmp_path / "a.glb").write_bytes(g.glb())
    tracemalloc.reset_peak()
    before = peak()
    assert len(load_mesh(tmp_path / "a.glb").triangles) == 12
    assert peak() < before + 5


def test_json_of_millions_of_values_is_not_made_into_objects(tmp_path, peak):
    document = json.dumps(simple().document(DOT))
    (tmp_path / "a.gltf").write_text(document[:-1] + ', "extras": [' + "{}," * 5_000_000 + "{}]}")
    assert "millions of values" in refusal(load_mesh, tmp_path / "a.gltf").message and peak() < 100


def test_a_file_of_twenty_thousand_objects_is_one_mesh(tmp_path):
    lines = [f"o thing {i}\nv 0 0 {i}\nv 1 0 {i}\nv 0 1 {i}\nf -3 -2 -1\n" for i in range(20_000)]
    (tmp_path / "many.obj").write_text("".join(lines))
    mesh = load_mesh(tmp_path / "many.obj")
    assert len(mesh.triangles) == 20_000 and mesh.part_names == ("many",)


def test_too_many_triangles_are_told_by_their_number(tmp_path):
    count = MAX_FACES + 1
    (tmp_path / "a.stl").write_bytes(bytes(80) + struct.pack("<I", count) + bytes(50 * count))
    assert refusal(load_mesh, tmp_path / "a.stl").values["faces"] == count
    strip = "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    head = f"ply\nformat ascii 1.0\nelement vertex 3\nproperty int x\nproperty int y\nproperty int z\n{strip}"
    (tmp_path / "a.ply").write_text(head + "0 0 0\n1 0 0\n0 1 0\n" + "500004 " + "0 1 2 " * 166_668)
    assert refusal(load_mesh, tmp_path / "a.ply").code == "mesh_too_large"
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n" + "f 1 2 3\n" * count)
    assert refusal(load_mesh, tmp_path / "a.obj").code == "mesh_too_large"


def test_a_polygon_of_a_hundred_thousand_corners_is_refused(tmp_path):
    turn = np.arange(100_000) * 2 * np.pi / 100_000
    lines = [f"v {x} {y} 0\n" for x, y in zip(np.cos(turn), np.sin(turn), strict=True)]
    (tmp_path / "a.obj").write_text("".join(lines) + "f " + " ".join(map(str, range(1, 100_001))))
    assert "100000 corners" in refusal(load_mesh, tmp_path / "a.obj").message


# The job folder's own arrays.


def packed(path, **files: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"{name}.npy", data)


def array_bytes(array: np.ndarray, **header) -> bytes:
    """An .npy file, its header changed."""
    buffer = io.BytesIO()
    said = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape} | header
    np.lib.format.write_array_header_1_0(buffer, said)
    return buffer.getvalue() + array.tobytes()


SOUND = {"positions": np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]]), "triangles": np.int32([[0, 1, 2]])}


def test_arrays_are_checked_by_their_headers_before_they_are_unpacked(tmp_path, peak):
    path = tmp_path / "mesh.npz"
    sound = {name: array_bytes(array) for name, array in SOUND.items()}
    packed(path, **sound, junk=bytes(60_000_000))  # 60 kB that inflate
    assert load_npz(path).part_names == ("mesh",) and peak() < 5 + 60  # (the test's own bytes)
    tracemalloc.reset_peak()
    for name, header, word in (
        ("positions", {"shape": (700_000_000, 3)}, "vertices"),
        ("triangles", {"shape": (400_000_000, 3)}, "triangles"),
        ("positions", {"shape": (3, 4)}, "shape"),
        ("positions", {"shape": (3,)}, "shape"),
        ("positions", {"shape": (-1, 3)}, "shape"),
        ("positions", {"descr": "<c8"}, "complex64"),
        ("triangles", {"descr": "<f4"}, "float32"),
        ("positions", {"shape": (3_000_000, 3)}, "ends early"),
    ):
        packed(path, **sound | {name: array_bytes(SOUND[name], **header)})
        assert word in refusal(load_npz, path).message, (name, header)
    assert peak() < 60
    packed(path, **sound, part_names=array_bytes(np.array(["a"]), descr="<U900000", shape=(1,)))
    assert "part_names" in refusal(load_npz, path).message


def test_indices_beyond_32_bits_do_not_come_round(tmp_path):
    far = array_bytes(np.int64([[0, 1, 2**32]]))
    packed(tmp_path / "a.npz", positions=array_bytes(SOUND["positions"]), triangles=far)
    assert "does not exist" in refusal(load_npz, tmp_path / "a.npz").message


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 and no more", b"text", bytes(1000)])
def test_what_is_no_archive_is_refused(tmp_path, data):
    (tmp_path / "a.npz").write_bytes(data)
    assert refusal(load_npz, tmp_path / "a.npz").code == "mesh_unreadable"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")
def test_a_pipe_in_place_of_the_arrays_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    assert "no ordinary file" in refusal(load_npz, tmp_path / "a.npz").message


def test_an_offset_of_no_numbers_and_a_name_that_is_no_text_do_not_reach_the_result(tmp_path):
    np.savez(tmp_path / "a.npz", **SOUND, offset=np.array([0, np.nan, 0]))
    assert "offset" in refusal(load_npz, tmp_path / "a.npz").message
    np.savez(tmp_path / "b.npz", **SOUND, part_names=np.array(["\ud800x"]))
    assert load_npz(tmp_path / "b.npz").part_names == ("?x",)


def test_objects_are_never_unpickled(tmp_path):
    objects = array_bytes(np.zeros((3, 3)), descr="|O")
    packed(tmp_path / "a.npz", positions=objects, triangles=array_bytes(SOUND["triangles"]))
    assert "object" in refusal(load_npz, tmp_path / "a.npz").message


def test_what_save_wrote_is_read_again_also_stored_and_in_columns(tmp_path):
    mesh = demo_mesh("vase")
    save_npz(tmp_path / "a.npz", mesh)
    columns = np.asfortranarray(mesh.positions)
    np.savez(tmp_path / "b.npz", positions=columns, triangles=mesh.triangles.astype(np.uint64))
    for name in "ab":
        assert np.array_equal(load_npz(tmp_path / f"{name}.npz").positions, mesh.positions)
    assert set(read_arrays(tmp_path / "a.npz", MESH_ARRAYS)) >= {"positions", "triangles", "uv", "part", "part_names"}
