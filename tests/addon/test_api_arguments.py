"""What a script gives that cannot be: a sentence, before anything is started."""

import numpy as np
import pytest

from tests.support.blender import bpy, cube, module, start_job

api, SceneError = module("addon.api"), module("addon.errors").SceneError


@pytest.mark.parametrize("given", ["Cube", ["Cube"], 5, "a collection", [None], [[]], [{}]])
def test_what_is_no_object_is_refused_in_a_sentence(given):
    given = bpy.data.collections["Collection"] if given == "a collection" else given
    with pytest.raises(SceneError, match="is no object. Give the object itself"):
        api.texture(given, "red brick")


def test_an_object_that_is_deleted_is_refused_in_a_sentence_and_one_given_twice_is_one():
    assert len(api.texture([cube(), cube()], "red brick")) == 1
    gone = cube()
    bpy.data.objects.remove(gone)
    with pytest.raises(SceneError, match="is deleted"):
        api.texture([gone], "red brick")


@pytest.mark.parametrize("folder", [3, None, ["a"]])
def test_what_is_no_folder_is_refused_in_a_sentence(folder):
    with pytest.raises(SceneError, match="is no folder"):
        api.resume(folder)


def test_an_edits_target_is_not_named_twice():
    with pytest.raises(TypeError, match="both target and prompt"):
        api.edit(cube(), "gray", "red", prompt="blue")


def test_whether_to_start_from_the_mesh_is_yes_or_no():
    with pytest.raises(module("job.errors").JobError, match="start_from_mesh"):
        start_job({"prompt": "an owl", "start_from_mesh": "no"}, None, "text-to-3d")


def test_numbers_of_numpy_and_paths_are_taken_as_pythons_own(tmp_path):
    assert api.plain(np.int64(3)) == 3 and type(api.plain(np.int64(3))) is int
    assert api.plain(np.array([1.0, 2.0])) == [1.0, 2.0] and api.plain(tmp_path) == str(tmp_path)
    with pytest.raises(module("job.errors").JobError, match="seed is"):
        api.texture(cube(), "red brick", seed=np.array([1, 2]))


@pytest.mark.parametrize("picture", [True, 3, ["a.png"], "an image"])
def test_a_picture_that_is_no_path_is_refused(picture):
    given = bpy.data.images.new("Given", 8, 8) if picture == "an image" else picture
    with pytest.raises(module("job.errors").JobError, match="the path of a file"):
        start_job({"prompt": "an owl", "picture": given}, None, "text-to-3d")


def test_no_picture_is_as_if_none_was_given():
    gather = module("addon.kinds.object.settings").gather
    given = {"prompt": "an owl", "picture": None}
    assert gather(bpy.context.scene, given)["recipe"] == gather(bpy.context.scene, {"prompt": "an owl"})["recipe"]


def test_a_picture_that_is_used_is_not_called_without_effect():
    common, spec = module("addon.kinds.common"), module("job.spec.text_to_3d").TextTo3DJob
    given = {"prompt": "an owl", "picture": "owl.png"}
    assert not common.idle_notes(spec, bpy.context.scene, given)
    assert common.idle_notes(spec, bpy.context.scene, given | {"recipe": "csd"})
