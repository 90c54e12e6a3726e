"""The torch side of CSD for Blender: diffusion guidance, rendering, texture optimization. Imports no bpy."""
