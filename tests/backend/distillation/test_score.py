"""The distillation gradient against closed forms."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from csd_blender.backend.diffusion.conditions import Conditions
from csd_blender.backend.diffusion.model import NoiseSchedule
from csd_blender.backend.distillation.guide import Guide
from csd_blender.backend.distillation.methods import NoisyBatch, csd_weights, sds_weights
from csd_blender.backend.distillation.score import (
    distillation_loss,
    draw_timesteps,
    perpendicular_component,
    weight,
)
from csd_blender.backend.distillation.view_prompts import PromptBatch
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.schedule import constant

SHAPE = (2, 4, 3, 3)


class GaussianScore:
    """Exact prediction for data ~ N(mu(prompt), I): then x_t ~ N(alpha mu, I) and eps = sigma (x_t - alpha mu)."""

    def __init__(self):
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        self.schedule = NoiseSchedule((1 - betas).cumprod(0), "epsilon", torch.device("cpu"))
        self.calls: list[int] = []

    def predict_noise(self, noisy, t, conditions):
        self.calls.append(len(noisy))
        alpha, sigma = self.schedule.alpha_sigma(t)
        mean = conditions.text.mean(dim=(1, 2)).view(-1, 1, 1, 1)
        return sigma * (noisy - alpha * mean)


def prompts_of(positive=2.0, negative=-1.0, null=0.5, views=None, view_weights=None) -> PromptBatch:
    def constant_of(v):
        return Conditions(torch.full((SHAPE[0], 2, 3), v))

    branches = {"positive": constant_of(positive), "negative": constant_of(negative), "null": constant_of(null)}
    return PromptBatch(branches, views, view_weights)


def csd(w1=1.0, w2=0.0, g=0.0, **settings) -> tuple[str, Guidance]:
    weights = {"positive_weight": w1, "negative_weight": w2, "generative_weight": g}
    return "csd", Guidance(**{k: constant(v) for k, v in weights.items()}, **settings)


def sds(scale, **settings) -> tuple[str, Guidance]:
    return "sds", Guidance(guidance_scale=scale, **settings)


def gradient(model, x, t, noise, prompts, row, negative=True):
    """The guide's gradient at the latents ``x``."""
    method, guidance = row
    batch = NoisyBatch(x, noise, model.schedule.add_noise(x, noise, t), t, 0, torch.Generator(), model.schedule)
    batch = replace(batch, negative=negative)
    return Guide(model, {}, method, guidance).score(batch, prompts)[0].grad


@pytest.fixture
def setting():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(SHAPE, generator=generator)
    noise = torch.randn(SHAPE, generator=generator)
    return GaussianScore(), x, torch.tensor([200, 700]), noise


def test_csd_moves_a_gaussian_along_the_difference_of_the_means(setting):
    model, x, t, noise = setting
    grad = gradient(model, x, t, noise, prompts_of(), csd())
    alpha, sigma = model.schedule.alpha_sigma(t)
    expected = (sigma * alpha * (0.5 - 2.0)).expand(SHAPE)
    torch.testing.assert_close(grad, expected, rtol=2e-5, atol=2e-6)


def test_csd_with_a_negative_prompt_adds_the_second_classifier(setting):
    model, x, t, noise = setting
    grad = gradient(model, x, t, noise, prompts_of(), csd(1.0, 0.75))
    alpha, sigma = model.schedule.alpha_sigma(t)
    expected = sigma * alpha * ((0.5 - 2.0) - 0.75 * (0.5 + 1.0))
    torch.testing.assert_close(grad, expected.expand(SHAPE), rtol=2e-5, atol=2e-6)


