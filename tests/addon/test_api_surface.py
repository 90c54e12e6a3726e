"""What scripts and key maps of others rest on: names that were published stay; new ones are written down here."""

import inspect

import pytest

from tests.support.blender import bpy, module

FUNCTIONS = {
    "texture": ["objects", "prompt", "progress", "settings"],
    "text_to_3d": ["prompt", "progress", "settings"],
    "edit": ["objects", "source", "target", "progress", "settings"],
    "image": ["prompt", "progress", "settings"],
    "resume": ["folder", "progress"],
}
OPERATORS = {
    *("texture", "text_to_3d", "edit", "image", "cancel", "accept", "discard", "resume", "delete_result"),
    *("open_folder", "model_get", "model_pause", "model_cancel", "model_remove", "model_use", "models_refresh"),
    *("reuse_settings", "setup", "setup_cancel", "show_log", "copy_log", "show_texture", "free_memory"),
    "show_control",
}
SHARED = {
    *("prompt", "negative_prompt", "quality", "method", "model"),
    *("seed", "texture_size", "view_prompts", "debias_prompt", "debias_words", "modifiers"),
}
CONTROL = {"control", "control_model", "control_strength", "control_end"}
ARGUMENTS = {
    "texture": {
        *SHARED,
        *("steps", "views", "learning_rate", "negative_weight", "generative_weight", "guidance_scale"),
        *("extra_words", "uv", "wait"),
        *CONTROL,
    },
    "text_to_3d": {
        *SHARED,
        *CONTROL,
        *("subject", "recipe", "height", "max_faces", "coarse_steps", "refine_steps", "start_from_mesh"),
        *("refine_from", "wait"),
    },
    "edit": {
        *(SHARED - {"negative_prompt"}),
        *("source", "alignment", "steps", "views", "learning_rate", "generative_weight", "guidance_scale"),
        *("extra_words", "uv", "wait"),
        *CONTROL,
    },
    "image": {
        *("prompt", "negative_prompt", "quality", "method", "model", "seed", "count", "size", "space", "start"),
        *("steps", "learning_rate", "negative_weight", "generative_weight", "guidance_scale", "wait"),
    },
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_for_scripts_keep_their_parameters(name):
    assert list(inspect.signature(getattr(module("addon.api"), name)).parameters) == FUNCTIONS[name]


def test_the_failure_of_a_job_can_be_caught():
    api, errors = module("addon.api"), module("addon.errors")
    assert issubclass(api.JobFailed, errors.SceneError)


def test_operators_keep_their_names():
    assert set(dir(bpy.ops.csd)) >= OPERATORS


@pytest.mark.parametrize("name", ARGUMENTS)
def test_operators_keep_their_arguments(name):
    there = {p.identifier for p in getattr(bpy.ops.csd, name).get_rna_type().properties}
    assert there >= ARGUMENTS[name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_progress_that_cannot_be_called_is_refused_before_anything_is_computed(name, tmp_path):
    api = module("addon.api")
    given = {"resume": (tmp_path,), "edit": (bpy.data.objects["Cube"], "gray", "red")}.get(name, ())
    more = {} if given else {"prompt": "red brick"}
    if name == "resume":  # a job that is there
        job = api.lifecycle.start(bpy.context, api.KINDS["texture"], {"prompt": "red brick"})
        api.abandon(job)
        api.session.job = None
        given = (job.folder,)
    folders = list(tmp_path.rglob("job.json"))
    with pytest.raises(module("addon.errors").SceneError, match="progress=“?5”? is no function"):
        getattr(api, name)(*given, progress=5, **more)
    assert list(tmp_path.rglob("job.json")) == folders and api.session.job is None
