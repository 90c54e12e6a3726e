"""The tool that makes and fills environments: uv where it can be had, else pip; both install only what a lock knows.

uv is faster, fetches a Python of its own when the computer has none that fits, and needs no pip. Whatever pip is
configured to use (indexes, folders of wheels, certificates) is handed on to it.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from . import uv_program
from .package_lock import Lock
from .pythons import candidates, clean_environment
from .torch_builds import TorchBuild

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

    def install(self, inside: Path, lock: Lock, build: TorchBuild | None, wheel_dir: Path | None) -> list[str]:
        """Command that installs the pins of ``lock``, and of its ``build`` of torch, for the Python ``inside``.

        Every file must have a SHA-256 that the locks name; anything else is refused, also what they do not list.
        """
        wanted = ["--require-hashes", "-r", str(lock.path), *(["-r", str(build.lock.path)] if build else [])]
        offline = ["--no-index", "--find-links", str(wheel_dir)] if wheel_dir else []
        if self.uv:
            index = ["--torch-backend", build.name] if build and build.index else []
            return [str(self.uv), "pip", "install", "--python", str(inside), "--no-progress", *index, *offline, *wanted]
        index = ["--extra-index-url", build.index] if build and build.index else []
        # as uv does: what is imported gets compiled when it is tried, not all ten thousand files
        quietly = ["--progress-bar", "off", "--no-compile"]
        return [str(inside), "-I", "-m", "pip", "install", *quietly, *index, *offline, *wanted]


def find_installer(root: Path, wheel_dir: Path | None, run: Run) -> Installer:
    """uv where it can be had, else plain pip, of which is not known yet whether it is there.

    Raises:
        JobError: see ``uv_program.find``.
    """
    return Installer(uv_program.find(root, wheel_dir, run), uv_environment(root))


def uv_environment(root: Path) -> dict[str, str]:
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
    settings = {**mine, **clean_environment(), **always}
    settings.pop("UV_TORCH_BACKEND", None)  # torch_builds heeds it
    return settings


def _pip_settings() -> dict[str, list[str]]:
    """pip's configuration by option name, split where an option takes several values; missing folders are left out."""
    for python in candidates():
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
