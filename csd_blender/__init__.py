"""CSD for Blender: textures on meshes by classifier score distillation.

The package is three rooms with one-way doors: ``addon`` (Blender) → ``job`` (the contract) ← ``backend`` (torch).
Importing it needs neither Blender nor torch. Read first: job, then addon or backend.
"""

__version__ = "0.1.0"


def register() -> None:
    """Called by Blender when the extension is switched on."""
    from .addon import register

    register()


def unregister() -> None:
    """Called by Blender when the extension is switched off or Blender quits."""
    from .addon import unregister

    unregister()
