"""What keeps objects from being textured, said before anything is computed, and what a texture will leave out."""

from __future__ import annotations

from collections.abc import Sequence

import bpy
import numpy as np

from ..errors import SceneError
from .movement import dropped_by_applying, stilled_by_applying
from .target import Target

PREVIEW = "csd_preview"  # custom property that marks temporary data-blocks with the job they belong to
MOST_MAPS = 8  # UV maps that Blender lets a mesh have


def check_objects(objects: Sequence[bpy.types.Object]) -> None:
    """Raise :class:`SceneError` when these objects cannot be textured together."""
    if not objects:
        raise SceneError("No mesh object is selected.", selection_hint())
    seen: dict[str, str] = {}
    for obj in objects:
        if obj.type != "MESH":
            raise SceneError(f"“{obj.name}” is not a mesh.", "Convert it first (Object > Convert > Mesh).")
        if not obj.is_editable or not obj.data.is_editable:
            raise SceneError(
                f"“{obj.name}” is linked from another file.", "Make it local first (Object > Relations > Make Local)."
            )
        if obj.data.name in seen:
            raise SceneError(
                f"“{seen[obj.data.name]}” and “{obj.name}” share one mesh.",
                "Select only one of them, or make them single user first.",
            )
        seen[obj.data.name] = obj.name


def check_no_previews(objects: Sequence[bpy.types.Object]) -> None:
    """Raise :class:`SceneError` for the preview of an object that is being made, which goes with the next job."""
    found = next((obj for obj in objects if PREVIEW in obj), None)
    if found is not None:
        raise SceneError(f"“{found.name}” is only a preview.", "Accept the object first, then make a texture for it.")


def selection_hint() -> str:
    """What to do when no mesh is selected, with a word about what is."""
    active = bpy.context.view_layer.objects.active
    if active is None or not active.select_get():
        return "Select the object to texture."
    if active.type in ("CURVE", "SURFACE", "META", "FONT", "CURVES", "POINTCLOUD", "GREASEPENCIL", "GPENCIL"):
        return f"Convert “{active.name}” to a mesh first (Object > Convert > Mesh)."
    if active.instance_type == "COLLECTION":
        return f"Make the instances of “{active.name}” real first (Object > Apply > Make Instances Real)."
    return "Select the object to texture."


def is_sculpted_freely(mesh: bpy.types.Mesh) -> bool:
    """Whether an object with ``mesh`` is sculpted with dynamic topology, which works on a copy of the mesh: what is put
    on the mesh meanwhile is lost at its end, and what was taken off comes back."""
    return any(o.data == mesh and o.use_dynamic_topology_sculpting for o in bpy.data.objects)


def is_away(mesh: bpy.types.Mesh) -> bool:
    """Whether a mode has ``mesh`` to itself, so that its UV maps cannot be read, nor one be added."""
    return mesh.is_editmode or is_sculpted_freely(mesh)


def check_is_here(obj: bpy.types.Object, end: str = "first") -> None:
    """Raise :class:`SceneError` while nothing can be put on the mesh of ``obj``, see :func:`is_away`.

    Args:
        end: of the sentence what to do.
    """
    if obj.data.is_editmode:
        raise SceneError(f"“{obj.name}” is in Edit Mode.", f"Leave Edit Mode {end}.")
    if is_sculpted_freely(obj.data):
        raise SceneError(f"“{obj.name}” is sculpted with dynamic topology.", f"Leave Sculpt Mode {end}.")


def hides_faces(obj: bpy.types.Object) -> bool:
    """Whether Sculpt Mode keeps faces of ``obj`` to itself, see :func:`check_is_read`."""
    return obj.mode == "SCULPT" and any(m.type == "MULTIRES" and m.show_viewport for m in obj.modifiers)


