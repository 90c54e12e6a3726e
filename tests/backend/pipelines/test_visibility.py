"""That a job says what its pictures will hardly show."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from csd_blender.backend.geometry.mesh import Mesh, merge
from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.pipelines.prepare import prepare_surface
from csd_blender.backend.pipelines.visibility import visible_shares, warn_of_unseen
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.edit import edit_job
from csd_blender.job.presets.texture import texture_job
from tests.support.tiny_jobs import run


def ball(name="ball", radius=1.0, center=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0)):
    shape = trimesh.creation.icosphere(2, radius)
    return Mesh(shape.vertices * scale + np.asarray(center), shape.faces, part_names=(name,))


@pytest.fixture
def told(tmp_path, tiny_folder, models):
    """From meshes to what a job with them warns of, ``hardly_seen`` only."""

    numbers = itertools.count()

    def tell(*meshes, **settings):
        job = texture_job(
            "a red mug", model=str(tiny_folder), steps=1, views=1, texture_size=64, preview_interval=0, **settings
        )
        folder = JobFolder.create(tmp_path / f"job{next(numbers)}", job)
        save_npz(folder.mesh_path, merge(list(meshes)))
        outcome, events = run(folder, models)
        assert outcome.type == "result", outcome
        return [said["text"] for kind, said in events if kind == "warning" and said["code"] == "hardly_seen"]

    return tell


@pytest.fixture
def surface_of(tmp_path, tiny_folder):
    numbers = itertools.count()

    def make(*meshes):
        job = texture_job("a red mug", model=str(tiny_folder), texture_size=64)
        folder = JobFolder.create(tmp_path / f"surface{next(numbers)}", job)
        save_npz(folder.mesh_path, merge(list(meshes)))
        return prepare_surface(job, folder, Reporter(emit=lambda message: None))

    return make


@pytest.mark.parametrize("scale", [(1, 1, 1), (0.05, 1, 1), (1, 1, 0.02)])
def test_meshes_that_fill_a_picture_are_not_spoken_of(told, scale):
    assert told(ball(scale=scale)) == []


@pytest.mark.parametrize("scale", [(0.003, 0.003, 1), (1, 0.002, 0.002)])
def test_a_needle_is_said_to_stay_gray(told, scale):
    (text,) = told(ball(scale=scale))
    assert "so thin for its length" in text and "one by one" in text


def test_objects_far_apart_are_brought_together_and_thin_ones_are_called_thin(told):
    assert told(ball("One"), ball("Two", 1.0, (5, 0, 0)), ball("Three", 1.0, (3000, 0, 0))) == []
    needles = [ball(f"Needle {i}", 1.0, (3.0 * i, 0, 0), (0.002, 0.002, 1)) for i in range(2)]
    (text,) = told(*needles)
    assert text.startswith("The objects are so thin") and "gray" in text


def test_what_others_hide_and_what_is_tiny_beside_them_is_named(told):
    bead = ball("Bead", 0.01, (0.99, 0.0, 0.0))
    (text,) = told(ball("Hull"), ball("Engine", 0.5), bead)
    assert text.startswith("2 of 3 objects can hardly be seen") and "('Engine', 'Bead')" in text


def test_objects_side_by_side_are_not_spoken_of(told):
    assert told(ball("One"), ball("Two", 0.4, (1.2, 0.0, 0.0))) == []


def test_an_edit_is_told_that_the_old_colors_may_stay(surface_of):
    edit = edit_job("a blue mug", "a red mug", texture_size=64)
    for meshes in ([ball(scale=(0.003, 0.003, 1))], [ball("Hull"), ball("Engine", 0.5)]):
        told = []
        reporter = Reporter(emit=lambda message, told=told: told.append(message.text))
        warn_of_unseen(surface_of(*meshes), edit, 64, reporter)
        assert len(told) == 1 and " old " in told[0] and "gray" not in told[0]


def test_names_of_many_hidden_objects_are_not_all_listed(told):
    (text,) = told(ball("Hull"), *(ball(f"Seed {i}", 0.1, (0.2 * i - 0.5, 0, 0)) for i in range(6)))
    assert text.startswith("6 of 7 objects") and "'Seed 2' and more" in text and "Seed 3" not in text


def test_shares_of_a_ball_are_those_of_a_disk(surface_of):
    """A ball of the frame's radius, seen without close-ups and with the zoom 1, covers nearly pi / 4 of a picture."""
    ranges = replace(texture_job("a").cameras, close_share=0.0, zoom=(1.0, 1.0))
    share = visible_shares(surface_of(ball()), ranges, 64)
    assert share.shape == (1,) and float(share) == pytest.approx(torch.pi / 4, rel=0.08)
