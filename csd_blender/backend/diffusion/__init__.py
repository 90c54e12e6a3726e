"""Diffusion models as score distillation sees them: one Protocol, one file a family, all frozen.

May import support, mini, and the contract. Read first: model.
"""
