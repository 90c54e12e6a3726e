"""Learned functions of a point: colors, density, signed distance.

May import geometry and support. Read first: hash_grid, then radiance_field.
"""
