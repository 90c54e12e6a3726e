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
        finds_noise: the noise is its own, so that ``Guidance.noise`` says nothing.
        finds_times: the times are its own, so that ``Guidance.times`` says nothing.
        compares_wordings: it needs the prompt in a good and in a bad wording.
        trains: it trains a network of its own along.
        reads_negative_prompt: False where its equation has the empty prompt alone beside the prompt.
        draws_nothing: where its times are given, nothing of a step is random.
        own_weighting: w(t) belongs to its equation.
        mini_weighting: w(t) that suits it with the bundled model.
    """

    id: str
    label: str
    help: str
    source: str
    uses_guidance_scale: bool = False
    uses_prompt_weights: bool = False
    finds_noise: bool = False
    finds_times: bool = False
    compares_wordings: bool = False
    trains: bool = False
    reads_negative_prompt: bool = True
    draws_nothing: bool = False
    own_weighting: bool = False
    mini_weighting: str = "sds"

    @property
    def takes_longer(self) -> bool:
        """Its steps take up to several times as long as those of a method of weights alone."""
        return self.trains or self.finds_noise


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
        help="Score distillation sampling, the first method: sound shapes, but smooth and over-saturated colors",
        source="Poole et al. 2022, arXiv 2209.14988",
        uses_guidance_scale=True,
    ),
    Method(
        id="sjc",
        label="SJC",
        help="Score Jacobian chaining: as SDS, but all noise levels count alike",
        source="Wang et al. 2022, arXiv 2212.00774",
        uses_guidance_scale=True,
        own_weighting=True,
        mini_weighting="uniform",
    ),
    Method(
        id="vsd",
        label="VSD",
        help="Variational score distillation (ProlificDreamer): natural and varied, since a second network is trained "
        "along; takes about twice as long",
        source="Wang et al. 2023, arXiv 2305.16213",
        uses_guidance_scale=True,
        trains=True,
    ),
    Method(
        id="dsd",
        label="DSD",
        help="Diverse score distillation: another seed gives a really different result; several times as long",
        source="Xu et al. 2024, arXiv 2412.06780",
        uses_guidance_scale=True,
        finds_noise=True,
        finds_times=True,
    ),
    Method(
        id="asd",
        label="ASD",
        help="Asynchronous score distillation: near VSD in look, without training anything along",
        source="Ma et al. 2024, arXiv 2407.02040",
        uses_guidance_scale=True,
    ),
    Method(
        id="nfsd",
        label="NFSD",
        help="Noise-free score distillation: as CSD, with calmer colors at an ordinary guidance scale",
        source="Katzir et al. 2023, arXiv 2310.17590",
        uses_guidance_scale=True,
    ),
    Method(
        id="ism",
        label="ISM",
        help="Interval score matching (LucidDreamer): sharp and steady, from noise that is found instead of drawn; "
        "several times as long",
        source="Liang et al. 2023, arXiv 2311.11284",
        uses_guidance_scale=True,
        finds_noise=True,
        reads_negative_prompt=False,
        draws_nothing=True,
        own_weighting=True,
        mini_weighting="x0",
    ),
    Method(
        id="sdi",
        label="SDI",
        help="Score distillation via inversion: colors as in pictures that the model draws by itself; the slowest",
        source="Lukoianov et al. 2024, arXiv 2405.15891",
        uses_guidance_scale=True,
        finds_noise=True,
        finds_times=True,
        own_weighting=True,
        mini_weighting="x0",
    ),
    Method(
        id="csm",
        label="CSM",
        help="CSD on noise that is found instead of drawn: steadier detail, up to twice as long",
        source="arXiv 2410.21299 (TV-3DG)",
        uses_prompt_weights=True,
        finds_noise=True,
        draws_nothing=True,
        mini_weighting="uniform",
    ),
    Method(
        id="bridge",
        label="Bridge",
        help="SDS first, then the prompt well worded against the prompt badly worded, which takes the smoothness away",
        source="McAllister et al. 2024, arXiv 2406.09417",
        uses_guidance_scale=True,
        compares_wordings=True,
    ),
)

#: Their ids; the first one is what jobs do when nothing else is said.
METHODS = tuple(method.id for method in KNOWN_METHODS)

#: Of models that see several views of a thing at once: other rows of the equation, for objects.
VIEW_METHODS = (
    Method(
        id="csd-mvdream",
        label="CSD-MVDream",
        help="CSD's pull by channels, for a model that draws four views at once: few second faces",
        source="Yu et al. 2023, arXiv 2310.19415, their branch CSD-MVDream",
        own_weighting=True,
        mini_weighting="uniform",
    ),
    Method(
        id="mvdream",
        label="MVDream",
        help="SDS for a model that draws four views at once, held to pictures as the model would draw them",
        source="Shi et al. 2023, arXiv 2308.16512",
        uses_guidance_scale=True,
        own_weighting=True,
        mini_weighting="x0",
    ),
)


def find_method(name: object) -> Method:
    """The method of that id. Of an unknown one the first: the job's own check refuses it by name."""
    return next((method for method in (*KNOWN_METHODS, *VIEW_METHODS) if method.id == name), KNOWN_METHODS[0])
