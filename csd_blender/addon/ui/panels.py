"""The *CSD* tab in the sidebar of the 3D view. Drawing only reads what is already in memory."""

import functools
import textwrap

import bpy

from ...job.presets.text_to_3d import EXPECTED_SECONDS_3D, text_to_3d_job, usual_steps
from ...job.presets.texture import EXPECTED_SECONDS, MINI_WORDS, texture_job
from ...job.spec.methods import find_method
from ..folders import short
from ..process import backend
from ..properties import CONTEXT, OBJECT_OVERRIDABLE, OVERRIDABLE, WEIGHTS
from ..run import results, view_icon
from ..session import LONG_STAGES, Job, session, time_text
from . import poll

PREVIEW_SCALE = 7.0


class CSDPanel:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "CSD"
    bl_translation_context = CONTEXT


def write(layout, context, text: str, icon: str = "NONE") -> None:
    """``text`` as labels, wrapped to the sidebar's width."""
    region = context.region
    scale = context.preferences.system.ui_scale or 1.0
    pixels = (region.width if region else 280) / scale - (60 if icon != "NONE" else 40)
    column = layout.column(align=True)
    column.scale_y = 0.8
    for i, line in enumerate(textwrap.wrap(text, max(16, int(pixels / 6.4)))):
        column.label(text=line, icon=icon if i == 0 else "BLANK1" if icon != "NONE" else "NONE", translate=False)


class CSD_PT_main(CSDPanel, bpy.types.Panel):
    bl_label = "Generate"

    def draw(self, context):
        layout = self.layout
        job = session.job
        if session.setup is not None:
            draw_setup(layout, session.setup)
        elif not backend.ready():
            draw_not_ready(layout, context)
        if job is not None and job.active:
            draw_running(layout, context, job)
        else:
            if job is not None:
                draw_ended(layout, context, job)
            draw_settings(layout, context)
        draw_messages(layout, context)


def draw_settings(layout, context) -> None:
    csd = context.scene.csd
    new_object = poll.offers_object(context)
    column = layout.column()
    column.label(text="Prompt", translate=False)
    example = "a wooden chair, a small robot …" if new_object else "red brick, mossy stone …"
    column.prop(csd, "prompt", text="", placeholder=example)
    column.label(text="Negative Prompt", translate=False)
    column.prop(csd, "negative_prompt", text="", placeholder="blurry, low quality …")
    if new_object:
        row = layout.row(align=True)
        row.prop(csd, "subject", expand=True)
    row = layout.row(align=True)
    row.prop(csd, "quality", expand=True)
    reason = poll.why_not_press(context)
    column = layout.column(align=True)
    column.scale_y = 1.5
    button = column.row()
    button.enabled = not reason
    button.operator_context = "EXEC_DEFAULT"  # the dialogs are for those who come from a menu
    button.operator("csd.text_to_3d" if new_object else "csd.texture", icon="SHADERFX")
    text = reason or hint_for_generate(csd, new_object)
    if text:
        hint = layout.row()
        hint.alignment = "CENTER"
        hint.active = False
        hint.label(text=text, translate=False)
    waiting = results.waiting()
    if waiting and session.job is None:
        draw_waiting(layout, waiting)
    if session.job is None:
        draw_show_texture(layout, context)


def draw_waiting(layout, waiting) -> None:
    """What an earlier session, or an earlier press of Generate, left without an answer."""
    entry = waiting[0]
    verb = "Show" if entry.complete else "Resume"
    if len(waiting) == 1:
        button = layout.operator(
            "csd.resume", text=f"{verb} “{short(entry.prompt, 18)}”", icon="RECOVER_LAST", translate=False
        )
        button.folder = entry.folder
    else:
        layout.operator("csd.resume", text=f"Show or Resume … ({len(waiting)})", icon="RECOVER_LAST", translate=False)


def draw_show_texture(layout, context) -> None:
    """Where the view does not show what is made: the one press that lets it."""
    if poll.offers_show_texture(context):
        layout.operator("csd.show_texture", icon="SHADING_TEXTURE")


def hint_for_generate(csd, new_object: bool) -> str:
    """What pressing the button means now."""
    if session.job is not None and session.job.phase == "finished":
        return "The result above stays in Results"
    if new_object:
        usual = csd.model == "mini" and not (csd.use_coarse_steps or csd.use_refine_steps)
        return f"Takes about {time_text(EXPECTED_SECONDS_3D[csd.quality])}" if usual else ""
    if csd.use_steps or csd.use_views or csd.model != "mini":
        return ""
    return f"Takes about {time_text(EXPECTED_SECONDS[csd.quality])}"


