"""The guide of a job's stage: it says of a batch of pictures in which direction they should change.

It owns the model, the prompts, and what the method keeps between steps. A step asks it twice::

    moment = guide.begin(views, step, generator)          # draws the step's diffusion times
    ...                                                   # pictures are made
    found = guide.gradient(pictures, seen, moment)        # [B, 3, H, W], to be pulled back into what made them
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ...job.spec.guidance import Guidance
from ..diffusion.conditions import cat
from ..diffusion.model import DiffusionModel, latent_side
from ..optimize.loop import NotFinite
from ..support.clock import StepClock
from ..support.draws import Draws, normal
from .methods import ROWS, MethodState, NoisyBatch, gradient_for_predictions
from .score import Predictions, ScoreGradient, distillation_loss, draw_timesteps, needed_branches
from .view_prompts import EncodedPrompts, PromptBatch, Seen

#: What the tensors of a method begin with in a checkpoint.
PREFIX = "guide."


@dataclass(frozen=True)
class Moment:
    """When a batch of pictures is looked at.

    Attributes:
        step: of the stage. t: ``[B]`` integer diffusion times.
        generator: the stage's random numbers, on the CPU; or each picture's own.
    """

    step: int
    t: Tensor
    generator: Draws


@dataclass(frozen=True)
class PictureGradient:
    """The gradient at the pictures, as they are, and what is logged about the step."""

    pictures: Tensor
    metrics: dict[str, float]


@dataclass
class Guide:
    """Model, prompts and method of one stage.

    Attributes:
        prompts: by the kind of picture that they are for (:attr:`Seen.kind`).
        method: id. guidance: its settings.
        later: (step, guidance) from which step on other settings hold, as in Fantasia3D's appearance stage; or None.
        seed: of the method's own state.
        clock: takes the times of a step's sections.
    """

    model: DiffusionModel
    prompts: Mapping[str, EncodedPrompts]
    method: str
    guidance: Guidance
    later: tuple[int, Guidance] | None = None
    seed: int = 0
    clock: StepClock = field(default_factory=StepClock)
    _state: MethodState | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        start = ROWS[self.method].start
        self._state = None if start is None else start(self.model, self.seed)

    def guidance_at(self, step: int) -> Guidance:
        """The settings that hold at a step."""
        return self.guidance if self.later is None or step < self.later[0] else self.later[1]

    def begin(self, views: int, step: int, generator: Draws) -> Moment:
        """Draw the diffusion times of a step with so many views."""
        guidance = self.guidance_at(step)
        low, high = guidance.t_min.at(step), guidance.t_max.at(step)
        t = draw_timesteps(views, low, high, len(self.model.schedule), generator)
        return Moment(step, t.to(self.model.device), generator)

    def gradient(self, pictures: Tensor, seen: Seen, moment: Moment, as_latents: bool = False) -> PictureGradient:
        """The direction in which the pictures' loss rises; nothing is added to the graph behind them.

        Args:
            pictures: ``[B, 3, H, W]`` in [0, 1].
            as_latents: they are latents already, ``[B, C, H, W]`` in any size: they are resized, and not encoded.

        Random numbers are those of the encoder's sample and of the noise, in this order.

        Raises:
            NotFinite: pictures, latents, the network's predictions or the gradient hold NaN or infinite numbers; all
                random numbers of the step have been drawn then, and the method's state is as it was.
        """
        model, clock = self.model, self.clock
        with clock("encode"):
            leaf = pictures.detach().requires_grad_(True)
            if as_latents:
                side = latent_side(model)
                latents = F.interpolate(leaf, (side, side), mode="bilinear", align_corners=False)
            else:
                latents = model.encode_images(leaf, moment.generator)
        refused = model.refused_predictions
        noise = normal(latents.shape, moment.generator).to(model.device)
        prompts, perp_neg = self.prompts[seen.kind], self.guidance_at(moment.step).perp_neg != 0.0
        asked = prompts.batch(seen.names, seen.cameras.azimuth, seen.close, perp_neg)
        with clock("network"):
            noisy = model.schedule.add_noise(latents.detach(), noise, moment.t)
            batch = NoisyBatch(latents.detach(), noise, noisy, moment.t, moment.step, moment.generator)
            score, predictions = self.score(batch, asked, prompts.has_negative)
        if not _is_finite(leaf):
            raise NotFinite("pictures", in_result=True)
        if not _is_finite(latents):
            raise NotFinite("latents")
        if model.refused_predictions != refused or not all(math.isfinite(v) for v in score.metrics.values()):
            raise NotFinite("predictions")
        with clock("encode"):
            distillation_loss(latents, score.grad).backward()
        if not _is_finite(leaf.grad):
            raise NotFinite("gradient")
        if self._state is not None:
            with clock("method"):
                self._state.learn(batch, predictions)
        return PictureGradient(leaf.grad, score.metrics)

    @torch.no_grad()
    def score(self, batch: NoisyBatch, asked: PromptBatch, negative: bool) -> tuple[ScoreGradient, Predictions]:
        """The gradient at noisy latents, ``[B, C, h, w]``, and the predictions that it was made of.

        All branches that have a weight, and no others, go through the network in one call. ``negative``: the job has a
        negative prompt.
        """
        guidance, model = self.guidance_at(batch.step), self.model
        weights = ROWS[self.method].weights(guidance, batch.step, negative)
        needed = needed_branches(weights, guidance, asked.views is not None and guidance.perp_neg != 0.0)
        own = {} if self._state is None else self._state.predict(batch)
        predictions = self._predict(batch, asked, needed - own.keys(), guidance.perp_neg != 0.0)
        predictions = Predictions(
            {**predictions.branches, **own}, batch.noise, predictions.views, predictions.view_weights
        )
        score = gradient_for_predictions(
            self.method,
            guidance,
            predictions.branches,
            batch.noise,
            batch.t,
            batch.step,
            negative_prompt=negative,
            view_predictions=predictions.views,
            view_weights=predictions.view_weights,
            alpha=model.schedule.alpha_sigma(batch.t)[0],
        )
        score.metrics["t"] = float(batch.t.float().mean()) / len(model.schedule)
        score.metrics |= {f"weight_{name}": value for name, value in weights.items() if name in asked.branches}
        return score, predictions

    def _predict(self, batch: NoisyBatch, asked: PromptBatch, needed: set[str], perp_neg: bool) -> Predictions:
        """The model's predictions for the prompts of those branches, from one call."""
        names = [name for name in asked.branches if name in needed]
        told = [asked.branches[name] for name in names]
        inputs, times = [batch.noisy] * len(names), [batch.t] * len(names)
        views = asked.views if perp_neg else None
        if views is not None:
            # Item-major on both sides: view k of item b must see item b's own x_t and t.
            count = len(views) // len(batch.noisy)
            told.append(views)
            inputs.append(batch.noisy.repeat_interleave(count, dim=0))
            times.append(batch.t.repeat_interleave(count, dim=0))
        if not told:
            return Predictions({}, batch.noise)
        prediction = self.model.predict_noise(torch.cat(inputs), torch.cat(times), cat(told))
        size = len(batch.noisy)
        eps = {name: prediction[i * size : (i + 1) * size] for i, name in enumerate(names)}
        if views is None:
            return Predictions(eps, batch.noise)
        of_views = prediction[len(names) * size :].view(size, count, *batch.noisy.shape[1:])
        return Predictions(eps, batch.noise, of_views, asked.view_weights)

    def tensors(self) -> dict[str, Tensor]:
        """What the method keeps, by name, for a checkpoint; nothing for most of them."""
        kept = {} if self._state is None else self._state.tensors()
        return {PREFIX + name: value for name, value in kept.items()}

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Inverse of :meth:`tensors`; ``tensors`` may hold others, of other names.

        Args:
            step: so many steps of the stage are done.

        Raises:
            ValueError: when they are not of this method; its state is as it was then.
        """
        own = {name.removeprefix(PREFIX): value for name, value in tensors.items() if name.startswith(PREFIX)}
        if self._state is not None:
            self._state.restore(own, step)
        elif own:
            raise ValueError(f"the checkpoint is of a method with a state, and {self.method} has none")


def others(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a checkpoint holds beside the guide's tensors."""
    return {name: value for name, value in tensors.items() if not name.startswith(PREFIX)}


def _is_finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())
