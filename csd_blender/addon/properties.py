"""What the extension keeps in a .blend: the settings of a scene, and on objects what a preview hides."""

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..job.models.catalogue import CATALOGUE
from ..job.presets.texture import NEGATIVE_PROMPT
from ..job.spec.methods import KNOWN_METHODS

#: Our own words for translations: Blender would else translate those of our labels that it happens to know.
CONTEXT = "CSD"

QUALITY_ITEMS = [
    ("draft", "Draft", "A first impression: the quickest"),
    ("normal", "Normal", "Good for most objects"),
    ("best", "Best", "More steps for finer detail"),
]
METHOD_ITEMS = [(method.id, method.label, method.help) for method in KNOWN_METHODS]
UV_ITEMS = [
    ("auto", "Automatic", "Use the active UV map when it is usable, else add a new one"),
    ("keep", "Active UV Map", "Use the active UV map, and say so when it cannot be used"),
    ("new", "New UV Map", "Always add a new UV map; your own maps stay as they are"),
]
MODIFIER_ITEMS = [
    ("keep", "Keep", "Texture the shape as it is seen, modifiers stay"),
    ("apply", "Apply", "Texture the shape as it is seen; accepting the texture applies the modifiers"),
    ("ignore", "Ignore", "Texture the mesh as it is without its modifiers"),
]
SUBJECT_ITEMS = [
    ("character", "Character", "A figure with a clear front and back, such as a person, an animal or a robot"),
    ("object", "Object", "A thing of its own, such as a chair, a shoe or a house"),
    (
        "sparse",
        "Sparse",
        "An object with holes or thin parts, such as a chair or a plant, whose gaps would else fill up",
    ),
]
RECIPE_ITEMS = [
    ("csd", "CSD", "Classifier score distillation: a coarse shape, then a detailed mesh in natural colors"),
    ("dreamfusion", "DreamFusion", "The first of these methods, for comparison: the coarse shape alone"),
    ("magic3d", "Magic3D", "A coarse shape, then a lit mesh, for comparison"),
    ("fantasia3d", "Fantasia3D", "Shape by its normals first, then its colors, for comparison"),
]
SIZE_ITEMS = [(str(s), f"{s} px", f"{s} × {s} pixels") for s in (256, 512, 1024, 2048, 4096)]


def model_names(_self, _context, edit_text: str) -> list[str]:
    return [entry.id for entry in CATALOGUE if edit_text.lower() in entry.id.lower()]


def prompt_written(_self, _context) -> None:
    from .run import pump

    pump.warm_up_soon()


def setting_properties(options: frozenset[str] = frozenset()) -> dict:
    """The settings of a texture as Blender properties: made twice, for the scene and for the operator.

    ``options`` without ANIMATABLE, the default of Blender: settings are not to be animated.
    """
    fixed = {"options": set(options), "translation_context": CONTEXT}
    return {
        "prompt": StringProperty(name="Prompt", description="What the surface should look like", **fixed),
        "negative_prompt": StringProperty(
            name="Negative Prompt",
            description="What the surface should not look like",
            default=NEGATIVE_PROMPT,
            **fixed,
        ),
        "quality": EnumProperty(
            name="Quality",
            description="How long to work on it",
            items=QUALITY_ITEMS,
            default="normal",
            **fixed,
        ),
        "method": EnumProperty(
            name="Method", description="How the diffusion model guides the work", items=METHOD_ITEMS, **fixed
        ),
        "model": StringProperty(
            name="Model",
            description="Diffusion model: a name from the list, or the path of a folder in diffusers layout",
            default="mini",
            search=model_names,
            search_options={"SORT", "SUGGESTION"},
            **fixed,
        ),
        "seed": IntProperty(
            name="Seed", description="The same seed and settings give the same result", min=0, default=0, **fixed
        ),
        "steps": IntProperty(name="Steps", description="Number of steps", min=1, max=20000, default=400, **fixed),
        "views": IntProperty(
            name="Views",
            description="From how many sides each step looks at it; more is steadier and slower",
            min=1,
            max=16,
            default=4,
            **fixed,
        ),
        "learning_rate": FloatProperty(
            name="Learning Rate",
            description="How far each step moves the colors",
            min=1e-5,
            max=1.0,
            default=0.03,
            precision=4,
            **fixed,
        ),
        "negative_weight": FloatProperty(
            name="Negative",
            description="How strongly the negative prompt pushes away from what it says",
            min=0.0,
            max=10.0,
            soft_max=2.0,
            default=0.5,
            **fixed,
        ),
        "generative_weight": FloatProperty(
            name="Tame Colors",
            description="How strongly the colors are held to those of ordinary pictures (generative prior); 0 is pure "
            "CSD, whose colors grow purer with every step",
            min=0.0,
            max=10.0,
            soft_max=2.0,
            default=0.0,
            **fixed,
        ),
        "guidance_scale": FloatProperty(
            name="Guidance Scale",
            description="How strongly SDS follows the prompt",
            min=0.0,
            max=200.0,
            soft_max=100.0,
            default=7.5,
            **fixed,
        ),
        "view_prompts": BoolProperty(
            name="Name the Side",
            description="Add “front view”, “side view”, “back view” or “top view” to the prompt as it is seen; "
            "without, a face may appear on every side",
            default=True,
            **fixed,
        ),
        "extra_words": StringProperty(
            name="Extra Words",
            description="Words added to the prompt of every picture, so that no light is painted into the texture",
            **fixed,
        ),
        "texture_size": EnumProperty(
            name="Size", description="Width and height of the texture", items=SIZE_ITEMS, default="1024", **fixed
        ),
        "uv": EnumProperty(name="UV Map", description="Where the texture is laid out", items=UV_ITEMS, **fixed),
        "modifiers": EnumProperty(
            name="Modifiers", description="What happens to the object's modifiers", items=MODIFIER_ITEMS, **fixed
        ),
    }


