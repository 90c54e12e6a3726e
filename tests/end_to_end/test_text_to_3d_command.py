"""``csd text-to-3d`` in a shell, on the bundled model, for a handful of steps."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FEW = {
    "coarse": {"views": 1, "ray_samples": 32},
    "refine": {"views": 1, "tet_resolution": 12},
    "max_faces": 400,
    "preview_interval": 0,
}
SMALL = ("--quality", "draft", "--coarse-steps", "2", "--refine-steps", "1", "--resolution", "64", "--device", "cpu")


@pytest.fixture(scope="module")
def csd(backend_python):
    """The command itself, without the front door."""
    one_thread = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

    def run(*arguments) -> subprocess.CompletedProcess:
        command = [str(backend_python), "-m", "csd_blender.backend", "text-to-3d", *map(str, arguments)]
        environment = os.environ | one_thread
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=12000)

    return run


def record(folder):
    return json.loads((folder / "result" / "result.json").read_text())


@pytest.fixture(scope="module")
def finished(csd, tmp_path_factory):
    out = tmp_path_factory.mktemp("text_to_3d") / "job"
    done = csd("--prompt", "a red mug", *SMALL, "--settings", json.dumps(FEW), "--seed", "5", "--out", out)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert str(out / "result" / "mesh.glb") in done.stdout and "Traceback" not in done.stderr
    return out


def test_a_prompt_becomes_an_object_on_the_disk(finished):
    names = ("result/albedo.png", "result/mesh.npz", "result/mesh.glb", "result/turntable.png", "result/turntable.gif")
    for name in (*names, "result/result.json", "stages/coarse.png", "stages/coarse.safetensors", "job.json"):
        assert (finished / name).stat().st_size > 0
    result = record(finished)
    assert result["complete"] and result["kind"] == "text-to-3d" and result["seed"] == 5
    assert result["settings"]["prompt"] == "a red mug" and result["settings"]["model"] == "mini"
    assert (result["settings"]["coarse"]["steps"], result["settings"]["refine"]["steps"]) == (2, 1)
    assert result["settings"]["coarse"]["views"] == 1  # --settings reaches into the stages
    assert result["faces"] <= 400


def test_nothing_is_written_over_what_is_there(csd, finished):
    before = (finished / "result" / "result.json").read_bytes()
    done = csd("--prompt", "a blue mug", *SMALL, "--out", finished)
    assert done.returncode == 1 and "already holds something" in done.stderr and "Traceback" not in done.stderr
    assert (finished / "result" / "result.json").read_bytes() == before


def test_the_second_stage_alone_is_repeated_from_another_job(csd, finished, tmp_path):
    out = tmp_path / "anew"
    arguments = ("--prompt", "a red mug", *SMALL, "--settings", json.dumps(FEW), "--refine-from", finished)
    done = csd(*arguments, "--out", out)
    assert done.returncode == 0, done.stderr[-2000:]
    assert record(out)["settings"]["start"] == "coarse" and record(out)["timings"]["steps"] == 1
    assert not (out / "stages" / "coarse.png").exists()


def test_an_object_begins_with_a_mesh(csd, cube_obj, tmp_path):
    out = tmp_path / "job"
    done = csd("--prompt", "a red box", *SMALL, "--settings", json.dumps(FEW), "--start", cube_obj, "--out", out)
    assert done.returncode == 0, done.stderr[-2000:]
    assert record(out)["settings"]["start"] == "mesh" and (out / "mesh.npz").is_file()


# What is found before anything heavy is loaded: arguments, exit status, a word of the answer.
MISTAKES = [
    (("--out", "{new}"), 2, "--prompt"),
    (("--prompt", "x"), 2, "--out"),
    (("--prompt", "x", "--out", "{new}", "--start", "{cube}", "--refine-from", "{old}"), 2, "--start"),
    (("--prompt", "x", "--out", "{new}", "--recipe", "vsd"), 2, "vsd"),
    (("--prompt", "x", "--out", "{new}", "--settings", "{{not json"), 2, "--settings"),
    (("--prompt", "x", "--out", "{new}", "--settings", "5"), 2, "JSON object"),
    (("--prompt", "x", "--out", "{new}", "--settings", "[1]"), 2, "JSON object"),
    (("--prompt", "x", "--out", "{new}", "--settings", '{{"colour": 1}}'), 1, "colour"),
    (("--prompt", "x", "--out", "{new}", "--settings", '{{"recipe": "vsd"}}'), 1, "recipe"),
    (("--prompt", "x", "--out", "{new}", "--settings", '{{"coarse": {{"guidance": 5}}}}'), 1, "coarse.guidance"),
    (("--prompt", "x", "--out", "{new}", "--coarse-steps", "-5"), 1, "coarse.steps"),
    (("--prompt", "x", "--out", "{new}", "--coarse-steps", "0"), 1, "coarse.steps"),
    (("--prompt", "x", "--out", "{new}", "--resolution", "9999999"), 1, "texture_size"),
    (("--prompt", "x", "--out", "{new}", "--start", "{new}.obj"), 1, "new.obj"),
    (("--prompt", "x", "--out", "{new}", "--refine-from", "{new}"), 1, "job.json"),
    (("--resume", "{new}"), 1, "job.json"),
]
ASK = """
import contextlib, io, json, sys
from csd_blender.backend.cli.main import main
answers = []
for arguments in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            status = main(["text-to-3d", *arguments])
        except SystemExit as end:
            status = end.code
    answers.append([status, said.getvalue()])
print(json.dumps(answers))
"""


def test_mistakes_are_answered_with_a_sentence(backend_python, cube_obj, tmp_path):
    """All in one process: each costs a second to start. An exception that gets out of one fails them all."""
    places = {"cube": cube_obj, "new": tmp_path / "new", "old": tmp_path / "old"}
    asked = json.dumps([[a.format(**places) for a in arguments] for arguments, _, _ in MISTAKES])
    done = subprocess.run(
        [str(backend_python), "-c", ASK], input=asked, cwd=ROOT, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = json.loads(done.stdout)
    assert len(answers) == len(MISTAKES)
    for (arguments, status, word), (found, said) in zip(MISTAKES, answers):
        assert found == status and word in said and "Traceback" not in said, (arguments, found, said)
    assert not (tmp_path / "new").exists()


def test_a_folder_without_a_coarse_stage_cannot_be_refined_from(csd, finished, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "job.json").write_bytes((finished / "job.json").read_bytes())
    done = csd("--prompt", "x", "--refine-from", other, "--out", tmp_path / "new")
    assert done.returncode == 1 and "no finished coarse stage" in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_further_setting_may_be_one_that_has_an_option_of_its_own(csd, tmp_path):
    given = json.dumps({"recipe": "fantasia3d", "seed": 3, "height": -1})
    done = csd("--prompt", "x", "--settings", given, "--out", tmp_path / "new")
    assert done.returncode == 1 and "height" in done.stderr and "Traceback" not in done.stderr
