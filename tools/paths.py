"""Where things lie. Everything that build.py makes on its own account lies below .build/, which git ignores."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "csd_blender"
BUILD = ROOT / ".build"
ENVIRONMENTS = BUILD / "environments"
DIST = ROOT / "dist"
LAUNCH = PACKAGE / "launch.py"
IN_BLENDER = ROOT / "tools" / "in_blender"


def child_environment(**extra: str) -> dict[str, str]:
    """The environment for a Python that build.py starts: nothing of the person's own Python reaches into it."""
    drop = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    clean = {key: value for key, value in os.environ.items() if key not in drop}
    return {**clean, "PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1", **extra}


def shown(path: Path) -> str:
    """A path as a person likes to read it: relative to where they stand when that is shorter."""
    try:
        near = os.path.relpath(path)
    except ValueError:  # another drive
        return str(path)
    return near if len(near) < len(str(path)) else str(path)


def fail(sentence: str) -> NoReturn:
    """End build.py with one sentence."""
    sys.exit(f"Error: {sentence}")
