"""The *CSD* tab in the sidebar of the 3D view. Drawing only reads what is already in memory."""

import textwrap

import bpy

from ...job.presets.effects import absent
from ...job.spec.common import VARIANTS
from ...job.spec.settings import Setting, shown_settings
from ..folders import short
from ..job import Job
from ..kinds import common
from ..kinds.choose import Kind, chosen, kind_of, suggested
from ..process import backend
from ..properties import CONTEXT, USE
from ..run import results, view_icon
from ..session import session, time_text
from . import poll
from .generate import again

PREVIEW_SCALE = 7.0
MOST_WARNINGS = 8


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
    kind = chosen(context)
    layout.row(align=True).prop(csd, "kind", expand=True)
    for setting in settings_in(kind, "top"):
        if setting.name == "negative_prompt":
            draw_negative_prompt(layout, kind, setting, csd)
        elif setting.sort == "text":
            column = layout.column()
            column.label(text=setting.label, translate=False)
            column.prop(csd, setting.name, text="", placeholder=poll.example_of(kind, setting, csd))
        else:
            slider = setting.sort == "number"
            layout.row(align=True).prop(csd, setting.name, expand=not slider, slider=slider)
    reason = poll.why_not_press(context)
    column = layout.column(align=True)
    column.scale_y = 1.5
    button = column.row()
    button.enabled = not reason
    button.operator_context = "EXEC_DEFAULT"  # the dialogs are for those who come from a menu
    button.operator(kind.operator, icon="SHADERFX")
    text = reason or hint_for_generate(csd, kind)
    if text:
        hint = layout.row()
        hint.alignment = "CENTER"
        hint.active = False
        hint.label(text=text, translate=False)
    other = suggested(context)
    if other is not None:
        text = f"Make {other.noun} instead"
        layout.operator("csd.make", text=text, icon=other.icon, translate=False).kind = other.spec.kind
    waiting = results.waiting()
    if waiting and session.job is None:
        draw_waiting(layout, waiting)
    if session.job is None:
        draw_show_texture(layout, context)


def draw_negative_prompt(layout, kind: Kind, setting: Setting, csd) -> None:
    column = layout.column()
    column.prop(csd, "use_negative_prompt", text=setting.label, translate=False)
    if csd.use_negative_prompt:
        column.prop(csd, setting.name, text="", placeholder=poll.example_of(kind, setting, csd))


def settings_in(kind: Kind, place: str) -> list[Setting]:
    """The settings that stand in one part of the panel."""
    return [s for s in shown_settings(kind.spec) if s.get("place", "guidance") == place]


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


def hint_for_generate(csd, kind: Kind) -> str:
    """What pressing the button means now."""
    if session.job is not None and session.job.phase == "finished":
        return "The result above stays in Results"
    seconds = kind.settings.expected_seconds(csd)
    return "" if seconds is None else f"Takes about {time_text(seconds)}"


def draw_running(layout, context, job: Job) -> None:
    write(layout, context, f"“{job.spec.prompt}”")
    draw_picture(layout, job)
    column = layout.column()
    fraction = job.fraction()
    left = f"{time_text(job.seconds_left)} left" if job.seconds_left is not None and job.in_long_stage else ""
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
    draw_control(layout, job)
    draw_warnings(layout, context, job)


def draw_warnings(layout, context, job: Job) -> None:
    """All of them, or of very many the first, which tell of the scene, and the newest."""
    texts = job.warnings
    if len(texts) > MOST_WARNINGS:
        between = f"{len(texts) - MOST_WARNINGS} notes more."
        texts = [*texts[: MOST_WARNINGS - 2], between, *texts[-2:]]
    for text in texts:
        write(layout, context, text, "INFO")


def draw_picture(layout, job: Job) -> None:
    icon = view_icon.icon_id() if job.has_view else 0
    if icon:
        layout.template_icon(icon_value=icon, scale=PREVIEW_SCALE)


def draw_control(layout, job: Job) -> None:
    """The way to what ControlNets see, where a job has some."""
    if job.has_control:
        layout.operator("csd.show_control", icon="IMAGE_DATA")


