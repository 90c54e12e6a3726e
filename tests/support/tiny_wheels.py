"""Wheels of a few hundred bytes and locks for them, so that the real pip and uv can be tried without a network."""

from __future__ import annotations

import zipfile
from pathlib import Path

from csd_blender.job.setup.package_lock import file_hash


def make_wheel(folder: Path, name: str, body: str, version: str = "1.0", needs: str = "") -> Path:
    """A wheel with one module."""
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", body)
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{info}/METADATA", about + (f"Requires-Dist: {needs}\n" if needs else ""))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


def make_lock(folder: Path, *lines: str, wheels: Path | None = None, name: str = "tiny.txt") -> Path:
    """A lock of these lines; pins get the hash of their wheel in ``wheels``, by default in ``folder/wheels``."""
    written = []
    for line in lines:
        path = (wheels or folder / "wheels") / f"{line.replace('==', '-')}-py3-none-any.whl"
        written.append(f"{line} --hash=sha256:{file_hash(path)}" if path.is_file() else line)
    path = folder / name
    path.write_text("\n".join(["# size-mb: 5", *written]) + "\n")
    return path
