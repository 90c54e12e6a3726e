"""The backend's command line, through ``build.py csd``, on the true mini model."""

import json
import os
import signal
import subprocess

import pytest

from tools import paths

ENDLESS = 1200  # seconds after which a test gives up; no machine that works comes near it
SMALL = ("--quality", "draft", "--resolution", "128", "--seed", "5")


@pytest.fixture(scope="module")
def finished(run_csd, cube_obj, tmp_path_factory):
    out = tmp_path_factory.mktemp("csd") / "job"
    done = run_csd("texture", str(cube_obj), "--prompt", "red brick", *SMALL, "--steps", "30", "--out", str(out))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


def test_a_texture_job_leaves_what_the_readme_promises(finished):
    for name in ("albedo.png", "mesh.glb", "turntable.png", "result.json"):
        assert (finished / "result" / name).stat().st_size > 0
    result = json.loads((finished / "result" / "result.json").read_text())
    assert {"settings", "seed", "versions", "licences", "timings"} <= set(result)
    assert result["seed"] == 5 and result["settings"]["prompt"] == "red brick"


KILLED = """
import os, runpy, signal, sys

script, sys.argv = sys.argv[1], sys.argv[1:]

class Watch:
    def find_spec(self, name, path=None, target=None):
        folder = sys.modules.get("csd_blender.job.folder")
        if hasattr(folder, "JobFolder") and not hasattr(folder, "watched"):
            folder.watched, append = True, folder.JobFolder.append_event

            def deadly(self, event):
                append(self, event)
                if event["type"] == "checkpoint":
                    os.kill(os.getpid(), signal.SIGKILL)

            folder.JobFolder.append_event = deadly

sys.meta_path.insert(0, Watch())
runpy.run_path(script, run_name="__main__")
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_job_killed_after_a_checkpoint_resumes_to_the_same_texture(finished, backend_python, cube_obj, tmp_path):
    out = tmp_path / "job"
    new = ["texture", str(cube_obj), "--prompt", "red brick", *SMALL, "--steps", "30", "--out", str(out)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": paths.child_environment()}
    status = subprocess.call([str(backend_python), "-c", KILLED, str(paths.LAUNCH), *new], **quiet, timeout=ENDLESS)
    assert status == -signal.SIGKILL and any((out / "checkpoint").glob("*.json"))
    assert not (out / "result" / "result.json").is_file()
    resume = [str(backend_python), str(paths.LAUNCH), "texture", "--resume", str(out)]
    assert subprocess.call(resume, **quiet, timeout=ENDLESS) == 0
    assert (out / "result" / "albedo.png").read_bytes() == (finished / "result" / "albedo.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("texture", "{missing}.obj", "--prompt", "x", "--out", "{new}"), "missing"),
        (("texture", "{cube}", "--prompt", "x", "--steps", "0", "--out", "{new}"), "steps"),
        (("texture", "{cube}", "--prompt", "x", "--resolution", "100000", "--out", "{new}"), "texture_size"),
        (("texture", "{cube}", "--prompt", "x", "--model", "no-such-model", "--out", "{new}"), "no-such-model"),
        (("texture", "--resume", "{new}"), "new"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(run_csd, cube_obj, tmp_path, arguments, word):
    places = {"missing": tmp_path / "missing", "cube": cube_obj, "new": tmp_path / "new"}
    done = run_csd(*[a.format(**places) for a in arguments])
    assert done.returncode != 0
    assert word in done.stderr and "Traceback" not in done.stderr


def test_doctor_finds_a_sound_installation(run_csd):
    done = run_csd("doctor")
    assert done.returncode == 0, done.stdout


def test_the_catalogue_names_licences_and_commercial_use(run_csd):
    done = run_csd("models")
    assert done.returncode == 0
    assert "mini" in done.stdout and "commercial" in done.stdout
