"""The families of models that can be used: of which parts each consists, and of which classes these may be.

A folder belongs to the first that it fits. What drives a family stands in ``backend/diffusion``, under the same id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_UNET = ("UNet2DConditionModel",)
_TEXT = ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel")
_TOKENIZER = tuple(
    "CLIPTokenizer CLIPTokenizerFast T5Tokenizer T5TokenizerFast PreTrainedTokenizerFast TokenizersBackend".split()
)
#: Parts that make a model another one than those without them.
DEFINING = (
    "unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3", "prior", "controlnet",
    "cc_projection", "clip_camera_projection",
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        id: as the catalogue and the backend name it. label: as people do.
        parts: by their names in ``model_index.json``, the classes that each may be of. A scheduler all families have.
        optional: those of them that a model may do without.
        told: what it draws after: a ``prompt``, a ``picture`` and a camera, or a prompt and the cameras of several
            ``views``.
    """

    id: str
    label: str
    parts: Mapping[str, tuple[str, ...]]
    optional: tuple[str, ...] = ()
    told: str = "prompt"

    def fits(self, classes: Mapping[str, str]) -> bool:
        """Whether a model with parts of these classes (an absent part has none, or an empty one) is of the family."""
        others = (name for name in DEFINING if name not in self.parts)
        fit = (
            classes.get(name) in known or (name in self.optional and not classes.get(name))
            for name, known in self.parts.items()
        )
        return all(fit) and not any(classes.get(name) for name in others)


_SD = {"unet": _UNET, "text_encoder": _TEXT, "tokenizer": _TOKENIZER, "vae": ("AutoencoderKL",)}

FAMILIES = (
    Family("sd", "Stable Diffusion 1 or 2", _SD),
    # Of Stable Diffusion 2's own classes; the network's settings tell it apart.
    Family("mvdream", "MVDream", _SD, told="views"),
    Family("if", "DeepFloyd IF", {"unet": _UNET, "text_encoder": _TEXT, "tokenizer": _TOKENIZER}),
    Family(
        "sdxl",
        "Stable Diffusion XL",
        {
            "unet": _UNET,
            "text_encoder": _TEXT[:2],
            "tokenizer": _TOKENIZER,
            "text_encoder_2": ("CLIPTextModelWithProjection",),
            "tokenizer_2": _TOKENIZER,
            "vae": ("AutoencoderKL",),
        },
    ),
    Family(
        "sd3",
        "Stable Diffusion 3",
        {
            "transformer": ("SD3Transformer2DModel",),
            "text_encoder": ("CLIPTextModelWithProjection",),
            "tokenizer": _TOKENIZER,
            "text_encoder_2": ("CLIPTextModelWithProjection",),
            "tokenizer_2": _TOKENIZER,
            "text_encoder_3": ("T5EncoderModel",),
            "tokenizer_3": _TOKENIZER,
            "vae": ("AutoencoderKL",),
        },
        optional=("text_encoder_3", "tokenizer_3"),
    ),
    *(
        # The same layer by two names: the published folders come from two conversions of the authors' checkpoint.
        Family(
            "zero123",
            "Zero-1-to-3",
            {
                "unet": _UNET,
                "vae": ("AutoencoderKL",),
                "image_encoder": ("CLIPVisionModelWithProjection",),
                name: (class_name,),
            },
            told="picture",
        )
        for name, class_name in (("cc_projection", "CCProjection"), ("clip_camera_projection", "CLIPCameraProjection"))
    ),
)


def find_family(classes: Mapping[str, str]) -> Family | None:
    """The family of a model whose parts are of these classes; None when it is of none of them."""
    return next((family for family in FAMILIES if family.fits(classes)), None)


def sees_cameras(unet: Mapping[str, object]) -> bool:
    """Whether a network with these settings adds a camera to its time, which makes an MVDream of a Stable Diffusion."""
    return unet.get("class_embed_type") == "projection"