def test_sds_without_guidance_vanishes_on_average_at_the_data_mean():
    model = GaussianScore()
    generator = torch.Generator().manual_seed(0)
    mean = torch.full(SHAPE, 2.0)
    t = torch.tensor([400, 400])
    total = torch.zeros(SHAPE)
    for _ in range(4000):
        noise = torch.randn(SHAPE, generator=generator)
        total += gradient(model, mean, t, noise, prompts_of(), sds(1.0))
    # each sample is (sigma^2 - 1) eps, so the mean of 4000 has that standard deviation over sqrt(4000)
    alpha, sigma = model.schedule.alpha_sigma(t)
    bound = 5 * float((1 - sigma**2).max()) / 4000**0.5
    assert (total / 4000).abs().max() < bound


@pytest.mark.parametrize("steps", range(0, 10001, 2500))
def test_csd_prediction_weights_sum_to_zero(steps):
    w2 = min(steps / 5000, 1.0)
    weights = csd_weights(1.0, w2)
    assert weights.pop("noise") == 0.0
    assert sum(weights.values()) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("w2", [0.0, 0.5, 1.0])
def test_csd_with_a_share_of_the_prior_is_csd_plus_that_share_of_sds_without_guidance(setting, w2):
    model, x, t, noise = setting
    share = 0.3

    def grad(row):
        return gradient(model, x, t, noise, prompts_of(), row)

    expected = grad(csd(1.0, w2)) + share * grad(sds(1.0))
    torch.testing.assert_close(grad(csd(1.0, w2, share)), expected)
    assert (expected - grad(csd(1.0, w2))).abs().min() > 1e-3


def table(positive, negative, null, noise):
    return {"positive": positive, "negative": negative, "null": null, "noise": noise}


def test_the_published_rows_of_weights():
    assert csd_weights(1.0, 0.5) == table(1.0, -0.5, -0.5, 0.0)
    assert csd_weights(1.0, 1.0) == table(1.0, -1.0, 0.0, 0.0)
    assert sds_weights(100.0) == table(100.0, -99.0, 0.0, -1.0)
    assert sds_weights(20.0, negative_prompt=False) == table(20.0, 0.0, -19.0, -1.0)


@pytest.mark.parametrize(
    ("row", "branches"), [(csd(1.0, 0.0), 2), (csd(1.0, 0.5), 3), (csd(1.0, 1.0), 2), (sds(7.5), 2), (sds(1.0), 1)]
)
def test_only_branches_with_a_weight_are_evaluated_and_all_in_one_call(setting, row, branches):
    model, x, t, noise = setting
    gradient(model, x, t, noise, prompts_of(), row)
    assert model.calls == [branches * SHAPE[0]]


def test_without_a_negative_prompt_its_branch_is_not_asked_for(setting):
    _, x, t, noise = setting
    for row in (csd(1.0, 0.5), sds(7.5)):
        model = Table()
        gradient(model, x, t, noise, table_prompts(False), row, negative=False)
        assert set(model.asked) == {0, 2}


def test_loss_gradient_is_grad_over_batch(setting):
    _, x, _, noise = setting
    x = x.clone().requires_grad_(True)
    distillation_loss(x, noise).backward()
    torch.testing.assert_close(x.grad, noise / SHAPE[0], rtol=1e-6, atol=1e-6)


def test_clipping_comes_before_normalization(setting):
    model, x, t, noise = setting
    plain = gradient(model, x, t, noise, prompts_of(), sds(7.5))
    both = gradient(model, x, t, noise, prompts_of(), sds(7.5, grad_clip=constant(0.3), grad_normalize=True))
    clipped = plain.clamp(-0.3, 0.3)
    assert (plain.abs() > 0.3).any()
    torch.testing.assert_close(both, clipped / clipped.norm(), rtol=1e-5, atol=1e-6)
    assert float(both.norm()) == pytest.approx(1.0, rel=1e-5)


def test_weightings_are_the_published_functions_of_alpha_bar():
    a = torch.tensor([0.1, 0.5, 0.99])
    torch.testing.assert_close(weight("uniform", a), torch.ones(3))
    torch.testing.assert_close(weight("sds", a), 1 - a)
    torch.testing.assert_close(weight("fantasia3d", a), a.sqrt() * (1 - a))
    with pytest.raises(ValueError, match="weighting"):
        weight("cubic", a)


