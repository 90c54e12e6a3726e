"""Names and places of files: what cannot be opened is told in a sentence, and nothing waits for a pipe."""

import os
import sys

import numpy as np
import pytest

from csd_blender.backend.geometry.mesh_io import load_mesh
from csd_blender.job.errors import JobError

OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
UNIX = pytest.mark.skipif(sys.platform == "win32", reason="no such files on Windows")


def refusal(path) -> str:
    with pytest.raises(JobError) as caught:
        load_mesh(path)
    message = caught.value.message
    assert caught.value.code == "mesh_unreadable" and len(message) <= 300 and message.isprintable()
    return message


def test_what_is_no_file_is_told(tmp_path):
    (tmp_path / "folder.obj").mkdir()
    assert "folder" in refusal(tmp_path / "folder.obj")
    assert "no such file" in refusal(tmp_path / "missing.obj")
    (tmp_path / "file").write_text("")
    assert "no such file" in refusal(tmp_path / "file" / "below.obj")
    assert "name must end with" in refusal(tmp_path / "a.fbx") and "name must end with" in refusal(tmp_path / "obj")
    assert "name" in refusal(tmp_path / "a\0.obj")
    assert "…" in refusal(tmp_path / ("x" * 3000 + ".obj"))
    assert "?" in refusal(tmp_path / "two\nlines\udcff.obj")


@UNIX
def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.obj")
    assert "pipe" in refusal(tmp_path / "pipe.obj")
    (tmp_path / "zero.stl").symlink_to("/dev/zero")
    assert "device" in refusal(tmp_path / "zero.stl")
    (tmp_path / "a.gltf").write_text('{"asset": {"version": "2.0"}, "buffers": [{"byteLength": 9, "uri": "pipe.obj"}]}')
    assert load_mesh_code(tmp_path / "a.gltf") == "mesh_no_faces"  # no mesh, so no buffer is opened


def load_mesh_code(path) -> str:
    with pytest.raises(JobError) as caught:
        load_mesh(path)
    return caught.value.code


@UNIX
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may read everything")
def test_a_file_without_permission_is_told(tmp_path):
    (tmp_path / "a.obj").write_text(OBJ)
    (tmp_path / "a.obj").chmod(0)
    assert "permissions" in refusal(tmp_path / "a.obj")


def test_a_file_of_another_kind_is_told_with_its_right_name(tmp_path):
    (tmp_path / "a.stl").write_bytes(b"glTF\2\0\0\0" + bytes(90))
    assert ".glb" in refusal(tmp_path / "a.stl")
    (tmp_path / "b.obj").write_bytes(b"ply\nformat ascii 1.0\n")
    assert ".ply" in refusal(tmp_path / "b.obj")
    (tmp_path / "c.glb").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "Git LFS" in refusal(tmp_path / "c.glb")
    (tmp_path / "d.ply").write_bytes(b"PK\x03\x04" + bytes(90))
    assert "zip" in refusal(tmp_path / "d.ply")


def test_object_names_are_short_printable_and_each_only_once(tmp_path):
    names = ["a", "a", "", "x" * 100_000, "tab\tand\x07bell", "Gehäuse", "a.001"]
    text = "".join(f"o {name}\nv 0 0 {i}\nv 1 0 {i}\nv 0 1 {i}\nf -3 -2 -1\n" for i, name in enumerate(names))
    (tmp_path / "a.obj").write_text(text, encoding="utf8")
    found = load_mesh(tmp_path / "a.obj").part_names
    assert len(set(found)) == 7 and found[:2] == ("a", "a.001") and found[5] == "Gehäuse"
    assert all(name.isprintable() and 0 < len(name) <= 63 for name in found)


def test_a_file_without_object_names_is_called_as_the_file(tmp_path):
    (tmp_path / "My Chair.obj").write_text(OBJ)
    mesh = load_mesh(tmp_path / "My Chair.obj")
    assert mesh.part_names == ("My Chair",) and np.array_equal(mesh.part, [0])
