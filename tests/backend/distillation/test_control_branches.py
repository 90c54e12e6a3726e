"""Every branch of the equation, and every view of Perp-Neg, sees its own picture's control pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from csd_blender.backend.diffusion.additions.load_control import load_controls
from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.distillation.guide import Guide
from csd_blender.backend.distillation.view_prompts import Seen, encode_job_prompts
from csd_blender.backend.render.cameras import orbit
from csd_blender.job.models.control import ControlFiles, read_control
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.methods import METHODS
from csd_blender.job.spec.schedule import Schedule, constant
from tests.support.tiny_models import write_control

CPU = torch.device("cpu")
VIEWS = 3


@pytest.fixture(scope="module")
def model(tiny_folder, tmp_path_factory):
    model = load_model(str(tiny_folder), CPU)
    place = tmp_path_factory.mktemp("nets")
    files = []
    for i, kind in enumerate(("depth", "normal")):
        folder = write_control(place / kind, tiny_folder, seed=i, stride=4)
        files.append(ControlFiles(kind, (kind,), read_control(folder), 1.0 - 0.5 * i))
    model.control = load_controls(files, model)
    return model


FALLING = Schedule(0, 1.0, 0.8, 10)


def guide_of(model, method="csd", strength=FALLING, **guidance):
    prompts = encode_job_prompts(model, "a red mug", "red", wordings=("a mug", "mug"))
    values = {"perp_neg": 1.0} | guidance
    return Guide(model, {"color": prompts}, method, Guidance(**values), steps=10, strength=strength)


def seen(control=None):
    return Seen(orbit(VIEWS), ["front", "side", "back"], control=control)


def pictures_of(values):
    return torch.stack([torch.full((6, 32, 32), v) for v in values])


def take(guide, control, step=5, seed=1):
    given = torch.rand((VIEWS, 3, 32, 32), generator=torch.Generator().manual_seed(7))
    moment = guide.begin(VIEWS, step, torch.Generator().manual_seed(seed))
    return guide.gradient(given, seen(control), moment).pictures


@pytest.mark.parametrize("method", METHODS)
def test_whatever_a_method_asks_is_told_the_control_pictures_of_its_own_view(model, monkeypatch, method):
    guide, calls = guide_of(model, method), []
    network = model.network_noise

    def spy(noisy, t, conditions, unet=None):
        calls.append((noisy.detach().clone(), conditions))
        return network(noisy, t, conditions, unet)

    monkeypatch.setattr(model, "network_noise", spy)
    own = [0.2, 0.5, 0.8]
    take(guide, pictures_of(own))
    assert calls
    for noisy, conditions in calls:
        assert conditions.control.shape == (len(conditions.text), 6, 32, 32)
        assert torch.allclose(conditions.control_weight, torch.tensor([0.9, 0.45]))
        # rows that see the same noisy latents are of one view, and have one control picture
        found = conditions.control[:, 0, 0, 0]
        assert all(torch.equal(c, c[:1, :1, :1].expand_as(c)) for c in conditions.control)
        assert sorted(set(found.tolist())) == pytest.approx(own)
        if torch.equal(noisy, noisy[:1].expand_as(noisy)):
            continue  # where DSD's path begins, all views see the asset's one noise
        for i in range(len(noisy)):
            for j in range(i):
                if torch.equal(noisy[i], noisy[j]):
                    assert found[i] == found[j]
        if method == "csd":  # positive, negative, null of all views, then two view prompts of each
            assert found.tolist() == pytest.approx([*own * 3, *(v for v in own for _ in range(2))])
            assert len({tuple(x.flatten().tolist()) for x in noisy}) == VIEWS


def test_perp_neg_s_views_are_those_of_each_picture_alone(model, monkeypatch):
    """Three views together give what each gives by itself: nothing is mixed up between them."""
    guide = guide_of(model, grad_normalize=False)
    seed = torch.Generator().manual_seed(3)
    latents, noise = torch.randn((2, VIEWS, 4, 8, 8), generator=seed)
    control = torch.rand((VIEWS, 6, 32, 32), generator=seed)
    moment = replace(guide.begin(VIEWS, 5, seed), t=torch.tensor([200, 500, 800]))

    def score(chosen):
        cameras = orbit(VIEWS)
        cameras = type(cameras)(*(getattr(cameras, n)[chosen] for n in ("azimuth", "elevation", "distance", "fov_y")))
        one = Seen(cameras, [["front", "side", "back"][i] for i in chosen], control=control[chosen])
        asked = guide._asked(one, guide.guidance, 5)
        batch = guide._batch(latents[chosen], noise[chosen], replace(moment, t=moment.t[chosen]), one, asked)
        return guide.score(batch, asked)[0].grad

    together = score([0, 1, 2])
    alone = torch.cat([score([i]) for i in range(VIEWS)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_strength_follows_its_schedule_and_nothing_is_followed_without_one(model):
    control = torch.rand((VIEWS, 6, 32, 32), generator=torch.Generator().manual_seed(5))
    plain = take(guide_of(model, strength=None), control)
    assert torch.equal(plain, take(guide_of(model), None))  # pictures of no shape
    assert torch.equal(plain, take(guide_of(model, strength=constant(0.0)), control))
    full = take(guide_of(model), control)
    assert not torch.allclose(full, plain)
    assert torch.equal(full, take(guide_of(model, strength=constant(0.9)), control))
    assert guide_of(model, strength=None).layout == () and guide_of(model).layout == (("depth",), ("normal",))


def test_vsd_trains_and_asks_its_own_network_with_the_control_pictures_too(model):
    control = torch.rand((VIEWS, 6, 32, 32), generator=torch.Generator().manual_seed(5))
    for network in ("shared", "own"):
        followed, plain = (guide_of(model, "vsd", strength=s, lora_network=network) for s in (constant(1.0), None))
        for guide in (followed, plain):
            take(guide, control, step=0)
            take(guide, control, step=1)
        kept = [guide.tensors() for guide in (followed, plain)]
        changed = [name for name in kept[0] if not torch.equal(kept[0][name], kept[1][name])]
        assert any(".up" in name for name in changed)
        weights = [p for net in model.control.nets for p in net.network.parameters()]
        assert not any(p.requires_grad or p.grad is not None for p in weights)


def test_control_pictures_of_another_size_become_the_model_s_own(model):
    large = torch.rand((VIEWS, 6, 64, 64), generator=torch.Generator().manual_seed(5))
    small = torch.nn.functional.avg_pool2d(large, 2)
    torch.testing.assert_close(take(guide_of(model), large), take(guide_of(model), small))
