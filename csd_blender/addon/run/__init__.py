"""A job from the click to accept or discard, and what carries its news into Blender.

May import kinds and below. Read first: lifecycle, then pump.
"""
