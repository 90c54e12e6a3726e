"""`build.py blender`: a real Blender with this extension, in a profile of its own; the person's own stays untouched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .. import environments
from ..blender import find_blender
from ..extension_zip import ExtensionTool, build_zip
from ..paths import BUILD, IN_BLENDER, child_environment, fail
from ..status_line import StatusLine


def some_blender() -> Path:
    found = shutil.which("blender")
    if found:
        return Path(found)
    fail("no Blender was found; name one: python3 build.py blender --blender PATH")


def run(given: Path | None, wheels: Path | None) -> int:
    blender = find_blender(given or some_blender())
    line = StatusLine()
    environments.ensure("backend", line, wheels)
    profile = BUILD / "blender-profile"
    profile.mkdir(parents=True, exist_ok=True)
    zip_path = build_zip(ExtensionTool.from_blender(blender), profile)
    environment = child_environment(
        BLENDER_USER_RESOURCES=str(profile),
        CSD_ZIP=str(zip_path),
        CSD_DATA_FOLDER=str(BUILD),
        CSD_BACKEND_PYTHON=os.environ.get("CSD_BACKEND_PYTHON", ""),
    )
    return subprocess.call([str(blender), "--python", str(IN_BLENDER / "open_panel.py")], env=environment)
