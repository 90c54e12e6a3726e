"""`build.py package`: the extension's zips, validated, and the index of a repository that people can host.

There is a plain zip for every system, and one for each of the main systems that carries uv, so that Set Up needs
nothing on the computer.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from csd_blender.job.setup import uv_program
from csd_blender.job.setup.package_lock import Lock, file_hash
from csd_blender.job.setup.pythons import candidates

from .. import environments
from ..extension_zip import ExtensionTool, build_zip, stage, version
from ..paths import BUILD, DIST, ROOT, fail, shown
from ..status_line import StatusLine

WHEELS = ROOT / "wheels"
SYSTEMS = {  # as Blender names them, with the platform tag of uv's wheel
    "linux-x64": "manylinux_2_17_x86_64",
    "macos-arm64": "macosx_11_0_arm64",
    "windows-x64": "win_amd64",
}


def run(plain: bool, wheels: Path | None) -> int:
    """Make the zips and the index; ``plain``: only the zip without uv, which needs no network."""
    line = StatusLine()
    tool = ExtensionTool.from_module(environments.ensure("bpy", line, wheels))
    line.update("Looking for uv's wheels")
    carried = [] if plain else uv_wheels()
    line.clear()
    bare, *others = repository(tool, carried)
    print(f"{size_of(bare)} for any system; Set Up looks for pip or uv there")
    for path in others:
        print(f"{size_of(path)} with uv: Set Up needs nothing else on the computer")
    if not others and not plain:
        print("uv could not be downloaded, so there is no zip that carries it; see wheels/README.md")
    print(f"{shown(DIST / 'index.json')}  (put dist/ on a web server to offer updates)")
    return 0


def size_of(path: Path) -> str:
    return f"{shown(path)}  ({path.stat().st_size / 1e6:.1f} MB, validated)"


def uv_wheels() -> list[Path]:
    """uv's wheels for all of ``SYSTEMS``, below ``wheels/``, fetched by a pip of this computer where they are missing.

    Only files that the lock knows are taken. An empty list when one of them is not to be had, as without a network.
    """
    known = Lock.read(uv_program.LOCK).hashes
    found = []
    for tag in SYSTEMS.values():
        pattern = f"uv-{uv_program.version()}-*{tag}*.whl"
        for changed in (path for path in WHEELS.glob(pattern) if file_hash(path) not in known):
            changed.unlink()  # torn or not the published one; it can be fetched again
        if not list(WHEELS.glob(pattern)):
            _fetch(tag)
        found += list(WHEELS.glob(pattern))[:1]
    return found if len(found) == len(SYSTEMS) else []


def _fetch(tag: str) -> None:
    """Let pip download uv's wheel for a platform; it refuses one that the lock does not know."""
    wanted = ["--no-deps", "--only-binary", ":all:", "--platform", tag, "--require-hashes", "-r", str(uv_program.LOCK)]
    for python in candidates():
        command = [str(python), "-I", "-m", "pip", "download", "-q", "-d", str(WHEELS), *wanted]
        try:
            if subprocess.run(command, capture_output=True, timeout=600).returncode == 0:
                return
        except (OSError, subprocess.SubprocessError):
            continue


def build_system_zips(tool: ExtensionTool, out: Path, wheels: list[Path]) -> list[Path]:
    """A zip for each of ``SYSTEMS`` with its wheel out of ``wheels``, split and named by Blender's tool."""
    source = stage(BUILD / "stage-systems")
    (source / "wheels").mkdir()
    for wheel in wheels:
        shutil.copy2(wheel, source / "wheels")
    manifest = source / "blender_manifest.toml"
    names = ", ".join(f'"{name}"' for name in SYSTEMS)
    listed = "".join(f'    "./wheels/{wheel.name}",\n' for wheel in wheels)
    text = manifest.read_text("utf-8").replace(
        "\n[permissions]", f"\nplatforms = [{names}]\nwheels = [\n{listed}]\n\n[permissions]"
    )
    manifest.write_text(text, "utf-8")
    tool.run("validate", str(source))
    fresh = BUILD / "system-zips"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    tool.run("build", "--source-dir", str(source), "--output-dir", str(fresh), "--split-platforms")
    made = sorted(fresh.glob(f"csd_blender-{version()}-*.zip"))
    if len(made) != len(SYSTEMS):
        fail(f"Blender's extension tool made {len(made)} zips in place of {len(SYSTEMS)}.")
    out.mkdir(parents=True, exist_ok=True)
    for path in made:
        tool.run("validate", str(path))
        path.replace(out / path.name)
    return [out / path.name for path in made]


def repository(tool: ExtensionTool, wheels: list[Path] | None = None) -> list[Path]:
    """``dist/``: the zips with ``index.json`` and ``index.html`` beside them, ready to be put on a web server.

    The plain zip comes first. The index offers those for the systems where there are ``wheels`` for them, else the
    plain one; never both, since a Blender could not choose.
    """
    DIST.mkdir(exist_ok=True)
    for old in DIST.glob("csd_blender-*.zip"):
        old.unlink()
    plain = build_zip(tool, DIST)
    for_systems = build_system_zips(tool, DIST, wheels) if wheels else []
    offered = BUILD / "offered"
    shutil.rmtree(offered, ignore_errors=True)
    offered.mkdir(parents=True)
    for path in for_systems or [plain]:
        shutil.copy2(path, offered)
    tool.run("server-generate", "--repo-dir", str(offered), "--html")
    for name in ("index.json", "index.html"):
        shutil.copy2(offered / name, DIST)
    shutil.rmtree(offered)
    return [plain, *for_systems]
