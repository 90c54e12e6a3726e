"""What a preview adds to a mesh, a UV map or a slot, and taking that away again."""

from __future__ import annotations

import bpy
import numpy as np

from .. import checks, pinned_modifiers, uv_maps
from ..uv_maps import ADDED, added_uv
from .slots import preview_of

LATE = 1.0  # seconds between two looks at what could not be taken away yet

#: By mesh (``session_uid``) and by what they held: records (:func:`added`) of the maps that were taken away in this
#: session. The steps of Edit Mode's undo have the map in them, and not its mark: where one brings the map back alone,
#: it is known by this.
_taken: dict[int, dict[str, dict]] = {}


def added(mesh: bpy.types.Mesh):
    """What the preview added to ``mesh``: ``slot`` (whether one), ``uv``, the ``sum`` of what that holds, the ``job``
    (:func:`preview_key`) that it is of, and, to come back, ``active``, ``render`` and their places among the maps; and
    which ``others`` had a map of that name already."""
    if ADDED not in mesh:
        mesh[ADDED] = {}
    return mesh[ADDED]


def added_for(mesh: bpy.types.Mesh, key: str) -> str:
    """Name of the UV map that the preview ``key`` added to ``mesh``; empty when there is none."""
    return added_uv(mesh) if added_uv(mesh) and mesh[ADDED].get("job", "") == key else ""


def add_uv(obj: bpy.types.Object, values: np.ndarray, key: str) -> str:
    """Add the backend's new UV map for the preview ``key``; returns its name, empty when it cannot be added now.

    Args:
        values: float32 ``[corners, 2]``.
    """
    mesh = obj.data
    if added_uv(mesh) and not added_for(mesh, key):
        clear_mesh(mesh)  # an earlier job's
    if added_uv(mesh):
        return added_for(mesh, key)
    active, render = uv_maps.chosen(mesh)
    if not active and pinned_modifiers.would_begin(mesh):
        return ""  # they could only be switched off, and copies of them would stay so
    names = [u.name for u in mesh.uv_layers]
    name = uv_maps.new_map(mesh, values, uv_maps.free_name(obj, uv_maps.PREVIEW_NAME))
    if name:
        record = added(mesh)
        record["uv"], record["job"], record["active"], record["render"] = name, key, active, render
        record["places"] = [names.index(n) if n else 0 for n in (active, render)]
        record["sum"] = uv_maps.sum_of(mesh, name)
        record["others"] = [m.name for m in bpy.data.meshes if m != mesh and name in m.uv_layers]
        before = _taken.get(mesh.session_uid, {}).get(record["sum"], {})
        seen, rendered = before.get("left", (True, True)) if before.get("job") == key else (True, True)
        if seen and active and pinned_modifiers.goes_by_active(mesh):
            seen = False
        if seen:
            pinned_modifiers.pin(mesh, active, for_a_time=True)
        uv_maps.select(mesh, name if seen else "", name if rendered and not checks.twins_have_materials(obj) else "")
    return name


def clear_mesh(mesh: bpy.types.Mesh) -> None:
    """Take away what the preview added to ``mesh``; its objects must have been uncovered before.

    The added map is the active one, so that an artist who unwraps meanwhile does so on it: then it is theirs. What they
    chose themselves meanwhile, to be edited or rendered, stays chosen.
    """
    if ADDED not in mesh:
        return
    if checks.is_sculpted_freely(mesh):
        clear_later()  # at the end of that the map would come back
        return
    record, name = mesh[ADDED].to_dict(), added_uv(mesh)
    if name:
        active, render = uv_maps.chosen(mesh)
        record["left"] = (active == name, render == name)  # as the artist left it, should it be added again
        _taken.setdefault(mesh.session_uid, {})[record.get("sum", "")] = record
        edited = uv_maps.was_edited(mesh, name, record.get("sum", ""))
        if edited and name.startswith(uv_maps.PREVIEW_NAME):
            taken = {layer.name for layer in mesh.attributes}  # Blender 5.2 lets a map of that name go for this one
            mesh.uv_layers[name].name = uv_maps.numbered(uv_maps.USUAL_NAME, taken)
        elif not edited:
            mesh.uv_layers.remove(mesh.uv_layers[name])
        if active == name:
            active = "" if edited else chosen_before(mesh, record, "active")
        pinned_modifiers.unpin_all(mesh, stays=edited)
        uv_maps.select(mesh, active, chosen_before(mesh, record, "render") if render == name else render)
    if record.get("slot") and len(mesh.materials) == 1 and mesh.materials[0] is None:
        mesh.materials.clear()
    del mesh[ADDED]


