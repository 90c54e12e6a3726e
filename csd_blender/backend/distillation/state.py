"""What a method gets to see of a step, and what one that remembers must offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from ...job.spec.guidance import Guidance
from ..diffusion.conditions import Conditions
from ..diffusion.model import NoiseSchedule
from ..render.cameras import Cameras
from ..support.draws import Draws
from .score import Predictions

#: From (branch names, noisy latents ``[B, C, h, w]``, integer times ``[B]``) to the model's predictions by name.
Ask = Callable[[Sequence[str], Tensor, Tensor], dict[str, Tensor]]


def _nobody(names: Sequence[str], noisy: Tensor, t: Tensor) -> dict[str, Tensor]:
    raise ValueError("there is no model to ask")


@dataclass(frozen=True)
class NoisyBatch:
    """One step.

    Attributes:
        latents, noise, noisy: ``[B, C, h, w]``; noisy is ``x_t``.
        t: ``[B]`` integer times. step: of the stage; steps: how many it has.
        generator: the job's random numbers, on the CPU, or each picture's own. schedule: the model's noise.
        guidance: the settings that hold. negative: the job has a negative prompt.
        ask: the model's predictions for any prompts of the batch, at any noisy latents and times. With Perp-Neg on,
            ``positive`` already holds Perp-Neg's term there.
        plain: conditions of the prompt without any word for the view, B rows.
        cameras: from where the pictures are seen; None for pictures of no object.
    """

    latents: Tensor
    noise: Tensor
    noisy: Tensor
    t: Tensor
    step: int
    generator: Draws
    schedule: NoiseSchedule
    steps: int = 1
    guidance: Guidance = field(default_factory=Guidance)
    negative: bool = False
    ask: Ask = _nobody
    plain: Conditions | None = None
    cameras: Cameras | None = None

    @property
    def background(self) -> str:
        """The branch that guidance goes away from."""
        return "negative" if self.negative else "null"


@dataclass(frozen=True)
class Prepared:
    """What a method found before the step's own predictions: the noise to add, and branches of its own."""

    noise: Tensor
    branches: Mapping[str, Tensor] = field(default_factory=dict)


class MethodState(Protocol):
    """What a method keeps between steps."""

    def predict(self, batch: NoisyBatch) -> dict[str, Tensor]:
        """Its own branches, ``[B, C, h, w]`` by name. It changes nothing: a step may be left out, or taken again."""
        ...

    def learn(self, batch: NoisyBatch, predictions: Predictions) -> None:
        """Once the step's gradient is known to be sound."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """The whole state by name, for a checkpoint."""
        ...

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Inverse of :meth:`tensors`, after ``step`` steps: all of it, or ``ValueError`` and nothing."""
        ...