def test_time_steps_fill_the_closed_range_and_nothing_else():
    t = draw_timesteps(20000, 0.02, 0.05, 1000, torch.Generator().manual_seed(0))
    assert set(t.tolist()) == set(range(20, 51))
    assert draw_timesteps(5, 1.0, 1.0, 1000, torch.Generator()).tolist() == [999] * 5


def test_perp_neg_is_orthogonal_to_the_positive_direction(setting):
    _, x, _, noise = setting
    part = perpendicular_component(noise, x)
    assert (part * x).flatten(1).sum(1).abs().max() < 1e-4
    torch.testing.assert_close(perpendicular_component(x, x), torch.zeros(SHAPE), atol=1e-5, rtol=0)


def test_perp_neg_sees_each_items_own_noisy_latents(setting):
    """A batch gives the same gradient as its items alone: the pairing of views and items is right."""
    model, x, t, noise = setting
    generator = torch.Generator().manual_seed(5)

    def nonlinear(noisy, steps, told):
        alpha, sigma = model.schedule.alpha_sigma(steps)
        return torch.sin(noisy * told.text.mean(dim=(1, 2)).view(-1, 1, 1, 1)) * sigma + alpha

    model.predict_noise = nonlinear
    views = Conditions(torch.randn((4, 2, 3), generator=generator))
    weights = torch.tensor([[-1.0, -0.5], [-0.2, -1.5]])
    prompts = prompts_of(views=views, view_weights=weights)
    together = gradient(model, x, t, noise, prompts, csd(perp_neg=3.0))
    without = gradient(model, x, t, noise, prompts, csd())
    assert (together - without).abs().max() > 0.01
    for i in range(2):
        one = slice(i, i + 1)
        branches = {name: told.select(one) for name, told in prompts.branches.items()}
        item = PromptBatch(branches, views.select(slice(2 * i, 2 * i + 2)), weights[one])
        alone = gradient(model, x[one], t[one], noise[one], item, csd(perp_neg=3.0))
        torch.testing.assert_close(alone, together[one], rtol=2e-5, atol=2e-6)


def test_a_broken_prediction_gives_a_finite_gradient(setting):
    model, x, t, noise = setting
    model.predict_noise = lambda noisy, steps, told: torch.full_like(noisy, float("nan"))
    assert torch.isfinite(gradient(model, x, t, noise, prompts_of(), csd())).all()


# ---- against sums written out, on predictions that point anywhere ---------------------------------------------------


class Table(GaussianScore):
    """A network whose prediction depends on the prompt alone: branch ``n`` gets row ``n`` of a table of numbers."""

    def __init__(self):
        super().__init__()
        self.table = torch.randn((5, *SHAPE[1:]), generator=torch.Generator().manual_seed(11))
        self.asked: list[int] = []

    def predict_noise(self, noisy, t, conditions):
        rows = conditions.text[:, 0, 0].long()
        self.asked += rows.tolist()
        return self.table[rows]


def table_prompts(with_views=True):
    views = Conditions(torch.tensor([3.0, 4.0] * SHAPE[0]).view(-1, 1, 1).expand(-1, 2, 3))
    extra = {"views": views, "view_weights": torch.tensor([[-1.0, -0.5], [-0.2, -1.5]])}
    return prompts_of(0.0, 1.0, 2.0, **(extra if with_views else {}))


def written_out_perp_neg(table, origin, weights):
    """Sum over views of weight * (the view's direction less its part along the prompt's), both from ``origin``."""
    toward = (table[0] - table[origin]).double().flatten()
    total = torch.zeros_like(toward)
    for view, weight_of_view in ((3, weights[0]), (4, weights[1])):
        away = (table[view] - table[origin]).double().flatten()
        total += weight_of_view * (away - (away @ toward) / (toward @ toward) * toward)
    return total.view(table[0].shape).float()


