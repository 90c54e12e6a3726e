"""What a finished job leaves in its folder: baked textures, films, the result record.

May import texture, render and below. Read first: texture.
"""
