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
from ..support.draws import Draws, uniform
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
        t: ``[B]`` integer times. step: of the stage.
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
    guidance: Guidance = field(default_factory=Guidance)
    negative: bool = False
    ask: Ask = _nobody
    plain: Conditions | None = None
    cameras: Cameras | None = None

    @property
    def background(self) -> str:
        """The branch that guidance goes away from."""
        return "negative" if self.negative else "null"

    def uniform(self) -> Tensor:
        """A random number from 0 to 1 for each picture, ``[B]``, where the times are."""
        return uniform(len(self.t), self.generator).to(self.t.device)


@dataclass(frozen=True)
class Prepared:
    """What a method found before the step's own predictions.

    Attributes:
        noise: what is added to the latents.
        branches: its own, ``[B, C, h, w]`` by name.
        calls: pictures that went through a network of its own for them.
    """

    noise: Tensor
    branches: Mapping[str, Tensor] = field(default_factory=dict)
    calls: int = 0


class MethodState(Protocol):
    """What a method keeps between steps."""

    def prepare(self, batch: NoisyBatch) -> Prepared:
        """The step's noise and its own branches. It changes nothing: a step may be left out, or taken again."""
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
