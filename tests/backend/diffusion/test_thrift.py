"""What models do for memory's sake: the same latents, predictions and gradients on every rung, in less memory."""

from __future__ import annotations

import pytest
import torch

from csd_blender.backend.diffusion.cost.compiling import as_written, is_compiled, use_compiler
from csd_blender.backend.diffusion.cost.thrift import Turns
from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.diffusion.model import asked_noise
from csd_blender.backend.diffusion.parts import laid_out, network_dtypes
from csd_blender.backend.optimize.free_memory import free_memory, load_of, networks_of
from csd_blender.backend.support.memory import Network, Saving, encoding, needed, row_bytes
from csd_blender.backend.support.reporting import Reporter
from tests.support.tiny_models import write_if, write_sd3, write_sdxl
from tools.lab.live_bytes import counted

CPU = torch.device("cpu")
RUNGS = [Saving(True), Saving(True, True), Saving(True, True, True), Saving(rows=True)]


@pytest.fixture(scope="module")
def model(tiny_folder):
    """In double precision: what differs then is more than rounding."""
    made = load_model(str(tiny_folder), CPU)
    made.unet.double()
    made.vae.double()
    return made


@pytest.fixture(autouse=True)
def fresh(model):
    yield
    model.thrift.reset()
    use_compiler(model.unet, False, Reporter(emit=lambda said: None))


def step(model, views=2):
    """Latents, prediction, and the gradient at the pictures, as a guide makes it; the same draws each time."""
    draws = torch.Generator().manual_seed(0)
    pictures = torch.rand((views, 3, model.native_size, model.native_size), generator=draws).requires_grad_(True)
    latents = model.encode_images(pictures, draws)
    told = model.encode_prompts(["a red mug", ""]).repeat(views)
    t = torch.tensor([500, 300] * views)
    with torch.no_grad():
        noise = asked_noise(model, latents.detach().repeat(2, 1, 1, 1), t, told)
    latents.backward(noise[:views])
    return latents.detach(), noise, pictures.grad


@pytest.mark.parametrize("saving", RUNGS)
@pytest.mark.parametrize("views", [1, 2])
def test_every_rung_gives_the_same_numbers(model, saving, views):
    wanted = step(model, views)
    model.thrift.saving = saving
    for found, right in zip(step(model, views), wanted, strict=True):
        assert float((found - right).abs().max()) <= 1e-6 * max(1.0, float(right.abs().max()))


class Spoiling(Turns):
    """Networks that rest have no numbers, so that whatever uses one then gives none either."""

    def _put_away(self, known):
        for one in self._resting[known]:
            one.weight.data = torch.full_like(one.copy, torch.nan)


def test_networks_take_turns_and_each_is_there_when_it_is_used(model):
    wanted = step(model)
    before = {name: value.clone() for name, value in model.unet.state_dict().items()}
    model.thrift.turns = turns = Spoiling(networks_of(model), CPU)
    model.thrift.saving = Saving(True, True)
    assert all(not torch.isfinite(next(n.parameters())).any() for n in networks_of(model))  # all rest at first
    for found, right in zip(step(model), wanted, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-6)
    assert turns.brought == 3  # the encoder, the network, and the encoder again on the way back
    model.thrift.reset()
    assert all(torch.equal(value, before[name]) for name, value in model.unet.state_dict().items())
    assert model.thrift.saving == Saving() and model.thrift.turns is None
    torch.testing.assert_close(step(model)[2], wanted[2], rtol=0, atol=0)


@pytest.mark.parametrize("write", [write_sdxl, write_sd3, write_if])
def test_in_every_family_networks_are_there_when_they_are_used(write, tmp_path):
    other = load_model(str(write(tmp_path / "model", sample_size=8)), CPU)
    processors = [part.processor for part in other.unet.modules() if hasattr(part, "processor")]
    assert processors and all(type(one).__name__.endswith("2_0") for one in processors)  # torch's own attention
    wanted = step(other, views=1)
    other.thrift.turns = Spoiling(networks_of(other), CPU)
    other.thrift.saving = Saving(True, True, True)
    for found, right in zip(step(other, views=1), wanted, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("device", "bfloat16", "wanted"),
    [
        ("cpu", True, (torch.float32, torch.float32)),
        ("mps", True, (torch.float32, torch.float32)),
        ("cuda", True, (torch.float16, torch.bfloat16)),
        ("cuda:1", False, (torch.float16, torch.float32)),
    ],
)
def test_precision_by_device(device, bfloat16, wanted, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bfloat16)
    assert network_dtypes(torch.device(device)) == wanted


