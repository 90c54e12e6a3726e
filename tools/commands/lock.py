"""`build.py lock`: writes the locks, every file of every package with its SHA-256, for every system that is supported.

To add a package or to change a version, write a plain line such as ``trimesh==5.2.0`` into the first part of a lock and
run this. uv resolves for all systems at once; what the packages need in turn keeps its version while that fits
(``--fresh`` takes the newest). Nothing is installed: the index tells the sums. Needs the network and Python 3.11.

torch is special: it comes in several builds, most of which are not on PyPI. Each has a lock of its own,
``torch-<build>.txt``, with the sums of ``tools/locks/torch_wheels.txt``, see ``job/setup/torch_builds``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from csd_blender.job.setup import uv_program
from csd_blender.job.setup.package_lock import LOCKS, Pin, normal_name, read_pins

from ..paths import ENVIRONMENTS, ROOT, child_environment, fail, shown
from . import third_party

TOOL_LOCKS = ROOT / "tools" / "locks"
TORCH_WHEELS = TOOL_LOCKS / "torch_wheels.txt"
IN_TURN = "# what these need in turn"
GPU_LIBRARY = re.compile(r"nvidia-.+|cuda-.+|triton")  # what torch's CUDA build for Linux brings with it

SYSTEMS = {  # as Blender names them, with the end of a wheel's platform tag
    "linux-x64": r"(many)?linux[0-9_]*_x86_64",
    "linux-arm64": r"(many)?linux[0-9_]*_aarch64",
    "windows-x64": r"win_amd64",
    "macos-arm64": r"macosx_[0-9_]+_(arm64|universal2)",
    "macos-x64": r"macosx_[0-9_]+_(x86_64|universal2)",
}
BACKEND_SYSTEMS = ("linux-x64", "linux-arm64", "windows-x64", "macos-arm64")  # torch is made for Intel Macs no more


@dataclass(frozen=True)
class Plan:
    """How one lock is made: its file, for which systems, and for which Pythons (minor versions of 3)."""

    path: Path
    systems: tuple[str, ...]
    pythons: tuple[int, ...]


PLANS = (
    Plan(LOCKS / "backend.txt", BACKEND_SYSTEMS, (11, 12, 13)),
    Plan(LOCKS / "bpy.txt", ("linux-x64", "windows-x64", "macos-arm64", "macos-x64"), (11,)),
    Plan(LOCKS / "uv.txt", tuple(SYSTEMS), (11, 12, 13)),
    Plan(TOOL_LOCKS / "check.txt", tuple(SYSTEMS), (11, 12, 13)),
)


@dataclass(frozen=True)
class Package:
    """What the index says: ``files`` are (name, SHA-256)."""

    name: str
    version: str
    marker: str
    files: tuple[tuple[str, str], ...]


def run(fresh: bool) -> int:
    if sys.version_info < (3, 11):
        fail("build.py lock needs Python 3.11 or later.")
    uv = some_uv()
    for plan in PLANS:
        text = plan.path.read_text("utf-8")
        packages = [p for p in resolve(uv, text, fresh) if systems_of(p.marker, plan.systems)]
        head = text[: re.search(r"^[^#\n]", text, re.MULTILINE).start()]
        torch = re.search(r"^# torch: (\S+)$", text, re.MULTILINE)
        if torch:
            write_torch_locks(plan, torch[1], packages)
            packages = [p for p in packages if p.name != "torch" and not GPU_LIBRARY.fullmatch(p.name)]
        direct = {normal_name(pin.name) for pin in direct_pins(text)}
        blocks = [entry(plan, p) for p in packages if p.name in direct]
        in_turn = [entry(plan, p) for p in packages if p.name not in direct]
        plan.path.write_text(head + "".join(blocks) + "".join([IN_TURN + "\n", *in_turn] if in_turn else []), "utf-8")
        print(f"{shown(plan.path)}: {len(packages)} packages")
    third_party.learn()
    third_party.write()
    return 0


def some_uv() -> Path:
    """The pinned uv; while its own pin is being changed, one that was pinned before or that the developer has."""
    if all(pin.hashes for pin in read_pins(uv_program.LOCK.read_text("utf-8"))):
        found = uv_program.find(ENVIRONMENTS, None, lambda command, _: subprocess.run(command, check=True))
    else:
        kept = [p for p in ENVIRONMENTS.glob("uv-*/uv*") if p.suffix in ("", ".exe") and uv_program.is_whole(p)]
        found = kept[-1] if kept else uv_program.of_the_owner()
    if found is not None:
        return found
    fail("build.py lock needs uv: install it, or run `python3 build.py doctor` once with the old pin of uv.")


def direct_pins(text: str) -> list[Pin]:
    """What people wrote: all of the first part, and lines of the second that have no sums yet."""
    first, _, second = text.partition(IN_TURN)
    return read_pins(first) + [pin for pin in read_pins(second) if not pin.hashes]


def resolve(uv: Path, text: str, fresh: bool) -> list[Package]:
    """All packages that the direct ones need on any system, sorted by name."""
    import tomllib

    lines = [f"{pin.name}=={pin.version}" + (f" ; {pin.marker}" if pin.marker else "") for pin in direct_pins(text)]
    lines += [f"torch=={version}" for version in re.findall(r"^# torch: (\S+)$", text, re.MULTILINE)]
    kept = [] if fresh else [f"{p.name}=={p.version}" for p in read_pins(text.partition(IN_TURN)[2]) if p.hashes]
    python = re.search(r"^# python: (\S+)$", text, re.MULTILINE)
    environment = child_environment(UV_CACHE_DIR=str(ENVIRONMENTS / "cache"), UV_NO_CONFIG="1")
    for name in ("UV_FIND_LINKS", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_TORCH_BACKEND", "UV_CONSTRAINT"):
        environment.pop(name, None)  # the locks are made from the index alone
    with tempfile.TemporaryDirectory() as folder:
        wanted, constraints, out = (Path(folder) / name for name in ("wanted.in", "kept.txt", "pylock.toml"))
        wanted.write_text("\n".join(lines) + "\n", "utf-8")
        constraints.write_text("\n".join(kept) + "\n", "utf-8")
        command = [str(uv), "pip", "compile", "--universal", "--python-version", python[1] if python else "3.11"]
        command += ["--format", "pylock.toml", "-q", "-c", str(constraints), "-o", str(out), str(wanted)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            fail("the versions do not fit together:\n  " + "\n  ".join(done.stderr.strip().splitlines()[-12:]))
        found = tomllib.loads(out.read_text("utf-8"))["packages"]
    packages = []
    for package in found:
        files = [f for f in [*package.get("wheels", []), package.get("sdist")] if f]
        sums = tuple((f["url"].rpartition("/")[2].replace("%2B", "+"), f["hashes"]["sha256"]) for f in files)
        packages.append(Package(normal_name(package["name"]), package["version"], package.get("marker", ""), sums))
    return sorted(packages, key=lambda p: p.name)


def entry(plan: Plan, package: Package) -> str:
    """A package's lines: the files that fit, and its source where a system has no wheel."""
    wheels = [(name, hash_) for name, hash_ in package.files if name.endswith(".whl")]
    chosen = {h for name, h in wheels if any(fits(name, s, py) for s in plan.systems for py in plan.pythons)}
    lacking = [
        f"{system} on 3.{python}"
        for system in systems_of(package.marker, plan.systems)
        for python in plan.pythons
        if not any(fits(name, system, python) for name, _ in wheels)
    ]
    if lacking:
        source = [hash_ for name, hash_ in package.files if not name.endswith(".whl")]
        chosen |= set(source)
        print(f"  {package.name}: no wheel for {', '.join(lacking)}; {'its source' if source else 'nothing'} is listed")
    marker = f" ; {package.marker}" if package.marker else ""
    return block(f"{package.name}=={package.version}{marker}", chosen)


