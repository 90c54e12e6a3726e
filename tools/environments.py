"""The environments below .build/environments, made by the very installer behind the extension's Set Up button.

backend  what artists get: torch, diffusers and their companions
bpy      Blender as a Python module, for the demo and the tests without a Blender on the machine
check    ruff and pytest, lent to the other two by PYTHONPATH
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .paths import ENVIRONMENTS, PACKAGE, ROOT, child_environment, fail
from .status_line import StatusLine

LOCKS = {
    "backend": PACKAGE / "job" / "setup" / "locks" / "backend.txt",
    "bpy": PACKAGE / "job" / "setup" / "locks" / "bpy.txt",
    "check": ROOT / "tools" / "locks" / "check.txt",
}
LABELS = {"backend": "Backend environment", "bpy": "Blender module", "check": "Test tools"}


def ensure(name: str, line: StatusLine, wheels: Path | None = None) -> Path:
    """The environment's Python, made first where it does not stand yet. Ends build.py with one sentence on failure.

    ``CSD_BACKEND_PYTHON``, ``CSD_BPY_PYTHON`` and ``CSD_CHECK_PYTHON`` name a Python to use instead: for developers
    who keep environments of their own.
    """
    own = os.environ.get(f"CSD_{name.upper()}_PYTHON")
    if own:
        return Path(own)
    from csd_blender.job.errors import JobError
    from csd_blender.job.setup.environment import ensure_environment

    def report(progress) -> None:
        line.update(f"{LABELS[name]}: {progress.text}", progress.fraction, progress.seconds_left)

    try:
        python = ensure_environment(ENVIRONMENTS, LOCKS[name], name=name, wheel_dir=wheels, report=report)
    except JobError as error:
        line.clear()
        detail = f"\n  ({error.detail})" if error.detail else ""
        fail(f"{error.text} {error.fix}{detail}")
    line.clear()
    return Path(python)


def standing(name: str) -> Path | None:
    """The environment's Python when it stands and fits its lock."""
    own = os.environ.get(f"CSD_{name.upper()}_PYTHON")
    if own:
        return Path(own)
    from csd_blender.job.setup.environment import installed_python

    python = installed_python(ENVIRONMENTS, name, LOCKS[name])
    return Path(python) if python else None


def site_packages(python: Path) -> Path:
    """Where an environment keeps its packages."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def with_check_tools(check_python: Path, **extra: str) -> dict[str, str]:
    """Variables that lend pytest to another environment's Python."""
    return child_environment(PYTHONPATH=str(site_packages(check_python)), **extra)
