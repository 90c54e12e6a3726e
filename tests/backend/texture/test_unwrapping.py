"""A UV map that is made beside other work is the one that would be made otherwise, and leaves nothing running."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from csd_blender.backend.geometry.mesh import Mesh, clean_mesh, merge
from csd_blender.backend.texture import unwrap as unwrap_module
from csd_blender.backend.texture import unwrapping as unwrapping_module
from csd_blender.backend.texture.unwrap import choose_uv, run_xatlas, usable_uv
from csd_blender.backend.texture.unwrapping import Unwrapping
from csd_blender.job.errors import JobError
from tools.lab.demo_meshes import demo_mesh


def never() -> bool:
    return False


def piece(name: str, faces: int) -> Mesh:
    mesh = demo_mesh(name)
    return clean_mesh(Mesh(mesh.positions, mesh.triangles[:faces]))[0]


def two_parts() -> Mesh:
    """One with a UV map of its own, one without."""
    return merge([demo_mesh("knot"), piece("mug", 600)])


def xatlas_children() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return [child for child in found if any("xatlas_child" in word for word in child.cmdline())]


def said(mesh: Mesh, mode: str, beside: bool):
    """uv, sources and warnings of a mesh unwrapped beside other work, or at once."""
    warned = []

    def warn(code: str, text: str) -> None:
        warned.append((code, text))

    if not beside:
        return (*choose_uv(mesh, mode, 512, warn=warn), warned)
    with Unwrapping(mesh, mode, 512, warn) as unwrapping:
        return (*unwrapping.result(never), warned)


@pytest.mark.parametrize("mode", ["auto", "new"])
def test_the_map_is_that_of_an_unwrapping_that_is_waited_for(mode):
    mesh = two_parts()
    uv, sources, warned = said(mesh, mode, beside=True)
    expected, expected_sources, expected_warned = said(mesh, mode, beside=False)
    assert np.array_equal(uv, expected) and uv.any()
    assert list(sources) == expected_sources == (["user", "new"] if mode == "auto" else ["new", "new"])
    assert warned == expected_warned


def test_a_map_that_must_be_kept_and_is_not_there_is_refused_at_once():
    with pytest.raises(JobError) as refused:
        Unwrapping(piece("mug", 600), "keep", 512, lambda code, text: None)
    assert refused.value.code == "uv_missing"


def test_there_is_nothing_to_wait_for_where_all_maps_are_kept():
    with Unwrapping(demo_mesh("knot"), "auto", 512, lambda code, text: None) as unwrapping:
        assert unwrapping.ready and unwrapping.result(never)[1] == ("user",)


def test_whoever_leaves_early_leaves_no_process_behind():
    mesh = demo_mesh("rock")
    with pytest.raises(KeyError), Unwrapping(mesh, "new", 512, lambda code, text: None):
        until(xatlas_children)
        raise KeyError
    assert not xatlas_children()


def test_who_waits_may_stop_waiting():
    with Unwrapping(demo_mesh("rock"), "new", 512, lambda code, text: None) as unwrapping:
        with pytest.raises(JobError) as stopped:
            unwrapping.result(lambda: True)
        assert stopped.value.code == "cancelled"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows counts the clock's time")
def test_xatlas_stands_back_and_ends_when_its_share_of_the_processor_is_used_up(tmp_path):
    script = Path(unwrap_module.__file__).with_name("xatlas_child.py")
    mesh = demo_mesh("teapot")
    np.savez(tmp_path / "in.npz", positions=mesh.positions, triangles=np.tile(mesh.triangles, (8, 1)))
    arguments = [str(script), str(tmp_path / "in.npz"), str(tmp_path / "out.npz"), "600", "512", "4", "1"]
    own = psutil.Process().nice()
    child = subprocess.Popen([sys.executable, "-I", *arguments])
    try:
        until(lambda: psutil.Process(child.pid).nice() > own)
        assert child.wait(120) != 0
    finally:
        child.kill()
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="sessions are of other systems")
def test_ctrl_c_in_a_terminal_is_not_for_xatlas():
    """It goes to all processes of the terminal's session in front; a map that was lost by it would be a worse one."""
    with Unwrapping(demo_mesh("rock"), "new", 512, lambda code, text: None):
        until(xatlas_children)
        assert all(os.getsid(child.pid) != os.getsid(0) for child in xatlas_children())


def test_who_is_in_a_hurry_gets_a_simpler_map_and_is_told(monkeypatch):
    monkeypatch.setattr(unwrapping_module, "HURRY", 0.2)
    mesh, warned = merge([demo_mesh("rock"), demo_mesh("rock")]), []
    with Unwrapping(mesh, "new", 512, lambda code, text: warned.append(code)) as unwrapping:
        uv, sources = unwrapping.result(never, lambda: True)
    assert warned == ["unwrap_simple"] * 2 and sources == ("new", "new") and not xatlas_children()
    for part in (0, 1):
        assert usable_uv(Mesh(mesh.positions, mesh.triangles, uv, part=mesh.part, part_names=mesh.part_names), part)[0]


def test_a_folder_for_temporary_files_that_is_not_there_is_told_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(OSError):
        Unwrapping(piece("mug", 600), "new", 512, lambda code, text: None)


def test_its_time_is_not_up_while_others_compute(monkeypatch):
    """A limit that the clock alone would reach at once."""
    mesh = piece("mug", 600)
    monkeypatch.setattr(unwrap_module, "PATIENCE", 1e6)
    assert run_xatlas(mesh.positions, mesh.triangles, 1e-4) is None
    assert run_xatlas(mesh.positions, mesh.triangles, 1e-4, beside=True) is not None


def until(seen, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.01)
