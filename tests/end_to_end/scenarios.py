"""What happens inside Blender in the end-to-end tests. Each scenario is a function that returns plain facts.

Runs in Blender's Python, started by conftest.py: ``python scenarios.py PLAN.json``.
"""

import hashlib
import json
import math
import os
import sys
import traceback
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tools.blender_profile import MODULE  # noqa: E402
from tools.in_blender import extension  # noqa: E402
from tools.in_blender.extension import addon  # noqa: E402


def install(plan: dict) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    extension.install(plan["zip"], plan["data_folder"], plan["backend_python"])


def shape_of(obj: bpy.types.Object) -> str:
    coordinates = np.empty(len(obj.data.vertices) * 3, np.float32)
    obj.data.vertices.foreach_get("co", coordinates)
    return hashlib.sha256(coordinates.tobytes()).hexdigest()


def pixels_of(image: bpy.types.Image) -> np.ndarray:
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    return pixels.reshape(image.size[1], image.size[0], 4)


def image_of(obj: bpy.types.Object) -> bpy.types.Image | None:
    """The image that drives the base color of the object's material, as any renderer would find it."""
    for slot in obj.material_slots:
        for node in slot.material.node_tree.nodes if slot.material and slot.material.use_nodes else ():
            if node.type == "BSDF_PRINCIPLED" and node.inputs["Base Color"].is_linked:
                source = node.inputs["Base Color"].links[0].from_node
                if source.type == "TEX_IMAGE":
                    return source.image
    return None


def seen_colors(obj: bpy.types.Object, pixels: np.ndarray) -> np.ndarray:
    """The texture at a few points of every triangle, by the UV map that renderers use: [N, 3], sRGB in 0..1."""
    layer = next(u for u in obj.data.uv_layers if u.active_render)
    uv = np.empty(len(layer.data) * 2, np.float32)
    layer.data.foreach_get("uv", uv)
    obj.data.calc_loop_triangles()
    loops = np.array([t.loops[:] for t in obj.data.loop_triangles])
    weights = np.random.default_rng(0).dirichlet((1, 1, 1), 64)
    points = np.einsum("ptc,wt->pwc", uv.reshape(-1, 2)[loops], weights).reshape(-1, 2)
    height, width = pixels.shape[:2]
    columns = np.clip((points[:, 0] * width).astype(int), 0, width - 1)
    rows = np.clip((points[:, 1] * height).astype(int), 0, height - 1)
    return pixels[rows, columns, :3]


def facts_of(obj: bpy.types.Object) -> dict:
    image = image_of(obj)
    facts = {"shape": shape_of(obj), "uv_layers": [u.name for u in obj.data.uv_layers], "image": None}
    if image is not None:
        pixels = pixels_of(image)
        seen = seen_colors(obj, pixels)
        facts["image"] = {
            "size": list(image.size),
            "packed": image.packed_file is not None,
            "colorspace": image.colorspace_settings.name,
            "mean": seen.mean(0).tolist(),
            "deviation": float(seen.std(0).mean()),
            "digest": hashlib.sha256(pixels.tobytes()).hexdigest(),
        }
    return facts


def scene_settings() -> dict:
    scene = bpy.context.scene
    return {
        "engine": scene.render.engine,
        "transform": scene.view_settings.view_transform,
        "size": [scene.render.resolution_x, scene.render.resolution_y],
        "world": scene.world.name if scene.world else "",
        "objects": sorted(o.name for o in scene.objects),
    }


def two_objects() -> list[bpy.types.Object]:
    """A ball with UVs and a material of its own, and a cube with neither, far apart, turned and scaled."""
    bpy.ops.mesh.primitive_uv_sphere_add(radius=0.7, location=(3, 1, 2), rotation=(0.3, 0, 0.5))
    ball = bpy.context.object
    ball.name = "Ball"
    own = bpy.data.materials.new("Own")
    ball.data.materials.append(own)
    bpy.ops.mesh.primitive_cube_add(location=(-40, 0, 0), calc_uvs=False, scale=(2, 1, 1))
    cube = bpy.context.object
    cube.name = "Cube"
    select([ball, cube])
    return [ball, cube]


