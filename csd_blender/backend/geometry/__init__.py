"""Meshes: reading, cleaning, writing, and a few made for trying things out."""
