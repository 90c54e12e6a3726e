"""Distillation of the mini model's encoder into a small one: pictures with what the full encoder makes of them, and the
steps.

May import the rest of ``mini`` and the backend. Read first: targets, then train.
"""
