"""The rules of the house: three rooms, one-way doors (addon → job ← backend), small files, old-enough Python."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "csd_blender"
BLENDER = {"bpy", "bmesh", "mathutils", "gpu", "gpu_extras", "blf", "bl_ui", "bl_operators", "addon_utils"}
# sys.stdlib_module_names describes the Python that runs this test (3.10 or later).
STANDARD_LIBRARY = set(sys.stdlib_module_names)
MOST_LINES = 400
# The one file that steps through a door: it is the start of the backend's own process, and never imported.
LAUNCHER = PACKAGE / "launch.py"

ROOMS = {
    "addon": {"rooms": {"addon", "job"}, "libraries": STANDARD_LIBRARY | BLENDER | {"numpy"}},
    "job": {"rooms": {"job"}, "libraries": STANDARD_LIBRARY},
    "backend": {"rooms": {"backend", "job"}, "libraries": None},  # anything but Blender
}


def sources(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


def imports(path: Path) -> list[tuple[int, str]]:
    """Every import of a file as (line, absolute name), relative ones resolved; also those inside functions."""
    package = list(path.relative_to(ROOT).parts[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            if len(module) == 1 and node.level:  # `from .. import job`: the names are the rooms
                found += [(node.lineno, ".".join([*module, alias.name])) for alias in node.names]
            else:
                found.append((node.lineno, ".".join(module)))
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_source_files(room):
    assert sources(room), f"csd_blender/{room} is empty: the other door tests would pass without looking at anything"


@pytest.mark.parametrize("room", ROOMS)
def test_doors_are_one_way_and_libraries_stay_in_their_rooms(room):
    allowed = ROOMS[room]
    wrong = []
    for path in sources(room):
        if path == LAUNCHER:
            continue
        for line, name in imports(path):
            parts = name.split(".")
            if parts[0] == "csd_blender":
                # the package's own names (csd_blender.__version__) are open to every room
                ok = len(parts) == 1 or parts[1] in allowed["rooms"] or parts[1] not in ROOMS
            elif allowed["libraries"] is None:
                ok = parts[0] not in BLENDER
            else:
                ok = parts[0] in allowed["libraries"]
            if not ok:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_imports_inside_the_package_are_relative_because_blender_gives_it_another_name():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            if any(n.split(".")[0] == "csd_blender" for n in names) and path != LAUNCHER:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not wrong, "\n".join(wrong)


def test_the_doors_test_sees_a_forbidden_import(tmp_path, monkeypatch):
    """The test of the test: a planted file must be found, also when the import hides in a function."""
    planted = tmp_path / "csd_blender" / "job" / "planted.py"
    planted.parent.mkdir(parents=True)
    planted.write_text("def f():\n    from ..backend import worker\n    from .. import addon\n    import torch\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert imports(planted) == [(2, "csd_blender.backend"), (3, "csd_blender.addon"), (4, "torch")]


BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
sys.path.insert(0, {root!r})
"""


def run_python(code: str) -> subprocess.CompletedProcess:
    # -S: without site-packages, as on a machine where nothing is installed
    return subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=600)


def test_the_package_can_be_imported_without_bpy_torch_and_numpy():
    code = BLOCK.format(blocked={"bpy", "torch", "numpy"}, root=str(ROOT)) + "import csd_blender"
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_every_file_of_job_can_be_imported_with_the_standard_library_alone():
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in sources("job")]
    names = [n for n in names if not n.endswith(("launch", "__main__"))]
    code = BLOCK.format(blocked={"bpy", "torch", "numpy"}, root=str(ROOT))
    code += f"import importlib\nfor name in {names!r}:\n    importlib.import_module(name)\n"
    result = run_python(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("where", ["csd_blender/job", "build.py", "tools"])
def test_what_starts_on_the_persons_own_python_keeps_to_python_3_9(where):
    place = ROOT / where
    for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"), str(path), feature_version=(3, 9))
        has_future = any(
            isinstance(node, ast.ImportFrom) and node.module == "__future__" and node.names[0].name == "annotations"
            for node in tree.body
        )
        notes = [n.annotation for n in ast.walk(tree) if isinstance(n, (ast.AnnAssign, ast.arg)) and n.annotation]
        notes += [n.returns for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.returns]
        unions = any(isinstance(n, ast.BinOp) for note in notes for n in ast.walk(note))
        assert has_future or not unions, f"{path.relative_to(ROOT)}: `X | None` needs the annotations import on 3.9"


def test_no_file_grows_beyond_what_one_thing_needs():
    folders = (PACKAGE, ROOT / "tools", ROOT / "tests")
    files = [ROOT / "build.py", *(p for folder in folders for p in folder.rglob("*.py"))]
    long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text("utf-8").splitlines())) > MOST_LINES}
    assert not long, f"longer than {MOST_LINES} lines: {long}"