def check_is_read(obj: bpy.types.Object, modifiers: str) -> None:
    """Raise :class:`SceneError` where ``obj`` shows other faces than can be read: with dynamic topology their order is
    still to come, and Sculpt Mode keeps those of a Multiresolution modifier to itself."""
    if not obj.data.is_editmode:
        check_is_here(obj)
    if modifiers != "ignore" and hides_faces(obj):
        raise SceneError(
            f"“{obj.name}” is in Sculpt Mode, where what its Multiresolution modifier makes cannot be read.",
            "Leave Sculpt Mode first.",
        )


def twins_have_materials(obj: bpy.types.Object) -> bool:
    """Whether linked duplicates of ``obj`` show materials of their own, which may be looked at through whatever UV map
    of the mesh is the rendered one."""
    twins = [o for o in bpy.data.objects if o.data == obj.data and o != obj] if obj.data.users > 1 else []
    own = [s.material for twin in twins for s in twin.material_slots if s.link == "OBJECT"]
    return any(material is not None and PREVIEW not in material for material in own)


def no_faces(obj: bpy.types.Object, depsgraph, modifiers: str) -> SceneError:
    if modifiers != "ignore" and makes_instances(obj, depsgraph):
        way = " or set Output > Modifiers to Ignore." if len(obj.data.polygons) else "."
        return SceneError(
            f"“{obj.name}” shows only instances, which have no faces of their own.",
            f"Add a Realize Instances node at the end of its geometry nodes (or Object > Apply > Make Instances Real)"
            f"{',' if len(obj.data.polygons) else ''}{way}",
        )
    if modifiers != "ignore" and len(obj.data.polygons):
        return SceneError(
            f"“{obj.name}” has no faces left behind its modifiers.", "Set Output > Modifiers to Ignore, or change them."
        )
    return SceneError(f"“{obj.name}” has no faces.", "Add faces to it, or select another object.")


def makes_instances(obj: bpy.types.Object, depsgraph) -> bool:
    """Whether geometry nodes of ``obj`` show copies of something that are not in its mesh."""
    if not any(m.type == "NODES" and m.show_viewport for m in obj.modifiers):
        return False
    return any(i.is_instance and i.parent and i.parent.original == obj for i in depsgraph.object_instances)


def left_out(obj: bpy.types.Object, target: Target, depsgraph, modifiers: str) -> list[str]:
    """Sentences about what is seen of ``obj`` and gets no texture, or none before it is accepted, and about modifiers
    that stay though ``apply`` was asked for."""
    found = []
    if obj.override_library is not None:
        found.append(f"“{obj.name}” is a library override; the texture is not seen on it before it is accepted.")
    if target.modifiers != "ignore" and makes_instances(obj, depsgraph):
        found.append(
            f"The instances that “{obj.name}” shows get no texture; a Realize Instances node would change that."
        )
    if modifiers == "apply" and not target.replaces_mesh and any(m.show_viewport for m in obj.modifiers):
        found.append(f"The modifiers of “{obj.name}” leave its faces as they are, and stay.")
    if target.replaces_mesh and any(o.data == obj.data for o in bpy.data.objects if o != obj):
        found.append(f"“{obj.name}” gets a mesh of its own; other objects that share its mesh stay as they are.")
    stilled = stilled_by_applying(obj) if target.replaces_mesh else []
    if stilled:
        found.append(f"Applying the modifiers of “{obj.name}” ends how it changes by {', '.join(stilled)}.")
    simplified = simplified_modifiers(obj, depsgraph.scene) if target.replaces_mesh else []
    if simplified:
        found.append(
            f"Simplify (Render Properties) holds {', '.join(simplified)} of “{obj.name}” to fewer levels than they "
            "have, and with these they will be applied."
        )
    if not target.replaces_mesh and modifiers_bring_materials(obj, depsgraph):
        found.append(
            f"Modifiers of “{obj.name}” bring other materials, and what has one of theirs will not show the texture; "
            "remove the Set Material node or the Boolean's Transfer, or set Output > Modifiers to Apply where they "
            "change the faces."
        )
    return found


