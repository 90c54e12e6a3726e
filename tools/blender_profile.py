"""Where a Blender keeps the extension, and under which name: for tools, tests and scripts inside Blender."""

from __future__ import annotations

from pathlib import Path

from .paths import PACKAGE, ROOT

REPOSITORY = "user_default"  # Blender's own repository for what is installed from a file
EXTENSION = "csd_blender"
MODULE = f"bl_ext.{REPOSITORY}.{EXTENSION}"
MANIFEST = ROOT / "blender_manifest.toml"


def extension_folder(profile: Path) -> Path:
    """Where an installed extension lies below ``profile``, the folder that BLENDER_USER_RESOURCES names."""
    return profile / "extensions" / REPOSITORY / EXTENSION


def link_extension(profile: Path) -> None:
    """Lay the extension out as its zip unpacks, by links to the working tree, below a new profile."""
    target = extension_folder(profile)
    target.mkdir(parents=True)
    for source in PACKAGE.iterdir():
        if source.name != "__pycache__":
            (target / source.name).symlink_to(source)
    (target / MANIFEST.name).symlink_to(MANIFEST)