def steady_ball() -> bpy.types.Object:
    """A ball whose faces are in the same order each time, which those of Blender's own are not: what is summed up over
    them would differ in its last bits."""
    rings, around = 12, 24
    turns = [(math.pi * i / rings, 2 * math.pi * k / around) for i in range(1, rings) for k in range(around)]
    points = [(math.sin(a) * math.cos(b), math.sin(a) * math.sin(b), math.cos(a)) for a, b in turns]
    faces = [
        (i * around + k, (i + 1) * around + k, (i + 1) * around + (k + 1) % around, i * around + (k + 1) % around)
        for i in range(rings - 2)
        for k in range(around)
    ]
    top, bottom = len(points), len(points) + 1
    faces += [(top, k, (k + 1) % around) for k in range(around)]
    last = (rings - 2) * around
    faces += [(bottom, last + (k + 1) % around, last + k) for k in range(around)]
    mesh = bpy.data.meshes.new("Ball")
    mesh.from_pydata([*points, (0, 0, 1), (0, 0, -1)], [], faces)
    ball = bpy.data.objects.new("Ball", mesh)
    bpy.context.scene.collection.objects.link(ball)
    bpy.context.view_layer.update()
    return ball


def select(objects: list[bpy.types.Object]) -> None:
    for obj in bpy.context.view_layer.objects:
        obj.select_set(obj in objects)
    bpy.context.view_layer.objects.active = objects[0]


def texture_two_objects(plan: dict) -> dict:
    objects = two_objects()
    bpy.ops.ed.undo_push(message="Objects made")
    facts = {"before": {o.name: facts_of(o) for o in objects}, "settings_before": scene_settings()}
    kinds = []
    addon("session").session.listeners.append(lambda message: kinds.append(message.type))
    facts["returned"] = list(bpy.ops.csd.texture(**plan["settings"]))
    facts["messages"] = sorted(set(kinds))
    objects = [bpy.data.objects[name] for name in ("Ball", "Cube")]
    facts["after"] = {o.name: facts_of(o) for o in objects}
    facts["settings_after"] = scene_settings()
    facts["jobs"] = [p.name for p in (Path(plan["data_folder"]) / "jobs").iterdir()]
    facts["backend_pid"] = addon("session").session.client.hello.pid

    blend = str(Path(plan["folder"]) / "saved.blend")
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    bpy.ops.wm.open_mainfile(filepath=blend)
    facts["reopened"] = {name: facts_of(bpy.data.objects[name]) for name in ("Ball", "Cube")}
    return facts


def undo_gives_the_old_material_back(plan: dict) -> dict:
    objects = two_objects()
    bpy.ops.ed.undo_push(message="Objects made")
    bpy.ops.csd.texture(**plan["settings"])
    with_texture = image_of(bpy.data.objects["Ball"]) is not None
    bpy.ops.ed.undo()
    del objects  # undo made new ones
    ball, cube = bpy.data.objects["Ball"], bpy.data.objects["Cube"]
    return {
        "with_texture": with_texture,
        "ball": [s.material.name for s in ball.material_slots if s.material],
        "cube": [s.material.name for s in cube.material_slots if s.material],
        "cube_uv": [u.name for u in cube.data.uv_layers],
    }


def operator_and_api_agree(plan: dict) -> dict:
    digests = []
    for way in ("operator", "api", "operator with another seed"):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=False)
        ball = steady_ball()
        select([ball])
        settings = dict(plan["settings"])
        if way == "api":
            addon("api").texture(ball, **settings)
        else:
            if way != "operator":
                settings["seed"] += 1
            bpy.ops.csd.texture(**settings)
        digests.append(facts_of(bpy.data.objects["Ball"])["image"]["digest"])
    return {"digests": digests}


def an_object_from_text(plan: dict) -> dict:
    """Made at the 3D cursor in an empty scene, undone, made again by its refine stage, saved and opened."""
    place = bpy.context.scene.cursor.location = (1, 2, 3)
    bpy.ops.ed.undo_push(message="Nothing made")
    kinds = []
    addon("session").session.listeners.append(lambda message: kinds.append(message.type))
    obj = addon("api").text_to_3d(**plan["settings"])
    facts = {"place": list(place), "messages": sorted(set(kinds)), "first": object_facts(obj)}
    bpy.ops.ed.undo()
    facts["after_undo"] = [o.name for o in bpy.context.scene.objects]
    [job] = (Path(plan["data_folder"]) / "jobs").iterdir()
    facts["stages"] = sorted(p.name for p in (job / "stages").iterdir())
    facts["returned"] = list(bpy.ops.csd.text_to_3d(**plan["again"], refine_from=str(job)))
    facts["second"] = object_facts(bpy.context.view_layer.objects.active)
    blend = str(Path(plan["folder"]) / "saved.blend")
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    bpy.ops.wm.open_mainfile(filepath=blend)
    [obj] = bpy.context.scene.objects
    facts["reopened"] = object_facts(obj)
    return facts


