"""``result/result.json``: what a job left in its folder, where it lies, and what made it.

The backend writes it as its last file, so who can read it finds the others. Records of earlier versions read the same;
what a later one adds is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from .errors import quoted
from .files import RESULT, RESULT_RECORD
from .folder import LARGEST_RECORD, read_ordinary
from .kinds import KINDS
from .spec.texture import TextureJob

#: The maps that a part may have, each a picture. Albedo is sRGB; the others would be data.
MAPS = ("albedo", "normal", "roughness", "metallic")
UV_SOURCES = ("user", "new")

#: What :func:`read_result` raises for a record that is missing, damaged, or not what it should be.
UNREADABLE = (OSError, ValueError, RecursionError)


@dataclass(frozen=True)
class Part:
    """One texture of a result.

    Attributes:
        maps: files by the names in ``MAPS``, as paths within the job folder; always an ``albedo``.
        uv_source: ``user`` where it is on the user's own UV map, else ``new``.
    """

    name: str
    maps: Mapping[str, str]
    uv_source: str = "user"

    @property
    def albedo(self) -> str:
        return self.maps["albedo"]

    def to_json(self) -> dict:
        """Inverse of :meth:`from_json`."""
        return {"name": self.name, **self.maps, "uv_source": self.uv_source}

    @classmethod
    def from_json(cls, data: object) -> Part:
        """Raises ``ValueError`` for what is no part."""
        entry = _table("a part", data)
        maps = {name: _text(name, entry[name]) for name in MAPS if name in entry}
        if "albedo" not in maps:
            raise ValueError("a part has no albedo")
        source = entry.get("uv_source", "user")
        if source not in UV_SOURCES:
            raise ValueError(f"uv_source is {quoted(source)}, allowed is one of {', '.join(UV_SOURCES)}")
        return cls(_text("name", entry.get("name", "")), maps, source)


@dataclass(frozen=True)
class Result:
    """What ``result.json`` holds.

    Attributes:
        kind: of the job; records of textures used not to tell it.
        complete: whether the job came to its end; of one that was stopped this is the best so far.
        settings: the job's, as ``job.json`` has them.
        parts: one for each texture, in the order of the mesh's parts.
        versions: of the packages that the result depends on. licences: of the models and of the code, by name.
        timings: figures of the run, ``steps`` and ``seconds`` among them.
        warnings: what the artist was told, each a table with ``code`` and ``text``.
        roughness, metallic: of an object's material, in [0, 1].
        faces: of an object, its triangles. watertight: whether it is closed.
    """

    settings: Mapping[str, object]
    parts: tuple[Part, ...]
    complete: bool = True
    kind: str = TextureJob.kind
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    licences: Mapping[str, str] = field(default_factory=dict)
    timings: Mapping[str, object] = field(default_factory=dict)
    warnings: tuple[Mapping[str, str], ...] = ()
    roughness: float | None = None
    metallic: float | None = None
    faces: int | None = None
    watertight: bool | None = None

    @property
    def makes_object(self) -> bool:
        """Whether it is an object of its own, with ``result/mesh.npz``."""
        always = any(kind.spec.makes_object for kind in KINDS if kind.spec.kind == self.kind)
        return always or self.faces is not None  # an edit is one where its shape was free

    @property
    def prompt(self) -> str:
        return str(self.settings.get("prompt", ""))

    def to_json(self) -> dict:
        """Plain JSON values; what is None is left out."""
        record = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        record |= {"parts": [part.to_json() for part in self.parts], "warnings": list(self.warnings)}
        return {name: value for name, value in record.items() if value is not None}

    @classmethod
    def from_json(cls, data: object) -> Result:
        """Inverse of :meth:`to_json`. Raises ``ValueError`` for what is no record of a result.

        Figures that nothing depends on are left out where they are not of their type.
        """
        record = _table("the record", data)
        parts = record.get("parts")
        if not isinstance(parts, list) or not parts:
            raise ValueError(f"parts is {quoted(parts)}, not a list of parts")
        complete = record.get("complete", True)
        if not isinstance(complete, bool):
            raise ValueError(f"complete is {quoted(complete)}, not true or false")
        seed, faces, watertight = record.get("seed"), record.get("faces"), record.get("watertight")
        warnings = record.get("warnings")
        return cls(
            settings=_table("settings", record.get("settings", {})),
            parts=tuple(Part.from_json(part) for part in parts),
            complete=complete,
            kind=_text("kind", record.get("kind", TextureJob.kind)),
            seed=seed if type(seed) is int else None,
            versions=_table("versions", record.get("versions", {})),
            licences=_table("licences", record.get("licences", {})),
            timings=_table("timings", record.get("timings", {})),
            warnings=tuple(w for w in warnings if isinstance(w, dict)) if isinstance(warnings, list) else (),
            roughness=_share(record.get("roughness")),
            metallic=_share(record.get("metallic")),
            faces=faces if type(faces) is int else None,
            watertight=watertight if isinstance(watertight, bool) else None,
        )


def read_result(folder: Path) -> Result:
    """The record in a job folder. Raises one of ``UNREADABLE`` while there is none that can be read.

    Halves of characters, which JSON can name and neither a file nor Blender can hold, are question marks.
    """
    record = json.loads(read_ordinary(folder / RESULT_RECORD, LARGEST_RECORD).decode("utf-8"))
    return Result.from_json(json.loads(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")))


def is_complete(folder: Path) -> bool:
    """Whether the job in a folder came to its end; one that was stopped, with the best so far kept, can go on."""
    try:
        return read_result(folder).complete
    except UNREADABLE:
        return False


def result_file(folder: Path, name: str) -> Path:
    """A file that the record names, relative to the job folder or to ``result/``.

    Raises ``OSError`` when it is not there or outside the folder, ``ValueError`` for names that no file can have, and
    ``RuntimeError`` for links in a circle.
    """
    inside = folder.resolve()
    for base in (folder, folder / RESULT):
        path = (base / name).resolve()
        if path.is_file() and inside in path.parents:
            return path
    raise OSError(f"{name} is missing")


def _table(name: str, value: object) -> dict:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {quoted(value)}, not a table")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {quoted(value)}, not a text")
    return value


def _share(value: object) -> float | None:
    """A number, brought into [0, 1]; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(min(1.0, max(0.0, value)))
