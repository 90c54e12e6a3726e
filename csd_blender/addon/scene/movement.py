"""What moves an object, by its modifiers and otherwise, and what applying the modifiers would end."""

from __future__ import annotations

from collections.abc import Iterator

import bpy

# Modifiers that keep an object moving, which applying them would end.
LIVING = frozenset(
    "ARMATURE HOOK LATTICE MESH_DEFORM SURFACE_DEFORM MESH_CACHE MESH_SEQUENCE_CACHE CLOTH SOFT_BODY COLLISION FLUID "
    "DYNAMIC_PAINT PARTICLE_SYSTEM".split()
)

MOVING = frozenset("BUILD EXPLODE OCEAN WAVE".split())  # modifiers that change with the time alone
#: Nodes that know the time, and what is called so.
OF_TIME = {"INPUT_SCENE_TIME": "the time", "SIMULATION_OUTPUT": "a simulation", "INPUT_ACTIVE_CAMERA": "the camera"}
AT_REST = 1e-5  # scene units, by which what deforms may be off from where it does nothing
#: Modifiers that hold to vertices of the mesh that they were bound to, by the property that says whether they are.
BOUND = {
    "SURFACE_DEFORM": "is_bound",
    "MESH_DEFORM": "is_bound",
    "LAPLACIANDEFORM": "is_bind",
    "CORRECTIVE_SMOOTH": "is_bind",
}


def dropped_by_applying(obj: bpy.types.Object) -> list[str]:
    """What the object would lose with its modifiers applied, beside the modifiers that one would want to apply."""
    keys, moving = ["its shape keys"] if obj.data.shape_keys else [], moving_modifiers(obj)
    seen = [m for m in obj.modifiers if m.show_viewport]
    living = [f"the modifier “{m.name}”" for m in seen if m.type in LIVING]
    animated = [f"the animation of the modifier “{m.name}”" for m in seen if m.type not in LIVING and m.name in moving]
    carried = (
        [f"the pose of its parent “{obj.parent.name}”, which would deform it twice"]
        if is_virtually_modified(obj)
        else []
    )
    levels = [(m, m.levels if m.show_viewport else 0) for m in obj.modifiers if m.type == "MULTIRES"]
    finer = [
        f"the finer levels of the modifier “{m.name}” (show it, with its Level Viewport at {m.total_levels})"
        for m, shown in levels
        if shown < m.total_levels
    ]
    bound = [m for m in obj.modifiers if not m.show_viewport and getattr(m, BOUND.get(m.type, ""), False)]
    loose = [f"what the modifier “{m.name}”, which is off, is bound to" for m in bound]
    moved = obj.data.animation_data
    strips = ["the strips of its mesh in the NLA"] if moved is not None and moved.nla_tracks else []
    return keys + carried + living + animated + finer + loose + strips


def is_virtually_modified(obj: bpy.types.Object) -> bool:
    """Whether the parent of ``obj`` deforms it now, as a modifier would that is in no list."""
    if obj.parent is None or obj.parent_type not in ("ARMATURE", "LATTICE"):
        return False
    parent = obj.parent.evaluated_get(bpy.context.evaluated_depsgraph_get())
    if obj.parent_type == "LATTICE":
        return any((point.co - point.co_deform).length > AT_REST for point in parent.data.points)
    moved = (bone.matrix - bone.bone.matrix_local for bone in parent.pose.bones)
    return any(abs(value) > AT_REST for matrix in moved for row in matrix for value in row)


def moving_modifiers(obj: bpy.types.Object) -> set[str]:
    """Names of the modifiers of ``obj`` that have keyframes or drivers, or move by themselves as time goes by."""
    data = obj.animation_data
    paths = {curve.data_path for curve in (moving_curves(data) if data is not None else [])}
    return {
        m.name for m in obj.modifiers if m.type in MOVING or any(path.startswith(m.path_from_id()) for path in paths)
    }


def moving_curves(data: bpy.types.AnimData) -> list[bpy.types.FCurve]:
    """All curves that move something: drivers, keyframes, and those that were pushed down into strips of the NLA."""
    return [*data.drivers, *(curve for player in (data, *strips_of(data)) for curve in curves_of(player))]


