"""How much memory a step with a model needs, from its networks' settings and weights alone, before it is tried.

What is there all the time are the weights, and what a stage has besides (its field and pictures). On top of them comes
the largest of what is there in turn (numbers of ``width`` bytes, n positions of the network's latents at a level):

* **the network, one call without a gradient**: what its way down leaves for its way up, and the largest layer's own
  tensors. Of a UNet's these are 21 C n for a transformer's block (the gated layer behind its attention: 8 C of product,
  4 C of gate, 4 C of their product, and 5 C that wait around it), and for a residual block the largest of 3 in, 2 in +
  out and in + 3 out. Attention itself counts as torch's ``scaled_dot_product_attention`` has it: nothing is quadratic.
  ControlNets add what they found once more. Rows of a batch add up.
* **the encoder, forward and backward**: six tensors of a residual block are kept for the way back (what goes into two
  normalizations, two activations and two convolutions), one of a convolution that halves the size, seven of the
  attention in the middle. Layer by layer there is what goes into each layer up to the largest, that one's own six, and
  the gradient on both its sides.
* **a network that is trained along** (VSD): the same six of each residual block, and 36 C n of a transformer's block.

Counted with tensors without numbers (``build.py bench --memory``) this is right within 5 % for the encoder, the UNets
of Stable Diffusion 1, 2 and XL, ControlNets, DeepFloyd IF, and within 15 % for Stable Diffusion 3 and for what is
trained. A card takes more than tensors: :data:`SPARE` is added for kernels' work space and for gaps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

GIB = 2**30
SPARE = 0.25 * GIB  # and a tenth of all that comes and goes
SPARE_SHARE = 0.1
SIX = 3  # of each, in and out: what a residual block keeps for the way back
GATED, PLAIN, LEARNS = 21, 9, 36  # C n: of a transformer's block, of attention alone, of a block that is trained along
ATTENTION_KEPT = 7
PICTURE_BYTES = 3 * 4 * 4  # of a pixel: the picture, its gradient, both resized, in float32


@dataclass(frozen=True)
class Saving:
    """What is done so that a step needs less memory; it takes longer then, and gives the same numbers.

    Attributes:
        pictures: are encoded one at a time. layers: of the encoder are made again one at a time.
        rows: go through the network one at a time. turns: networks wait in the computer's memory until they are used.
    """

    pictures: bool = False
    layers: bool = False
    rows: bool = False
    turns: bool = False


@dataclass(frozen=True)
class Network:
    """A network's settings, as its ``config.json`` has them, the bytes of its weights, and those of its numbers."""

    config: Mapping[str, Any]
    weights: int
    width: int


@dataclass(frozen=True)
class Load:
    """What one step asks of a model.

    Attributes:
        network: the one that predicts. encoder: of pictures; None for a model on pixels.
        controls: its ControlNets.
        side: of the model's pictures in pixels. latent_side: of its latents.
        views: pictures in a step. rows: of each of them, how many prompts go through the network in one call.
        learns: the network is trained along. own_network: on a copy of its weights.
        beside: bytes of what else is there: the field, its optimizer, the renderer's.
    """

    network: Network
    encoder: Network | None
    side: int
    latent_side: int
    views: int = 1
    rows: int = 3
    controls: tuple[Network, ...] = ()
    learns: bool = False
    own_network: bool = False
    beside: int = 0

    @property
    def weights(self) -> int:
        """Bytes of all networks' weights."""
        own = self.network.weights if self.own_network else 0
        return sum(one.weights for one in (self.network, *self.controls, *filter(None, [self.encoder]))) + own


@dataclass(frozen=True)
class Encoding:
    """Bytes of one picture on its way through the encoder and back.

    Attributes:
        kept: what is there between the two. inputs: of the layers alone, together.
        peak_by_layers: the most at once, where all but these is made again.
    """

    kept: int = 0
    inputs: int = 0
    peak_by_layers: int = 0


