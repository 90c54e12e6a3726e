"""Getting uv, the program that makes environments: nothing of it is run before its wheel fits the lock's SHA-256.

uv comes as a wheel that holds one program. A zip of this extension for one system carries that wheel, so that Set Up
needs nothing on the computer: Blender leaves the wheel in the extension's folder (and unpacks no programs from wheels
itself), and the program is taken out of it here. Without it, any pip can download the same wheel.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from ..errors import JobError
from .package_lock import LOCKS, Lock, file_hash
from .pythons import candidates

Run = Callable[..., object]
LOCK = LOCKS / "uv.txt"
CARRIED = Path(__file__).resolve().parents[2] / "wheels"  # in the installed extension; there is none in a checkout


def version() -> str:
    """The pinned version of uv."""
    return Lock.read(LOCK).pins[0].version


def find(root: Path, wheel_dir: Path | None, run: Run) -> Path | None:
    """uv of the pinned version, else one that the owner of this computer installed, else None.

    Args:
        root: folder of the environments; the program is kept there.
        wheel_dir: folder of wheels, in place of any network.
        run: runs a command, ``run(command, environment)``; raises ``JobError`` where it fails.

    Raises:
        JobError: ``wheel_changed`` when a wheel of uv at hand is not the published one; ``cancelled`` from ``run``.
    """
    kept = root / f"uv-{version()}" / ("uv.exe" if os.name == "nt" else "uv")
    if is_whole(kept):
        return kept
    for folder in (CARRIED, wheel_dir):
        wheel = _wheel_in(folder)
        if wheel is not None:
            return _unpack(wheel, kept)
    if wheel_dir is None and _download(kept, run):
        return kept
    return of_the_owner()


def is_whole(program: Path) -> bool:
    """Whether the program is the one that was unpacked, byte for byte."""
    try:
        return _note(program).read_text("ascii").strip() == file_hash(program)
    except OSError:
        return False


def _note(program: Path) -> Path:
    return program.with_name(program.name + ".sha256")


def _wheel_in(folder: Path | None) -> Path | None:
    """The pinned version's wheel for this computer, if the folder has it."""
    if folder is None or not folder.is_dir():
        return None
    found = sorted(folder.glob(f"uv-{version()}-*.whl"))
    return next((w for machine in _machines() for w in found if _is_for(w.name, machine)), None)


def _machines() -> list[str]:
    """What this computer runs, its own kind first, in the words of wheels."""
    own = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    emulated = ["x86_64"] if own == "aarch64" and sys.platform != "linux" else []  # Windows and macOS do that
    return [own, *emulated]


def _is_for(name: str, machine: str) -> bool:
    system = {"linux": "manylinux", "darwin": "macosx", "win32": "win"}.get(sys.platform, sys.platform)
    ends = {"x86_64": ("x86_64", "amd64"), "aarch64": ("aarch64", "arm64")}.get(machine, (machine,))
    return any(p.startswith(system) and p.endswith(ends) for p in name[:-4].rpartition("-")[2].split("."))


def _download(kept: Path, run: Run) -> bool:
    """Let a pip of this computer download the wheel; pip itself already refuses one that the lock does not know."""
    folder = kept.parent / "wheel"
    for python in candidates():
        command = [str(python), "-I", "-m", "pip", "download", "-q", "-d", str(folder), "--require-hashes", "--no-deps"]
        try:
            run([*command, "--only-binary", ":all:", "-r", str(LOCK)], None)
            wheel = _wheel_in(folder)
            if wheel is not None:
                _unpack(wheel, kept)
                return True
        except (JobError, OSError, subprocess.SubprocessError) as error:
            if isinstance(error, JobError) and error.code == "cancelled":
                raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return False


def _unpack(wheel: Path, target: Path) -> Path:
    """Take the program out of a wheel that the lock knows."""
    if file_hash(wheel) not in Lock.read(LOCK).hashes:
        raise JobError("wheel_changed", f"{wheel.name} in {wheel.parent}")
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(target.name + ".new")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if re.fullmatch(r"uv-[^/]*\.data/scripts/uv(\.exe)?", n)]
        fresh.write_bytes(archive.read(name))
    fresh.chmod(0o755)
    _note(target).write_text(file_hash(fresh) + "\n", "ascii")
    os.replace(fresh, target)
    return target


def of_the_owner() -> Path | None:
    """A uv that somebody installed on this computer; PATH may be short where Blender was started from a desktop."""
    home = Path.home()
    names = [shutil.which("uv"), home / ".local/bin/uv", home / ".cargo/bin/uv"]
    for name in names:
        try:
            if name and subprocess.run([str(name), "--version"], capture_output=True, timeout=60).returncode == 0:
                return Path(name)
        except (OSError, subprocess.SubprocessError):
            continue
    return None
