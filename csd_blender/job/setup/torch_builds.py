"""Choosing the build of torch for this computer.

torch 2.13 comes as ``pypi`` (CUDA 13 on Linux, the processor on Windows, Apple's GPU on macOS) and, on torch's own
index, as ``cpu``, ``cu130`` and ``cu126``. Each build that may be chosen has a lock, ``locks/torch-<build>.txt``, with
the sums of its files. Builds for AMD and Intel cards are not used: the renderer's kernels run on CUDA and the
processor.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import JobError
from .package_lock import Lock, Version, parse_version

INDEX = "https://download.pytorch.org/whl/"
CUDA_13_DRIVER, CUDA_12_DRIVER = 580, 528  # the oldest drivers that can run them
CUDA_13_CARD = (7, 5)  # compute capability; CUDA 13 knows no older cards
WHEEL = re.compile(r"torch-(?P<version>[0-9.]+)(?:\+(?P<build>[a-z0-9.]+))?-cp(?P<python>3\d+)-.+\.whl")


@dataclass(frozen=True)
class TorchBuild:
    """A build of torch.

    Attributes:
        name: ``pypi``, ``cpu``, ``cu126`` or ``cu130``.
        lock: its list of packages.
        at_hand: it lies in a folder of the owner's, so that torch's own index is not asked.
        pythons: the only ones it can be installed for; none for all.
        note: what the owner should know about the choice, or empty.
    """

    name: str
    lock: Lock
    at_hand: bool = False
    pythons: tuple[Version, ...] = ()
    note: str = ""

    @property
    def index(self) -> str:
        """Where pip finds it beside its usual places, or empty."""
        return "" if self.at_hand or self.name == "pypi" else INDEX + self.name


def choose(lock: Lock, wheel_dir: Path | None, environment: dict[str, str]) -> TorchBuild | None:
    """The build to install with ``lock``, or None where that wants no torch.

    A build in a folder of the owner's, an index of theirs or ``UV_TORCH_BACKEND`` beats our choice.

    Args:
        environment: of the installer; ``UV_FIND_LINKS`` and ``UV_DEFAULT_INDEX`` count.

    Raises:
        JobError: ``setup_failed`` when the owner's folder has only builds that no lock knows.
    """
    if not lock.torch:
        return None
    links = [Path(f) for f in environment.get("UV_FIND_LINKS", "").split(",") if f and Path(f).is_dir()]
    found: dict[str, set[Version]] = {}
    for folder in [wheel_dir] if wheel_dir else links:
        for match in (WHEEL.fullmatch(path.name) for path in folder.glob(f"torch-{lock.torch}*.whl")):
            if match and match["version"] == lock.torch:
                python = match["python"]
                found.setdefault(match["build"] or "pypi", set()).add(parse_version(f"{python[0]}.{python[1:]}"))
    best, note = _best()
    asked = os.environ.get("UV_TORCH_BACKEND", "")
    if _lock(lock, asked).is_file():
        best, note = asked, ""
    if found:
        ordered = dict.fromkeys([best, *sorted(found)])
        known = [name for name in ordered if name in found and _lock(lock, name).is_file()]
        if not known:
            raise JobError("setup_failed", f"torch {lock.torch}+{min(found)} is not a build that this version knows")
        return TorchBuild(known[0], Lock.read(_lock(lock, known[0])), True, tuple(sorted(found[known[0]])))
    if wheel_dir or environment.get("UV_DEFAULT_INDEX"):
        best, note = "pypi", ""
    chosen = Lock.read(_lock(lock, best))
    return TorchBuild(best, chosen, False, chosen.pythons, note)


def _lock(lock: Lock, build: str) -> Path:
    return lock.path.with_name(f"torch-{build}.txt")


def _best() -> tuple[str, str]:
    """The build for this computer, and what there is to say about it."""
    if sys.platform == "darwin":
        return "pypi", ""
    driver, card = nvidia()
    windows = sys.platform == "win32"
    if driver >= CUDA_13_DRIVER and card >= CUDA_13_CARD:
        return ("cu130" if windows else "pypi"), ""
    if driver >= CUDA_12_DRIVER and windows:
        return "cu126", ""
    note = ""
    if driver and card >= CUDA_13_CARD:
        note = f"The NVIDIA driver {driver} is too old for this backend; install 580 or newer and press Set Up again."
    elif driver:
        note = "This NVIDIA card is older than those that the backend supports here; the processor is used."
    return ("pypi" if windows else "cpu"), note


def nvidia() -> tuple[int, tuple[int, int]]:
    """The NVIDIA driver's main version (0: none) and the newest card's compute capability."""
    system = os.environ.get("SYSTEMROOT", r"C:\Windows")
    program = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=str(Path(system, "System32")))
    if program:
        hide = {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}
        command = [program, "--query-gpu=driver_version,compute_cap", "--format=csv,noheader"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, **hide)
            rows = re.findall(r"^(\d+)[\d.]*, *(\d+)\.(\d+)", done.stdout, re.MULTILINE)
            if rows:
                return int(rows[0][0]), max((int(major), int(minor)) for _, major, minor in rows)
        except (OSError, subprocess.SubprocessError):
            pass
    try:  # in a sandbox without nvidia-smi
        text = Path("/proc/driver/nvidia/version").read_text("ascii", "replace")
    except OSError:
        return 0, (0, 0)
    match = re.search(r"Module.*?\s(\d{3,})\.\d+", text)
    return (int(match[1]) if match else 0), CUDA_13_CARD
