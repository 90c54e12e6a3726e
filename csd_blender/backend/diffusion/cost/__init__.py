"""What models do for the sake of memory and speed; no number changes by it.

May import what `diffusion` may, but none of its families. Read first: thrift.py.
"""