def test_on_cuda_alone_convolutions_have_channels_last():
    layer = torch.nn.Conv2d(4, 4, 3)
    assert laid_out(layer, torch.device("mps")).weight.is_contiguous()
    assert laid_out(layer, torch.device("cuda")).weight.is_contiguous(memory_format=torch.channels_last)


def test_a_network_that_learns_cannot_rest(model):
    with pytest.raises(ValueError, match="learns"):
        Turns([torch.nn.Linear(2, 2)], CPU)


def test_each_rung_needs_less_memory_than_the_one_before(model):
    peaks = []
    for saving in (Saving(), Saving(True), Saving(True, True)):
        model.thrift.saving = saving
        with counted(fake=False) as live:
            step(model, views=4)
        peaks.append(live.peak)
    assert peaks[0] > 1.5 * peaks[1] > 1.5 * peaks[2]


def test_the_estimate_is_what_was_measured(model):
    """Real tensors of a tiny model: the encoder there and back, and the network's call."""
    side = 4 * model.native_size  # so large that pictures outweigh what is always there
    pictures = torch.rand((1, 3, side, side), dtype=torch.float64, requires_grad=True)
    estimate = encoding(Network(dict(model.vae.config), 0, 8), side)
    with counted(fake=False) as live:
        hidden = model.vae.encoder(pictures)
        held = live.now
        hidden.sum().backward()
    assert held == pytest.approx(estimate.kept, rel=0.15)
    t = torch.tensor([500])
    told = model.encode_prompts(["a red mug"])
    noisy = torch.randn(1, model.latent_channels, side, side)
    with counted(fake=False) as live, torch.no_grad():
        model.network_noise(noisy, t, told)
    assert live.peak == pytest.approx(row_bytes(Network(dict(model.unet.config), 0, 8), side), rel=0.25)


def test_the_load_counts_every_network_once(model):
    load = load_of(model, views=2, rows=3, learned=100)
    real = sum(p.numel() * 8 for n in networks_of(model) for p in (*n.parameters(), *n.buffers()))
    assert load.weights == real and load.encoder is not None and load.beside == 300
    assert needed(load) > needed(load, Saving(True)) > real
    twice = load_of(model, views=2, rows=3, learned=100, learns=True, own_network=True)
    assert twice.weights == real + load.network.weights


def test_free_memory_is_known_or_none():
    free = free_memory(CPU)
    assert free is None or free > 2**20


# ---- the compiler ----------------------------------------------------------------------------------------------------


@pytest.fixture
def reporter():
    return Reporter(emit=lambda said: None)


def test_without_a_compiler_there_is_one_warning_and_the_network_as_it_is(model, reporter, monkeypatch):
    def missing(*given, **told):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(torch, "compile", missing)
    for _ in range(2):
        use_compiler(model.unet, True, reporter)
    assert [w["code"] for w in reporter.warnings] == ["no_compiler"] and not is_compiled(model.unet)


def test_a_compiled_network_is_one_only_while_it_is_wanted(model, reporter, monkeypatch):
    calls = []

    def fake(work, **told):
        return lambda *given, **named: calls.append(1) or work(*given, **named)

    monkeypatch.setattr(torch, "compile", fake)
    wanted = step(model)
    use_compiler(model.unet, True, reporter)
    assert is_compiled(model.unet) and not reporter.warnings
    calls.clear()
    torch.testing.assert_close(step(model), wanted)
    assert calls == [1]
    stances = []
    monkeypatch.setattr(torch.compiler, "set_stance", lambda stance: stances.append(stance) or torch.no_grad())
    with as_written(model.unet):
        pass
    use_compiler(model.unet, False, reporter)
    with as_written(model.unet):
        pass
    assert stances == ["force_eager"] and not is_compiled(model.unet)
