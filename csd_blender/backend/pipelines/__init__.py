"""A job from its folder to its result, each from top to bottom as the method goes.

May import output and below. Read first: texture.
"""
