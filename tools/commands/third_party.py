"""THIRD_PARTY.md, made from the locks: every package that can be installed, with version and licence.

What licence a package has stands in ``tools/locks/licences.tsv`` (name, version, licence, address, what it is for), so
that the page is made without a network. ``build.py lock`` looks new packages up with pip and writes the page anew;
where the metadata names no licence that SPDX knows, a person writes it into the table.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from csd_blender.job.setup.package_lock import LOCKS, Lock, normal_name

from .. import environments
from ..paths import ROOT, fail, shown

TABLE = ROOT / "tools" / "locks" / "licences.tsv"
PAGE = ROOT / "THIRD_PARTY.md"
CHECK = ROOT / "tools" / "locks" / "check.txt"

#: SPDX names that fit GPL-3.0-or-later; what is not among them is marked on the page.
COMPATIBLE = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "GPL-3.0-or-later", "ISC", "MIT"),
    *("MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib", "LLVM-exception"),
}
CLASSIFIERS = {"Apache Software License": "Apache-2.0", "MIT License": "MIT", "ISC License (ISCL)": "ISC"}
SHORT = {
    "Apache": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "BSD 2-Clause License": "BSD-2-Clause",
    "GPL-3.0": "GPL-3.0-or-later",
}


@dataclass(frozen=True)
class Row:
    """One package. ``what_for`` may be empty."""

    name: str
    version: str
    licence: str
    url: str = ""
    what_for: str = ""


def locked() -> dict[str, list[tuple[str, str]]]:
    """(name, version) of every package, by group: uv, backend, torch's libraries for CUDA, bpy and check."""
    groups = {name: _pins(LOCKS / f"{name}.txt") for name in ("uv", "backend", "bpy")}
    gpu = {pin for path in LOCKS.glob("torch-*.txt") for pin in _pins(path)}
    torch = sorted(pin for pin in gpu if pin[0] == "torch")
    return {
        "uv": groups["uv"],
        "backend": sorted({*groups["backend"], *torch}),
        "gpu": sorted(gpu - set(torch)),
        "bpy": groups["bpy"],
        "check": _pins(CHECK),
    }


def _pins(path: Path) -> list[tuple[str, str]]:
    """Names as indexes compare them, versions without the part that tells builds apart; sorted."""
    return sorted({(normal_name(pin.name), pin.version.partition("+")[0]) for pin in Lock.read(path).pins})


def table() -> dict[tuple[str, str], Row]:
    rows = [Row(*line.split("\t")) for line in TABLE.read_text("utf-8").splitlines() if line and line[0] != "#"]
    return {(row.name, row.version): row for row in rows}


def learn() -> None:
    """Bring the table up to the locks: look new packages up, forget those that are gone."""
    known = table()
    wanted = sorted({pin for pins in locked().values() for pin in pins})
    missing = [pin for pin in wanted if pin not in known]
    latest = {row.name: row for row in known.values()}
    rows = [known[pin] for pin in wanted if pin in known]
    for name, version, licence, url in _look_up(missing):
        before = latest.get(name, Row(name, version, "?", url))
        rows.append(replace(before, version=version, licence=licence or before.licence, url=before.url or url))
    head = [line for line in TABLE.read_text("utf-8").splitlines() if line.startswith("#")]
    body = ["\t".join((r.name, r.version, r.licence, r.url, r.what_for)).rstrip("\t") for r in sorted(rows, key=_order)]
    TABLE.write_text("\n".join([*head, *body]) + "\n", "utf-8")
    unclear = [row.name for row in rows if row.licence == "?"]
    if unclear:
        fail(f"no licence is known of {', '.join(unclear)}: write it into {shown(TABLE)} and run this again.")


def _order(row: Row) -> tuple[str, str]:
    return row.name, row.version


