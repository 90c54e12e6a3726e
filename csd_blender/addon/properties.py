"""What the extension keeps in a .blend: the settings of a scene, and on objects what a preview hides."""

from collections.abc import Callable
from typing import Any

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

from ..job.kinds import KINDS
from ..job.models.catalogue import MODEL_IDS
from ..job.spec.settings import Setting, shown_settings

#: Our own words for translations: Blender would else translate those of our labels that it happens to know.
CONTEXT = "CSD"

#: Called when the artist has written a prompt; ``addon/__init__.py`` adds what warms the backend up.
on_prompt: list[Callable[[], None]] = []

#: Called with the scene's settings and the name of one that was just taken out of the preset's hands, and has no value
#: yet; ``addon/__init__.py`` adds what gives it the preset's.
on_override: list[Callable[[Any, str], None]] = []

USE = "use_"  # before the name of a setting: the box that takes the artist's value in place of the preset's


def names_search(names: tuple[str, ...]) -> Callable[[Any, Any, str], list[str]]:
    """What a text field offers while it is written in."""
    return lambda _self, _context, written: [name for name in names if written.lower() in name.lower()]


MODEL_NAMES = names_search(MODEL_IDS)


def prompt_written(_self, _context) -> None:
    for listener in on_prompt:
        listener()


def box_ticked(name: str) -> Callable[[Any, Any], None]:
    """What happens when the box of the setting ``name`` changes."""

    def update(csd, _context) -> None:
        if getattr(csd, USE + name) and not csd.is_property_set(name):
            for listener in on_override:
                listener(csd, name)

    return update


def make_property(setting: Setting, options: frozenset[str] = frozenset()):
    """The Blender property of a setting: made for the scene, and for the operator.

    ``options`` without ANIMATABLE, the default of Blender: settings are not to be animated.
    """
    said: dict[str, Any] = {
        "name": setting.label,
        "description": setting.help,
        "options": set(options),
        "translation_context": CONTEXT,
    }
    if setting.get("usual"):
        unit = setting.get("unit", "")
        items = [(str(n), f"{n} {unit}", f"{n} {unit} wide and high") for n in setting.get("usual")]
        return EnumProperty(items=items, default=str(setting.default), **said)
    if setting.sort == "choice":
        items = [(o.id, o.label, o.help) for o in setting.options]
        return EnumProperty(items=items, default=setting.default, **said)
    if setting.sort == "switch":
        return BoolProperty(default=setting.default, **said)
    if setting.sort == "text":
        names = setting.get("names")
        if names:
            search = MODEL_NAMES if names is True else names_search(names)
            said.update(search=search, search_options={"SORT", "SUGGESTION"})
        if setting.get("path"):
            said["subtype"] = "FILE_PATH" if setting.get("path") == "file" else "DIR_PATH"
        return StringProperty(default=setting.default, **said)
    low, high = setting.limits
    numbers = {"min": low, "max": high, "soft_max": setting.get("soft_high", high), "default": setting.default}
    if setting.sort == "whole":
        return IntProperty(**numbers, **said)
    if setting.get("unit") == "m":
        said["subtype"] = "DISTANCE"
    return FloatProperty(**numbers, precision=4 if high <= 1 else 3, **said)


def operator_properties(kind: type) -> dict:
    """The arguments of a kind's operator. SKIP_SAVE: what is not given comes from the panel, not from the last call."""
    return {s.name: make_property(s, frozenset({"SKIP_SAVE"})) for s in shown_settings(kind)}


def scene_properties() -> dict:
    """What all kinds show, each name once, and the boxes that take it out of the preset's hands."""
    settings = {s.held_as: s for kind in reversed(KINDS) for s in shown_settings(kind.spec)}
    found = {name: make_property(s) for name, s in settings.items() if s.path or s.get("place") != "hidden"}
    found |= {
        f"{USE}{s.name}": BoolProperty(
            name="Override",
            description="Use this value in place of the quality preset's",
            options=set(),
            translation_context=CONTEXT,
            update=box_ticked(s.name),
        )
        for s in settings.values()
        if s.preset
    }
    return found


class CSDSceneSettings(bpy.types.PropertyGroup):
    """``Scene.csd``: the settings in the panel."""

    __annotations__ = scene_properties() | {
        "kind": EnumProperty(
            name="Make",
            description="What is made",
            items=[(kind.spec.kind, kind.spec.label, kind.spec.help) for kind in KINDS],
            options=set(),
            translation_context=CONTEXT,
        ),
        "prompt": StringProperty(
            name="Prompt",
            description="What the surface should look like, or what the object or the picture should be",
            options=set(),
            translation_context=CONTEXT,
            update=prompt_written,
        ),
        "use_negative_prompt": BoolProperty(
            name="Negative Prompt",
            description="Push away from what the negative prompt says",
            default=True,
            options=set(),
            translation_context=CONTEXT,
        ),
        "form": IntProperty(options={"HIDDEN"}),  # how these are meant, see run/old_files
        "discarded": StringProperty(options={"HIDDEN", "SKIP_SAVE"}),  # in undo's eyes: the job discarded last
        "use_new_seed": BoolProperty(
            name="New Seed Each Time",
            description="Draw a new seed whenever Generate is pressed",
            options=set(),
            translation_context=CONTEXT,
        ),
    }


class CSDHiddenSlot(bpy.types.PropertyGroup):
    """One material slot as it was before a preview covered it; the temporary material in it has the same ``number``,
    since slots are moved and removed meanwhile."""

    number: IntProperty()
    link: StringProperty()  # empty for one that is not covered
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
    bpy.types.Scene.csd = PointerProperty(type=CSDSceneSettings, name="CSD")
    bpy.types.Object.csd = PointerProperty(type=CSDObjectSettings, name="CSD")


def unregister() -> None:
    del bpy.types.Object.csd
    del bpy.types.Scene.csd
