"""What the tests of the published fields share: small jobs with networks, and what a step moved."""

from __future__ import annotations

import torch

from csd_blender.backend.diffusion.words import guidance_words
from csd_blender.backend.distillation.guide import Guide
from csd_blender.backend.distillation.view_prompts import job_prompts
from csd_blender.backend.pipelines.text_to_3d.refine import later_guidance
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.spec.text_to_3d import TextTo3DJob

COARSE = {
    "views": 1,
    "levels": 3,
    "base_resolution": 4,
    "finest_resolution": 24,
    "ray_samples": 32,
    "render_size": 16,
    "radius": 1.0,
    "learning_rate": 0.01,
    "network_width": 8,
    "normals": "analytic",
    "background": "learned",
    "random_background": 0.0,
}
REFINE = {
    "views": 2,
    "tet_resolution": 12,
    "render_size": 32,
    "threshold": 0.0,
    "background": "learned",
    "random_background": 0.0,
    "normals_share": 0.0,
}


def job_of(model, coarse=None, refine=None, **more) -> TextTo3DJob:
    return text_to_3d_job(
        "a red mug",
        model=model.name,
        coarse_steps=6,
        refine_steps=6,
        coarse=COARSE | (coarse or {}),
        refine=REFINE | (refine or {}),
        **more,
    )


def copy_of(state) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in state.tensors().items()}


def moved(before, state) -> set[str]:
    after = state.tensors()
    return {name for name in before if name in after and not torch.equal(before[name], after[name])}


def prompts_of(model) -> dict:
    reporter = Reporter(emit=lambda said: None)
    words = guidance_words(model)
    unlit, lit = (job_prompts(model, "a red mug", "", True, words, reporter, lit=lit) for lit in (False, True))
    return {"color": unlit, "normal": unlit, "lit": lit, "white": lit}


def coarse_guide(job, model, prompts) -> Guide:
    return Guide(model, prompts, job.method, job.coarse.guidance)


def refine_guide(job, model, prompts) -> Guide:
    return Guide(model, prompts, job.method, job.refine.guidance, later_guidance(job.refine, job.method))
