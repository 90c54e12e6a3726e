# SPDX-License-Identifier: GPL-3.0-or-later
"""The model card of an exported model: text, training curve, sample sheet, measured agreement with the judge."""

from __future__ import annotations

import json
import math
from pathlib import Path

from PIL import Image, ImageDraw

from csd_blender.backend.mini import vocabulary as voc

from .samples import judged_accuracy, sample_sheet

_COLORS = {"vae": (200, 110, 20), "unet": (30, 90, 180)}
_NAMES = {"vae": "autoencoder", "unet": "noise predictor"}


def _rows(progress: Path) -> list[dict]:
    """The lines of a training's progress in the order of steps; of steps taken again after a resume, the last."""
    lines = (json.loads(line) for line in progress.read_text().splitlines())
    return [row for _, row in sorted({(row["stage"], row["step"]): row for row in lines}.items())]


def training_curve(progress: Path, path: Path) -> None:
    """Draws the losses of both stages, each smoothed, on a logarithmic scale over its own steps, into a small PNG."""
    width, height, margin = 480, 200, 34
    picture = Image.new("RGB", (2 * width, height), "white")
    draw = ImageDraw.Draw(picture)
    for panel, stage in enumerate(_NAMES):
        points = [(r["step"], r["loss"]) for r in _rows(progress) if r["stage"] == stage]
        if len(points) < 2:
            continue
        smooth, losses = points[0][1], []
        for _, loss in points:
            smooth += 0.3 * (loss - smooth)
            losses.append(math.log10(smooth))
        low, high, last = min(losses), max(losses), points[-1][0]
        left, right = panel * width + 2 * margin, (panel + 1) * width - 10
        top, bottom = margin, height - margin

        def place(
            step: int, value: float, box=(left, right, top, bottom), span=(low, high, last)
        ) -> tuple[float, float]:
            x = box[0] + (box[1] - box[0]) * step / span[2]
            return x, box[3] - (box[3] - box[2]) * (value - span[0]) / max(span[1] - span[0], 1e-9)

        draw.rectangle((left, top, right, bottom), outline=(190, 190, 190))
        draw.line([place(s, v) for (s, _), v in zip(points, losses, strict=True)], fill=_COLORS[stage], width=2)
        draw.text((left, 10), f"{_NAMES[stage]}: loss over {last} steps", fill=(40, 40, 40))
        for value, y in ((high, top - 6), (low, bottom - 6)):
            draw.text((left - 52, y), f"{10**value:.3g}", fill=(90, 90, 90))
    picture.save(path, optimize=True)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def write_card(weights: Path, progress: Path, judge_scores: dict[str, float], count: int = 500, seed: int = 0) -> dict:
    """Measures the model in `weights` and writes `README.md`, `curve.png`, `samples.png` and `accuracy.json` there.

    `judge_scores` are the judge's own shares of right answers on rendered pictures. Returns the measured report.
    """
    report = judged_accuracy(weights, count=count, seed=seed)
    training_curve(progress, weights / "curve.png")
    sample_sheet(weights, weights / "samples.png", seed=seed)
    (weights / "accuracy.json").write_text(json.dumps(report, indent=2) + "\n")
    rows = _rows(progress)
    steps = {stage: max(r["step"] for r in rows if r["stage"] == stage) for stage in _NAMES}
    hours = sum(max(r["elapsed"] for r in rows if r["stage"] == stage) for stage in _NAMES) / 3600
    heads = ("material", "color", "material and color", "view", "shape")
    table = "\n".join(
        f"| {h} | {_percent(report[h])} | {_percent(judge_scores[h]) if h in judge_scores else ''} |" for h in heads
    )
    text = _TEXT.format(
        steps=steps, hours=hours, count=count, seed=seed, guidance=report["guidance"], sampling=report["steps"],
        table=table, colors=", ".join(voc.COLORS), patterns=", ".join(voc.PATTERNS), own=", ".join(voc.OWN_MATERIALS),
        front=", ".join(voc.FRONT_SHAPES), others=", ".join(voc.OTHER_SHAPES),
    )  # fmt: skip
    (weights / "README.md").write_text(text)
    return report


