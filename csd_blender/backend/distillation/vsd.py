"""Variational score distillation (ProlificDreamer, Wang et al. 2023, arXiv 2305.16213): a network is trained along that
knows what the job's own pictures look like, and the gradient leads from its prediction to the guided one::

    grad = w(t) (eps_s(x_t; y) - eps_lora(x_t; y, camera))

The second network is the first one with low-rank changes (LoRA, Hu et al. 2021, 2106.09685) to its attention, and with
the camera as a further condition. Usually both share the first one's weights in memory: hooks add the changes while
the second is asked, so a job needs little more memory than any other. With ``lora_network`` ``own`` the second has a
copy of its own, as published; the numbers are the same.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...job.errors import JobError
from ...job.spec.guidance import Guidance
from ..diffusion.conditions import Conditions
from ..diffusion.cost.compiling import as_written
from ..diffusion.model import DiffusionModel
from ..optimize.checkpoint import check_averages, check_tensors, optimizer_tensors, restore_optimizer
from ..render.cameras import Cameras
from ..support.draws import normal, whole_numbers
from .score import Predictions
from .state import NoisyBatch, Prepared

CAMERA_NUMBERS = 16  # camera to world, row by row
CAMERA_DROPPED = 0.1  # of the training pictures, whose camera is not told
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
HALF_SCALE = 1024.0  # of the loss on a half-precision network, whose small gradients would else be zeros


class LowRank(nn.Module):
    """A low-rank change of one linear layer: ``x -> up(down(x))``; it begins as no change at all."""

    def __init__(self, layer: nn.Linear, rank: int, generator: torch.Generator):
        super().__init__()
        down = torch.randn((rank, layer.in_features), generator=generator) / rank
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x.float(), self.down), self.up).to(x.dtype)


class CameraWord(nn.Module):
    """A camera as a vector that is added to that of the time; it begins as zero."""

    def __init__(self, width: int, generator: torch.Generator):
        super().__init__()
        self.first = nn.Linear(CAMERA_NUMBERS, width)
        self.last = nn.Linear(width, width)
        with torch.no_grad():
            spread = CAMERA_NUMBERS**-0.5
            self.first.weight.copy_((torch.rand(self.first.weight.shape, generator=generator) * 2 - 1) * spread)
            self.first.bias.zero_()
            self.last.weight.zero_()
            self.last.bias.zero_()

    def forward(self, camera: Tensor) -> Tensor:
        return self.last(F.silu(self.first(camera)))


class VariationalState:
    """The changes, their optimizer, and how to ask the changed network."""

    def __init__(self, model: DiffusionModel, seed: int, guidance: Guidance):
        self.model, self.device = model, model.device
        generator = torch.Generator().manual_seed(seed)
        rank, rate = guidance.lora_rank, guidance.lora_rate
        if not hasattr(model.unet, "time_embedding"):
            raise JobError(
                "bad_setting", "VSD trains changes to a UNet, and this model has none", "Choose another method."
            )
        self.unet = unet = model.unet if guidance.lora_network == "shared" else copy.deepcopy(model.unet)
        layers = {
            name: layer
            for name, layer in unet.named_modules()
            if isinstance(layer, nn.Linear) and ".attn" in f".{name}" and name.endswith(ATTENTION)
        }
        self.changes = nn.ModuleDict(
            {name.replace(".", "/"): LowRank(layer, rank, generator) for name, layer in layers.items()}
        )
        self.camera = CameraWord(unet.time_embedding.linear_2.out_features, generator)
        self.network = nn.ModuleDict({"changes": self.changes, "camera": self.camera}).to(self.device)
        self._layers, self._time = layers, unet.time_embedding
        fused = self.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=rate, betas=(0.9, 0.99), eps=1e-15, weight_decay=0.01, fused=fused
        )

    @contextmanager
    def _changed(self, camera: Tensor) -> Iterator[None]:
        """The shared network is the changed one within. ``camera [B, 16]``; zeros where it is not told."""
        hooks = [
            layer.register_forward_hook(self._hook(self.changes[name.replace(".", "/")]))
            for name, layer in self._layers.items()
        ]
        word = self.camera(camera.to(self.device))
        hooks.append(self._time.register_forward_hook(lambda module, given, out: out + word.to(out.dtype)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @staticmethod
    def _hook(change: LowRank):
        return lambda module, given, out: out + change(given[0])

    def _predict(self, noisy: Tensor, t: Tensor, plain: Conditions | None, camera: Tensor) -> Tensor:
        """The changed network's noise prediction, with a gradient where that is on."""
        if plain is None:
            raise ValueError("VSD needs the prompt without a word for the view")
        with self._changed(camera), as_written(self.unet):
            return self.model.network_noise(noisy, t, plain, self.unet)

    @torch.no_grad()
    def prepare(self, batch: NoisyBatch) -> Prepared:
        """Branch ``lora``: the prompt without a word for the view, and the cameras."""
        found = self._predict(batch.noisy, batch.t, batch.plain, camera_numbers(batch.cameras, batch.noisy))
        return Prepared(batch.noise, {"lora": found}, calls=len(found))

    def learn(self, batch: NoisyBatch, predictions: Predictions) -> None:
        """One step of the usual training on the step's pictures, at fresh times and with fresh noise."""
        schedule, count = batch.schedule, len(batch.latents)
        t = whole_numbers(0, len(schedule) - 1, count, batch.generator).to(self.device)
        noise = normal(batch.latents.shape, batch.generator).to(batch.latents)
        told = batch.uniform() >= CAMERA_DROPPED
        camera = camera_numbers(batch.cameras, batch.latents) * told[:, None]
        scale = HALF_SCALE if self.unet.dtype == torch.float16 else 1.0
        with torch.enable_grad():
            predicted = self._predict(schedule.add_noise(batch.latents, noise, t), t, batch.plain, camera)
            loss = F.mse_loss(predicted, noise) * scale
            gradients = torch.autograd.grad(loss, list(self.network.parameters()), allow_unused=True)
        if not all(g is None or bool(torch.isfinite(g).all()) for g in gradients):
            return
        for parameter, gradient in zip(self.network.parameters(), gradients, strict=True):
            parameter.grad = torch.zeros_like(parameter) if gradient is None else gradient / scale
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.network.state_dict()) | optimizer_tensors(self.optimizer)

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        own = {name: value for name, value in tensors.items() if not name.startswith("optimizer.")}
        check_tensors(dict(self.network.state_dict()), own)
        moments = {name: value for name, value in tensors.items() if name.startswith("optimizer.")}
        check_tensors(self._moments_like(moments), moments)
        check_averages(moments, self.optimizer)
        self.network.load_state_dict(own)
        restore_optimizer(self.optimizer, moments)

    def _moments_like(self, moments: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the optimizer keeps once it has taken a step; nothing before."""
        if not moments:
            return {}
        return {
            f"optimizer.{i}.{key}": torch.zeros(()) if key == "step" else torch.zeros_like(parameter)
            for i, parameter in enumerate(self.network.parameters())
            for key in ("step", "exp_avg", "exp_avg_sq")
        }


def camera_numbers(cameras: Cameras | None, like: Tensor) -> Tensor:
    """``[B, 16]``: each camera's matrix to the world, row by row; zeros for pictures of no object."""
    if cameras is None:
        return torch.zeros(len(like), CAMERA_NUMBERS, device=like.device)
    return torch.linalg.inv(cameras.view().float()).reshape(len(cameras), CAMERA_NUMBERS).to(like.device)
