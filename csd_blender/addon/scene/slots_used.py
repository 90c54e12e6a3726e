"""Which material slots of an object its faces show, and which only its particles do."""

from __future__ import annotations

from collections.abc import Sequence

import bpy
import numpy as np

from .checks import is_away, is_computed
from .export import read


def slots_of_faces(obj: bpy.types.Object) -> list[int]:
    """The slots that faces of ``obj`` show, of its own mesh or with its modifiers; all of them while that cannot be
    told, or where no face shows any."""
    count, depsgraph = len(obj.material_slots), bpy.context.evaluated_depsgraph_get()
    if is_away(obj.data):
        return list(range(count))
    found = set(_shown(obj.data, count))
    if is_computed(obj, depsgraph):
        evaluated = obj.evaluated_get(depsgraph).data
        # Behind the slots may be materials that modifiers bring.
        found |= {i for i in _shown(evaluated, max(len(evaluated.materials), count)) if i < count}
    return sorted(found) or list(range(count))


def _shown(mesh: bpy.types.Mesh, count: int) -> list[int]:
    """The numbers of materials that faces show; one beyond the last of ``count`` shows that."""
    used = read(mesh.polygons, "material_index", 1, np.int32)[:, 0]
    return np.unique(np.clip(used, 0, count - 1)).tolist() if count else []


def slots_for_texture(obj: bpy.types.Object, faces: Sequence[int]) -> list[int]:
    """All slots but those that nothing shows except particles, hair mostly: the texture is none for them. ``faces``:
    as :func:`slots_of_faces` has them."""
    particles = slots_of_particles(obj)
    return [i for i in range(len(obj.material_slots)) if i in faces or i not in particles]


def slots_of_particles(obj: bpy.types.Object) -> set[int]:
    """The slots whose materials the particle systems of ``obj`` show."""
    last = len(obj.material_slots) - 1
    return {min(system.settings.material - 1, last) for system in obj.particle_systems if system.settings is not None}