@pytest.mark.parametrize(("origin", "row"), [("empty", 2), ("negative", 1)])
@pytest.mark.parametrize("negative_weight", [0.0, 0.5, 1.0])
def test_perp_neg_adds_its_views_with_their_own_sign_from_where_it_is_told(setting, origin, row, negative_weight):
    _, x, t, noise = setting
    model, prompts = Table(), table_prompts()
    method = csd(1.0, negative_weight, weighting="sds", perp_neg=3.0, perp_neg_from=origin)
    grad = gradient(model, x, t, noise, prompts, method)
    plain = model.table[0] - negative_weight * model.table[1] + (negative_weight - 1) * model.table[2]
    w = 1 - model.schedule.alpha_sigma(t)[0].flatten() ** 2
    for item in range(SHAPE[0]):
        perp = written_out_perp_neg(model.table, row, prompts.view_weights[item].tolist())
        assert (3 * perp).norm() > 0.5 * plain.norm()  # it matters, and so does its sign
        torch.testing.assert_close(grad[item], w[item] * (plain + 3.0 * perp), rtol=2e-5, atol=2e-5)


def test_a_step_down_the_perp_neg_gradient_leads_away_from_the_other_views(setting):
    """The prediction of noise falls as a picture gets likelier: less of a view's noise means more of that view."""
    _, x, t, noise = setting
    model, prompts = Table(), table_prompts()

    def grad(scale):
        return gradient(model, x, t, noise, prompts, csd(perp_neg=scale))

    moved = -(grad(3.0) - grad(0.0))
    toward = (model.table[0] - model.table[2]).flatten()
    for item in range(SHAPE[0]):
        assert (moved[item].flatten() @ toward).abs() < 1e-3 * moved[item].norm() * toward.norm()
        pull = 0.0
        for k, view in enumerate((3, 4)):
            away = perpendicular_component(model.table[view] - model.table[2], model.table[0] - model.table[2])
            pull += float(-prompts.view_weights[item, k] * (away * moved[item]).sum())
        assert pull > 0  # along the noise that a view predicts, which is away from the view


@pytest.mark.parametrize(("origin", "branches"), [("empty", {0, 2, 3, 4}), ("negative", {0, 1, 2, 3, 4})])
def test_perp_neg_evaluates_the_branch_its_directions_begin_at(setting, origin, branches):
    _, x, t, noise = setting
    model = Table()
    gradient(model, x, t, noise, table_prompts(), csd(perp_neg=1.0, perp_neg_from=origin))
    assert set(model.asked) == branches and len(model.asked) == len(branches) * SHAPE[0]


def test_an_origin_that_there_is_not_is_refused(setting):
    _, x, t, noise = setting
    with pytest.raises(ValueError, match="perp_neg_from"):
        gradient(Table(), x, t, noise, table_prompts(), csd(perp_neg_from="positive"))


def test_clipping_bounds_the_gradient_on_both_sides(setting):
    _, x, t, noise = setting
    bound = 0.4
    plain = gradient(Table(), x, t, noise, table_prompts(False), csd())
    assert (plain > bound).any() and (plain < -bound).any() and (plain.abs() < bound).any()
    clipped = gradient(Table(), x, t, noise, table_prompts(False), csd(grad_clip=constant(bound)))
    assert float(clipped.max()) == pytest.approx(bound) and float(clipped.min()) == pytest.approx(-bound)
    within = plain.abs() < bound
    assert torch.equal(clipped[within], plain[within])
    assert torch.equal(clipped.sign(), plain.sign())


def test_the_two_conventions_of_the_scale_are_one_apart():
    assert sds_weights(100.0, True, "1+s") == sds_weights(101.0) == table(101.0, -100.0, 0.0, -1.0)
    assert sds_weights(20.0, False, "1+s") == table(21.0, 0.0, -20.0, -1.0)
    assert sds_weights(7.5, True, "s") == sds_weights(7.5)
    with pytest.raises(ValueError, match="convention"):
        sds_weights(7.5, True, "s+1")