def needed(load: Load, saving: Saving = Saving()) -> int:
    """Bytes that a step needs at most: weights, what is there besides, and what comes and goes, with some to spare."""
    picture = Encoding() if load.encoder is None else encoding(load.encoder, load.side)
    rows = 1 if saving.rows else load.rows * load.views
    between = picture.kept * load.views  # what the encoder keeps while the network works
    back = between
    if saving.layers:
        between, back = picture.inputs if load.views == 1 else 0, picture.peak_by_layers
    elif saving.pictures:
        between, back = 0, picture.kept
    asked = rows * row_bytes(load.network, load.latent_side, bool(load.controls))
    found = rows * control_bytes(load.controls, load.side, load.latent_side)
    learned = load.views * learning_bytes(load.network, load.latent_side) if load.learns else 0
    own = load.network.weights if load.own_network else 0
    if saving.turns:
        encoder = 0 if load.encoder is None else load.encoder.weights
        control = max((one.weights for one in load.controls), default=0)
        network = load.network.weights
        stays, parts = own, (network + between + asked, control + between + found, encoder + back, network + learned)
        moving = max(parts) - max(network, control, encoder)
    else:
        stays, moving = load.weights, max(between + asked, between + found, back, learned)
        parts = (moving,)
    spare = SPARE + SPARE_SHARE * max(moving, 0)
    return int(stays + max(parts) + load.beside + load.views * PICTURE_BYTES * load.side**2 + spare)


# ---- the encoder -----------------------------------------------------------------------------------------------------


def encoding(encoder: Network, side: int) -> Encoding:
    """What a picture of ``side`` pixels takes in an ``AutoencoderKL``'s encoder, which has frozen weights."""
    channels = _numbers(encoder.config.get("block_out_channels"), (64,))
    per_block = int(encoder.config.get("layers_per_block", 1))
    layers: list[tuple[float, float, float]] = []  # what goes in, is kept (that included), comes out
    n, before = side**2, channels[0]
    for level, c in enumerate(channels):
        for _ in range(per_block):
            layers.append((before * n, SIX * (before + c) * n, c * n))
            before = c
        if level < len(channels) - 1:
            layers.append((c * n, c * n, c * n / 4))  # the padded picture is kept, not the one that came in
            n //= 4
    block = (before * n, 2 * SIX * before * n, before * n)
    attention = [(before * n, ATTENTION_KEPT * before * n, before * n)]
    if encoder.config.get("mid_block_add_attention") is False:
        attention = []
    layers += [block, *attention, block, (before * n, SIX * before * n, 0)]
    inputs = peak = 0.0
    for given, kept, made in layers:
        inputs += given
        peak = max(peak, inputs + kept - given + 2 * made)
    width = encoder.width
    return Encoding(*(int(width * found) for found in (sum(kept for _, kept, _ in layers), inputs, peak)))


# ---- the network -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """A level of a UNet: channels, residual blocks, and the transformer's blocks in each of its attentions."""

    channels: int
    layers: int
    attention: str
    depth: int


