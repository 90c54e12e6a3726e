# SPDX-License-Identifier: GPL-3.0-or-later
"""The words the mini model knows, and how a prompt becomes a list of them. Plain Python, no torch.

A prompt is lower-cased, phrases and synonyms are replaced by one canonical word each ("polka dots" -> "dotted",
"wooden" -> "wood", "close-up" -> "closeup"), filler words ("a", "with", "view") are dropped, and what remains is split
at everything that is not a letter. The tokenizer in `tools/lab/mini/tokenizer.py` is built from the same tables.
"""

from __future__ import annotations

import re
import unicodedata

#: Plain hues; every one combines with every word of `PATTERNS`.
COLORS: tuple[str, ...] = (
    "red",
    "orange",
    "yellow",
    "green",
    "cyan",
    "blue",
    "purple",
    "pink",
    "brown",
    "white",
    "gray",
    "black",
)
#: Surface patterns that take a color. "plain" is also what an unnamed pattern means.
PATTERNS: tuple[str, ...] = ("plain", "striped", "checkered", "dotted", "scales", "tiles")
#: Materials that bring their own palette.
OWN_MATERIALS: tuple[str, ...] = (
    "wood",
    "brick",
    "marble",
    "rust",
    "moss",
    "lava",
    "ice",
    "gold",
    "leopard",
    "zebra",
    "tiger",
    "giraffe",
    "camouflage",
    "denim",
    "stone",
    "cobblestone",
)
#: All surfaces: index into this tuple is the material label of a training picture.
MATERIALS: tuple[str, ...] = PATTERNS + OWN_MATERIALS

#: Shapes with a front that can be told from the back.
FRONT_SHAPES: tuple[str, ...] = (
    "robot",
    "house",
    "car",
    "snowman",
    "owl",
    "bear",
    "television",
    "clock",
    "pumpkin",
    "cat",
    "monkey",
)
#: Shapes without a front.
OTHER_SHAPES: tuple[str, ...] = (
    "ball",
    "cube",
    "cylinder",
    "cone",
    "ring",
    "capsule",
    "pyramid",
    "vase",
    "mug",
    "bottle",
    "bowl",
    "table",
    "chair",
    "lamp",
    "tree",
    "mushroom",
    "rocket",
    "dumbbell",
    "barrel",
)
#: All shapes; the last one stands for anything at all.
SHAPES: tuple[str, ...] = (*FRONT_SHAPES, *OTHER_SHAPES, "object")

VIEWS: tuple[str, ...] = ("front", "side", "back", "overhead")
#: Words for flaws; each names a corruption that occurs in the training pictures.
QUALITY: tuple[str, ...] = ("blurry", "noisy", "oversaturated", "dull", "pixelated", "tiling", "lowquality")
FLAT, LIT, CLOSE = "flat", "lit", "closeup"

SPECIAL: tuple[str, ...] = ("<pad>", "<bos>", "<eos>", "<unk>")
#: Canonical words in token order (after `SPECIAL`).
WORDS: tuple[str, ...] = COLORS + MATERIALS + SHAPES + VIEWS + QUALITY + (FLAT, LIT, CLOSE)

