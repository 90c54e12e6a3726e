"""Learned functions of a point: colors, density, signed distance.

May import geometry and support. Read first: grid_levels and hash_grid_twin, which say what a hash grid is; then
texture_field and radiance_field. Files called kernels run what their twins spell out.
"""