def block(line: str, hashes: set[str]) -> str:
    return " \\\n    ".join([line, *(f"--hash=sha256:{hash_}" for hash_ in sorted(hashes))]) + "\n"


def fits(wheel: str, system: str, python: int) -> bool:
    """Whether a wheel's name says that it runs on this system and on CPython 3.``python``."""
    tags, abi, platforms = wheel[:-4].split("-")[-3:]
    if not any(p == "any" or re.fullmatch(SYSTEMS[system], p) for p in platforms.split(".")):
        return False
    for tag in tags.split("."):
        if tag in ("py3", f"py3{python}") or (tag == f"cp3{python}" and abi in (tag, "abi3", "none")):
            return True
        if abi == "abi3" and re.fullmatch(r"cp3\d+", tag) and int(tag[3:]) <= python:
            return True
    return False


def systems_of(marker: str, systems: tuple[str, ...]) -> tuple[str, ...]:
    """The systems on which a package is wanted at all; knows the markers that stand in the locks."""
    names = {"linux": "linux", "win32": "windows", "darwin": "macos"}  # and "emscripten": none of ours
    only = re.findall(r"sys_platform == '(\w+)'", marker)
    if not only:
        return systems
    return tuple(s for s in systems if s.partition("-")[0] in {names.get(word) for word in only})


def write_torch_locks(plan: Plan, version: str, packages: list[Package]) -> None:
    """A lock for each build of torch: the one on PyPI, and those on torch's own index."""
    libraries = [p for p in packages if GPU_LIBRARY.fullmatch(p.name)]
    gpu = "".join(entry(Plan(plan.path, ("linux-x64", "linux-arm64"), plan.pythons), p) for p in libraries)
    (pypi,) = [p for p in packages if p.name == "torch"]
    texts = {"pypi": entry(plan, pypi) + gpu}
    known = re.findall(rf"^([0-9a-f]{{64}})  torch-{re.escape(version)}\+(\w+)-(\S+\.whl)$", torch_wheels(), re.M)
    for build in sorted({name for _, name, _ in known}):
        mine = [(hash_, file) for hash_, name, file in known if name == build]
        texts[build] = block(f"torch=={version}+{build}", {hash_ for hash_, _ in mine})
        if build.startswith("cu") and any("linux" in file for _, file in mine):
            texts[build] += gpu
    if len(texts) == 1:
        fail(f"{shown(TORCH_WHEELS)} knows no build of torch {version}")
    for build, text in texts.items():
        path = LOCKS / f"torch-{build}.txt"
        old = path.read_text("utf-8") if path.is_file() else f"# torch from {build}\n"
        path.write_text("".join(re.findall(r"^#.*\n", old, re.MULTILINE)) + text, "utf-8")
        print(f"{shown(path)}: {len(read_pins(text))} packages")


def torch_wheels() -> str:
    return TORCH_WHEELS.read_text("utf-8")
