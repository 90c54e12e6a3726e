"""The guide of a job's stage: it says of a batch of pictures in which direction they should change.

It owns the model, the prompts, and what the method keeps between steps. A step asks it twice::

    moment = guide.begin(views, step, generator)          # draws the step's diffusion times
    ...                                                   # pictures are made
    found = guide.gradient(pictures, seen, moment)        # [B, 3, H, W], to be pulled back into what made them
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...job.spec.guidance import Guidance
from ...job.spec.schedule import Schedule
from ..diffusion.conditions import cat
from ..diffusion.model import DiffusionModel, latent_side, resize
from ..diffusion.views.mvdream import MVDream, camera_numbers
from ..optimize.free_memory import load_of
from ..optimize.loop import NotFinite
from ..support.clock import StepClock
from ..support.draws import Draws, normal
from ..support.memory import Load
from .gradient import row_gradient
from .methods import ROWS
from .picture_prompt import PicturePrompt
from .score import (
    Predictions,
    ScoreGradient,
    counted_scale,
    distillation_loss,
    draw_timesteps,
    needed_branches,
    perp_neg_origin,
    perp_neg_term,
)
from .state import Ask, MethodState, NoisyBatch
from .surface_noise import fixed_noise
from .times import falling_time
from .view_prompts import EncodedPrompts, PromptBatch, Seen
from .vsd import VariationalState

#: What the tensors of a method begin with in a checkpoint.
PREFIX = "guide."
PERP_NEG_ROWS = 2  # of each picture, at most: the sides that it is not seen from


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


@dataclass(frozen=True)
class Later:
    """From ``step`` on other settings hold, and maybe another method."""

    step: int
    guidance: Guidance
    method: str


@dataclass
class Guide:
    """Model, prompts and method of one stage.

    Attributes:
        prompts: by the kind of picture that they are for (:attr:`Seen.kind`).
        method: id. guidance: its settings.
        later: what holds from some step on, as in the appearance stages of Fantasia3D and ProlificDreamer; or None.
        seed: of the method's own state.
        clock: takes the times of a step's sections.
        steps: of the stage; some methods' times fall with it.
        strength: how strongly the model's ControlNets count, by step; None: not at all.
        calls: how often a picture went through the network so far, without the training of a method's own.
    """

    model: DiffusionModel
    prompts: Mapping[str, EncodedPrompts | PicturePrompt]
    method: str
    guidance: Guidance
    later: Later | None = None
    seed: int = 0
    clock: StepClock = field(default_factory=StepClock)
    steps: int = 1
    strength: Schedule | None = None
    calls: int = 0
    _states: dict[str, MethodState] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name, guidance in self._methods().items():
            start = ROWS[name].start
            if start is not None:
                self._states[name] = start(self.model, self.seed, guidance)

    def _methods(self) -> dict[str, Guidance]:
        """The methods of the stage, each with the settings that it begins with."""
        first = {self.method: self.guidance}
        return first if self.later is None else {self.later.method: self.later.guidance} | first

    def method_at(self, step: int) -> str:
        """The method that holds at a step."""
        return self.method if self.later is None or step < self.later.step else self.later.method

    def guidance_at(self, step: int) -> Guidance:
        """The settings that hold at a step."""
        return self.guidance if self.later is None or step < self.later.step else self.later.guidance

    def fixes_noise(self, step: int) -> bool:
        """Whether :attr:`Seen.surface` is asked for at the step."""
        return self.guidance_at(step).noise == "surface"

    @property
    def layout(self) -> tuple[tuple[str, ...], ...]:
        """What the ControlNets follow, each by itself: :attr:`Seen.control` is asked for when there are any."""
        return () if self.strength is None or self.model.control is None else self.model.control.layout

    @property
    def views_together(self) -> int | None:
        """How many pictures of one thing the model sees at once; None where it sees each by itself."""
        return self.model.views if isinstance(self.model, MVDream) else None

    def load(self, views: int, optimizer: torch.optim.Optimizer) -> Load:
        """What a step with so many views asks of memory, at most; ``optimizer``: of what the stage changes."""
        learned = [part for group in optimizer.param_groups for part in group["params"]]
        rows = max((len(prompts.branches) for prompts in self.prompts.values()), default=1)
        if any(guidance.perp_neg for guidance in self._methods().values()):
            rows += PERP_NEG_ROWS
        trained = [state for state in self._states.values() if isinstance(state, VariationalState)]
        return load_of(
            self.model,
            views,
            rows,
            sum(part.numel() * part.element_size() for part in learned),
            learns=bool(trained),
            own_network=any(state.unet is not self.model.unet for state in trained),
        )

    def begin(self, views: int, step: int, generator: Draws) -> Moment:
        """Find the diffusion times of a step with so many views."""
        guidance, schedule, row = self.guidance_at(step), self.model.schedule, ROWS[self.method_at(step)]
        progress = step / max(self.steps, 1)
        if row.time is not None:
            t = torch.full((views,), row.time(progress, len(schedule)))
        elif guidance.times == "falling":
            low, high = guidance.t_min.at(self.steps), guidance.t_max.at(0)
            t = torch.full((views,), falling_time(progress, low, high, schedule.alphas_cumprod))
        else:
            low, high = guidance.t_min.at(step), guidance.t_max.at(step)
            t = draw_timesteps(views, low, high, len(schedule), generator)
        if self.views_together:
            t = t[:1].expand(views)  # one time for all pictures, as published
        return Moment(step, t.to(self.model.device), generator)

    def gradient(self, pictures: Tensor, seen: Seen, moment: Moment, as_latents: bool = False) -> PictureGradient:
        """The direction in which the pictures' loss rises; nothing is added to the graph behind them.

        Args:
            pictures: ``[B, 3, H, W]`` in [0, 1].
            as_latents: they are latents already, ``[B, C, H, W]`` in any size: they are resized, and not encoded.

        Random numbers are those of the encoder's sample, of the noise, and of the method, in this order.

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
        guidance = self.guidance_at(moment.step)
        if self.fixes_noise(moment.step):
            noise = fixed_noise(noise, seen.surface, self.seed)
        with clock("network"):
            asked = self._asked(seen, guidance, 0.0 if self.strength is None else self.strength.at(moment.step))
            batch = self._batch(latents.detach(), noise, moment, seen, asked)
            score, predictions = self.score(batch, asked)
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
        state = self._states.get(self.method_at(moment.step))
        if state is not None:
            with clock("method"):
                state.learn(batch, predictions)
        return PictureGradient(leaf.grad, score.metrics)

    def predictor(self, seen: Seen, strength: float, guidance: Guidance) -> Ask:
        """The model's predictions by branch for pictures that are seen so, at any noisy latents.

        Args:
            strength: how strongly the model's ControlNets count. guidance: of Perp-Neg.
        """
        return self._ask(self._asked(seen, guidance, strength), guidance)

    def _asked(self, seen: Seen, guidance: Guidance, strength: float) -> PromptBatch:
        azimuth = torch.zeros(len(seen.names)) if seen.cameras is None else seen.cameras.azimuth
        prompts = self.prompts[seen.kind]
        if isinstance(prompts, PicturePrompt):
            if seen.cameras is None:
                raise ValueError("a model that is told a picture wants to know the cameras")
            return prompts.batch(seen.cameras)
        asked = prompts.batch(seen.names, azimuth, seen.close, guidance.perp_neg != 0.0)
        if self.views_together and seen.cameras is not None:
            asked = asked.with_cameras(camera_numbers(seen.cameras.axes(), seen.cameras.positions()))
        if seen.control is None or not self.layout:
            return asked
        pictures = resize(seen.control.to(self.model.device), self.model.native_size)
        return asked.with_control(pictures, self.model.control.weights(strength))

    def _batch(self, latents: Tensor, noise: Tensor, moment: Moment, seen: Seen, asked: PromptBatch) -> NoisyBatch:
        return NoisyBatch(
            latents,
            noise,
            self.model.schedule.add_noise(latents, noise, moment.t),
            moment.t,
            moment.step,
            moment.generator,
            self.model.schedule,
            self.guidance_at(moment.step),
            self.prompts[seen.kind].has_negative,
            plain=None if asked.plain is None else asked.plain.to(self.model.device),
            cameras=seen.cameras,
        )

    @torch.no_grad()
    def score(self, batch: NoisyBatch, asked: PromptBatch) -> tuple[ScoreGradient, Predictions]:
        """The gradient at noisy latents, ``[B, C, h, w]``, and the predictions that it was made of.

        All branches that have a weight, and no others, go through the network in one call, behind what the method
        itself has to ask for before.
        """
        guidance, model, method = self.guidance_at(batch.step), self.model, self.method_at(batch.step)
        row, state = ROWS[method], self._states.get(method)
        own: Mapping[str, Tensor] = {}
        prepare = row.prepare if state is None else state.prepare
        if prepare is not None:
            prepared = prepare(replace(batch, ask=self._ask(asked, guidance)))
            own, self.calls = prepared.branches, self.calls + prepared.calls
            if prepared.noise is not batch.noise:
                noisy = model.schedule.add_noise(batch.latents, prepared.noise, batch.t)
                batch = replace(batch, noise=prepared.noise, noisy=noisy)
        weights = row.weights(guidance, batch.step, batch.negative)
        needed = needed_branches(weights, guidance, asked.views is not None and guidance.perp_neg != 0.0)
        predictions = self._predict(batch.noisy, batch.t, asked, needed - own.keys(), guidance.perp_neg != 0.0)
        predictions = Predictions(
            {**predictions.branches, **own}, batch.noise, predictions.views, predictions.view_weights
        )
        score = row_gradient(
            method,
            guidance,
            predictions,
            batch.step,
            negative_prompt=batch.negative,
            alpha=model.schedule.alpha_bar(batch.t).sqrt().to(batch.noise),
            time=(batch.t.double() / len(model.schedule)).to(batch.noise),
            latents=batch.latents,
            views_per_object=self.views_together,
        )
        score.metrics["t"] = float(batch.t.float().mean()) / len(model.schedule)
        score.metrics |= {
            f"weight_{name}": value for name, value in weights.items() if name in asked.branches and not callable(value)
        }
        return score, predictions

    def _ask(self, asked: PromptBatch, guidance: Guidance) -> Ask:
        """The model's predictions by branch, at any noisy latents; with Perp-Neg its term is in the positive one, once:
        its strength is counted with the guidance scale, by which methods multiply what they ask for."""
        scale = counted_scale(guidance.guidance_scale, guidance.scale_convention) or 1.0
        once = replace(guidance, perp_neg=guidance.perp_neg / scale)
        with_views = asked.views is not None and guidance.perp_neg != 0.0

        def ask(names: Sequence[str], noisy: Tensor, t: Tensor) -> dict[str, Tensor]:
            perp_neg = with_views and "positive" in names
            origin = {perp_neg_origin(guidance)} if perp_neg else set()
            found = self._predict(noisy, t, asked, {*names, *origin}, perp_neg)
            branches = dict(found.branches)
            if perp_neg:
                branches["positive"] = branches["positive"] + perp_neg_term(found, once)
            return {name: branches[name] for name in names}

        return ask

    def _predict(self, noisy: Tensor, t: Tensor, asked: PromptBatch, needed: set[str], perp_neg: bool) -> Predictions:
        """The model's predictions for the prompts of those branches, from one call."""
        names = [name for name in asked.branches if name in needed]
        told = [asked.branches[name] for name in names]
        inputs, times = [noisy] * len(names), [t] * len(names)
        views = asked.views if perp_neg else None
        if views is not None:
            # Item-major on both sides: view k of item b must see item b's own x_t and t.
            count = len(views) // len(noisy)
            told.append(views)
            inputs.append(noisy.repeat_interleave(count, dim=0))
            times.append(t.repeat_interleave(count, dim=0))
        if not told:
            return Predictions({}, noisy)
        self.calls += sum(len(rows) for rows in told)
        prediction = self.model.predict_noise(torch.cat(inputs), torch.cat(times), cat(told))
        size = len(noisy)
        eps = {name: prediction[i * size : (i + 1) * size] for i, name in enumerate(names)}
        if views is None:
            return Predictions(eps, noisy)
        of_views = prediction[len(names) * size :].view(size, count, *noisy.shape[1:])
        return Predictions(eps, noisy, of_views, asked.view_weights)

    def tensors(self) -> dict[str, Tensor]:
        """What the methods keep, by name, for a checkpoint; nothing for most of them."""
        return {
            self._prefix(method) + name: value
            for method, state in self._states.items()
            for name, value in state.tensors().items()
        }

    def _prefix(self, method: str) -> str:
        """What the names of a method's tensors begin with: some stages go from one method to another."""
        return PREFIX if len(self._methods()) == 1 else f"{PREFIX}{method}."

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Inverse of :meth:`tensors`; ``tensors`` may hold others, of other names.

        Args:
            step: so many steps of the stage are done.

        Raises:
            ValueError: when they are not of these methods; their states are as they were then.
        """
        own = {name: value for name, value in tensors.items() if name.startswith(PREFIX)}
        if own and not self._states:
            raise ValueError(f"the checkpoint is of a method with a state, and {self.method} has none")
        for method, state in self._states.items():
            prefix = self._prefix(method)
            mine = {name.removeprefix(prefix): value for name, value in own.items() if name.startswith(prefix)}
            state.restore(mine, step)


def others(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a checkpoint holds beside the guide's tensors."""
    return {name: value for name, value in tensors.items() if not name.startswith(PREFIX)}


def _is_finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())
