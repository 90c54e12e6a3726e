"""What programs of others rest on, outside of Blender: names that were published stay. (The addon's: tests/addon.)"""

import importlib
import inspect
import re

import pytest

FUNCTIONS = {
    "job.presets.texture.texture_job": ["prompt", "quality", "model", "overrides"],
    "job.presets.text_to_3d.text_to_3d_job": ["prompt", "quality", "model", "recipe", "subject"],
    "job.presets.picture.picture_job": ["prompt", "quality", "model", "overrides"],
    "job.folder.JobFolder.create": ["path", "spec"],
    "job.folder.JobFolder.open": ["path"],
    "job.process.client.BackendClient.submit": ["job_id", "folder"],
    "job.process.client.BackendClient.poll": ["budget"],
    "job.process.client.BackendClient.cancel": [],
    "job.process.client.BackendClient.shutdown": ["timeout"],
    # a method's gradient without a network
    "backend.distillation.gradient_for_predictions": ["method", "guidance", "predictions", "noise", "t", "step"],
}
COMMANDS = ("serve", "texture", "text-to-3d", "image", "doctor", "models")


def find(name: str):
    """A function by its name below the package; None where a folder has no such part."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module("csd_blender." + ".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        return found
    return None


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_keep_their_parameters(name):
    function = find(name)
    assert function is not None, f"{name} is gone"
    there = [p for p in inspect.signature(function).parameters if p != "self"]
    assert [p for p in there if p in FUNCTIONS[name]] == FUNCTIONS[name]


def test_the_command_line_keeps_its_commands(capsys):
    main = importlib.import_module("csd_blender.backend.cli.main").main
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(re.search(rf"^    {name}\s", said, re.MULTILINE) for name in COMMANDS)
