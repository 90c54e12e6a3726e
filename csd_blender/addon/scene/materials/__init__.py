"""Materials: the kind that this extension makes, what others have for a color, and copies with another one.

May import what scene may. Read first: build, then base_color, then finish.
"""
