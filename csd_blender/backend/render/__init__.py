"""What is seen: cameras, rasterizer, volume renderer, backgrounds, lamps, and surfaces ready to be painted.

May import fields, geometry and support, and of job the ranges of cameras; not texture. Read first: cameras, then
rasterizer/interface; surface puts them together.
"""
