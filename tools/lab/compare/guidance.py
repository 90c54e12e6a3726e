"""``bench --guidance``: one step of each method beside a step as the published code takes it.

Both have the same random weights of Stable Diffusion 1.5's size, the same picture, time and noise, and leave the same
gradient, which is asserted. The published step evaluates all its branches whatever they weigh, in one batched call with
cached embeddings; ours leaves out what weighs nothing. How much is left out changes in the course of a job, so that the
figures are averages over the method's schedule: the calls of many of its steps are counted with the small bundled
network, and steps of each number of calls are timed with the large one.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.diffusion.stable_diffusion import StableDiffusion
from csd_blender.backend.diffusion.words import guidance_words
from csd_blender.backend.distillation.guide import Guide
from csd_blender.backend.distillation.view_prompts import Seen, job_prompts
from csd_blender.backend.render.cameras import orbit
from csd_blender.backend.support.clock import StepClock
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.spec.fields import to_json
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.methods import METHODS, find_method

from ..bench import random_stable_diffusion
from .published import PUBLISHED, published_step
from .rows import Row, RowFile, make_rows

PROMPT, NEGATIVE = "a red brick robot", "blurry, noisy, low quality"
PARTS = ("network", "encode", "rest")
SAMPLES = 100  # steps of the schedule whose calls are counted
CLOSE = 1e-3  # of the largest value, the most that the two gradients may differ


@dataclass(frozen=True)
class Sizes:
    """How large the measurement is.

    Attributes:
        version: for :func:`random_stable_diffusion`; empty for the bundled network, in a rehearsal.
        pixels: side of the pictures; 0 for the network's own.
        repeats: timed runs of a step, of which the median counts. samples: steps whose calls are counted.
    """

    version: str = "1.5"
    pixels: int = 0
    repeats: int = 2
    samples: int = SAMPLES


REHEARSAL = Sizes(version="", repeats=1, samples=6)


@dataclass(frozen=True)
class Case:
    """A method with the schedule of one sort of job.

    Attributes:
        steps: of the job. negative: it has a negative prompt.
    """

    name: str
    method: str
    guidance: Guidance
    steps: int
    sizes: Sizes
    negative: bool = True

    @property
    def key(self) -> str:
        return self.name

    @property
    def fingerprint(self) -> str:
        told = [to_json(self.guidance), self.steps, self.negative, vars(self.sizes), torch.get_num_threads()]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


@dataclass
class Spent:
    """Seconds of a step by part: the network, the encoder forward and backward, and the rest."""

    network: float
    encode: float
    rest: float

    @property
    def whole(self) -> float:
        return self.network + self.encode + self.rest


def cases(sizes: Sizes, only: Sequence[str] = ()) -> list[Case]:
    """Every method as a texture at Normal has it, and CSD also as both stages of its text to 3D, and without a negative
    prompt."""
    found = []
    for method in METHODS:
        if only and method not in only:
            continue
        job = texture_job(PROMPT, "normal", "random", method=method)
        found.append(Case(f"{method}, texture", method, job.guidance, job.steps, sizes))
        if method == METHODS[0]:
            found.append(Case(f"{method}, no negative prompt", method, job.guidance, job.steps, sizes, negative=False))
            scene = text_to_3d_job(PROMPT, "normal", "random", subject="object", method=method)
            for name, stage in (("coarse", scene.coarse), ("refine", scene.refine)):
                found.append(Case(f"{method}, {name} stage", method, stage.guidance, stage.steps, sizes))
    return found


def run_guidance(out: Path, only: Sequence[str] = (), sizes: Sizes | None = None, show: bool = False) -> int:
    """Time what is missing and print the table. Returns 0, or 1 when a case failed: its gradients differ, for example.

    Args:
        only: these methods. show: time nothing, print what is there.
    """
    sizes = sizes or Sizes()
    asked, file = cases(sizes, only), RowFile(out / "guidance.jsonl")
    failed = make_rows(asked, Bench(sizes).measure, file, said=said, show=show)
    rows = file.of(asked)
    where = f"{torch.get_num_threads()} CPU threads, torch {torch.__version__}"
    print(f"\nOne step, one picture, {title(sizes)}, {where}\n{format_table(list(rows.values()))}")
    return 1 if failed else 0


def title(sizes: Sizes) -> str:
    network = f"random weights of SD-{sizes.version} size" if sizes.version else "the bundled network (a rehearsal)"
    return f"{network}, {sizes.pixels or 'its own'} pixels, float32"


@dataclass
class Bench:
    """The networks, made when they are first asked for."""

    sizes: Sizes
    _models: dict[str, StableDiffusion] = field(default_factory=dict)

    @property
    def small(self) -> StableDiffusion:
        """The bundled network: for counting."""
        return self._model("small", lambda: load_model("mini", torch.device("cpu")))

    @property
    def large(self) -> StableDiffusion:
        """The network to be timed."""
        if not self.sizes.version:
            return self.small
        model = self._model("large", lambda: random_stable_diffusion(torch.device("cpu"), self.sizes.version))
        model.native_size = self.sizes.pixels or model.native_size
        return model

    def _model(self, name: str, make: Callable[[], Any]) -> StableDiffusion:
        if name not in self._models:
            self._models[name] = make()
        return self._models[name]

    def measure(self, case: Case) -> Row:
        """Calls and seconds of both steps, averaged over the schedule. Raises ``ArithmeticError`` when their gradients
        differ."""
        counted = count_calls(case, self.small)
        ours, theirs, difference = [], [], 0.0
        timed = representatives(counted)
        for step in timed:
            own, published, apart = time_step(case, self.large, step)
            ours.append(own)
            theirs.append(published)
            difference = max(difference, apart)
        known = [spent for spent in theirs if spent is not None]
        row: dict[str, Any] = {
            "method": case.method,
            "calls": float(np.mean(list(counted.values()))),
            "ours": average(counted, timed, ours),
            "timed": {str(step): counted[step] for step in timed},
        }
        if known:
            published = average(counted, timed, known)
            row |= {"published": published, "published_calls": len(PUBLISHED[case.method]), "difference": difference}
            row["ratio"] = sum(published.values()) / sum(row["ours"].values())
        return row


def count_calls(case: Case, model: StableDiffusion) -> dict[int, int]:
    """Network forwards by step, for evenly spaced steps of the schedule."""
    count = min(case.sizes.samples, case.steps)
    steps = ((np.arange(count) + 0.5) * case.steps / count).astype(int)  # the middles of equal parts
    guide, pictures = start_guide(case, model), sample_pictures(model)
    found = {}
    for step in steps.tolist():
        with forwards(model.unet) as counted:
            our_step(guide, pictures, step)
        found[step] = counted[0]
    return found


@contextmanager
def forwards(network: torch.nn.Module) -> Iterator[list[int]]:
    """Counts the pictures that go through a network."""
    counted = [0]

    def count(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        counted[0] += len(inputs[0])

    hook = network.register_forward_pre_hook(count)
    try:
        yield counted
    finally:
        hook.remove()


def representatives(counted: dict[int, int]) -> list[int]:
    """Steps to time: one for each number of calls; of more than three the least, the middle and the most."""
    numbers = sorted(set(counted.values()))
    if len(numbers) > 3:
        numbers = [numbers[0], numbers[len(numbers) // 2], numbers[-1]]
    return [next(step for step, calls in counted.items() if calls == number) for number in numbers]


def average(counted: dict[int, int], timed: Sequence[int], spent: Sequence[Spent]) -> dict[str, float]:
    """Seconds by part over the whole schedule; a step between two timed ones costs in proportion to its calls."""
    calls = [counted[step] for step in timed]
    return {
        part: float(np.mean(np.interp(list(counted.values()), calls, [getattr(one, part) for one in spent])))
        for part in PARTS
    }


def time_step(case: Case, model: StableDiffusion, step: int) -> tuple[Spent, Spent | None, float]:
    """Ours and the published one's, in turns, and the largest relative difference of their gradients.

    The first run of each, which is compared, is not timed. Of methods whose published code is not written down here
    there is ours alone.
    """
    guide, pictures = start_guide(case, model), sample_pictures(model)
    published = case.method in PUBLISHED
    grad = our_step(guide, pictures, step)
    difference = 0.0
    if published:
        difference = compare(grad, published_step(guide, case.negative, pictures, step, StepClock()))
    ours, theirs = [], []
    for _ in range(case.sizes.repeats):
        guide.clock = StepClock()
        ours.append(clocked(guide.clock, lambda: our_step(guide, pictures, step)))
        if published:
            clock = StepClock()
            theirs.append(
                clocked(clock, lambda clock=clock: published_step(guide, case.negative, pictures, step, clock))
            )
    return middle(ours), middle(theirs) if theirs else None, difference


def compare(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference as a share of the largest value. Raises ``ArithmeticError`` above ``CLOSE``, and for a
    gradient that is nothing."""
    largest = float(theirs.abs().max())
    difference = float((ours - theirs).abs().max()) / max(largest, 1e-30)
    if largest == 0.0 or not difference <= CLOSE:
        raise ArithmeticError(f"the gradients differ by {difference:.2g} of the largest value, {largest:.3g}")
    return difference


