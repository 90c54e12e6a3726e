# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bundled language model learned, on figures that its training has not seen, and its card."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from csd_blender.backend.distillation.prompt_debiasing import debias, load_view_chances
from csd_blender.backend.mini import vocabulary as voc

from .sights import Sight

SELDOM, OFTEN = 0.5, 0.9  # of what all views together have: a word is rare in a view, or as usual


def view_rates(sights: Sequence[Sight]) -> dict[tuple[str, str], dict[str, float]]:
    """How often each word is said of a figure in each view, by counting: {(figure, word): {view: share}}."""
    looks, said = Counter((s.shape, s.view) for s in sights), defaultdict(Counter)
    for sight in sights:
        for word in sight.words:
            said[sight.shape, word][sight.view] += 1
    return {
        (shape, word): {view: counts[view] / looks[shape, view] for view in voc.VIEWS if looks[shape, view]}
        for (shape, word), counts in said.items()
    }


def measure(folder: Path, sights: Sequence[Sight], seed: int = 0) -> dict[str, Any]:
    """Decisions of the model in `folder`, held against counts of `sights`.

    Returns shares: of words that are seldom seen in a view, those that are dropped there; of words that are seen there
    as often as anywhere, those that are kept; of colors, materials and shapes, those that are kept; and the dropped
    words by figure.
    """
    chances, rates = load_view_chances(str(folder)), view_rates(sights)
    dropped_right, kept_right, table = [], [], defaultdict(lambda: defaultdict(list))
    for (shape, word), shares in rates.items():
        prompt = f"a {word} {shape}" if word == "smiling" else f"a {shape} with {word}"
        dropped = debias(prompt, chances, [word]).dropped
        most = max(shares.values())
        for view, share in shares.items():
            if share < SELDOM * most / 10:
                dropped_right.append(word in dropped[view])
            elif share > OFTEN * most:
                kept_right.append(word not in dropped[view])
            if word in dropped[view]:
                table[shape][view].append(word)
    rng, plain = np.random.default_rng(seed), []
    for _ in range(100):
        color, material = rng.choice(voc.COLORS), rng.choice(voc.MATERIALS)
        words = (color, material, rng.choice(voc.SHAPES))
        dropped = debias(f"a {' '.join(words)}", chances, words).dropped
        plain += [word not in gone for gone in dropped.values() for word in words]
    return {
        "hidden words dropped": float(np.mean(dropped_right)), "of": len(dropped_right),
        "visible words kept": float(np.mean(kept_right)), "of these": len(kept_right),
        "colors, materials and shapes kept": float(np.mean(plain)), "of those": len(plain),
        "dropped": {shape: {view: sorted(words) for view, words in views.items()} for shape, views in table.items()},
    }  # fmt: skip


def write_card(folder: Path, settings: dict[str, Any], sights: Sequence[Sight], seconds: float) -> dict[str, Any]:
    """Measures the model in `folder`, writes `README.md` there, and returns the report."""
    report = measure(folder, sights)
    rows = [
        f"| {shape} | " + " | ".join(", ".join(views.get(view, ())) for view in voc.VIEWS) + " |"
        for shape, views in report["dropped"].items()
    ]
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6
    command = " ".join(f"--{name} {value}" for name, value in settings.items())
    text = _TEXT.format(
        command=command, minutes=seconds / 60, size=size,
        hidden=report["hidden words dropped"], hidden_count=report["of"],
        kept=report["visible words kept"], kept_count=report["of these"], figures=len({s.shape for s in sights}),
        plain=report["colors, materials and shapes kept"], plain_count=report["of those"], rows="\n".join(rows),
    )  # fmt: skip
    (folder / "README.md").write_text(text)
    return report


_TEXT = """\
# The mini language model

A masked language model of the mini world for prompt debiasing (`--debias-prompt mini`): a BERT of two layers in the
layout of transformers, {size:.2f} MB in half precision. Asked for the word in "This image is depicting a [MASK] view of
a pumpkin with eyes", it answers front, side, back or overhead.

It learned from sentences about the training pictures of the mini model: {figures} sorts of figures were traced from
random cameras, and a word such as eyes, door or taillights is said of a picture where what it means covers some pixels.
Nobody wrote down that a face is in front. Colors, materials and shapes occur with every view alike. The mini diffusion
model itself was not trained on words for such features and passes over most of them; what they are good for here is to
show the method at work, and to test it.

The weights, and the sentences they were trained on, were made by this project alone and are dedicated to the public
domain under [CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/).

## How it was made

    python3 build.py train-mini --language {command}

{minutes:.0f} minutes of one processor core, all told.

## Measurements

On figures that training has not seen. A word is hidden in a view where it is said less than a twentieth as often as in
the view that has it most, visible where it is said at least nine tenths as often.

| what | share | of |
|---|---|---|
| hidden words that are dropped | {hidden:.1%} | {hidden_count} |
| visible words that are kept | {kept:.1%} | {kept_count} |
| colors, materials and shapes that are kept | {plain:.1%} | {plain_count} |

Words that are dropped, each asked for alone ("a robot with eyes"), by view. A caption names at most three of the things
that are seen, and from the front there are more to choose from: so a hat, which is seen from everywhere, is named less
often there, and goes too. "Smiling", which only pumpkins do, is too rare in the sentences to have been learned.

| figure | front | side | back | overhead |
|---|---|---|---|---|
{rows}
"""
