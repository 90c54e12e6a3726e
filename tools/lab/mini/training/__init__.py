# SPDX-License-Identifier: GPL-3.0-or-later
"""What trainings of networks beside the bundled model have in common. Read first: loop.py."""
