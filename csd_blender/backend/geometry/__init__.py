"""Meshes: reading, cleaning, writing, measuring, and the tetrahedral grids that they are cut from.

May import support, and job for its errors. Read first: mesh.
"""
