"""The extension as Blender wants it: laid out, zipped and validated by Blender's own extension tool.

That is a stand-alone program inside the bpy package; a real Blender offers the same as ``blender --command extension``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .blender_profile import MANIFEST
from .environments import site_packages
from .paths import BUILD, PACKAGE, ROOT, child_environment, fail

NOT_SHIPPED = ("__pycache__", "*.pyc", ".*", "*.blend", "*.tmp")
# the model card's pictures and figures, which nothing reads
NOT_SHIPPED += ("samples.png", "curve.png", "accuracy.json")
BESIDE_THE_MANIFEST = (MANIFEST.name, "LICENSE", "THIRD_PARTY.md")


@dataclass(frozen=True)
class ExtensionTool:
    """The start of a command line that understands build, validate and server-generate."""

    command: tuple[str, ...]

    @classmethod
    def from_module(cls, bpy_python: Path) -> ExtensionTool:
        found = sorted(site_packages(bpy_python).glob("bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
        if not found:
            fail("this bpy package carries no extension tool; remove .build/environments and try again.")
        return cls((str(bpy_python), "-I", str(found[-1])))

    @classmethod
    def from_blender(cls, blender: Path) -> ExtensionTool:
        return cls((str(blender), "--command", "extension"))

    def run(self, *arguments: str) -> str:
        """Everything it said. Ends build.py with its last lines when it failed."""
        done = subprocess.run(
            [*self.command, *arguments], capture_output=True, text=True, env=child_environment(), timeout=120
        )
        said = (done.stdout + done.stderr).strip()
        if done.returncode:
            fail(f"Blender's extension tool refused `{arguments[0]}`:\n  " + "\n  ".join(said.splitlines()[-5:]))
        return said


def version() -> str:
    text = MANIFEST.read_text("utf-8")
    found = re.search(r'^version\s*=\s*"([^"]+)"', text, re.MULTILINE)
    return found[1] if found else fail("the manifest has no version.")


def stage(folder: Path) -> Path:
    """Lay the extension out as Blender wants it: the package's files beside the manifest."""
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns(*NOT_SHIPPED))
    for name in BESIDE_THE_MANIFEST:
        shutil.copy2(ROOT / name, folder)
    return folder


def build_zip(tool: ExtensionTool, out: Path) -> Path:
    """Stage, build and validate the plain zip; returns it."""
    source = stage(BUILD / "stage")
    tool.run("validate", str(source))
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"csd_blender-{version()}.zip"
    partial = path.with_suffix(".partial.zip")
    tool.run("build", "--source-dir", str(source), "--output-filepath", str(partial))
    tool.run("validate", str(partial))
    partial.replace(path)
    return path
