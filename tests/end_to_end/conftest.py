"""What the end-to-end tests stand on: the built zip, a Blender, a backend. ``build.py test`` hands all of them over."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from tools import environments, extension_zip, paths  # noqa: E402


def python_of(name: str) -> Path:
    python = environments.standing(name)
    assert python is not None, f"the {name} environment is not there yet: run `python3 build.py test` once"
    return python


@pytest.fixture(scope="session")
def backend_python() -> Path:
    return python_of("backend")


@pytest.fixture(scope="session")
def bpy_python() -> Path:
    return python_of("bpy")


@pytest.fixture(scope="session")
def extension_tool(bpy_python):
    return extension_zip.ExtensionTool.from_module(bpy_python)


@pytest.fixture(scope="session")
def zip_path(extension_tool, tmp_path_factory) -> Path:
    return extension_zip.build_zip(extension_tool, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def run_csd(backend_python):
    """The command line through the front door: ``run_csd("texture", ...)`` is ``python3 build.py csd texture ...``."""

    def run(*arguments: str, limit: int = 600) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(ROOT / "build.py"), "csd", *arguments],
            env=paths.child_environment(CSD_BACKEND_PYTHON=str(backend_python)),
            capture_output=True,
            text=True,
            timeout=limit,
        )

    return run


@pytest.fixture(scope="session")
def in_blender(bpy_python, backend_python, zip_path, tmp_path_factory):
    """Run one scenario of ``scenarios.py`` in a fresh Blender with a fresh profile; returns the facts it wrote."""

    def run(scenario: str, limit: int = 600, **extra) -> dict:
        folder = tmp_path_factory.mktemp(scenario)
        plan = {
            "scenario": scenario,
            "zip": str(zip_path),
            "data_folder": str(folder / "data"),
            "backend_python": str(backend_python),
            "folder": str(folder),
            **extra,
        }
        (folder / "plan.json").write_text(json.dumps(plan))
        child = subprocess.run(
            [str(bpy_python), "-I", "-u", str(HERE / "scenarios.py"), str(folder / "plan.json")],
            env=paths.child_environment(BLENDER_USER_RESOURCES=str(folder / "profile")),
            capture_output=True,
            text=True,
            timeout=limit,
            stdin=subprocess.DEVNULL,
        )
        facts = folder / "facts.json"
        backend_log = folder / "data" / "backend.log"
        story = child.stdout[-3000:] + child.stderr[-3000:]
        story += backend_log.read_text(errors="replace")[-2000:] if backend_log.is_file() else ""
        assert child.returncode == 0 and facts.is_file(), f"{scenario} ended with {child.returncode}\n{story}"
        return json.loads(facts.read_text())

    return run


@pytest.fixture(scope="session")
def cube_obj(tmp_path_factory) -> Path:
    """A cube without UVs, as a file."""
    path = tmp_path_factory.mktemp("mesh") / "cube.obj"
    corners = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    faces = ["1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4"]
    path.write_text("".join(f"v {x} {y} {z}\n" for x, y, z in corners) + "".join(f"f {f}\n" for f in faces))
    return path


if os.environ.get("CSD_BPY_PYTHON") == "":  # `build.py test --only unit` makes no Blender
    del os.environ["CSD_BPY_PYTHON"]
