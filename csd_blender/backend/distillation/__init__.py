"""Score distillation: one equation over named branches, its rows, and the guide that brings them to pictures.

May import diffusion, optimize, the cameras of render, and below. Read first: score, then methods, then gradient and
guide. Programs that have predictions of their own call :func:`gradient_for_predictions`; it needs no network.
"""

from .gradient import gradient_for_predictions
from .score import ScoreGradient

__all__ = ["ScoreGradient", "gradient_for_predictions"]
