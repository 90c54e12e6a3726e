# SPDX-License-Identifier: GPL-3.0-or-later
"""The mini model's variant that draws the other sides of a pictured thing. Read first: train.py."""
