"""The command line, given anything: an exit status of the table and one sentence, never a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from csd_blender.backend.cli import exit_codes as codes
from csd_blender.backend.cli import main
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from tests.support.hostile import CASES, TEXTS, value
from tests.support.shell import answer
from tests.support.tiny_models import write_sd15

ROOT = Path(__file__).parents[3]
LAUNCH = ROOT / "csd_blender" / "launch.py"
ENDLESS = 1200  # seconds after which a test gives up
POSIX = pytest.mark.skipif(os.name == "nt", reason="closes or fills standard streams")


MANY, TOO_MANY, DEEP = "9" * 400, "9" * 5000, "[" * 50_000
MISTAKES = [
    (("--steps", MANY), 1, "steps"),
    (("--steps", TOO_MANY), 2, "--steps"),
    (("--seed", MANY), 1, "seed"),
    (("--resolution", "-" + MANY), 1, "texture_size"),
    (("--views", "٣" * 500), 1, "views"),
    (("--device", "cuda:" + "9" * 20), 1, "device"),
    (("--device", "cuda:٣"), 1, "device"),
    (("--device", "cuda:007"), 1, "device"),
    (("--device", "cuda:-1"), 1, "device"),
    (("--prompt", "\udcff\udcfe"), 1, "prompt"),
    (("--negative", "\udcff"), 1, "negative_prompt"),
    (("--model", "\udcff"), 1, "model"),
    (("--prompt", "x" * 100_000), 1, "prompt"),
    (("--method", "x" * 100_000), 2, "--method"),
    (("--settings", DEEP), 2, "--settings"),
    (("--settings", '{"steps": ' + TOO_MANY + "}"), 2, "cannot be read: a number in it has too many digits"),
    (("--settings", '{"quality": []}'), 1, "quality"),
    (("--settings", '{"quality": {}}'), 1, "quality"),
    (("--settings", '{"method": {"x": [1]}}'), 1, "method"),
    (("--settings", '{"model": 5}'), 1, "model"),
    (("--settings", '{"prompt": null}'), 1, "prompt"),
    (("--settings", '{"guidance": {"t_max": ' + MANY + "}}"), 1, "guidance.t_max"),
    (("--settings", '{"guidance": {"t_max": [0, 1, 0.5, ' + MANY + "]}}"), 1, "guidance.t_max"),
    (("--settings", '{"weight_decay": [1e999, 1, 1, 1e999]}'), 1, "weight_decay"),
    (("--settings", '{"cameras": {"elevation": [NaN, 3]}}'), 1, "cameras.elevation"),
    (("--settings", '{"prompt": "a\\u0000b"}'), 1, "prompt"),
    (("--out", ""), 2, "--out: the name is empty"),
    (("--resume", ""), 2, "--resume: the name is empty"),
    *(((f"--{name}", ""), 2, f"--{name}: the name is empty") for name in ("lora", "control-model", "model", "encoder")),
    (("--prompt", " \n"), 2, "needs --prompt"),
    (("--perp-neg", "-0.5"), 1, "perp_neg"),
    (("--steps", "3", "--settings", '{"steps": 4}'), 2, "--steps and --settings say something different of steps"),
    (("--settings", '{"prompt": "a dog"}'), 2, "--prompt and --settings say something different of prompt"),
    (("--seed", "3", "--settings", '{"seed": 4}'), 2, "--seed and --settings"),
    (("--lora", "x.safetensors:0.8", "--lora-weight", "0.2"), 2, "the LoRA's name and its strength"),
    (("--lora", "x.safetensors:0.8", "--settings", '{"lora_weight": 0.2}'), 2, "the LoRA's name and its strength"),
]


@pytest.mark.parametrize(("arguments", "status", "word"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_answered_in_a_sentence_that_names_it(jobs, cube, tmp_path, arguments, status, word):
    found, said = answer("texture", str(cube), "--prompt", "x", "--out", str(tmp_path / "new"), *arguments)
    assert found == status and word in said and not jobs
    sentence = said.rpartition("csd texture: error:")[2]
    assert len(sentence) < 600 and sentence.encode() and not (tmp_path / "new").exists()


def test_no_picture_is_not_taken_for_one_without_a_name(jobs, tmp_path):
    found, said = answer("text-to-3d", "--prompt", "x", "--picture", " ", "--out", str(tmp_path / "new"))
    assert found == 2 and "--picture: the name is empty" in said and not jobs


IDLE = [
    (("texture", "--guidance-scale", "30"), "--guidance-scale has no effect. CSD has none."),
    (("texture", "--method", "ism", "--noise", "surface"), "--noise has no effect. ISM finds its own."),
    (("texture", "--method", "ism", "--negative", "blue"), "--negative has no effect. ISM reads none."),
    (("texture", "--steps", "9", "--settings", '{"steps": 9}', "--method", "ism", "--noise", "surface"), "--noise has"),
    (("texture", "--method", "dsd", "--times", "falling"), "--times has no effect. DSD has its own."),
    (("texture", "--debias-words", "a"), "--debias-words has no effect. No language model."),
    (("texture", "--negative", "", "--negative-weight", "2"), "--negative-weight has no effect. No negative prompt."),
    (("text-to-3d", "--recipe", "sjc", "--refine-steps", "9"), "--refine-steps has no effect. SJC has none."),
    (("text-to-3d", "--start", "CUBE", "--coarse-steps", "9"), "--coarse-steps has no effect. The shape is given."),
    (
        ("image", "--method", "sds", "--negative-course", "rising"),
        "--negative-course has no effect. SDS goes by its scale.",
    ),
]


@pytest.mark.parametrize(("arguments", "note"), IDLE, ids=range(len(IDLE)))
def test_an_option_without_an_effect_is_told_and_the_job_is_made_all_the_same(jobs, cube, tmp_path, arguments, note):
    command = [str(cube) if word == "CUBE" else word for word in arguments]
    mesh = [str(cube)] if command[0] == "texture" else []
    found, said = answer(command[0], *mesh, *command[1:], "--prompt", "x", "--out", str(tmp_path / "new"))
    assert found == 0 and len(jobs) == 1 and said.startswith("Note: " + note) and said.count("\n") == 1


def test_options_that_have_an_effect_are_not_told_of(jobs, cube, tmp_path):
    used = ["--method", "sds", "--guidance-scale", "30", "--noise", "surface", "--times", "falling", "--perp-neg"]
    used += ["--debias-prompt", "mini", "--debias-words", "x"]
    other = str(tmp_path / "other")
    assert answer("texture", str(cube), "--prompt", "x", *used, "--out", str(tmp_path / "new")) == (0, "")
    assert answer("text-to-3d", "--prompt", "x", "--recipe", "dreamfusion", "--method", "vsd", "--out", other)[1] == ""


def test_an_option_that_asks_for_nothing_is_not_told_of(jobs, cube, tmp_path):
    off = ["--control", "off", "--warm-start", "0"]
    assert answer("texture", str(cube), "--prompt", "x", *off, "--out", str(tmp_path / "new")) == (0, "")


ABSENT = [
    (("image", "--perp-neg"), "csd image has no --perp-neg. A picture has no sides."),
    (("image", "--noise=surface"), "csd image has no --noise. A picture has no surface."),
    (("image", "--no-view-prompts"), "csd image has no --no-view-prompts. A picture has no sides."),
    (("edit", "CUBE", "--negative", "blurry"), "csd edit has no --negative. The source has its place."),
    (("text-to-3d", "--steps", "9"), "csd text-to-3d has no --steps. Each stage has its own."),
]


@pytest.mark.parametrize(("arguments", "sentence"), ABSENT, ids=range(len(ABSENT)))
def test_an_option_that_a_kind_cannot_have_is_refused_with_the_reason(jobs, tmp_path, arguments, sentence):
    found, said = answer(*arguments, "--prompt", "x", "--out", str(tmp_path / "new"))
    assert found == 2 and sentence in said and not jobs and not (tmp_path / "new").exists()


@pytest.mark.parametrize("recipe", ["dreamfusion", "sjc", "dsd", "dsd-low"])
def test_a_recipe_of_the_coarse_shape_alone_cannot_begin_with_a_mesh(jobs, cube, tmp_path, recipe):
    command = ["text-to-3d", "--prompt", "x", "--start", str(cube), "--out", str(tmp_path / "new")]
    found, said = answer(*command, "--recipe", recipe)
    assert found == 1 and "has no stage that refines a mesh" in said and not (tmp_path / "new").exists()
    assert answer(*command, "--recipe", "fantasia3d")[0] == 0


@pytest.mark.parametrize("command", ["texture", "text-to-3d"])
def test_a_model_that_cannot_be_used_is_told_before_a_folder_is_made_for_the_job(jobs, cube, tmp_path, command):
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "model_index.json").write_text("{}")
    new, what = tmp_path / "new", [str(cube)] if command == "texture" else []
    models = {"no-such-model": "no-such-model", "~nobody-of-that-name/x": "~nobody", str(tmp_path / "half"): "unet"}
    for model, word in models.items():
        found, said = answer(command, *what, "--prompt", "x", "--out", str(new), "--model", model)
        assert found == 1 and word in said and "inside" not in said and not jobs and not new.exists()


def test_a_model_beside_us_is_found_again_when_the_job_is_resumed_from_elsewhere(jobs, cube, tmp_path, monkeypatch):
    write_sd15(tmp_path / "models" / "sd 1.5")
    monkeypatch.chdir(tmp_path)
    assert answer("texture", str(cube), "--prompt", "x", "--out", "new", "--model", "models/sd 1.5")[0] == 0
    objects = ["text-to-3d", "--prompt", "x", "--model", "mini", "--coarse-model", "./models/sd 1.5", "--out", "newer"]
    assert answer(*objects)[0] == 0
    whole = str(tmp_path / "models" / "sd 1.5")
    assert (jobs[0].model, jobs[1].model, jobs[1].coarse_model) == (whole, "mini", whole)


def test_any_arguments_are_a_job_or_an_answer(jobs, cube, tmp_path):
    rng = random.Random(1)
    options = {
        "texture": ["--prompt", "--negative", "--method", "--model", "--quality", "--steps", "--views", "--resolution"],
        "text-to-3d": ["--prompt", "--recipe", "--subject", "--coarse-steps", "--refine-steps", "--max-faces"],
    }
    common = ["--seed", "--device", "--uv", "--height", "--keep", "--rasterizer", "--settings", "--start", "--resume"]
    names = list(texture_job("x").to_json()) + ["coarse", "refine", "height", "start"]
    words = [*TEXTS, "9" * 400, "9" * 5000, "-3", "1.5", "30", "draft", "sds", "cpu", "x"]
    statuses = []
    for i in range(CASES // 8):
        command = rng.choice(list(options))
        out = tmp_path / str(i)
        arguments = [command, *([str(cube)] if command == "texture" else []), "--prompt", "x", "--out", str(out)]
        for option in rng.sample(options[command] + common, rng.randint(1, 3)):
            word = rng.choice(words).replace("\0", "")
            if option == "--settings" and rng.random() < 0.9:
                with contextlib.suppress(RecursionError):
                    word = json.dumps({rng.choice(names): value(rng)})
            arguments.append(f"{option}={word}")
        status, said = answer(*arguments)
        assert status in (0, 1, 2) and "Traceback" not in said and "went wrong inside" not in said, (arguments, said)
        assert status == 0 or (said.encode() and len(said.splitlines()[-1]) < 700)
        statuses.append(status)
    assert set(statuses) == {0, 1, 2} or CASES < 1000
    assert len(jobs) == statuses.count(0)


def test_an_error_that_nobody_foresaw_is_a_sentence_too(monkeypatch, tmp_path):
    monkeypatch.setattr(JobFolder, "open", lambda path: {}["a\nb"])
    status, said = answer("texture", "--resume", str(tmp_path))
    assert status == 1 and said.startswith("Error:") and "KeyError" in said and "Traceback" not in said
    monkeypatch.setenv("CSD_DEBUG", "1")
    with pytest.raises(KeyError):
        main.main(["texture", "--resume", str(tmp_path)])


def test_a_job_is_resumed_by_the_command_that_makes_such_jobs_and_the_other_one_names_it(jobs, tmp_path):
    specs = {"texture": texture_job("x"), "text-to-3d": text_to_3d_job("x")}
    for command, spec in specs.items():
        folder = tmp_path / f"my {command}"
        JobFolder.create(folder, spec)
        (other,) = set(specs) - {command}
        status, said = answer(other, "--resume", str(folder))
        assert (
            status == 2 and said.endswith(f"csd {command} --resume '{folder}'\n") and said.count("\n") == 1 and not jobs
        )
        assert answer(command, "--resume", str(folder))[0] == 0 and jobs.pop() == spec


def test_a_folder_that_is_no_job_to_refine_from_is_named(jobs, cube, tmp_path):
    JobFolder.create(tmp_path / "texture", texture_job("x")).write_bytes("stages/coarse.safetensors", b"")
    status, said = answer("text-to-3d", "--prompt", "x", "--refine-from", str(tmp_path / "texture"), "--out", "new")
    assert status == 1 and "no finished coarse stage" in said


# ---- the process and its streams -----------------------------------------------------------------------------------


def run(*arguments, before=None, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-I", "-X", "utf8", str(LAUNCH), *arguments]
    return subprocess.run(command, preexec_fn=before, timeout=ENDLESS, **options)


def test_the_exit_statuses_are_told_by_the_help():
    done = run("--help", capture_output=True, text=True)
    assert all(str(n) in done.stdout.rpartition("exit status:")[2] for n in (0, 1, 2, 130, 141, 143))
    assert (codes.EXIT_FAILED, codes.EXIT_CANCELLED, codes.EXIT_UNREAD, codes.EXIT_TERMINATED) == (1, 130, 141, 143)


@POSIX
def test_a_reader_that_has_gone_ends_the_command_without_a_word():
    reading, writing = os.pipe()
    os.close(reading)
    done = run("--help", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@POSIX
def test_output_that_cannot_be_written_is_told():
    with open("/dev/full", "wb") as full:
        done = run("--help", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and done.stderr.startswith(b"Error: the output") and b"Traceback" not in done.stderr


@POSIX
@pytest.mark.parametrize("closed", [(2,), (0, 1, 2)])
def test_standard_streams_that_are_closed_do_no_harm(tmp_path, closed):
    def close():
        for number in closed:
            os.close(number)

    streams = {n: subprocess.PIPE for n, number in (("stdout", 1), ("stderr", 2)) if number not in closed}
    done = run("--help", before=close, **streams)
    assert done.returncode == 0 and not done.stderr
    done = run("texture", "--resume", str(tmp_path / "\udcff"), before=close, **streams)
    assert done.returncode == 1 and b"Traceback" not in (done.stderr or b"")


@POSIX
def test_without_an_error_stream_nothing_else_becomes_it(tmp_path):
    """The next file that is opened would get its number, and every library's complaints."""
    code = (
        "import os, sys; from csd_blender.job.process.processes import open_streams; open_streams();"
        f"file = open({str(tmp_path / 'data')!r}, 'wb', buffering=0); assert file.fileno() > 2;"
        "print('lost', file=sys.stderr, flush=True); os.write(2, b'lost')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, preexec_fn=lambda: [os.close(n) for n in (0, 2)])
    assert done.returncode == 0 and (tmp_path / "data").read_bytes() == b""


EARLY = """
import os, runpy, signal, sys

wanted, module, sys.argv = sys.argv[1], sys.argv[2], sys.argv[2:]

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
runpy.run_path(module, run_name="__main__")
"""


@POSIX
@pytest.mark.parametrize("module", ["csd_blender.job.process.processes", "csd_blender.backend.cli.main", "torch"])
def test_ctrl_c_in_the_middle_of_the_imports_is_one_word(module):
    command = [sys.executable, "-c", EARLY, module, str(LAUNCH), "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=ENDLESS)
    assert (done.returncode, done.stderr) == (130, "\nInterrupted.\n")


@POSIX
def test_names_that_are_no_text_are_printed_as_they_are(tmp_path):
    done = run("texture", "--resume", os.fsencode(tmp_path) + b"/\xff", capture_output=True)
    assert done.returncode == 1 and rb"\udcff" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize("mesh", [".", "..", "{here}"])
def test_a_folder_for_a_mesh_is_called_one(jobs, tmp_path, monkeypatch, mesh):
    monkeypatch.chdir(tmp_path)
    found, said = answer("texture", mesh.format(here=tmp_path), "--prompt", "x", "--out", "new")
    assert found == 1 and "it is a folder" in said and "(:" not in said and not (tmp_path / "new").exists()


@pytest.mark.parametrize("start", ["gray", "noise"])
def test_a_pictures_start_is_no_mesh(jobs, tmp_path, start):
    found, said = answer("image", "--prompt", "x", "--start", start, "--out", str(tmp_path / "new"))
    assert found == 0, said
    [job] = jobs
    assert JobFolder.open(tmp_path / "new").spec.start == start
