"""Models that know cameras: several views at once, or another side of what one picture shows.

Read first: mvdream.py.
"""
