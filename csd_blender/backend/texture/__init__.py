"""Textures: UV maps, the field of colors on a surface, and its way into an image."""
