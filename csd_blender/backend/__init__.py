"""The torch side of CSD for Blender: diffusion guidance, rendering, texture optimization.

May import job and any library but Blender. Read first: pipelines/texture.py, then down.
"""
