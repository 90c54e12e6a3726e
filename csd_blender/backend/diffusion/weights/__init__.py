"""Weights and words that do not lie in a folder of diffusers' layout, made ready for its networks.

May import the contract. Read first: single_file.
"""
