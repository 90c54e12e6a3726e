"""The distillation gradient against closed forms."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from csd_blender.backend.diffusion.model import DiffusionModel
from csd_blender.backend.distillation.score import (
    Coefficients,
    PromptEmbeddings,
    csd_coefficients,
    distillation_loss,
    draw_timesteps,
    perpendicular_component,
    score_gradient,
    sds_coefficients,
    weight,
)

SHAPE = (2, 4, 3, 3)


class GaussianScore(DiffusionModel):
    """Exact prediction for data ~ N(mu(prompt), I): then x_t ~ N(alpha mu, I) and eps = sigma (x_t - alpha mu)."""

    def __init__(self):
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        super().__init__(
            name="gaussian",
            vae=None,
            unet=None,
            text_encoder=None,
            tokenizer=None,
            alphas_cumprod=(1 - betas).cumprod(0),
            prediction_type="epsilon",
            native_size=3,
            device=torch.device("cpu"),
        )
        self.calls: list[int] = []

    def predict_noise(self, noisy, t, embeddings):
        self.calls.append(len(noisy))
        alpha, sigma = self.alpha_sigma(t)
        mean = embeddings.mean(dim=(1, 2)).view(-1, 1, 1, 1)
        return sigma * (noisy - alpha * mean)


def embeddings(positive=2.0, negative=-1.0, null=0.5, **extra) -> PromptEmbeddings:
    def constant(v):
        return torch.full((SHAPE[0], 2, 3), v)

    return PromptEmbeddings(constant(positive), constant(negative), constant(null), **extra)


@pytest.fixture
def setting():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(SHAPE, generator=generator)
    noise = torch.randn(SHAPE, generator=generator)
    return GaussianScore(), x, torch.tensor([200, 700]), noise


def test_csd_moves_a_gaussian_along_the_difference_of_the_means(setting):
    model, x, t, noise = setting
    grad = score_gradient(model, x, t, noise, embeddings(), csd_coefficients()).grad
    alpha, sigma = model.alpha_sigma(t)
    expected = (sigma * alpha * (0.5 - 2.0)).expand(SHAPE)
    torch.testing.assert_close(grad, expected, rtol=2e-5, atol=2e-6)


def test_csd_with_a_negative_prompt_adds_the_second_classifier(setting):
    model, x, t, noise = setting
    grad = score_gradient(model, x, t, noise, embeddings(), csd_coefficients(1.0, 0.75)).grad
    alpha, sigma = model.alpha_sigma(t)
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
        total += score_gradient(model, mean, t, noise, embeddings(), sds_coefficients(1.0)).grad
    # each sample is (sigma^2 - 1) eps, so the mean of 4000 has that standard deviation over sqrt(4000)
    alpha, sigma = model.alpha_sigma(t)
    bound = 5 * float((1 - sigma**2).max()) / 4000**0.5
    assert (total / 4000).abs().max() < bound


@pytest.mark.parametrize("steps", range(0, 10001, 2500))
def test_csd_prediction_weights_sum_to_zero(steps):
    w2 = min(steps / 5000, 1.0)
    c = csd_coefficients(1.0, w2)
    assert c.positive + c.negative + c.null == pytest.approx(0.0, abs=1e-12)
    assert c.noise == 0.0


@pytest.mark.parametrize("w2", [0.0, 0.5, 1.0])
def test_csd_with_a_share_of_the_prior_is_csd_plus_that_share_of_sds_without_guidance(setting, w2):
    model, x, t, noise = setting
    share = 0.3

    def grad(coefficients):
        return score_gradient(model, x, t, noise, embeddings(), coefficients).grad

    expected = grad(csd_coefficients(1.0, w2)) + share * grad(sds_coefficients(1.0))
    torch.testing.assert_close(grad(csd_coefficients(1.0, w2, share)), expected)
    assert (expected - grad(csd_coefficients(1.0, w2))).abs().min() > 1e-3


def test_the_published_rows_of_coefficients():
    assert csd_coefficients(1.0, 0.5) == Coefficients(1.0, -0.5, -0.5, 0.0)
    assert csd_coefficients(1.0, 1.0) == Coefficients(1.0, -1.0, 0.0, 0.0)
    assert sds_coefficients(100.0) == Coefficients(100.0, -99.0, 0.0, -1.0)
    assert sds_coefficients(20.0, negative_prompt=False) == Coefficients(20.0, 0.0, -19.0, -1.0)


@pytest.mark.parametrize(
    ("coefficients", "branches"),
    [
        (csd_coefficients(1.0, 0.0), 2),
        (csd_coefficients(1.0, 0.5), 3),
        (csd_coefficients(1.0, 1.0), 2),
        (sds_coefficients(7.5), 2),
        (sds_coefficients(1.0), 1),
    ],
)
def test_only_branches_with_a_weight_are_evaluated_and_all_in_one_call(setting, coefficients, branches):
    model, x, t, noise = setting
    score_gradient(model, x, t, noise, embeddings(), coefficients)
    assert model.calls == [branches * SHAPE[0]]


def test_loss_gradient_is_grad_over_batch(setting):
    _, x, _, noise = setting
    x = x.clone().requires_grad_(True)
    distillation_loss(x, noise).backward()
    torch.testing.assert_close(x.grad, noise / SHAPE[0], rtol=1e-6, atol=1e-6)


def test_clipping_comes_before_normalization(setting):
    model, x, t, noise = setting
    plain = score_gradient(model, x, t, noise, embeddings(), sds_coefficients(7.5)).grad
    both = score_gradient(
        model, x, t, noise, embeddings(), sds_coefficients(7.5), grad_clip=0.3, grad_normalize=True
    ).grad
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

    def nonlinear(noisy, steps, emb):
        alpha, sigma = GaussianScore.alpha_sigma(model, steps)
        return torch.sin(noisy * emb.mean(dim=(1, 2)).view(-1, 1, 1, 1)) * sigma + alpha

    model.predict_noise = nonlinear
    perp = torch.randn((2, 2, 2, 3), generator=generator)
    weights = torch.tensor([[-1.0, -0.5], [-0.2, -1.5]])
    prompts = embeddings(perp_negative=perp, perp_weights=weights)
    together = score_gradient(model, x, t, noise, prompts, csd_coefficients(), perp_neg=3.0).grad
    without = score_gradient(model, x, t, noise, prompts, csd_coefficients()).grad
    assert (together - without).abs().max() > 0.01
    for i in range(2):
        one = slice(i, i + 1)
        item = PromptEmbeddings(**{f.name: getattr(prompts, f.name)[one] for f in dataclasses.fields(prompts)})
        alone = score_gradient(model, x[one], t[one], noise[one], item, csd_coefficients(), perp_neg=3.0).grad
        torch.testing.assert_close(alone, together[one], rtol=2e-5, atol=2e-6)


def test_a_broken_prediction_gives_a_finite_gradient(setting):
    model, x, t, noise = setting
    model.predict_noise = lambda noisy, steps, emb: torch.full_like(noisy, float("nan"))
    assert torch.isfinite(score_gradient(model, x, t, noise, embeddings(), csd_coefficients()).grad).all()
