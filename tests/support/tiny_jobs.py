"""What the tests of whole text-to-3D jobs share: tiny settings, and a run that can be stopped anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from csd_blender.backend.geometry.mesh import Mesh
from csd_blender.backend.support.reporting import Reporter
from csd_blender.backend.worker.run_job import run_job

ROOT = Path(__file__).resolve().parents[2]
COARSE, REFINE = 4, 4
# Colors and density by the grid itself: what these tests are about is the same with networks, which take longer.
TINY = {
    "coarse_steps": COARSE,
    "refine_steps": REFINE,
    "coarse": {
        "views": 1,
        "levels": 2,
        "finest_resolution": 16,
        "ray_samples": 24,
        "render_size": 16,
        "radius": 1.0,
        "learning_rate": 0.03,
        "network_width": 0,
        "start_level": 0,
        "normals": "taps",
        "background": "colors",
    },
    "refine": {
        "views": 1,
        "tet_resolution": 8,
        "render_size": 16,
        "threshold": 0.0,
        "color_rate": 0.05,
        "background": "colors",
    },
    "texture_size": 64,
    "max_faces": 400,
    "preview_interval": 0,
    "device": "cpu",
}


def merged(table, given):
    both = {k: merged(table[k], v) if isinstance(v, dict) and k in table else v for k, v in given.items()}
    return table | both


def run(folder, models, resume=False, stop=lambda step: None):
    """Run a job; ``stop`` gets the number of steps done by this run and answers with a reason to stop."""
    events, done = [], [0]

    def emit(said):
        events.append((said.type, said.to_json()))

    def reason():
        return stop(done[0])

    reporter = Reporter(emit=emit, stop_reason=reason)
    progress = reporter.progress

    def count(*arguments):
        done[0] += 1
        progress(*arguments)

    reporter.progress = count
    outcome = run_job(str(folder.path), reporter, models, resume=resume)
    return outcome, events


def warnings_but_terms(events) -> list[str]:
    """The codes of a run's warnings; that nobody knows the terms of a test's model is none of them."""
    return [body["code"] for kind, body in events if kind == "warning" and body["code"] != "licence_unknown"]


def after(steps, reason):
    """Stop once so many steps are done."""
    return lambda done: reason if done >= steps else None


def albedo(folder):
    return np.asarray(Image.open(folder.path / "result" / "albedo.png"))


def mesh_of(folder) -> Mesh:
    with np.load(folder.path / "result" / "mesh.npz", allow_pickle=False) as arrays:
        return Mesh(arrays["positions"], arrays["triangles"], arrays["uv"], part_names=("object",))


def same_result(a, b) -> bool:
    one, two = mesh_of(a), mesh_of(b)
    return (
        np.array_equal(one.positions, two.positions)
        and np.array_equal(one.triangles, two.triangles)
        and np.array_equal(albedo(a), albedo(b))
    )


def stages(events):
    return [body["name"] for kind, body in events if kind == "stage"]


def told(monkeypatch, model) -> list[tuple]:
    """What the networks of models of this class are asked with from now on: (rows, times, conditions)."""
    asked, ask = [], model.network_noise
    monkeypatch.setattr(
        model, "network_noise", lambda self, *given, **more: asked.append(given) or ask(self, *given, **more)
    )
    return asked


def first_step(events):
    return next(body["step"] for kind, body in events if kind == "progress")


def answer(outcome):
    assert "Traceback" not in json.dumps(outcome.to_json())
    return (outcome.type, getattr(outcome, "code", None))


def box(size=(1.0, 1.0, 1.0)) -> Mesh:
    shape = trimesh.creation.box(size)
    return Mesh(shape.vertices, shape.faces)