def object_properties(options: frozenset[str] = frozenset()) -> dict:
    """The settings of a new object, in the same way; many are those of a texture, and one with them in the scene."""
    fixed = {"options": set(options), "translation_context": CONTEXT}
    texture = setting_properties(options)
    shared = ("negative_prompt", "quality", "method", "model", "seed", "view_prompts", "texture_size", "modifiers")
    return {
        "prompt": StringProperty(name="Prompt", description="What the object should be", **fixed),
        **{name: texture[name] for name in shared},
        **own_object_properties(options),
        "start_from_mesh": BoolProperty(
            name="Start From Selected Mesh",
            description="Begin with the shape of the selected meshes in place of an empty scene",
            **fixed,
        ),
        "refine_from": StringProperty(
            name="Refine From",
            description="Folder of an earlier object's job, whose coarse shape is refined anew with these settings",
            subtype="DIR_PATH",
            **fixed,
        ),
    }


def own_object_properties(options: frozenset[str] = frozenset()) -> dict:
    """Those that a texture does not have."""
    fixed = {"options": set(options), "translation_context": CONTEXT}
    return {
        "subject": EnumProperty(
            name="Subject", description="What sort of thing it is", items=SUBJECT_ITEMS, default="object", **fixed
        ),
        "recipe": EnumProperty(
            name="Approach",
            description="Which published method the object is made after: its stages and its values",
            items=RECIPE_ITEMS,
            **fixed,
        ),
        "max_faces": IntProperty(
            name="Max Faces",
            description="The finished mesh has at most so many triangles",
            min=100,
            max=2_000_000,
            soft_max=200_000,
            default=100_000,
            **fixed,
        ),
        "height": FloatProperty(
            name="Height",
            description="How tall the finished object is",
            subtype="DISTANCE",
            min=0.001,
            max=1000.0,
            default=1.0,
            **fixed,
        ),
        "coarse_steps": IntProperty(
            name="Coarse Steps", description="Steps in which the shape is found", min=0, max=20000, default=600, **fixed
        ),
        "refine_steps": IntProperty(
            name="Refine Steps",
            description="Steps that sharpen shape and surface once there is a mesh",
            min=0,
            max=20000,
            default=240,
            **fixed,
        ),
    }


# Settings that the quality preset decides unless the box beside them is ticked.
OVERRIDABLE = ("steps", "views", "learning_rate", "negative_weight", "generative_weight", "extra_words", "texture_size")
OBJECT_OVERRIDABLE = ("coarse_steps", "refine_steps")  # besides, for a new object
# Those of them that are schedules of the job's guidance.
WEIGHTS = ("negative_weight", "generative_weight")


class CSDSceneSettings(bpy.types.PropertyGroup):
    """``Scene.csd``: the settings in the panel."""

    __annotations__ = (
        setting_properties()
        | own_object_properties()
        | {
            f"use_{name}": BoolProperty(
                name="Override",
                description="Use this value in place of the quality preset's",
                options=set(),
                translation_context=CONTEXT,
            )
            for name in OVERRIDABLE + OBJECT_OVERRIDABLE
        }
        | {
            "prompt": StringProperty(
                name="Prompt",
                description="What the surface should look like, or what the object should be",
                options=set(),
                translation_context=CONTEXT,
                update=prompt_written,
            ),
            "discarded": StringProperty(options={"HIDDEN", "SKIP_SAVE"}),  # in undo's eyes: the job discarded last
            "use_new_seed": BoolProperty(
                name="New Seed Each Time",
                description="Draw a new seed whenever Generate is pressed",
                options=set(),
                translation_context=CONTEXT,
            ),
        }
    )


class CSDHiddenSlot(bpy.types.PropertyGroup):
    """One material slot as it was before a preview covered it."""

    link: StringProperty()
    own_material: PointerProperty(type=bpy.types.Material)  # what the object itself held, seen or not
    data_material: PointerProperty(type=bpy.types.Material)  # keeps the mesh's material used while it is covered


class CSDObjectSettings(bpy.types.PropertyGroup):
    """``Object.csd``: the slots that a preview covers.

    It lives on the object so that undo, which takes the object back, takes this back with it.
    """

    preview_job: StringProperty()
    slots: CollectionProperty(type=CSDHiddenSlot)


CLASSES = (CSDSceneSettings, CSDHiddenSlot, CSDObjectSettings)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.csd = PointerProperty(type=CSDSceneSettings, name="CSD")
    bpy.types.Object.csd = PointerProperty(type=CSDObjectSettings, name="CSD")


def unregister() -> None:
    del bpy.types.Object.csd
    del bpy.types.Scene.csd
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
