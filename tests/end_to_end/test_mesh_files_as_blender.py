"""Mesh files measure the same here and in Blender, whose own importers read them."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.mesh_files import gltf_list, obj_samples, ply_stl_samples
from tools import paths

# Every sample that is read here; its own test holds the same numbers against our readers.
READ = [s for s in (*obj_samples.SAMPLES, *gltf_list.SAMPLES, *ply_stl_samples.SAMPLES) if not s.refused]


@pytest.fixture(scope="module")
def seen(bpy_python, tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("files")
    files = [str(sample.write(folder)) for sample in READ]
    (folder / "files.json").write_text(json.dumps(files))
    script = Path(__file__).with_name("blender_measures.py")
    child = subprocess.run(
        [str(bpy_python), "-I", "-u", str(script), str(folder / "files.json"), str(folder / "seen.json")],
        env=paths.child_environment(BLENDER_USER_RESOURCES=str(folder / "profile")),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    measured = json.loads((folder / "seen.json").read_text())
    return {sample.name: found for sample, found in zip(READ, measured, strict=True)}


def differs(sample, found: dict) -> str:
    """What Blender measures otherwise than the sample says, or nothing."""
    if "refused" in found:
        return f"refused: {found['refused']}"
    if found["area"] != pytest.approx(sample.area, rel=1e-4):
        return f"area {found['area']}"
    if sample.volume is not None and found["volume"] != pytest.approx(sample.volume, rel=1e-3):
        return f"volume {found['volume']}"
    if not np.allclose(found["box"], sample.box, atol=1e-4 * np.ptp(np.array(sample.box), axis=0).max()):
        return f"box {found['box']}"
    if (found["uv"] is None) != (sample.uv is None):
        return f"UV map {found['uv']}"
    if sample.uv is not None and found["uv"] != pytest.approx(sample.uv, rel=1e-3):
        return f"UV area {found['uv']}"
    return ""


@pytest.mark.parametrize("sample", READ, ids=lambda sample: sample.name)
def test_blender_measures_the_same(sample, seen):
    difference = differs(sample, seen[sample.name])
    if sample.blender:
        assert difference, "Blender's importer finds the same by now: drop the reason from the list"
    else:
        assert not difference
