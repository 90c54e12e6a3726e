"""Which diffusion models there are, where on this disk, and whether their files are sound.

May import job/errors. Read first: catalogue.
"""
