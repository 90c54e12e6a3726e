"""Damaged and hostile mesh files: a sound mesh or one short sentence comes of each, in bounded memory."""

import copy
import json
import os
import struct
import sys

import numpy as np
import pytest

from csd_blender.backend.geometry.mesh import MAX_FACES, clean_mesh
from csd_blender.backend.geometry.mesh_io import load_mesh
from csd_blender.job.errors import JobError
from tests.support.mesh_files import gltf_list, obj_samples, ply_stl_samples

CASES = int(os.environ.get("CSD_FUZZ", "2000"))
SEEDS = {
    "obj": obj_samples.SAMPLES,
    "gltf": gltf_list.SAMPLES,
    "ply": ply_stl_samples.PLY_SAMPLES,
    "stl": ply_stl_samples.STL_SAMPLES,
}
WORDS = [b"nan", b"inf", b"-1", b"0", b"1e39", b"1e309", b"4294967295", b"-2147483649", b"9" * 400, b"\xff\xfe", b"\0",
         b"#", b"\\\n", b"\r", b"\n", b"/", b"//", b" ", b"1_0", "٣".encode(), b"\xf0\x9f\x90\xb5", b"f", b"v", b"vt",
         b"end_header\n", b"element face 99999999999\n", b"property list uchar int vertex_indices\n", b"endsolid",
         b"facet normal"]  # fmt: skip
VALUES = [None, True, -1, 0, 1, 7, 255, 2**31, 2**64, 10**30, 1e308, float("nan"), "", "x" * 5000, "../../a.bin",
          [], {}, [[]], [None], [0] * 16, {"a": 1}, 5120, 5125, "VEC3", "MAT4", 4, 5, 6]  # fmt: skip


def changed_bytes(data: bytes, random: np.random.Generator) -> bytes:
    """A file with one to four damages."""
    for _ in range(int(random.integers(1, 5))):
        at, to = sorted(int(i) for i in random.integers(0, len(data) + 1, 2))
        kind = random.integers(8)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + data[to:]
        elif kind == 2:
            data = data[:to] + data[at:]
        elif kind == 3:
            data = data[:at] + random.bytes(int(random.integers(1, 9))) + data[at + 4 :]
        elif kind == 4:
            number = int(random.choice([0, 1, 255, 65535, 2**31, 2**32 - 1]))
            data = data[:at] + struct.pack("<I", number) + data[at + 4 :]
        elif kind == 5 and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << int(random.integers(8)))]) + data[at + 1 :]
        else:
            word = WORDS[random.integers(len(WORDS))]
            spaces = [i for i in range(at, min(at + 40, len(data))) if data[i : i + 1].isspace()]
            at = spaces[0] + 1 if spaces else at
            end = next((i for i in range(at, min(at + 20, len(data))) if data[i : i + 1].isspace()), at)
            data = data[:at] + word + data[end:]
    return data


def changed_json(data: bytes, random: np.random.Generator) -> bytes:
    """A glTF file with one to three other values in its JSON text, its chunk lengths kept right."""
    binary = data[:4] == b"glTF"
    try:
        length = struct.unpack_from("<I", data, 12)[0] if binary else 0
        document = json.loads(data[20 : 20 + length] if binary else data)
    except (ValueError, struct.error):
        return changed_bytes(data, random)
    for _ in range(int(random.integers(1, 4))):
        here = document
        while True:
            keys = list(here) if isinstance(here, dict) else range(len(here))
            if not len(keys):
                break
            key = keys[random.integers(len(keys))]
            if isinstance(here[key], dict | list) and here[key] and random.random() < 0.9:
                here = here[key]
                continue
            here[key] = copy.deepcopy(VALUES[random.integers(len(VALUES))])
            break
    text = json.dumps(document).encode()
    if not binary:
        return text
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    return struct.pack("<4sIIII", b"glTF", 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest


def judge(path) -> bool:
    """Whether the file was read; what comes of it is checked."""
    try:
        mesh, _ = clean_mesh(load_mesh(path))
    except JobError as error:
        assert len(error.message) <= 300 and error.message.isprintable(), error.message
        assert error.code in ("mesh_unreadable", "mesh_no_faces", "mesh_too_large", "mesh_not_finite")
        return False
    faces = len(mesh.triangles)
    assert 0 < faces <= MAX_FACES and np.isfinite(mesh.positions).all()
    assert 0 <= mesh.triangles.min() and mesh.triangles.max() < len(mesh.positions)
    assert mesh.part.shape == (faces,) and 0 <= mesh.part.min() and mesh.part.max() < mesh.part_count
    assert mesh.uv is None or (mesh.uv.shape == (faces, 3, 2) and np.isfinite(mesh.uv).all())
    assert all(name and name.isprintable() and len(name) < 64 for name in mesh.part_names)
    return True


def most_memory() -> float:
    """The most that this process ever had, in MB."""
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)


@pytest.mark.parametrize("kind", SEEDS)
def test_damaged_files_give_a_sound_mesh_or_a_sentence(kind, tmp_path):
    random = np.random.default_rng([7, *kind.encode()])
    samples = [sample for sample in SEEDS[kind] if len(sample.files[sample.name]) < 20_000]
    before = most_memory() if sys.platform != "win32" else 0.0
    read = 0
    for case in range(CASES // len(SEEDS)):
        sample = samples[random.integers(len(samples))]
        change = changed_json if kind == "gltf" and random.random() < 0.7 else changed_bytes
        path = tmp_path / sample.name.lower()
        path.write_bytes(change(sample.files[sample.name], random))
        try:
            read += judge(path)
        except BaseException:
            path.rename(tmp_path / f"case {case} of {sample.name}")
            raise
        path.unlink()
    assert read or CASES < 400  # the damages are not so great that nothing is tried
    if sys.platform != "win32":
        assert most_memory() - before < 300