def simplified_modifiers(obj: bpy.types.Object, scene: bpy.types.Scene) -> list[str]:
    """Names of the modifiers of ``obj`` that Simplify holds to fewer levels than they have in the viewport."""
    if not scene.render.use_simplify:
        return []
    divided = [m for m in obj.modifiers if m.show_viewport and m.type in ("SUBSURF", "MULTIRES")]
    return [f"“{m.name}”" for m in divided if m.levels > scene.render.simplify_subdivision]


def modifiers_bring_materials(obj: bpy.types.Object, depsgraph) -> bool:
    """Whether faces of ``obj`` are seen with a material that is in none of its slots, as geometry nodes set them and
    Boolean takes them over from its other object."""
    if not any(m.show_viewport for m in obj.modifiers):
        return False
    evaluated = obj.evaluated_get(depsgraph)
    slots = obj.material_slots
    own = {slot.material for slot in slots}
    hidden = {i for i, slot in enumerate(slots) if slot.link == "OBJECT"}  # where the slot's is seen, not the mesh's
    mesh = evaluated.to_mesh()
    try:
        brought = [i for i, m in enumerate(mesh.materials) if m is not None and m.original not in own]
        foreign = [i for i in brought if i not in hidden]
        if not foreign:
            return False
        used = np.empty(len(mesh.polygons), np.int32)
        mesh.polygons.foreach_get("material_index", used)
        return bool(np.isin(used, foreign).any())
    finally:
        evaluated.to_mesh_clear()


def is_computed(obj: bpy.types.Object, depsgraph) -> bool:
    """Whether Blender works out the modifiers of ``obj``: not of one hidden in all viewports or in another scene."""
    return obj.evaluated_get(depsgraph).is_evaluated


def check_computed(obj: bpy.types.Object, depsgraph) -> None:
    """Raise :class:`SceneError` when nobody knows what ``obj`` looks like with its modifiers."""
    if not is_computed(obj, depsgraph):
        raise SceneError(
            f"“{obj.name}” is disabled in viewports or not in this scene, so that its modifiers have no effect.",
            "Enable it first, or set Output > Modifiers to Ignore.",
        )


def check_applying(obj: bpy.types.Object, todo: str) -> None:
    """Raise :class:`SceneError` where the object would lose something with its modifiers applied.

    Args:
        todo: what to do then.
    """
    dropped = dropped_by_applying(obj)
    if dropped:
        raise SceneError(f"Applying the modifiers of “{obj.name}” would drop {' and '.join(dropped)}.", todo)


def check_accepting(obj: bpy.types.Object, target: Target, depsgraph, uv: str) -> None:
    """Raise :class:`SceneError` for what would keep the result from being accepted, before anything is computed."""
    if target.replaces_mesh:
        check_applying(obj, "Set Output > Modifiers to Keep or Ignore, or apply them yourself first.")
    if target.replaces_mesh and obj.override_library is not None:
        raise SceneError(
            f"“{obj.name}” is a library override, which gets its modifiers back whenever the file is opened.",
            "Set Output > Modifiers to Keep or Ignore, or make it local first (Object > Relations > Make Local).",
        )
    wants_map = uv == "new" or not target.uv_layer
    if wants_map and obj.data.override_library is not None:
        raise SceneError(
            f"The mesh of “{obj.name}” is a library override, which loses new UV maps whenever the file is opened.",
            "Set Output > UV Map to Active UV Map, or make it local first (Object > Relations > Make Local).",
        )
    if wants_map and not has_room(obj, target, depsgraph):
        raise SceneError(
            f"“{obj.name}” already has eight UV maps, the most that a mesh can have.",
            "Remove one, or set Output > UV Map to Active UV Map.",
        )


def has_room(obj: bpy.types.Object, target: Target, depsgraph) -> bool:
    """Whether one more UV map can be added to the mesh that the result is put on, and is saved with it."""
    mesh = obj.evaluated_get(depsgraph).data if target.replaces_mesh else obj.data
    return len(mesh.uv_layers) < MOST_MAPS and obj.data.override_library is None
