"""The methods of score distillation that a job can name: what people read of each, and which settings it looks at.

What a method does stands in ``backend/distillation/methods``, under the same id.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        id: as jobs and the command line name it. label: as the panel does.
        help: what it is good for, in one sentence without a full stop; the tooltip.
        source: the paper.
        uses_guidance_scale: it looks at ``Guidance.guidance_scale`` and ``scale_convention``.
        uses_prompt_weights: it looks at ``positive_weight``, ``negative_weight`` and ``generative_weight``.
        mini_weighting: w(t) that suits it with the bundled model.
    """

    id: str
    label: str
    help: str
    source: str
    uses_guidance_scale: bool = False
    uses_prompt_weights: bool = False
    mini_weighting: str = "sds"


KNOWN_METHODS = (
    Method(
        id="csd",
        label="CSD",
        help="Classifier score distillation: follows the prompt with natural colors",
        source="Yu et al. 2023, arXiv 2310.19415",
        uses_prompt_weights=True,
        mini_weighting="uniform",
    ),
    Method(
        id="sds",
        label="SDS",
        help="Score distillation sampling, the older method, for comparison",
        source="Poole et al. 2022, arXiv 2209.14988",
        uses_guidance_scale=True,
    ),
)

#: Their ids; the first one is what jobs do when nothing else is said.
METHODS = tuple(method.id for method in KNOWN_METHODS)


def find_method(name: object) -> Method:
    """The method of that id. Of an unknown one the first: the job's own check refuses it by name."""
    return next((method for method in KNOWN_METHODS if method.id == name), KNOWN_METHODS[0])
