"""Finding a Python that an environment can be built on, and saying what to install where there is none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import JobError
from .package_lock import Version

PROBE = "import sys; print(*sys.version_info[:2], sys.maxsize > 2**32)"


def candidates() -> list[Path]:
    """Pythons on this computer, the ones most likely to fit first; Blender's own comes last."""
    names = [f"python3.{minor}" for minor in (11, 12, 13)] + ["python3", "python"]
    paths = [shutil.which(name) for name in names]
    if sys.platform == "darwin" and not Path("/Library/Developer/CommandLineTools/usr/bin/python3").exists():
        paths = [p for p in paths if p != "/usr/bin/python3"]  # there, it only offers to install Apple's tools
    ordered = [*(p for p in paths if p), sys.executable]
    return [Path(p) for p in dict.fromkeys(ordered) if p]


def find_python(
    wanted: Sequence[Version],
    uv: Path | None,
    environment: dict[str, str],
    run: Callable[..., str],
    tell: Callable[[str], object] = lambda text: None,
) -> Path:
    """A Python of one of the versions in ``wanted``; where this computer has none, uv fetches the first of them.

    uv knows the SHA-256 of every Python that it fetches. Without uv, a Python counts only with venv and pip in it.

    Args:
        run: runs a command, ``run(command, environment)``, and returns its output; raises ``JobError``.
        tell: hears what takes long.

    Raises:
        JobError: ``setup_needs`` saying in one line what to install.
    """
    seen: list[tuple[Path, Version]] = [(python, version_of(python)) for python in candidates()]
    for python, version in seen:
        if version in wanted and (uv or can_use_pip(python)):
            return python
    if uv:
        names = [f"{major}.{minor}" for major, minor in wanted]
        asked = [[str(uv), "python", "find", "--no-project", "--no-python-downloads", name] for name in names]
        asked.append([str(uv), "python", "install", "--no-progress", names[0]])
        asked.append([str(uv), "python", "find", "--no-project", "--managed-python", names[0]])
        for command in asked:
            if command[2] == "install":
                tell(f"Fetching Python {names[0]}")
            try:
                said = run(command, environment)
            except JobError as error:
                if error.code in ("cancelled", "no_space"):
                    raise
                continue
            lines = said.strip().splitlines()
            if command[2] == "find" and lines and Path(lines[-1]).is_file():
                return Path(lines[-1])
    raise JobError("setup_needs", what_to_install(wanted, seen, uv))


def what_to_install(wanted: Sequence[Version], seen: list[tuple[Path, Version]], uv: Path | None) -> str:
    """The one line that helps: on this system, with what is here already."""
    first, last = (f"{v[0]}.{v[1]}" for v in (wanted[0], wanted[-1]))
    versions = first if first == last else f"{first} to {last}"
    here = sorted({f"{v[0]}.{v[1]}" for _, v in seen if v != (0, 0)}, key=lambda text: int(text.split(".")[1]))
    found = f"this computer has Python {', '.join(here)}" if here else "this computer has no Python"
    if uv:
        return f"a Python {versions} ({found}), and none can be fetched; go online once, or install Python {last}"
    if any(version in wanted for _, version in seen):
        needs = f"pip and venv for its Python {versions}; run: {command_for('venv', last)}"
    else:
        needs = f"a Python {versions} ({found}) or uv; run: {command_for('uv', last)}"
    return f"{needs}; or install the extension's zip for your system, which brings uv along"


def command_for(what: str, version: str) -> str:
    """The command by which this system's people install it: ``venv`` (with pip) or ``uv``."""
    if sys.platform == "win32":
        return "winget install astral-sh.uv" if what == "uv" else f"winget install Python.Python.{version}"
    if sys.platform == "darwin":
        return "brew install uv" if what == "uv" else f"brew install python@{version}"
    families = linux_families()
    if families & {"debian", "ubuntu"}:
        return "sudo apt install pipx && pipx install uv" if what == "uv" else "sudo apt install python3-venv"
    if families & {"fedora", "rhel"}:
        return "sudo dnf install uv" if what == "uv" else "sudo dnf install python3-pip"
    if "arch" in families:
        return "sudo pacman -S uv" if what == "uv" else "sudo pacman -S python-pip"
    if families & {"suse", "opensuse"}:
        return "sudo zypper install uv" if what == "uv" else "sudo zypper install python3-pip"
    return "pipx install uv" if what == "uv" else "python3 -m ensurepip"


def linux_families(path: str = "/etc/os-release") -> set[str]:
    """The distribution and those that it is like, such as {"ubuntu", "debian"}."""
    try:
        text = Path(path).read_text("utf-8", "replace")
    except OSError:
        return set()
    found = re.findall(r"^ID(?:_LIKE)?=[\"']?([\w\s.-]+?)[\"']?$", text, re.MULTILINE)
    return {word.partition("-")[0].lower() for words in found for word in words.split()}


def version_of(python: Path) -> Version:
    """Its version; (0, 0) for what is no usable Python, 32-bit ones among them."""
    try:
        done = subprocess.run([str(python), "-I", "-c", PROBE], capture_output=True, text=True, timeout=60, check=True)
        major, minor, wide = done.stdout.split()
    except (OSError, ValueError, subprocess.SubprocessError):
        return (0, 0)
    return (int(major), int(minor)) if wide == "True" else (0, 0)


def can_use_pip(python: Path) -> bool:
    """Whether this Python can make environments with pip in them; Debian's needs a further package for that."""
    try:
        command = [str(python), "-I", "-c", "import venv, ensurepip"]
        return subprocess.run(command, capture_output=True, timeout=60, stdin=subprocess.DEVNULL).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def clean_environment() -> dict[str, str]:
    """This process's environment for installers: pip's own settings stay, other Pythons' paths go."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {k: v for k, v in os.environ.items() if k not in dropped}