def _look_up(pins: list[tuple[str, str]]) -> list[tuple[str, str, str, str]]:
    """(name, version, licence or empty, address) from the packages' metadata; nothing is installed.

    What stands in build.py's environments is read there; for the rest, pip asks the index, which takes a while.
    """
    here = _installed() if pins else {}
    found = []
    for name, version in pins:
        metadata = here.get((name, version)) or _from_index(name, version)
        found.append((name, version, licence_of(metadata), address_of(metadata)))
    return found


INSTALLED = """
import json
from importlib.metadata import distributions
found = []
for dist in distributions():
    data = dist.metadata
    found.append({"name": data["Name"], "version": data["Version"], "license": data["License"],
        "license_expression": data["License-Expression"], "home_page": data["Home-page"],
        "classifier": data.get_all("Classifier") or [], "project_url": data.get_all("Project-URL") or []})
print(json.dumps(found))
"""


def _installed() -> dict[tuple[str, str], dict]:
    """The metadata of all packages in the environments that stand, by name and version."""
    found = {}
    for python in filter(None, map(environments.standing, environments.LOCKS)):
        done = subprocess.run([str(python), "-I", "-c", INSTALLED], capture_output=True, text=True, check=True)
        for data in json.loads(done.stdout):
            found[normal_name(data["name"]), data["version"].partition("+")[0]] = data
    return found


def _from_index(name: str, version: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed", "--no-deps"]
        subprocess.run([*command, "--report", str(report), f"{name}=={version}"], capture_output=True)
        return json.loads(report.read_text("utf-8"))["install"][0]["metadata"] if report.is_file() else {}


def licence_of(metadata: dict) -> str:
    """The SPDX expression that a package's metadata gives, or empty where a person must look."""
    if metadata.get("license_expression"):
        return metadata["license_expression"]
    told = (metadata.get("license") or "").strip()
    told = SHORT.get(told, told)
    if told and set(re.split(r" (?:AND|OR|WITH) ", told)) <= COMPATIBLE:
        return told
    classes = [c.rpartition(" :: ")[2] for c in metadata.get("classifier", []) if c.startswith("License ::")]
    clear = classes and set(classes) <= set(CLASSIFIERS)
    return " AND ".join(sorted({CLASSIFIERS[c] for c in classes})) if clear else ""


def address_of(metadata: dict) -> str:
    pairs = [text.partition(", ")[::2] for text in metadata.get("project_url", [])]
    labelled = {label.lower().replace("-", " "): url for label, url in pairs}
    for label in ("homepage", "repository", "source", "source code", "github", "code"):
        if labelled.get(label):
            return labelled[label]
    return metadata.get("home_page") or ""


def fits(licence: str) -> bool:
    """Whether it may be combined with GPL-3.0-or-later; of alternatives one is enough."""
    return any(set(re.split(r" (?:AND|WITH) ", choice.strip("() "))) <= COMPATIBLE for choice in licence.split(" OR "))


def write() -> None:
    PAGE.write_text(page(), "utf-8")
    print(f"{shown(PAGE)}: {sum(len(pins) for pins in locked().values())} packages")


def page() -> str:
    """The whole text. Raises ``KeyError`` for a package without a line in the table."""
    known = table()
    rows = {group: [known[pin] for pin in pins] for group, pins in locked().items()}
    text = Path(__file__).with_suffix(".md").read_text("utf-8")
    for group, packages in rows.items():
        text = text.replace(f"<!-- {group} -->", _markdown(packages))
    return text


def _markdown(rows: list[Row]) -> str:
    # those with a purpose of their own first, then what these need in turn
    ordered = sorted(rows, key=lambda row: (not row.what_for, row.name))
    lines = ["| Library | Version | Licence | Used for |", "| --- | --- | --- | --- |"]
    for row in ordered:
        name = f"[{row.name}]({row.url})" if row.url else row.name
        mark = "" if fits(row.licence) else " ⚠"
        lines.append(f"| {name} | {row.version} | {row.licence}{mark} | {row.what_for} |")
    return "\n".join(lines)
