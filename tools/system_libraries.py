"""The system libraries that Blender as a Python module needs on Linux, and how to get them.

Without libEGL a render with Workbench or EEVEE does not raise: it ends the process. So this looks beforehand.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys

# library file -> Debian package
DEBIAN_PACKAGES = {
    "libXrender.so.1": "libxrender1",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libXxf86vm.so.1": "libxxf86vm1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libgomp.so.1": "libgomp1",
}


def missing_libraries() -> list[str]:
    """The library files that the system's loader does not find; always empty on Windows and macOS."""
    if not sys.platform.startswith("linux"):
        return []
    missing = []
    for name in DEBIAN_PACKAGES:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    return missing


def install_command(missing: list[str]) -> list[str]:
    packages = sorted({DEBIAN_PACKAGES[name] for name in missing})
    return ["apt-get", "install", "-y", "--no-install-recommends", *packages]


def ensure_libraries(say=print) -> str | None:
    """Install what is missing when that is possible without asking; otherwise return the sentence for the person."""
    missing = missing_libraries()
    if not missing:
        return None
    command = install_command(missing)
    names = ", ".join(missing)
    if shutil.which("apt-get") is None:
        return f"Blender needs system libraries that are missing: {names}. Install them with your package manager."
    by_hand = f"Blender needs system libraries that are missing: {names}. Install them with: sudo {' '.join(command)}"
    if os.geteuid() != 0:
        return by_hand
    say(f"Installing system libraries that Blender needs: {' '.join(command[4:])}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update"], command):
        done = subprocess.run(step, env=environment, capture_output=True, text=True)
    if done.returncode or missing_libraries():
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return f"{by_hand} (it was tried and failed: {last})"
    return None