def draw_running(layout, context, job: Job) -> None:
    write(layout, context, f"“{job.spec.prompt}”")
    draw_picture(layout, job)
    column = layout.column()
    fraction = job.fraction()
    left = f"{time_text(job.seconds_left)} left" if job.seconds_left is not None and job.stage in LONG_STAGES else ""
    label = "Stopping …" if job.phase == "cancelling" else job.stage_label
    row = column.row()
    row.label(text=label, translate=False)
    sub = row.row()
    sub.alignment = "RIGHT"
    sub.label(text=left, translate=False)
    column.progress(factor=fraction, text=f"{fraction:.0%}", type="BAR", translate=False)
    row = layout.row()
    row.scale_y = 1.3
    row.operator(
        "csd.cancel", text="Stop Now" if job.phase == "cancelling" else "Cancel", icon="CANCEL", translate=False
    )
    draw_belongs(layout, context, job)
    draw_show_texture(layout, context)
    for text in job.warnings[-2:]:
        write(layout, context, text, "INFO")


def draw_picture(layout, job: Job) -> None:
    icon = view_icon.icon_id() if job.has_view else 0
    if icon:
        layout.template_icon(icon_value=icon, scale=PREVIEW_SCALE)


def draw_belongs(layout, context, job: Job) -> None:
    """Why nothing of the job is to be seen here."""
    if job.active and not job.makes_object and not job.in_file:
        where = job.blend_file.replace("\\", "/").rpartition("/")[2] or "a file that was never saved"
        write(layout, context, f"It belongs to {where}, and waits for it.", "INFO")


def draw_ended(layout, context, job: Job) -> None:
    box = layout.box()
    if job.phase == "finished":
        draw_finished(box, context, job)
    elif job.phase == "failed":
        write(box, context, job.problem.text, "ERROR")
        if job.problem.fix:
            write(box, context, job.problem.fix)
        row = box.row(align=True)
        if job.problem.retryable:
            row.operator("csd.resume", text="Resume", icon="RECOVER_LAST", translate=False)
        row.operator("csd.show_log", icon="TEXT")
        row.operator("csd.discard", text="", icon="X")
    else:
        row = box.row()
        row.label(text="Cancelled", icon="CANCEL", translate=False)
        row.operator("csd.discard", text="", icon="X", emboss=False)


def draw_finished(box, context, job: Job) -> None:
    head = "Stopped early" if job.stopped_early else "Finished"
    took = f" in {time_text(job.seconds)}" if job.seconds else ""
    box.label(text=head + took, icon="CHECKMARK", translate=False)
    write(box, context, f"“{job.spec.prompt}”")
    write(box, context, f"Seed {job.spec.seed}, {job.spec.quality}")
    draw_picture(box, job)
    draw_show_texture(box, context)
    column = box.column(align=True)
    column.scale_y = 1.3
    column.operator("csd.accept", text="Accept", icon="CHECKMARK", translate=False)
    reason = poll.why_not_accept(context)
    if reason:
        write(box, context, f"{reason}.", "INFO")
    elif job.changed_maps:
        names = ", ".join(f"“{name}”" for name in job.changed_maps)
        write(box, context, f"The UV map of {names} changed since. Accept offers a new one.", "INFO")
    row = box.row(align=True)
    row.operator("csd.discard", text="Discard", icon="TRASH", translate=False)
    row.operator("csd.reuse_settings", icon="FILE_REFRESH")
    if job.stopped_early:
        box.operator("csd.resume", text="Go On", icon="PLAY", translate=False).folder = str(job.folder)
    if job.has_coarse_stage:
        row = box.row()
        row.operator_context = "INVOKE_DEFAULT"  # its dialog shows which prompt it will use: the result's own at first
        again = row.operator("csd.text_to_3d", text="Refine Again …", icon="SHADERFX", translate=False)
        again.refine_from, again.prompt = str(job.folder), job.spec.prompt
        again.negative_prompt, again.quality = job.spec.negative_prompt, quality_of(job)
    for text in job.warnings[-2:]:
        write(box, context, text, "INFO")


def quality_of(job: Job) -> str:
    return job.spec.quality if job.spec.quality in ("draft", "normal", "best") else "normal"


def draw_setup(layout, setup) -> None:
    box = layout.box()
    box.label(text=setup.text or "Setting up the backend", icon="IMPORT", translate=False)
    left = f", {time_text(setup.seconds_left)} left" if setup.seconds_left is not None else ""
    box.progress(factor=setup.fraction, text=f"{setup.fraction:.0%}{left}", type="BAR", translate=False)
    box.operator("csd.setup_cancel", text="Cancel", icon="CANCEL", translate=False)


def draw_not_ready(layout, context) -> None:
    box = layout.box()
    write(box, context, "One step first: the backend, which does the computing, is not installed yet.", "INFO")
    row = box.row()
    row.scale_y = 1.3
    row.operator("csd.setup", icon="IMPORT")
    reason = poll.why_not_setup()
    write(box, context, f"{reason}." if reason else f"Needs about {backend.setup_size()} of disk space.")
    if reason:
        button = box.operator("screen.userpref_show", text="Open Preferences", icon="PREFERENCES", translate=False)
        button.section = "SYSTEM"