def clear_later() -> None:
    """Look from time to time whether what could not be taken away can be now."""
    if not bpy.app.background and not bpy.app.timers.is_registered(clear_late):
        bpy.app.timers.register(clear_late, first_interval=LATE)


def stop() -> None:
    if bpy.app.timers.is_registered(clear_late):
        bpy.app.timers.unregister(clear_late)


def clear_late() -> float | None:
    """Take away what previews that are over left on meshes, see :func:`clear_later`; when to look again, if at all."""
    covered = {o.data for o in bpy.data.objects if preview_of(o)}
    left = [m for m in bpy.data.meshes if ADDED in m and m.is_editable and m not in covered]
    for mesh in left:
        clear_mesh(mesh)
    return LATE if any(ADDED in m for m in left) else None


def chosen_before(mesh: bpy.types.Mesh, record: dict, which: str) -> str:
    """The map that was chosen when the preview added its own: ``active`` or ``render``; one that has another name now
    is taken by its place."""
    name, places = record.get(which, ""), record.get("places")
    if not name or name in mesh.uv_layers or places is None:
        return name
    place = places[0 if which == "active" else 1]
    return mesh.uv_layers[place].name if place < len(mesh.uv_layers) else ""


def find_again(mesh: bpy.types.Mesh) -> None:
    """Mark the preview's UV map again where an undo in Edit Mode brought it back without its mark. One that got another
    name is the artist's then, and may be another one, too, that was made since."""
    records = _taken.get(mesh.session_uid, {})
    names = [
        r["uv"] for r in records.values() if r["uv"] in mesh.uv_layers and r["uv"].startswith(uv_maps.PREVIEW_NAME)
    ]
    if names and not added_uv(mesh):
        record = added(mesh)
        record.update(records.get(uv_maps.sum_of(mesh, names[-1])) or list(records.values())[-1])


def pairs_of(mesh: bpy.types.Mesh, name: str) -> np.ndarray:
    """The different UVs of a map, one number for the bytes of each; none while a mode has the mesh to itself."""
    if checks.is_away(mesh):
        return np.zeros(0, np.int64)
    return np.unique(np.ascontiguousarray(uv_maps.read_map(mesh.uv_layers[name])).view(np.int64).ravel())


def copied_to(mesh: bpy.types.Mesh) -> list[bpy.types.Mesh]:
    """Meshes that the map which a preview added to ``mesh`` got into, as by Transfer Mesh Data or by a script's bake:
    they have one of its name, in which nothing else is than in that. One that was unwrapped since is the artist's."""
    name = added_uv(mesh)
    if not name.startswith(uv_maps.PREVIEW_NAME):
        return []
    others = mesh[ADDED].get("others", ())
    found = [m for m in bpy.data.meshes if m != mesh and name in m.uv_layers and ADDED not in m and m.is_editable]
    found = [m for m in found if m.name not in others]
    known = pairs_of(mesh, name) if found else None
    pairs = {m: pairs_of(m, name) for m in found}
    return [m for m in found if len(pairs[m]) and np.isin(pairs[m], known).all()]


def remove_copy(mesh: bpy.types.Mesh, record: dict) -> None:
    """Take away the map of a preview that is over, as its ``record`` has it, from a mesh of :func:`copied_to`."""
    name = record["uv"]
    active, render = uv_maps.chosen(mesh)
    mesh.uv_layers.remove(mesh.uv_layers[name])
    uv_maps.select(
        mesh,
        chosen_before(mesh, record, "active") if active == name else active,
        chosen_before(mesh, record, "render") if render == name else render,
    )
