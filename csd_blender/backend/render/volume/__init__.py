"""Volume rendering of a radiance field, and its readable twin.

May import fields, support and render/cameras. Read first: render.
"""
