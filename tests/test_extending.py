"""The recipes of docs/extending.md hold: what is written in their places is met everywhere else.

A method and a kind are in the specs' fields and the parser from the first import on, so each is added in a Python of
its own.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from csd_blender.backend.diffusion import loading, parts
from csd_blender.job.kinds import KINDS
from csd_blender.job.models import families, files
from tests.support.tiny_models import write_sd15

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")


def run_python(code: str) -> dict:
    """What ``code`` prints as JSON in a fresh Python."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


METHOD = """
import json
from csd_blender.job.spec import methods
methods.KNOWN_METHODS += (methods.Method("mine", "Mine", "What it is good for", "me", uses_guidance_scale=True),)
methods.METHODS += ("mine",)

from csd_blender.backend.distillation import gradient_for_predictions, methods as rows
rows.ROWS["mine"] = rows.Row(lambda guidance, step, negative: {"positive": 2.0, "null": -1.5, "noise": -0.5})

from csd_blender.backend.cli import generate, main
from csd_blender.job.spec.guidance import Guidance
from tools import settings_table

given = main._parser().parse_args(["texture", "a.obj", "--prompt", "a mug", "--method", "mine", "--out", "x"])
job = given.kind.make(**generate.given_settings(given, given.kind.spec))
one = [[[[1.0]]]]
predictions = {"positive": one, "null": one}
found = gradient_for_predictions(job.method, Guidance(weighting="uniform"), predictions, [[[[4.0]]]], [5])
print(json.dumps({
    "method": type(job).from_json(job.to_json()).method,
    "gradient": found.grad.item(),
    "page": settings_table.page().count(", `mine`"),
}))
"""


def test_a_method_of_two_rows_is_met_in_the_shell_in_a_job_in_the_gradient_and_on_the_page():
    offering = sum("method" in kind.spec.shown for kind in KINDS)
    assert run_python(METHOD) == {"method": "mine", "gradient": 2.0 - 1.5 - 0.5 * 4, "page": offering}


KIND = """
import json
from csd_blender.job import kinds
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.spec.fields import from_json, to_json
from csd_blender.job.spec.texture import TextureJob

class Mine(TextureJob):
    kind, label, help, shown, preset, scripted = "mine", "Image", "What it makes", ("prompt", "steps"), ("steps",), ()

def make(prompt, **given):
    return from_json(Mine, to_json(texture_job(prompt, **given)))

kinds.KINDS += (kinds.Kind(Mine, make, "make an image"),)

from pathlib import Path
from csd_blender.backend.cli import generate, main
from csd_blender.job.folder import JobFolder
from csd_blender.job.result import Result

words = ["mine", "{mesh}", "--prompt", "a mug", "--steps", "3", "--out", "{out}"]
given = main._parser().parse_args(words)
folder = generate.write_folder(given)
again = JobFolder.open(folder.path)
print(json.dumps({
    "options": sorted(set(vars(given)) - {"kind", "run"}),
    "class": type(again.spec).__name__,
    "same": again.spec == folder.spec,
    "steps": again.spec.steps,
    "mesh": again.mesh_path.is_file(),
    "noun": kinds.noun(again.spec),
    "makes_object": Result({}, (), kind="mine").makes_object,
}))
"""


def test_a_kind_in_the_tuple_has_a_command_with_its_settings_alone_and_a_folder(tmp_path):
    mesh = tmp_path / "a.obj"
    mesh.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    code = KIND.replace("{mesh}", mesh.as_posix()).replace("{out}", (tmp_path / "job").as_posix())
    assert run_python(code) == {
        "options": ["mesh", "out", "prompt", "resume", "settings", "steps"],
        "class": "Mine",
        "same": True,
        "steps": 3,
        "mesh": True,
        "noun": "an image",
        "makes_object": False,
    }


def test_every_kind_has_a_case_in_the_worker():
    tree = ast.parse((ROOT / "csd_blender/backend/worker/run_job.py").read_text("utf-8"))
    cases = {ast.unparse(node.cls) for node in ast.walk(tree) if isinstance(node, ast.MatchClass)}
    for kind in KINDS:
        assert cases & {cls.__name__ for cls in kind.spec.__mro__}, f"{kind.spec.__name__} has no case"


def test_every_family_has_a_loader():
    assert list(dict.fromkeys(family.id for family in families.FAMILIES)) == list(loading.FAMILIES)


@pytest.fixture
def two_encoders(tmp_path, monkeypatch) -> Path:
    """A folder of a family with two text encoders, and its row."""
    folder = write_sd15(tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(folder / part, folder / f"{part}_2")
        index[f"{part}_2"] = index[part]
    (folder / "model_index.json").write_text(json.dumps(index))
    sd = families.FAMILIES[0].parts
    row = families.Family("two", "Two", {**sd, "text_encoder_2": sd["text_encoder"], "tokenizer_2": sd["tokenizer"]})
    for place in (families, files):
        monkeypatch.setattr(place, "FAMILIES", (*families.FAMILIES, row))
    return folder


def two_layers(encoder, tokens, **mask):
    read = encoder(tokens, output_hidden_states=True, **mask)
    return read.hidden_states[-2], read.pooler_output


def test_a_family_of_a_row_and_a_loader_is_loaded_and_may_read_more_of_a_second_text_encoder(two_encoders, monkeypatch):
    def load(name, found, device):
        unet = parts.load_unet(found, device)
        return parts.load_text_reader(found, unet, device), parts.load_text_reader(
            found, unet, device, "_2", width=16, take=two_layers
        )

    monkeypatch.setitem(loading.FAMILIES, "two", load)
    first, second = loading.load_model(str(two_encoders), CPU)
    prompts = ["a mug", "an owl", "a mug"]
    tokens, pooled = second.read_all(prompts)
    assert tokens.shape == first.read(prompts).shape == (3, 77, 16) and pooled.shape == (3, 16)
    assert torch.equal(tokens, second.read(prompts)) and torch.equal(tokens[0], tokens[2])
    last = first.encoder(first.tokenizer(prompts, padding="max_length", return_tensors="pt").input_ids)
    torch.testing.assert_close(first.read(prompts), last.last_hidden_state)
    torch.testing.assert_close(pooled, last.pooler_output)
    assert not torch.allclose(tokens, last.last_hidden_state)


def test_the_files_that_the_recipes_name_are_there():
    page = (ROOT / "docs/extending.md").read_text("utf-8")
    named = set(re.findall(r"`(\w+/[\w/]*(?:\.py)?)`", page))
    places = (ROOT, ROOT / "csd_blender", ROOT / "csd_blender/backend")
    lost = [name for name in named if "mine" not in name and not any((place / name).exists() for place in places)]
    assert len(named) > 10 and not lost
