"""What all methods of score distillation share: weights, times, and what is done to the gradient."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Option, choice, number, schedule
from .schedule import Schedule

WEIGHTINGS = ("uniform", "sds", "fantasia3d", "x0")
SCALE_CONVENTIONS = ("s", "1+s")
PERP_NEG_REFERENCES = ("empty", "negative")
NOISE_OPTIONS = (
    Option("fresh", "Fresh", "Other noise in each step"),
    Option("surface", "Surface", "Fixed to the surface, so that all views see the same noise: steadier detail"),
)
LORA_NETWORKS = ("shared", "own")
TIMES_OPTIONS = (
    Option("uniform", "Uniform", "All noise levels of the moment alike, drawn by chance"),
    Option("falling", "Falling", "From the noisiest level to the cleanest, never back: large forms first, then detail"),
)


@dataclass(frozen=True)
class Guidance:
    """How the diffusion model steers the texture.

    Attributes:
        positive_weight: weight of the prompt's classifier score (omega 1 of the CSD paper).
        negative_weight: weight of the negative prompt's classifier score (omega 2).
        generative_weight: weight of the generative prior in CSD; 0 is the paper's pure classifier score, a little of
            it keeps long jobs from over-saturating.
        guidance_scale: s, of SDS.
        scale_convention: how s is counted: ``s`` means ``eps_neg + s (eps_pos - eps_neg)``, that of Ho and Salimans'
            samplers today; ``1+s`` means ``eps_pos + s (eps_pos - eps_neg)``, that of DreamFusion and threestudio.
        weighting: w(t): ``uniform`` 1, ``sds`` sigma^2, ``fantasia3d`` alpha sigma^2, ``x0`` sigma / alpha. Some
            methods have one of their own, see ``backend/distillation/methods``.
        t_min, t_max: range of the diffusion time, as fractions of all steps.
        grad_clip: element-wise bound on the gradient in latent space; None is off.
        grad_normalize: scale each step's gradient to unit norm.
        perp_neg: strength of Perp-Neg against wrong views; 0 is off.
        perp_neg_from: where its directions begin: at the prediction for the ``empty`` prompt, as in the paper
            (Armandpour et al. 2023), or at that for the ``negative`` one, as in the code of CSD, threestudio and DSD;
            without a negative prompt both are the same.
        noise: ``fresh`` in each step, or fixed to the ``surface``, so that all views see the same (CFD, Yan et al.
            2024, 2501.05445).
        times: ``uniform`` between t_min and t_max, or ``falling`` from t_max to t_min and never rising (DreamTime,
            Huang et al. 2023, 2306.12422).
        bridge_start: step from which on SDS-Bridge compares a good with a bad wording of the prompt.
        rescale: share of MVDream's rescaling of the predicted clean picture; 0 is off.
        lora_rate: learning rate of VSD's own network. lora_rank: of its changes.
        lora_network: it is ``shared`` with the model but for these, or a copy of its ``own``.
    """

    positive_weight: Schedule = schedule(0, 100, 1.0)
    negative_weight: Schedule = schedule(
        0, 100, 0.5, label="Negative", soft_high=2.0,
        help="How strongly the negative prompt pushes away from what it says",
    )  # fmt: skip
    generative_weight: Schedule = schedule(
        0, 100, 0.0, label="Tame Colors", soft_high=2.0,
        help="How strongly the colors are held to those of ordinary pictures (generative prior); 0 is pure CSD, whose "
        "colors grow purer with every step",
    )  # fmt: skip
    guidance_scale: float = number(
        0, 200, 7.5, label="Guidance Scale", soft_high=100.0,
        help="How strongly the prompt is followed, by methods that have such a scale, as SDS",
    )  # fmt: skip
    weighting: str = choice(WEIGHTINGS, "uniform")
    t_min: Schedule = schedule(0, 1, 0.02)
    t_max: Schedule = schedule(0, 1, 0.98)
    grad_clip: Schedule | None = schedule(0, 1000, None)
    grad_normalize: bool = False
    perp_neg: float = number(0, 4000, 0.0)  # the settings' 20 times the greatest guidance scale
    scale_convention: str = choice(SCALE_CONVENTIONS, "s", added=True)
    perp_neg_from: str = choice(PERP_NEG_REFERENCES, "empty", added=True)
    noise: str = choice(NOISE_OPTIONS, "fresh", added=True)
    times: str = choice(TIMES_OPTIONS, "uniform", added=True)
    bridge_start: int = number(0, 1000000, 0, added=True)
    rescale: float = number(0, 1, 0.0, added=True)
    lora_rate: float = number(0, 1, 1e-4, added=True)
    lora_rank: int = number(1, 256, 4, added=True)
    lora_network: str = choice(LORA_NETWORKS, "shared", added=True)

    def complaint(self, where: str) -> str:
        """What does not go together; ``where`` stands before a setting's name."""
        marks = {0.0, *(mark for one in (self.t_min, self.t_max) for mark in (one.start_step, one.end_step))}
        above = [step for step in sorted(marks) if self.t_min.at(step) > self.t_max.at(step)]
        return f"{where}t_min is above {where}t_max at step {above[0]:.0f}" if above else ""
