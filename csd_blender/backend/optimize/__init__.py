"""The loop around a pipeline's steps: stop, checkpoint, step down on memory.

May import diffusion and below. Read first: loop.
"""
