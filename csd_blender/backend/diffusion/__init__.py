"""Diffusion models as score distillation sees them: one Protocol, one file a family, all frozen.

May import support and the contract's model files. Read first: model.
"""
