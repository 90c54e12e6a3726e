"""Reading the lists of pinned packages in ``locks/``, and holding a file against them.

A lock is a requirements file as pip and uv read it: every package with its version and the SHA-256 of each file that
may be installed for it, on any system that is supported. Notes for the installer stand in its first comments.
``python3 build.py lock`` writes the locks.
"""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import JobError

LOCKS = Path(__file__).resolve().parent / "locks"

Version = tuple[int, int]
NOTE = re.compile(r"^# ([a-z0-9-]+): (.+)$", re.MULTILINE)
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*==\s*([^\s;]+)\s*(?:;\s*(.+))?")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """One package of a lock.

    Attributes:
        name: as written. version: with its local part, such as ``2.13.0+cpu``.
        marker: for which systems, in the words of PEP 508, or empty.
        hashes: SHA-256 of the files that may be installed, in hexadecimal.
    """

    name: str
    version: str
    marker: str
    hashes: frozenset[str]


@dataclass(frozen=True)
class Lock:
    """A list of pinned packages, with what its header lines say.

    Attributes:
        pins: the packages, in the file's order.
        digest: of names, versions and markers, 12 hexadecimal digits; comments and hashes do not count.
        size_mb: of the installed environment on this system, about.
        check: a statement that must run in the new environment.
        check_seconds: how long each module of ``check`` takes at first, measured; may be empty.
        python: required version such as ``3.11``, or empty.
        torch: version of torch that is installed beside these packages, see ``torch_builds``; or empty.
    """

    path: Path
    pins: tuple[Pin, ...]
    digest: str
    size_mb: int
    check: str
    check_seconds: tuple[float, ...]
    python: str
    torch: str

    @staticmethod
    def read(path: Path) -> Lock:
        """Raises ``JobError('setup_failed')`` when the file is missing."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise JobError("setup_failed", f"the list of packages {path} is missing") from error
        notes = dict(NOTE.findall(text))
        pins = tuple(read_pins(text))
        lines = sorted(f"{p.name}=={p.version}{p.marker and ';' + p.marker}".lower() for p in pins)
        if notes.get("torch"):
            lines.append(f"torch {notes['torch']}")
        return Lock(
            path=Path(path),
            pins=pins,
            digest=hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12],
            size_mb=int(notes.get(f"size-mb-{sys.platform}", notes.get("size-mb", 50))),
            check=notes.get("check", ""),
            check_seconds=tuple(float(word) for word in notes.get("check-seconds", "").split()),
            python=notes.get("python", ""),
            torch=notes.get("torch", ""),
        )

    @property
    def pythons(self) -> tuple[Version, ...]:
        """The versions that the note ``python`` names, or none for all that are supported."""
        return tuple(parse_version(word) for word in self.python.split())

    @property
    def hashes(self) -> frozenset[str]:
        """Of all files in the lock."""
        return frozenset().union(*(pin.hashes for pin in self.pins))


def read_pins(text: str) -> list[Pin]:
    """The packages of a lock's text; also those that have no hashes yet."""
    joined = re.sub(r"\\\s*\n\s*", " ", re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE))
    pins = []
    for line in joined.splitlines():
        match = PIN.fullmatch(line.partition("--hash=")[0].strip())
        if match:
            pins.append(Pin(match[1], match[2], (match[3] or "").strip(), frozenset(HASH.findall(line))))
    return pins


def normal_name(name: str) -> str:
    """A package's name as indexes compare it (PEP 503): ``Foo_Bar`` and ``foo-bar`` are one package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_version(text: str) -> Version:
    """``"3.11"`` or ``"3.11.7"`` as (3, 11)."""
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def file_hash(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()