def row_bytes(network: Network, side: int, controlled: bool = False) -> int:
    """What one row of a batch takes in a call without a gradient. ``side``: of its latents."""
    if "joint_attention_dim" in network.config:
        return _transformer_numbers(network.config, side) * network.width
    down, up = _levels(network.config)
    skips, peak = _way_down(down, side)
    found = sum(c * n for c, n in skips) if controlled else 0
    n = (side // 2 ** (len(down) - 1)) ** 2
    peak = max(peak, 3 * found) + found
    before = down[-1].channels
    waiting = list(skips)
    for level, block in enumerate(up):
        own = [waiting.pop() for _ in range(block.layers + 1)]
        held = sum(c * n for c, n in (*waiting, *own)) + before * n + found
        for c, _ in own:
            peak = max(peak, held + _work(block, before + c, n))
            before = block.channels
        if level < len(up) - 1:
            n *= 4
            peak = max(peak, sum(c * n for c, n in waiting) + found + 2 * before * n)
    return int(peak) * network.width


def control_bytes(controls: Sequence[Network], side: int, latent_side: int) -> int:
    """What one row takes while ControlNets look at pictures of ``side`` pixels, one after the other."""
    peak = before = 0
    for one in controls:
        skips, way = _way_down(_levels(one.config)[0], latent_side)
        found = sum(c * n for c, n in skips)
        first = _numbers(one.config.get("conditioning_embedding_out_channels"), (16,))[0]
        peak = max(peak, (before + max(3 * first * side**2, way, 3 * found)) * one.width)
        before = found
    return int(peak)


def learning_bytes(network: Network, side: int) -> int:
    """What one row takes in a call whose gradient goes to changes of its attention, as VSD trains them."""
    if "joint_attention_dim" in network.config:
        return 0  # there is no such training for it
    down, up = _levels(network.config)
    skips, _ = _way_down(down, side)
    n, before, kept = side**2, down[0].channels, 0
    for level, block in enumerate(down):
        for _ in range(block.layers):
            kept += (SIX * (before + block.channels) + LEARNS * block.channels * block.depth) * n
            before = block.channels
        n = n // 4 if level < len(down) - 1 else n
    kept += (4 * SIX + LEARNS * down[-1].depth) * before * n
    waiting = list(skips)
    for level, block in enumerate(up):
        for _ in range(block.layers + 1):
            in_ = before + waiting.pop()[0]
            kept += (SIX * (in_ + block.channels) + LEARNS * block.channels * block.depth) * n
            before = block.channels
        n = n * 4 if level < len(up) - 1 else n
    return int(kept) * network.width


def _way_down(down: Sequence[_Block], side: int) -> tuple[list[tuple[int, int]], int]:
    """What is left for the way up, (channels, positions) each, and the most numbers that there are at once."""
    n, before = side**2, down[0].channels
    skips, peak = [(before, n)], 0
    for level, block in enumerate(down):
        for _ in range(block.layers):
            peak = max(peak, sum(c * n for c, n in skips) + _work(block, before, n))
            before = block.channels
            skips.append((before, n))
        if level < len(down) - 1:
            n //= 4
            skips.append((before, n))
    middle = replace(down[-1], attention="cross", depth=1)
    return skips, max(peak, sum(c * n for c, n in skips) + _work(middle, before, n))


def _work(block: _Block, in_: int, n: int) -> int:
    """The largest of a level's layers, for ``in_`` channels at n positions."""
    out = block.channels
    attention = {"": 0, "plain": PLAIN, "cross": GATED}[block.attention]
    return n * max(3 * in_, 2 * in_ + out, in_ + 3 * out, attention * out)


def _transformer_numbers(config: Mapping[str, Any], side: int) -> int:
    """Of Stable Diffusion 3: D numbers for each of its tokens, 13.5 times where both kinds attend together."""
    width = int(config.get("num_attention_heads", 18)) * int(config.get("attention_head_dim", 64))
    tokens = (side // int(config.get("patch_size", 2))) ** 2
    return 27 * width * (tokens + 333) // 2  # texts of 77 and 256


def _levels(config: Mapping[str, Any]) -> tuple[list[_Block], list[_Block]]:
    """A UNet's or ControlNet's levels on the way down, and a UNet's on the way up."""
    channels = _numbers(config.get("block_out_channels"), (320, 640, 1280, 1280))
    usual = ["CrossAttnDownBlock2D"] * (len(channels) - 1) + ["DownBlock2D"]
    kinds = [str(kind) for kind in config.get("down_block_types") or usual]
    ups = [str(kind) for kind in config.get("up_block_types") or [k.replace("Down", "Up") for k in reversed(kinds)]]
    layers = _each(config.get("layers_per_block", 2), len(channels))
    depths = _each(config.get("transformer_layers_per_block") or 1, len(channels))
    down = [_block(*row) for row in zip(channels, layers, kinds, depths)]  # noqa: B905 (Python 3.9 has no strict)
    up = [_block(*row) for row in zip(channels[::-1], layers[::-1], ups, depths[::-1])]  # noqa: B905
    return down, up


def _block(channels: int, layers: int, kind: str, depth: int) -> _Block:
    attention = "plain" if kind.startswith(("Simple", "Attn")) else "cross" if "CrossAttn" in kind else ""
    return _Block(channels, layers, attention, depth if attention else 0)


def _each(value: Any, count: int) -> list[int]:
    """A setting that is given once for all levels, or for each."""
    numbers = _numbers(value if isinstance(value, (list, tuple)) else [value] * count, ())
    return list(numbers) if len(numbers) == count else [1] * count


def _numbers(value: Any, usual: tuple[int, ...]) -> tuple[int, ...]:
    """Whole numbers of a setting; where it is none, the usual ones. (Levels of some networks have lists.)"""
    if not isinstance(value, (list, tuple)) or not value:
        return usual
    return tuple(max(_flat(v), default=1) for v in value)


def _flat(value: Any) -> Iterator[int]:
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from _flat(v)
    elif isinstance(value, (int, float)):
        yield int(value)
