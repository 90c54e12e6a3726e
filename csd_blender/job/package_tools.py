"""Finding a Python to build on and a tool to install with: uv where it can be had, else pip.

uv is faster, fetches a Python of its own when the computer has none that fits, and picks the build of torch that suits
the graphics card. Whatever pip is configured to use (indexes, folders of wheels, certificates) is handed on to it.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from .errors import JobError

UV_VERSION = "0.13.8"
Version = tuple[int, int]
Run = Callable[..., str]


@dataclass(frozen=True)
class Installer:
    """How to make and fill an environment. ``uv`` is the program, or None for pip."""

    uv: Path | None
    environment: dict[str, str]

    def make_environment(self, python: Path, folder: Path) -> list[str]:
        """Command that makes an empty environment."""
        if self.uv:
            return [str(self.uv), "venv", "--no-project", "--python", str(python), str(folder)]
        return [str(python), "-I", "-m", "venv", str(folder)]

    def install(self, inside: Path, lock: Path, wheel_dir: Path | None) -> list[str]:
        """Command that installs the pins of ``lock`` into the environment with the Python ``inside``."""
        offline = ["--no-index", "--find-links", str(wheel_dir)] if wheel_dir else []
        if not self.uv:
            return [str(inside), "-I", "-m", "pip", "install", "--progress-bar", "off", *offline, "-r", str(lock)]
        command = [str(self.uv), "pip", "install", "--python", str(inside), "--no-progress", *offline, "-r", str(lock)]
        if "torch==" in lock.read_text(encoding="utf-8") and not self._owner_chose_torch(wheel_dir):
            command += ["--torch-backend", "auto"]
        return command

    def _owner_chose_torch(self, wheel_dir: Path | None) -> bool:
        """A build of torch, or an index, chosen by the owner of this computer beats our choice."""
        if wheel_dir or self.environment.get("UV_DEFAULT_INDEX"):
            return True
        folders = self.environment.get("UV_FIND_LINKS", "").split(",")
        return any(next(Path(f).glob("torch-*.whl"), None) for f in folders if f and Path(f).is_dir())


def find_installer(root: Path, wheel_dir: Path | None, run: Run) -> Installer:
    """uv of the pinned version, from this computer or by way of pip; else plain pip. Does not fail."""
    environment = _uv_environment(root)
    cached = root / f"uv-{UV_VERSION}" / ("uv.exe" if os.name == "nt" else "uv")
    if not cached.is_file() and (wheel_dir is None or any(wheel_dir.glob("uv-*.whl"))):
        _fetch_uv(cached, wheel_dir, run)
    if cached.is_file():
        return Installer(cached, environment)
    return Installer(None, environment)


def _fetch_uv(target: Path, wheel_dir: Path | None, run: Run) -> None:
    """Take the program out of uv's wheel, which any pip can download."""
    wheels = target.parent / "wheel"
    for python in _candidates():
        offline = ["--no-index", "--find-links", str(wheel_dir)] if wheel_dir else []
        pinned = [f"uv=={UV_VERSION}", "--no-deps", "--only-binary", ":all:"]
        try:
            run([str(python), "-I", "-m", "pip", "download", "-q", "-d", str(wheels), *offline, *pinned], None)
        except JobError as error:
            if error.code == "cancelled":
                raise
            continue
        for wheel in wheels.glob("uv-*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if re.fullmatch(r"uv-[^/]*\.data/scripts/uv(\.exe)?", name):
                        target.with_suffix(".new").write_bytes(archive.read(name))
                        target.with_suffix(".new").chmod(0o755)
                        os.replace(target.with_suffix(".new"), target)
        break
    shutil.rmtree(wheels, ignore_errors=True)


def installer_environment() -> dict[str, str]:
    """This process's environment for installers: pip's own settings stay, other Pythons' paths go."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {k: v for k, v in os.environ.items() if k not in dropped}


def _uv_environment(root: Path) -> dict[str, str]:
    """uv's settings: everything below ``root``, and pip's configuration in uv's words. The person's own UV_... win."""
    pip, mine = _pip_settings(), {"UV_HTTP_TIMEOUT": "180"}
    if pip.get("find-links"):
        mine["UV_FIND_LINKS"] = ",".join(pip["find-links"])
    if pip.get("index-url"):
        mine["UV_DEFAULT_INDEX"] = pip["index-url"][-1]
    if pip.get("extra-index-url"):
        mine["UV_INDEX"] = " ".join(pip["extra-index-url"])
        mine["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # what pip does with several indexes
    if pip.get("trusted-host"):
        mine["UV_INSECURE_HOST"] = " ".join(pip["trusted-host"])
    if pip.get("cert"):
        mine["SSL_CERT_FILE"] = pip["cert"][-1]
    if pip.get("proxy"):
        mine["HTTPS_PROXY"] = mine["HTTP_PROXY"] = pip["proxy"][-1]
    always = {
        "UV_CACHE_DIR": str(root / "cache"),
        "UV_PYTHON_INSTALL_DIR": str(root / "python"),
        "UV_NO_CONFIG": "1",
    }
    return {**mine, **installer_environment(), **always}


def _pip_settings() -> dict[str, list[str]]:
    """pip's configuration by option name, split where an option takes several values; missing folders are left out."""
    for python in _candidates():
        try:
            command = [str(python), "-I", "-m", "pip", "config", "list"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        return parse_pip_settings(done.stdout)
    return {}


def parse_pip_settings(listing: str) -> dict[str, list[str]]:
    """The output of ``pip config list``: ``section.name='value'`` lines; the environment beats the files."""
    order = ("global", "site", "user", "install", ":env:")  # options of other pip commands do not concern us
    found: dict[str, tuple[int, str]] = {}
    for section, name, value in re.findall(r"^([\w:-]+)\.([a-z-]+)=(.+)$", listing, re.MULTILINE):
        rank = order.index(section) if section in order else -1
        if rank < found.get(name, (0, ""))[0]:
            continue
        try:
            found[name] = (rank, str(ast.literal_eval(value)))
        except (SyntaxError, ValueError):
            continue
    settings = {name: [v for v in value.split() if _is_there(v)] for name, (_, value) in found.items()}
    return {name: values for name, values in settings.items() if values}


def _is_there(place: str) -> bool:
    """False for a file:// address of nothing, which pip passes over too."""
    if not place.startswith("file://"):
        return True
    return Path(url2pathname(urlsplit(place).path)).exists()


def _candidates() -> list[Path]:
    """Pythons on this computer, the ones most likely to fit first."""
    names = [f"python3.{minor}" for minor in (11, 12, 13)] + ["python3", "python"]
    paths = [shutil.which(name) for name in names]
    if sys.platform == "darwin" and not Path("/Library/Developer/CommandLineTools/usr/bin/python3").exists():
        paths = [p for p in paths if p != "/usr/bin/python3"]  # there, it only offers to install Apple's tools
    ordered = [*(p for p in paths if p), sys.executable]
    return [Path(p) for p in dict.fromkeys(ordered) if p]


def find_python(wanted: str, allowed: tuple[Version, Version], installer: Installer, run: Run) -> Path:
    """A Python of version ``wanted`` ("3.11"), or of any ``allowed`` one; fetched by uv when there is none.

    Raises:
        JobError: ``setup_failed`` saying in one line what to install.
    """
    low, high = (_parse(wanted), _parse(wanted)) if wanted else allowed
    for python in _candidates():
        if low <= _version(python) <= high and (installer.uv or can_use_pip(python)):
            return python
    version = wanted or f"{low[0]}.{low[1]}"
    if installer.uv:
        try:
            run([str(installer.uv), "python", "install", "--no-progress", version], installer.environment)
            found = run([str(installer.uv), "python", "find", "--managed-python", version], installer.environment)
            return Path(found.strip().splitlines()[-1])
        except JobError as error:
            if error.code == "cancelled":
                raise
    package = f"python{version}" if sys.platform == "linux" else f"Python {version}"
    hint = f"{package} with its venv module (on Debian: python{version}-venv)" if sys.platform == "linux" else package
    raise JobError("setup_failed", f"no Python {version} was found; install {hint} and try again")


def _parse(version: str) -> Version:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _version(python: Path) -> Version:
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True)
        major, minor = done.stdout.split()
    except (OSError, ValueError, subprocess.SubprocessError):
        return (0, 0)
    return int(major), int(minor)


def can_use_pip(python: Path) -> bool:
    """Whether this Python can make environments with pip in them; Debian's needs a further package for that."""
    done = subprocess.run([str(python), "-I", "-c", "import venv, ensurepip"], capture_output=True, check=False)
    return done.returncode == 0
