# SPDX-License-Identifier: GPL-3.0-or-later
"""The mini model's multi-view variant: its pictures and its training. Read first: train.py."""