def clocked(clock: StepClock, work: Callable[[], object]) -> Spent:
    start = time.perf_counter()
    work()
    whole = time.perf_counter() - start
    network, encode = clock.seconds["network"], clock.seconds["encode"]
    return Spent(network, encode, whole - network - encode)


def middle(runs: Sequence[Spent]) -> Spent:
    """The median of each part."""
    return Spent(*(statistics.median(getattr(run, part) for run in runs) for part in PARTS))


# ---- our step -------------------------------------------------------------------------------------------------------


def start_guide(case: Case, model: StableDiffusion) -> Guide:
    """A job's guide before its first step."""
    negative = NEGATIVE if case.negative else ""
    silent = Reporter(emit=lambda said: None)
    wordings = find_method(case.method).compares_wordings
    prompts = job_prompts(model, PROMPT, negative, True, guidance_words(model), silent, wordings=wordings)
    return Guide(model, {"color": prompts}, case.method, case.guidance, steps=case.steps)


def sample_pictures(model: StableDiffusion) -> torch.Tensor:
    """One picture of random colors, as large as the model's own."""
    side = model.native_size
    return torch.rand((1, 3, side, side), generator=torch.Generator().manual_seed(1))


def seen() -> Seen:
    return Seen(orbit(1), ["front"])


def our_step(guide: Guide, pictures: torch.Tensor, step: int) -> torch.Tensor:
    """The gradient at the picture, ``[1, 3, H, W]``."""
    generator = torch.Generator().manual_seed(step)
    moment = guide.begin(1, step, generator)
    generator.manual_seed(step + 1)
    return guide.gradient(pictures, seen(), moment).pictures


