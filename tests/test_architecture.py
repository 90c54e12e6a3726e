"""The rules of the house: three rooms, one-way doors, small files and folders that say what they are for.

Which folder may import which is import-linter's, see pyproject.toml; here is what it cannot say.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from csd_blender.job.kinds import KINDS
from csd_blender.job.spec.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "csd_blender"
BLENDER = {"bpy", "bmesh", "mathutils", "gpu", "gpu_extras", "blf", "bl_ui", "bl_operators", "addon_utils"}
# sys.stdlib_module_names describes the Python that runs this test (3.10 or later).
STANDARD_LIBRARY = set(sys.stdlib_module_names)
MOST_LINES = 400
MOST_FILES = 15
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


def code_folders() -> list[Path]:
    return sorted({p.parent for top in ("csd_blender", "tools") for p in (ROOT / top).rglob("*.py")})


def name_of(folder: Path) -> str:
    return folder.relative_to(ROOT).as_posix()


#: Folders that hold more than a person keeps in mind; the numbers may only fall.
FULL = {"tools/lab/mini": 16}


@pytest.mark.parametrize("folder", code_folders(), ids=name_of)
def test_a_folder_has_about_a_dozen_files(folder):
    assert len(list(folder.glob("*.py"))) <= FULL.get(name_of(folder), MOST_FILES)


@pytest.mark.parametrize("folder", code_folders(), ids=name_of)
def test_a_folder_says_what_it_is_for_and_which_file_to_read_first(folder):
    doc = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
    assert doc.split("\n\n")[0].endswith("."), "a sentence that says what it is for"
    named = re.search(r"Read first: (.+)", doc, re.DOTALL)
    assert named, "`Read first: …`"
    first = re.match(r"[\w/.]+", named[1])
    assert first, "a file after `Read first:`"
    path = folder / first[0].rstrip(".").replace(".py", "")
    assert path.with_suffix(".py").is_file() or path.is_dir(), f"{name_of(folder)} has no {first[0]}"


# ---- Facts are asked for in one place


def asked_of_kinds(node: ast.AST) -> bool:
    """``isinstance(job, TextureJob)``, ``kind == "text-to-3d"``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
        classes = {n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)}
        return bool(classes & {kind.spec.__name__ for kind in KINDS})
    return compared_with(node, {kind.spec.kind for kind in KINDS} - {"texture"})  # a preview is a texture, too


def asked_of_methods(node: ast.AST) -> bool:
    """``method == "sds"``."""
    return compared_with(node, set(METHODS)) and "method" in ast.unparse(node)


def asked_of_the_model(node: ast.AST) -> bool:
    """``model.name == "mini"``."""
    return compared_with(node, {"mini"})


def compared_with(node: ast.AST, words: set[str]) -> bool:
    if not isinstance(node, ast.Compare):
        return False
    sides = [n for side in (node.left, *node.comparators) for n in (side, *getattr(side, "elts", ()))]
    return any(isinstance(n, ast.Constant) and n.value in words for n in sides)


PLACES = {  # where a fact may be asked for
    asked_of_kinds: {"job/kinds.py", "addon/kinds/choose.py", "backend/worker/run_job.py"},
    asked_of_methods: {"backend/distillation/methods.py"},
    asked_of_the_model: {
        *("job/presets/texture.py", "job/presets/text_to_3d.py", "job/presets/picture.py", "job/presets/recipes.py"),
        "backend/diffusion/words.py",
    },
}
#: Those that still ask elsewhere. Take a file out when it does not any more; none may come in.
STILL_ASKING = {
    asked_of_kinds: set(),
    asked_of_methods: set(),
    asked_of_the_model: {
        *("addon/kinds/object/settings.py", "addon/kinds/texture/settings.py"),
        *("job/models/places.py", "backend/diffusion/loading.py"),
    },
}


@pytest.mark.parametrize("asked", PLACES, ids=lambda asked: asked.__name__)
def test_kind_method_and_model_are_asked_for_in_their_places_alone(asked):
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(asked(node) for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    }
    assert found - PLACES[asked] - STILL_ASKING[asked] == set(), "let the kind, the method or the model say it itself"
    assert STILL_ASKING[asked] - found == set(), "no longer asking: take them out of the list"


def test_the_test_sees_what_asks():
    samples = {
        asked_of_kinds: "isinstance(job.spec, (TextTo3DJob, int))\nkind == 'text-to-3d'",
        asked_of_methods: "method in ('sds', 'x')\n'csd' != spec.method\nlaw == 'csd'",
        asked_of_the_model: "csd.model != 'mini'\nname == 'mini'",
    }
    for asked, code in samples.items():
        assert sum(asked(node) for node in ast.walk(ast.parse(code))) == 2, asked
        assert not any(asked(node) for node in ast.walk(ast.parse("kind == 'texture'\nx = 'mini'\nf('sds')")))
