"""``python3 -m tools.settings_table``: docs/settings.md, made from the specs, where every setting is written once."""

from __future__ import annotations

from csd_blender.job.kinds import KINDS
from csd_blender.job.spec.settings import Setting, scripted_settings, shown_settings

from .paths import ROOT

PAGE = ROOT / "docs" / "settings.md"
HEAD = """# Settings

Made by `python3 -m tools.settings_table` from the fields of `csd_blender/job/spec/`, where each is written once.
The panel, the operators, `addon.api`, the command line and *Reuse Settings* take label, help, range and default from
there. Where a default is in brackets, the quality preset decides unless you do. A job's own fields that are in no table
(stages, cameras, schedules) can be given to the API by name and to the command line as `--settings JSON`.
"""


def page() -> str:
    """The whole document."""
    parts = [HEAD]
    for kind in KINDS:
        parts.append(f"\n## {kind.spec.label}: `csd {kind.spec.kind}`\n")
        parts.append(_table(shown_settings(kind.spec)))
        parts.append("\nFor scripts and the command line alone:\n")
        parts.append(_table(scripted_settings(kind.spec)))
    return "\n".join(parts) + "\n"


def _table(settings: tuple[Setting, ...]) -> str:
    rows = ["| Name | In the panel | What it is | Allowed | Default |", "|---|---|---|---|---|"]
    for s in settings:
        label = s.label if s.get("place") != "hidden" else f"{s.label} (operator)"
        rows.append(f"| `{s.name}` | {label} | {s.help} | {_allowed(s)} | {_default(s)} |")
    return "\n".join(rows)


def _allowed(setting: Setting) -> str:
    if setting.sort == "choice":
        return ", ".join(f"`{option.id}`" for option in setting.options)
    if setting.sort == "switch":
        return "yes, no"
    if setting.sort == "text":
        return "text"
    low, high = setting.limits
    unit = setting.get("unit", "")
    return f"{low:,.10g} to {high:,.10g} {unit}".strip()


def _default(setting: Setting) -> str:
    value = setting.default
    if setting.sort == "switch":
        text = "yes" if value else "no"
    elif setting.sort in ("text", "choice"):
        text = f"`{value}`" if value else setting.get("unset", "empty")
    else:
        text = f"{value:,.10g}"
    return f"({text})" if setting.preset else text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} is written")