def draw_belongs(layout, context, job: Job) -> None:
    """Why nothing of the job is to be seen here."""
    if job.active and kind_of(job).job.BELONGS_TO_FILE and not job.in_file:
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
    draw_control(box, job)
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
    again(job, box)
    draw_warnings(box, context, job)


def draw_setup(layout, setup) -> None:
    box = layout.box()
    box.label(text=setup.text or "Setting up the backend", icon="IMPORT", translate=False)
    left = f", {time_text(setup.seconds_left)} left" if setup.seconds_left is not None else ""
    box.progress(factor=setup.fraction, text=f"{setup.fraction:.0%}{left}", type="BAR", translate=False)
    box.operator("csd.setup_cancel", text="Cancel", icon="CANCEL", translate=False)


def draw_not_ready(layout, context) -> None:
    box = layout.box()
    if not backend.is_astray():  # the reason below says it all
        write(box, context, "One step first: the backend, which does the computing, is not installed yet.", "INFO")
    row = box.row()
    row.scale_y = 1.3
    row.operator("csd.setup", icon="IMPORT")
    reason = poll.why_not_setup()
    write(box, context, f"{reason}." if reason else f"Needs about {backend.setup_size()} of disk space.")
    if reason:
        button = box.operator("screen.userpref_show", text="Open Preferences", icon="PREFERENCES", translate=False)
        button.section = "ADDONS" if backend.is_astray() else "SYSTEM"


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
        draw_group(self.layout, context, "guidance")


def draw_group(layout, context, place: str) -> None:
    """All settings of one part of the panel: those that are simply set, then those that the preset decides.

    One that says nothing with what else is chosen stays where it is, in gray, with the reason in its value's place.
    """
    layout.use_property_split = True
    layout.use_property_decorate = False
    layout.active = session.active_job() is None
    csd, kind = context.scene.csd, chosen(context)
    idle = common.unused(kind.spec, csd)
    found = [s for s in settings_in(kind, place) if hasattr(csd, s.held_as)]
    column = layout.column()
    for setting in (s for s in found if not s.preset):
        if setting.name in idle:
            draw_idle(column, setting, idle[setting.name])
        elif setting.name == "seed":
            draw_seed(column, csd)
        elif setting.get("unset"):
            column.prop(csd, setting.held_as, placeholder=setting.get("unset"))
        else:
            column.prop(csd, setting.held_as)
    for setting, reason in absent(kind.spec):
        if setting.name in VARIANTS and place == "guidance":  # of what is absent, that which goes with any method
            draw_idle(column, setting, reason)
    column = layout.column(align=True)
    for setting in (s for s in found if s.preset):
        if setting.name in idle:
            draw_idle(column, setting, idle[setting.name])
        else:
            draw_override(column, csd, setting, kind.settings.usual_text(csd, setting))


def draw_idle(layout, setting: Setting, reason: str) -> None:
    """The name of a setting that has no effect, and why, divided as Blender divides names and values."""
    row = layout.split(factor=0.4)
    row.active = False
    name = row.row()
    name.alignment = "RIGHT"
    name.label(text=setting.label, translate=False)
    row.label(text=reason, translate=False)


def draw_seed(column, csd) -> None:
    row = column.row(align=True)
    sub = row.row(align=True)
    sub.active = not csd.use_new_seed
    sub.prop(csd, "seed")
    row.prop(csd, "use_new_seed", text="", icon="FILE_REFRESH")


def draw_override(layout, csd, setting: Setting, usual: str) -> None:
    """A value of the quality preset (``usual``), and the box that lets the artist change it."""
    row = layout.row(heading=setting.label, translate=False)
    row.prop(csd, USE + setting.name, text="")
    sub = row.row()
    if getattr(csd, USE + setting.name):
        sub.prop(csd, setting.name, text="")
    else:
        sub.active = False
        sub.label(text=usual, translate=False)


class CSD_PT_output(CSDPanel, bpy.types.Panel):
    bl_label = "Output"
    bl_parent_id = "CSD_PT_main"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 2

    def draw(self, context):
        draw_group(self.layout, context, "output")


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
