"""Textures on meshes of many parts: whether they fit these, and whether a pattern lives through them.

Read first: alignment.py.
"""