#: Phrases of several words, replaced first. Keys are regular expressions over lower-case text.
PHRASES: tuple[tuple[str, str], ...] = (
    (r"close[\s-]*up", "closeup"),
    (r"(?:low|bad|poor|worst)[\s-]*quality", "lowquality"),
    (r"polka[\s-]*(?:dotted|dots|dot)", "dotted"),
    (r"flat[\s-]*(?:colou?rs?|light|lighting|shading|shaded)", "flat"),
    (r"(?:studio|soft|directional)[\s-]*(?:lighting|light)", "lit"),
    (r"(?:from )?(?:above|overhead|top)(?:[\s-]*view)?", "overhead"),
    (r"over[\s-]*saturated", "oversaturated"),
    (r"tv(?:[\s-]*set)?", "television"),
    (r"robot[\s-]*head", "robot"),
    (r"teddy(?:[\s-]*bear)?", "bear"),
)
#: Synonyms of one word.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "red": ("crimson", "scarlet"),
    "orange": ("tangerine",),
    "green": ("lime",),
    "cyan": ("turquoise", "teal"),
    "blue": ("navy",),
    "purple": ("violet", "magenta"),
    "pink": ("rose",),
    "gray": ("grey",),
    "plain": ("solid", "uniform", "painted", "plastic"),
    "striped": ("stripe", "stripes", "stripy"),
    "checkered": ("checker", "checkers", "checked", "checkerboard", "chequered", "plaid"),
    "dotted": ("dots", "dot", "spotted", "spots"),
    "scales": ("scale", "scaly", "scaled", "dragon", "snake", "fish"),
    "tiles": ("tile", "tiled", "mosaic"),
    "wood": ("wooden", "timber", "oak"),
    "brick": ("bricks",),
    "rust": ("rusty", "rusted"),
    "moss": ("mossy", "grass", "grassy"),
    "lava": ("magma", "molten"),
    "ice": ("icy", "frozen"),
    "gold": ("golden", "brass"),
    "camouflage": ("camo",),
    "denim": ("jeans",),
    "stone": ("rock", "rocky", "granite", "concrete"),
    "cobblestone": ("cobblestones", "cobble", "cobbled", "pebbles"),
    "ball": ("sphere", "globe", "orb"),
    "cube": ("box", "block"),
    "cylinder": ("can", "tube"),
    "ring": ("torus", "donut", "doughnut"),
    "capsule": ("pill",),
    "mug": ("cup",),
    "bottle": ("flask",),
    "vase": ("pot", "urn"),
    "table": ("desk",),
    "tree": ("bush",),
    "car": ("automobile", "truck"),
    "house": ("cottage", "building", "home"),
    "television": ("monitor", "screen"),
    "cat": ("kitty",),
    "monkey": ("suzanne", "ape"),
    "pumpkin": ("jackolantern",),
    "barrel": ("cask",),
    "object": ("thing", "shape", "sculpture", "figure", "model", "form"),
    "back": ("rear", "behind"),
    "blurry": ("blurred", "blur"),
    "noisy": ("noise", "grainy"),
    "oversaturated": ("saturated",),
    "dull": ("faded", "desaturated"),
    "pixelated": ("pixels", "blocky"),
    "tiling": ("repeated", "repeating"),
    "lit": ("shaded",),
}
#: Words that carry nothing for this model and are dropped without complaint.
FILLERS: tuple[str, ...] = (
    "a",
    "an",
    "the",
    "of",
    "with",
    "made",
    "out",
    "from",
    "in",
    "on",
    "and",
    "covered",
    "by",
    "is",
    "it",
    "its",
    "view",
    "photo",
    "picture",
    "image",
    "rendering",
    "render",
    "texture",
    "textured",
    "pattern",
    "patterned",
    "print",
    "material",
    "surface",
    "color",
    "colors",
    "colored",
    "colour",
    "colours",
    "coloured",
    "high",
    "quality",
    "detailed",
    "very",
    "nice",
    "beautiful",
    "seen",
    "all",
    "over",
    "skin",
    "fur",
    "style",
)

_CANONICAL = {word: word for word in WORDS} | {s: word for word, others in SYNONYMS.items() for s in others}
_PHRASES = tuple((re.compile(rf"\b(?:{pattern})\b"), f" {word} ") for pattern, word in PHRASES)


def _split(prompt: str) -> list[str]:
    text = prompt.lower()
    for pattern, word in _PHRASES:
        text = pattern.sub(word, text)
    return [word for word in re.split(r"[^a-z]+", text) if word]


def canonical(prompt: str) -> list[str]:
    """The prompt as canonical words, in order; fillers and unknown words vanish."""
    return [_CANONICAL[word] for word in _split(prompt) if word in _CANONICAL and word not in FILLERS]


def unknown_words(prompt: str) -> list[str]:
    """Words of the prompt the model has never seen, each once, in order of appearance (lower-case).

    In any alphabet; a run of emoji or other signs is a word, too. Digits and punctuation are not.
    """
    text = prompt.lower()
    for pattern, word in _PHRASES:
        text = pattern.sub(word, text)
    unknown = [word for word in _runs(text) if word not in FILLERS and word not in _CANONICAL]
    return list(dict.fromkeys(unknown))


def _runs(text: str) -> list[str]:
    """Runs of letters, and runs of signs outside ASCII; accents, joiners and the like belong to what they follow."""
    runs, last = [], ""
    for character in text:
        kind = unicodedata.category(character)
        if kind == "Cf" and last != "S":
            continue  # an unseen mark between letters
        if kind[0] == "M" or kind == "Cf":
            kind = last
        else:
            kind = "L" if kind[0] == "L" else "S" if kind[0] == "S" and not character.isascii() else ""
        if kind and kind == last:
            runs[-1] += character
        elif kind:
            runs.append(character)
        last = kind
    return runs


def view_word(azimuth: float, elevation: float) -> str:
    """The view word of a camera; degrees, azimuth 0 looks at the front from -Y, 90 looks from +X."""
    if elevation > 60.0:
        return "overhead"
    turned = abs((azimuth + 180.0) % 360.0 - 180.0)
    return "front" if turned < 45.0 else "back" if turned > 135.0 else "side"


def clear_view(azimuth: float, elevation: float, reach: float = 30.0) -> bool:
    """Whether a camera is within `reach` degrees of the middle of its view, or overhead."""
    turned = abs((azimuth + 180.0) % 360.0 - 180.0)
    return elevation > 60.0 or min(abs(turned - middle) for middle in (0.0, 90.0, 180.0)) < reach
