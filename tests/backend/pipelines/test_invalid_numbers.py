"""Steps in which a network gives numbers that are no numbers: left out once, the job's end when there are several."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from csd_blender.backend.cli import console
from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.geometry.mesh import Mesh
from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.output import texture
from csd_blender.backend.pipelines.text_to_3d import output
from csd_blender.backend.worker import run_job as run_job_module
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.result import is_complete, read_result
from tests.support.tiny_jobs import TINY, after, run

STEPS = 12


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr(output, "FILM_FRAMES", 2)
    monkeypatch.setattr(output, "FILM_SIZE", 16)
    monkeypatch.setattr(texture, "TURNTABLE_SIZE", 16)


class Faulty(torch.nn.Module):
    """A network that fails at chosen noise levels. Since these follow from the seed, it fails at chosen steps, also
    when a resumed job takes them again."""

    def __init__(self, network):
        super().__init__()
        self.network, self.config, self.dtype = network, network.config, network.dtype
        self.seen, self.bad, self.value, self.rows = [], set(), math.nan, slice(None)

    def forward(self, sample, t, **told):
        output = self.network(sample, t, **told)
        time = int(t[0])
        if not self.seen or self.seen[-1] != time:
            self.seen.append(time)
        if time in self.bad:
            output.sample[self.rows, 0, 0, 0] = self.value
        return output


class Models:
    """A cache that holds one model with a faulty network."""

    def __init__(self, folder):
        self.model = load_model(str(folder), torch.device("cpu"))
        self.model.unet = Faulty(self.model.unet)

    def get(self, name, device, lora=None, told="prompt"):
        return self.model

    def unload(self):
        pass


@pytest.fixture
def models(tiny_folder):
    return Models(tiny_folder)


def write_job(path, model, **overrides) -> JobFolder:
    """A job on two triangles, which need no unwrapping."""
    settings = {"steps": STEPS, "views": 1, "texture_size": 64, "preview_interval": 0, "device": "cpu"}
    folder = JobFolder.create(path, texture_job("a mug", model=str(model), **settings | overrides))
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    square = Mesh(np.insert(corners, 1, 0.0, axis=1), triangles, corners[triangles], part_names=("square",))
    save_npz(folder.mesh_path, square)
    return folder


@pytest.fixture
def make_job(tmp_path, tiny_folder):
    return lambda name="job", **overrides: write_job(tmp_path / name, tiny_folder, **overrides)


@pytest.fixture(scope="module")
def times(tmp_path_factory, tiny_folder):
    """Noise levels of the steps, all different."""
    models = Models(tiny_folder)
    run(write_job(tmp_path_factory.mktemp("rehearsal") / "job", tiny_folder), models)
    assert len(set(models.model.unet.seen)) == STEPS
    return models.model.unet.seen


def albedo(folder):
    return np.asarray(Image.open(folder.path / "result" / "albedo.png"))


def warnings(events):
    return [body["text"] for kind, body in events if kind == "warning" and body["code"] == "not_finite"]


@pytest.mark.parametrize(
    ("value", "rows"), [(math.nan, slice(0, 1)), (math.inf, slice(1, 2)), (-math.inf, slice(-1, None))]
)
def test_one_invalid_prediction_of_any_prompt_is_a_warning_and_the_job_goes_on(make_job, models, times, value, rows):
    unet = models.model.unet
    unet.bad, unet.value, unet.rows = {times[4]}, value, rows
    folder = make_job()
    outcome, events = run(folder, models)
    assert outcome.type == "result", outcome
    assert len(warnings(events)) == 1 and "Step 5 " in warnings(events)[0]
    assert read_result(folder.path).complete and albedo(folder).std() > 1.0
    assert [w["code"] for w in read_result(folder.path).warnings].count("not_finite") == 1


def test_single_invalid_steps_here_and_there_do_not_end_a_job(make_job, models, times):
    models.model.unet.bad = {times[i] for i in range(STEPS) if i % 5 != 4}  # four in a row, then a good one
    outcome, events = run(make_job(), models)
    assert outcome.type == "result"
    assert len(warnings(events)) == 5 and "and more" in warnings(events)[-1]


def test_five_in_a_row_end_the_job_as_an_error_that_keeps_the_last_good_state(make_job, models, times, tiny_folder):
    stopped = make_job("stopped")
    run(stopped, models, stop=after(4, "cancel"))
    models.model.unet.bad = set(times[4:9])
    folder = make_job()
    outcome, events = run(folder, models)
    assert (outcome.type, outcome.code, outcome.kept) == ("error", "model_not_finite", True)
    assert str(tiny_folder) in outcome.detail and "step 5" in outcome.detail
    assert "kept" in outcome.detail and outcome.fix
    assert all((folder.path / name).is_file() for name in outcome.files.values())
    record = read_result(folder.path)
    assert not record.complete and not is_complete(folder.path) and record.timings["steps"] == 4
    assert any(w["code"] == "model_not_finite" for w in record.warnings)
    assert np.array_equal(albedo(folder), albedo(stopped))


@pytest.mark.parametrize("steps", [1, 3, 12])
def test_a_network_that_never_gives_a_number_is_an_error_and_leaves_no_texture(make_job, models, steps, tiny_folder):
    models.model.unet.bad = set(range(1000))
    folder = make_job(steps=steps)
    outcome, _ = run(folder, models)
    assert (outcome.type, outcome.code) == ("error", "model_not_finite")
    assert str(tiny_folder) in outcome.detail and not outcome.files
    assert not (folder.path / "result" / "albedo.png").exists()


def test_cancelled_before_the_first_good_step_there_is_nothing_to_keep(make_job, models):
    models.model.unet.bad = set(range(1000))
    folder = make_job()
    outcome, _ = run(folder, models, stop=after(2, "cancel"))
    assert (outcome.type, outcome.kept) == ("cancelled", False)


@pytest.mark.parametrize("left_at", [3, 5, 7])
def test_a_job_left_before_or_among_invalid_steps_resumes_to_the_same_end(make_job, models, times, left_at):
    """Of five invalid steps some are before the interruption: the count must not begin anew."""
    models.model.unet.bad = set(times[4:9])
    whole, resumed = make_job("whole"), make_job("resumed", checkpoint_interval=1)
    expected, _ = run(whole, models)
    interrupted, _ = run(resumed, models, stop=after(left_at, "leave"))
    assert interrupted.code == "interrupted"
    outcome, _ = run(resumed, models, resume=True)
    assert (outcome.type, outcome.detail) == (expected.type, expected.detail)
    assert np.array_equal(albedo(resumed), albedo(whole))


def test_no_checkpoint_is_written_between_invalid_steps(make_job, models, times, monkeypatch):
    models.model.unet.bad = set(times[4:7])
    monkeypatch.setattr("csd_blender.backend.optimize.loop.time.monotonic", iter(range(10**6)).__next__)
    _, events = run(make_job(checkpoint_interval=1), models)
    stored = [body["step"] for kind, body in events if kind == "checkpoint"]
    assert 4 in stored and 8 in stored and not {5, 6, 7} & set(stored)


def test_invalid_latents_and_gradients_count_as_well(make_job, models, monkeypatch):
    model, encode = models.model, models.model.encode_images
    model.encode_images = lambda images, generator=None: encode(images, generator) * math.inf
    outcome, events = run(make_job(), models)
    assert outcome.code == "model_not_finite" and "latents" in warnings(events)[0]

    class Spoils(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad * math.nan

    model.encode_images = lambda images, generator=None: encode(Spoils.apply(images), generator)
    outcome, events = run(make_job("second"), models)
    assert outcome.code == "model_not_finite" and "gradient" in warnings(events)[0]


def test_colors_that_are_no_numbers_are_not_blamed_on_the_model(make_job, models, monkeypatch):
    start = jobs_texture_start()

    def poisoned(*given):
        state = start(*given)
        with torch.no_grad():
            next(state.field.parameters()).fill_(math.nan)
        return state

    monkeypatch.setattr("csd_blender.backend.pipelines.texture.start_state", poisoned)
    outcome, _ = run(make_job(), models)
    assert (outcome.type, outcome.code) == ("error", "diverged")


def jobs_texture_start():
    from csd_blender.backend.pipelines import texture

    return texture.start_state


def test_an_object_keeps_what_the_stage_had_before_the_invalid_steps(tmp_path, models, tiny_folder):
    settings = TINY | {"coarse_steps": 8, "refine_steps": 2}
    spec = text_to_3d_job("a mug", model=str(tiny_folder), **settings)
    run(JobFolder.create(tmp_path / "rehearsal", spec), models)
    times = models.model.unet.seen[:8]
    assert len(set(times)) == 8
    models.model.unet.bad = set(times[2:7])
    folder = JobFolder.create(tmp_path / "job", spec)
    outcome, _ = run(folder, models)
    assert (outcome.type, outcome.code, outcome.kept) == ("error", "model_not_finite", True)
    assert (folder.path / outcome.files["mesh"]).is_file() and not is_complete(folder.path)
    assert read_result(folder.path).timings["steps"] == 2


@pytest.mark.parametrize("from_step", [0, 4])
def test_on_a_terminal_the_exit_status_tells_and_kept_files_are_named(
    make_job, models, times, monkeypatch, capsys, from_step
):
    models.model.unet.bad = set(times[from_step:])
    monkeypatch.setattr(run_job_module, "ModelCache", lambda: models)
    monkeypatch.setattr(console, "ModelCache", lambda: models)
    assert console.run_on_console(make_job(), resume=False) == 1
    printed = capsys.readouterr()
    assert "invalid numbers" in printed.err and models.model.name in printed.err and "Traceback" not in printed.err
    assert ("albedo.png" in printed.out) == (from_step == 4)