def draw_messages(layout, context) -> None:
    if session.problem is not None:
        box = layout.box()
        write(box, context, session.problem.text, "ERROR")
        if session.problem.fix:
            write(box, context, session.problem.fix)
    if session.notice:
        write(layout.box(), context, session.notice, "INFO")


class CSD_PT_guidance(CSDPanel, bpy.types.Panel):
    bl_label = "Guidance"
    bl_parent_id = "CSD_PT_main"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 2

    def draw(self, context):
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.active = session.active_job() is None
        csd = context.scene.csd
        new_object = poll.offers_object(context)
        column = layout.column()
        column.prop(csd, "model")
        if new_object:
            column.prop(csd, "recipe")
        if not new_object or csd.recipe == "csd":  # the other recipes have a method of their own
            column.prop(csd, "method")
        row = column.row(align=True)
        sub = row.row(align=True)
        sub.active = not csd.use_new_seed
        sub.prop(csd, "seed")
        row.prop(csd, "use_new_seed", text="", icon="FILE_REFRESH")
        column.prop(csd, "view_prompts")
        if new_object:
            column = layout.column(align=True)
            usual = usual_steps(csd.quality, csd.model or "mini", csd.recipe)
            for name, steps in zip(OBJECT_OVERRIDABLE, usual, strict=True):
                if name != "refine_steps" or csd.recipe != "dreamfusion":  # which has no such stage
                    draw_override(column, csd, name, str(steps))
            return
        if find_method(csd.method).uses_guidance_scale:
            column.prop(csd, "guidance_scale")
        column = layout.column(align=True)
        for name in OVERRIDABLE:
            if name != "texture_size" and (name != "generative_weight" or find_method(csd.method).uses_prompt_weights):
                draw_override(column, csd, name)


def draw_override(layout, csd, name: str, usual: str = "") -> None:
    """A value of the quality preset (``usual``, or a texture's), and the box that lets the artist change it."""
    row = layout.row(heading=csd.bl_rna.properties[name].name, translate=False)
    row.prop(csd, f"use_{name}", text="")
    sub = row.row()
    if getattr(csd, f"use_{name}"):
        sub.prop(csd, name, text="")
    else:
        sub.active = False
        sub.label(text=usual or preset_text(csd.quality, csd.method, csd.model, name), translate=False)


@functools.cache
def preset_text(quality: str, method: str, model: str, name: str) -> str:
    """A preset's value as people read it."""
    job = texture_job("any", quality, model or "mini", method=method)
    if name == "extra_words":
        return MINI_WORDS if job.extra_words == "auto" else job.extra_words or "none"
    if name not in WEIGHTS:
        return f"{getattr(job, name):g}{' px' if name == 'texture_size' else ''}"
    weight = getattr(job.guidance, name)
    same = weight.start_value == weight.end_value
    return f"{weight.start_value:g}" if same else f"{weight.start_value:g} to {weight.end_value:g}"


@functools.cache
def object_texture_size(quality: str, model: str) -> str:
    return f"{text_to_3d_job('any', quality, model or 'mini').texture_size} px"


class CSD_PT_output(CSDPanel, bpy.types.Panel):
    bl_label = "Output"
    bl_parent_id = "CSD_PT_main"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 2

    def draw(self, context):
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.active = session.active_job() is None
        csd = context.scene.csd
        column = layout.column()
        if poll.offers_object(context):
            draw_override(column, csd, "texture_size", object_texture_size(csd.quality, csd.model))
            column.prop(csd, "max_faces")
            column.prop(csd, "height")
        else:
            draw_override(column, csd, "texture_size")
            column.prop(csd, "uv")
            column.prop(csd, "modifiers")


class CSD_PT_backend(CSDPanel, bpy.types.Panel):
    bl_label = "Backend"
    bl_parent_id = "CSD_PT_main"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 2

    def draw(self, context):
        layout = self.layout
        column = layout.column(align=True)
        for name, value in backend.facts():
            row = column.split(factor=0.35)
            sub = row.row()
            sub.alignment = "RIGHT"
            sub.active = False
            sub.label(text=name, translate=False)
            row.label(text=value, translate=False)
        column = layout.column(align=True)
        text = "Set Up Again" if backend.ready() else "Set Up"
        column.operator("csd.setup", text=text, icon="IMPORT", translate=False)
        row = column.row(align=True)
        row.operator("csd.free_memory", icon="X")
        row.operator("csd.show_log", icon="TEXT")


CLASSES = (CSD_PT_main, CSD_PT_guidance, CSD_PT_output, CSD_PT_backend)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