def strips_of(data: bpy.types.AnimData) -> list[bpy.types.NlaStrip]:
    """All strips of the NLA, also those in meta strips."""
    strips = [strip for track in data.nla_tracks for strip in track.strips]
    for strip in strips:
        strips += strip.strips
    return strips


def curves_of(user: bpy.types.AnimData | bpy.types.NlaStrip) -> list[bpy.types.FCurve]:
    """The keyframed curves that ``user`` plays; from Blender 4.4 on an action has slots, of which it plays one."""
    action = user.action
    if action is None:
        return []
    if not hasattr(user, "action_slot"):
        return list(action.fcurves)
    slot = user.action_slot
    bags = [bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags]
    return [curve for bag in bags if slot is not None and bag.slot_handle == slot.handle for curve in bag.fcurves]


def stilled_by_applying(obj: bpy.types.Object) -> list[str]:
    """What makes the object's shape change with time by way of something else, which would end with its modifiers
    applied: for each of these modifiers, its name and what moves."""
    found = []
    for modifier in [m for m in obj.modifiers if m.show_viewport and m.type not in LIVING]:
        others = list(dict.fromkeys(_others(modifier)))
        movers = [o.name for o in others if o != obj and is_moving(o)]
        # Where another one lies seen from the object counts, so that it does not matter which of both moves.
        if others and not movers and is_moving(obj):
            movers = [obj.name]
        movers += _of_time(modifier)
        texture = getattr(modifier, "texture", None)
        looked_at = [*_trees(modifier), *([texture] if texture is not None else [])]
        movers += [one.name for one in looked_at if one.animation_data and moving_curves(one.animation_data)]
        if movers:
            found.append(f"“{modifier.name}” ({', '.join(movers)})")
    return found


def is_moving(obj: bpy.types.Object) -> bool:
    """Whether ``obj`` moves or changes its shape, by itself or by what it is a child of."""
    while obj is not None:
        owners = (obj, obj.data, getattr(obj.data, "shape_keys", None))
        animated = [o.animation_data for o in owners if o is not None and o.animation_data is not None]
        if any(moving_curves(data) for data in animated) or obj.constraints or obj.rigid_body is not None:
            return True
        if any(m.type in LIVING or m.type in MOVING or _of_time(m) for m in obj.modifiers):
            return True
        obj = obj.parent
    return False


def _of_time(modifier: bpy.types.Modifier) -> list[str]:
    """What a modifier's nodes know of the time."""
    types = [node.type for tree in _trees(modifier) for node in tree.nodes]
    return list(dict.fromkeys(OF_TIME[kind] for kind in types if kind in OF_TIME))


def _others(modifier: bpy.types.Modifier) -> Iterator[bpy.types.Object]:
    """The objects that a modifier looks at, also in collections and in what geometry nodes are given or hold."""
    values = [getattr(modifier, p.identifier) for p in modifier.bl_rna.properties if p.type == "POINTER"]
    if modifier.type == "NODES":
        values += _inputs(modifier)
        sockets = [s for tree in _trees(modifier) for node in tree.nodes for s in node.inputs]
        values += [getattr(s, "default_value", None) for s in sockets if s.type in ("OBJECT", "COLLECTION")]
    for value in values:
        if isinstance(value, bpy.types.Object):
            yield value
        elif isinstance(value, bpy.types.Collection):
            yield from value.all_objects


def _inputs(modifier: bpy.types.NodesModifier) -> list[object]:
    """What geometry nodes are given; from Blender 5.2 on these are properties, and custom ones before."""
    if bpy.app.version < (5, 2, 0):
        return [modifier[key] for key in modifier.keys()]
    inputs = getattr(modifier.properties, "inputs", None)
    names = [p.identifier for p in inputs.bl_rna.properties if p.type == "POINTER"] if inputs is not None else []
    return [getattr(getattr(inputs, name), "value", None) for name in names if name != "rna_type"]


def _trees(modifier: bpy.types.Modifier) -> list[bpy.types.NodeTree]:
    """A modifier's nodes and all groups in them; none of one that has no nodes."""
    found = [modifier.node_group] if modifier.type == "NODES" and modifier.node_group else []
    for one in found:
        found += [n.node_tree for n in one.nodes if n.type == "GROUP" and n.node_tree and n.node_tree not in found]
    return found