# ---- the table -----------------------------------------------------------------------------------------------------


def said(row: Row) -> str:
    ratio = f", published / ours {row['ratio']:.2f}" if "ratio" in row else ""
    return f"{sum(row['ours'].values()):.2f} s a step{ratio}"


def format_table(rows: Sequence[Row]) -> str:
    """Two lines a case: ours and the published one's."""
    titles = ("calls", "network", "encoder", "rest", "step, s", "published / ours")
    lines = [f"{'':38}" + "".join(f"{t:>12}" for t in titles[:-1]) + f"{titles[-1]:>18}"]
    for row in rows:
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else "–"
        lines.append(_line(f"{row['key']}, ours", row["calls"], row["ours"]) + f"{ratio:>18}")
        if "published" in row:
            lines.append(_line(f"{row['key']}, published", row["published_calls"], row["published"]))
    lines.append("seconds, averaged over the schedule; calls: pictures through the network in a step, a method's own")
    lines.append("training included; encoder: forward and backward; rest: what a method trains, too; where there is no")
    lines.append("published line, its step is not written down here")
    return "\n".join(lines)


def _line(name: str, calls: float, spent: dict[str, float]) -> str:
    cells = "".join(f"{spent[part]:12.3f}" for part in PARTS)
    return f"{name:38}{calls:12.2f}{cells}{sum(spent.values()):12.3f}"