_TEXT = """\
# The mini model

A miniature latent diffusion model: a text-conditioned noise predictor over the latents of a small autoencoder, in the
ordinary layout of a diffusers pipeline. It knows a hundred words, draws 64 x 64 pictures of simple objects, and exists
so that texture synthesis by score distillation can be run, tested and compared on any machine, without a download.
It is no substitute for a full-size model: unknown words are ignored, and there is no detail below a few pixels.

![samples](samples.png)

Rows: patterns in color; materials (two rows); a robot from the front, side, back and above, a brick house likewise, two
more; flaws by name (blurry, noisy, oversaturated, dull, pixelated, tiling, low quality) and close-ups.

## License

The weights, and the pictures they were trained on, were made by this project alone, from procedural shapes and
materials; no third party's pictures, texts or weights took part. They are dedicated to the public domain under
[CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/): free for any use.

## Prompts

`a blue striped mug, front view, flat colors` -- a color and a pattern, or a material; a shape; and any of the view,
light, distance and flaw words, in any order. The common synonyms (wooden, golden, sphere, polka dots, grey ...) are
understood.

| kind | words |
|---|---|
| colors | {colors} |
| patterns, which take a color | {patterns} |
| materials | {own} |
| shapes with a front | {front} |
| other shapes | {others}, and `object` for anything |
| views | front view, side view, back view, overhead view |
| light | `flat colors` (bare surface color, no shading), `studio light` |
| distance | `close-up` (the object fills or overflows the picture) |
| flaws, for negative prompts | blurry, noisy, oversaturated, dull, pixelated, tiling, low quality |

## How it was made

    python -m tools.lab.mini train --out RUN --cache PICTURES --seed 0 --data-count 52800 \\
        --unet-steps {steps[unet]} --front-share 0.5
    python -m tools.lab.mini export --checkpoint RUN
    python -m tools.lab.mini judge-train --cache JUDGE_PICTURES --weights FIRST --seed 1001
    python -m tools.lab.mini judge-train --cache JUDGE_PICTURES --seed 1001 --data-count 48000 \\
        --steps 4500 --rate 2e-3 --start FIRST/judge.safetensors
    python -m tools.lab.mini card --checkpoint RUN --judge-pictures JUDGE_PICTURES

The run behind these very weights was resumed several times, and its learning rate followed the clock (`--hours`),
which was extended twice: it rose to its peak again after step 2,100 and after step 6,337, and fell for good from step
7,000 on. From step 6,337 on half of each batch was drawn from whole shapes with a front (`--front-share 0.5`), and
from step 7,800 on captions named clear views only and those pictures met the middle noise levels only: within 2,700
steps the view words went from 51 % right to the figure below.

52,800 pictures: 4,400 random instances of the shapes, sphere traced from six cameras each and covered with two surfaces
each. Three in ten show random unions of solids, called "object"; one in ten bears a flaw, which its caption names;
58 % are unshaded. Surfaces are functions of the point on the object, so they wrap around it. Captions are put together
from what was drawn, with random parts left out.

* Autoencoder: AutoencoderKL (16, 32, 64), 4 latent channels at a quarter of the size, 0.68 M parameters,
  {steps[vae]} steps of 16, squared error with the object weighted five times the background.
* Noise predictor: UNet2DConditionModel (64, 96, 128), attention to words at the two lower levels, 5.5 M parameters,
  and a CLIPTextModel of 0.23 M, trained together for {steps[unet]} steps of 64; noise prediction, min-SNR weights (5),
  one caption in ten empty; the weights here are running averages (0.9985).
* {hours:.1f} hours on two processor cores, all told.

![training curve](curve.png)

## Measurements

`python -m tools.lab.mini judge --count {count} --seed {seed}`: {count} random prompts, DDIM with {sampling}
steps, guidance {guidance}. The judge is an independent classifier with 0.4 M parameters, trained on its own rendered
pictures and never on generated ones; the last column says how often it is right about rendered pictures it has not
seen, which include close-ups and random objects. Color is counted over prompts that name one, view over shapes with a
front, shape over all but `object`.

| asked for | judged right, generated | judge, on rendered pictures |
|---|---|---|
{table}
"""