def object_facts(obj: bpy.types.Object) -> dict:
    corners = np.array([obj.matrix_world @ v.co for v in obj.data.vertices])
    counts = {}
    for polygon in obj.data.polygons:
        for edge in polygon.edge_keys:
            counts[edge] = counts.get(edge, 0) + 1
    facts = {
        "name": obj.name,
        "low": corners.min(0).tolist(),
        "high": corners.max(0).tolist(),
        "closed": set(counts.values()) == {2},
        "settings": json.loads(obj["csd_settings"]),
    }
    return facts | facts_of(obj)


def what_cannot_be_done_is_said(_plan: dict) -> dict:
    said = {}

    def attempt(name: str, **settings) -> None:
        try:
            bpy.ops.csd.texture(**settings)
            said[name] = ""
        except RuntimeError as error:
            said[name] = str(error)

    attempt("nothing selected", prompt="red brick")
    bpy.data.objects.new("Empty", None)
    mesh = bpy.data.objects.new("No faces", bpy.data.meshes.new("No faces"))
    bpy.context.collection.objects.link(mesh)
    select([mesh])
    attempt("no faces", prompt="red brick")
    two_objects()
    attempt("no prompt", prompt="  ")
    attempt("no such model", prompt="red brick", model="no-such-model")
    return {"said": said}


def switching_off_and_uninstalling_leaves_nothing(plan: dict) -> dict:
    two_objects()
    bpy.ops.csd.texture(**plan["settings"])
    pid = addon("session").session.client.hello.pid
    bpy.ops.preferences.addon_disable(module=MODULE)
    facts = {"pid": pid, "operator_after_switching_off": hasattr(bpy.types, "CSD_OT_texture")}
    facts["properties"] = [hasattr(bpy.types.Scene, "csd"), hasattr(bpy.types.Object, "csd")]
    bpy.ops.preferences.addon_enable(module=MODULE)
    facts["on_again"] = hasattr(bpy.types, "CSD_OT_texture")
    repositories = bpy.context.preferences.extensions.repos
    index = next(i for i, r in enumerate(repositories) if r.module == "user_default")
    folder = Path(repositories[index].directory) / "csd_blender"
    facts["there"] = folder.is_dir()
    bpy.ops.extensions.package_uninstall(repo_index=index, pkg_id="csd_blender")
    facts["still_there"] = folder.is_dir()
    return facts


def a_model_from_the_hub(plan: dict) -> dict:
    """Got by the operator from a hub on this computer, listed, used for a texture, removed."""
    os.environ.update({"HF_ENDPOINT": plan["endpoint"], "HF_HOME": str(Path(plan["folder"]) / "hf")})
    name, facts = plan["model"], {}
    try:
        bpy.ops.csd.model_get(model=name)
    except RuntimeError as error:
        facts["offline"] = str(error)
    bpy.context.preferences.system.use_online_access = True
    facts["got"] = list(bpy.ops.csd.model_get(model=name))
    state = addon("run.models").find(name)
    facts["state"], facts["own"] = state.state, state.own
    bpy.ops.csd.model_use(model=name)
    bpy.context.preferences.system.use_online_access = False  # from now on nothing needs it
    objects = two_objects()
    select(objects[:1])
    bpy.ops.csd.texture(prompt="a red mug", steps=1, views=1, texture_size="256")
    facts["image"] = facts_of(objects[0])["image"] is not None
    bpy.ops.csd.model_remove(model=name)
    facts["after"] = [found.entry.id for found in addon("run.models").offered()]
    return facts


SCENARIOS = (
    a_model_from_the_hub,
    texture_two_objects,
    undo_gives_the_old_material_back,
    operator_and_api_agree,
    an_object_from_text,
    what_cannot_be_done_is_said,
    switching_off_and_uninstalling_leaves_nothing,
)


def main() -> int:
    plan = json.loads(Path(sys.argv[-1]).read_text())
    try:
        install(plan)
        scenario = next(s for s in SCENARIOS if s.__name__ == plan["scenario"])
        facts = scenario(plan)
        (Path(plan["folder"]) / "facts.json").write_text(json.dumps(facts))
        return 0
    except BaseException:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    extension.leave(main())
