"""Scripts that run inside Blender, started by build.py's commands, and what they share: extension.py and window.py.

They may import Blender, numpy and tools; a Blender that has no packages of ours runs them. Read first: extension.py.
"""
