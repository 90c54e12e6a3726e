"""The fixed list behind ``bench --quality``: 10 bundled meshes, 6 prompts each.

Every mesh is asked for three materials with a palette of their own and for three patterns in a color, so that the
whole list covers each of them several times. The mesh's own noun is in the prompt, as an artist would write it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..demo_meshes import DEMO_MESHES

MATERIALS = (
    "wood", "brick", "marble", "rust", "moss", "lava", "ice", "gold", "leopard", "zebra", "tiger", "giraffe",
    "camouflage", "denim", "stone", "cobblestone",
)  # fmt: skip
PATTERNED = (
    ("blue", "striped"), ("red", "checkered"), ("green", "dotted"), ("purple", "plain"), ("orange", "scales"),
    ("pink", "dotted"), ("yellow", "striped"), ("cyan", "checkered"), ("red", "plain"), ("brown", "tiles"),
    ("green", "scales"), ("blue", "plain"),
)  # fmt: skip
MESH_COUNT = 10


@dataclass(frozen=True)
class QualityPrompt:
    """One texture to make, and what the judge should call it; ``color`` is None for materials with own colors."""

    mesh: str
    prompt: str
    material: str
    color: str | None


def quality_prompts(meshes: int | None = None) -> list[QualityPrompt]:
    """The list, in a fixed order; ``meshes`` takes only the first few."""
    prompts = []
    for i, mesh in enumerate(list(DEMO_MESHES)[: min(meshes or MESH_COUNT, MESH_COUNT)]):
        for j in range(3):
            material = MATERIALS[(3 * i + 5 * j) % len(MATERIALS)]
            prompts.append(QualityPrompt(mesh, f"a {material} {mesh}", material, None))
            color, pattern = PATTERNED[(5 * i + j) % len(PATTERNED)]
            word = "" if pattern == "plain" else f"{pattern} "
            prompts.append(QualityPrompt(mesh, f"a {color} {word}{mesh}", pattern, color))
    return prompts
